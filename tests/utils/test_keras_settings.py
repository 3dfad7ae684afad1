"""What this machine's Keras is set to changes no number; another backend is answered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from helpers.keras_numbers import all_numbers
from helpers.processes import SCRIPTS, TINY

HELPERS = Path(__file__).parents[1] / "helpers"
SETTINGS = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.5}


def set_keras(floatx="float32", epsilon=1e-7, image_data_format="channels_last", policy=None):
    keras.config.set_floatx(floatx)
    keras.config.set_epsilon(epsilon)
    keras.config.set_image_data_format(image_data_format)
    keras.config.set_dtype_policy(policy or floatx)


@pytest.fixture(scope="module")
def expected():
    """The numbers where Keras is as it comes."""
    set_keras()
    return all_numbers()


@pytest.fixture
def restored():
    yield
    set_keras()


def assert_same(numbers, expected):
    assert numbers.keys() == expected.keys()
    for name, array in expected.items():
        assert numbers[name].dtype == array.dtype, name
        np.testing.assert_array_equal(numbers[name], array, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [SETTINGS, {"floatx": "float64", "policy": "mixed_bfloat16"}],
)
def test_settings_change_no_number(settings, expected, restored):
    set_keras(**settings)
    assert_same(all_numbers(), expected)


def environment(folder, keras_json=None, **variables):
    """Of a process whose Keras has a folder of its own."""
    folder.mkdir()
    if keras_json:
        (folder / "keras.json").write_text(json.dumps(keras_json))
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return {**inherited, "KERAS_HOME": str(folder), **variables}


def python(*arguments, **kwargs):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **kwargs)


@pytest.mark.slow
def test_settings_of_a_machine(expected, tmp_path):
    """Read from keras.json when Keras is imported; its backend is that of no one here."""
    settings = {**SETTINGS, "backend": "torch"}
    result = python(
        HELPERS / "keras_numbers.py", tmp_path / "numbers.npz",
        env=environment(tmp_path / "keras", settings),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "numbers.npz", allow_pickle=False) as saved:
        for name, array in expected.items():
            np.testing.assert_allclose(saved[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_scripts_choose_their_backend(tmp_path):
    """Whatever else is asked for: training, and sampling from what was trained."""
    settings = {**SETTINGS, "backend": "jax"}
    env = environment(tmp_path / "keras", settings, KERAS_BACKEND="torch")
    commands = [
        ["train.py", *TINY, "--steps=1", "--workdir=run", "--nopictures"],
        ["sample.py", "--workdir=run", "--num_samples=2", "--jit_compile=off"],
    ]
    for script, *arguments in commands:
        result = python(SCRIPTS / script, *arguments, cwd=tmp_path, env=env)
        assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as samples:
        assert samples["arr_0"].shape == (2, 8, 8, 1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "numpy"])
def test_another_backend_is_answered_in_one_sentence(backend, tmp_path):
    """Whether or not it is installed; what needs no Keras works with any."""
    env = environment(tmp_path / "keras", KERAS_BACKEND=backend)
    code = "import diffusion_tf.config, diffusion_tf.schedules; from diffusion_tf import UNet"
    result = python("-c", code, env=env)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        f"ImportError: KERAS_BACKEND asks for the backend {backend!r}, but diffusion_tf needs"
        " TensorFlow; set KERAS_BACKEND=tensorflow before Keras is imported."
    )


def test_keras_imported_with_another_backend_is_answered():
    # No other backend is there to import it with; what it says of itself is all that counts.
    code = (
        "import sys, types; keras = sys.modules['keras'] = types.ModuleType('keras');"
        " keras.config = types.SimpleNamespace(backend=lambda: 'torch');"
        " import diffusion_tf.training.trainer"
    )
    result = python("-c", code)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Keras was imported with the backend 'torch', but")
