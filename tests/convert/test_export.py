"""Exports: what other programs make of them, and what is refused."""

import dataclasses
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config, get_config
from diffusion_tf.convert import EXPORTS, convert, detect, export, formats, load_unet, tf1
from diffusion_tf.convert.contents import same_bits
from diffusion_tf.convert.exporting import serving_of
from diffusion_tf.datasets.record import DataRecord
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.runs import Run
from diffusion_tf.utils.keras_backend import keras
from helpers import golden_arrays
from helpers.conditional_networks import randomized

GOLDEN = Path(golden_arrays.FOLDER) / "ckpt"
CONFIG = Config(image_size=8, channels=3, ch=32, ch_mult=(1,), attn_resolutions=())  # its network
SMALL = {"num_diffusion_timesteps": 6}
IMAGES = get_config(
    "digits", image_size=4, ch=32, ch_mult=(1,), attn_resolutions=(), num_classes=3,
    num_res_blocks=1, **SMALL,
)  # fmt: skip
POINTS = get_config("s_curve", ch=16, num_res_blocks=1, **SMALL)
DDIM = {"sampler": "ddim", "sampling_steps": 3, "eta": 0.5}


def run_of(config, **attributes):
    return Run("run", config, randomized(config), 1, **attributes)


@pytest.fixture(scope="module")
def images():
    return run_of(IMAGES)


@pytest.fixture(scope="module")
def served(images, tmp_path_factory):
    """A conditional run's SavedModel."""
    target = tmp_path_factory.mktemp("served") / "model"
    images.export(target, format="saved_model", guidance_scale=2.0, **DDIM)
    return target


# --- Keras's file


def test_a_keras_file_holds_the_network_and_is_read_back(tmp_path):
    expected, path = golden_arrays.load("ckpt_expected"), str(tmp_path / "a.keras")
    convert(str(GOLDEN), path, config=CONFIG)  # its name says the format
    inputs = [expected["x"], expected["t"]]
    assert detect(path) == "keras_file"
    output = load_unet(path)(inputs)
    np.testing.assert_allclose(output, expected["output_ema"], rtol=0, atol=2e-5)
    np.testing.assert_array_equal(keras.saving.load_model(path)(inputs), output)
    convert(path, str(tmp_path / "back"), format="tf1", config=CONFIG)
    golden = tf1.read(str(GOLDEN)).chosen("ema")
    assert same_bits(formats.read(str(tmp_path / "back")).chosen("raw"), golden)
    with pytest.raises(ValueError, match=r"a.keras exists; choose another --target, or add"):
        convert(str(GOLDEN), path, config=CONFIG)


def test_a_keras_file_of_a_network_for_all_sizes_stays_one(tmp_path):
    export(str(GOLDEN), str(tmp_path / "a.keras"), weights="raw")
    network = load_unet(str(tmp_path / "a.keras"))
    assert network.image_size is None
    assert network(np.zeros([1, 12, 16, 3], np.float32), np.array([5])).shape == (1, 12, 16, 3)


def test_a_keras_file_of_another_kind_of_network_is_read_as_a_network(tmp_path):
    run, path = run_of(POINTS), str(tmp_path / "a.keras")
    run.export(path)
    x, t = np.ones([2, 2], np.float32), np.array([0, 5])
    np.testing.assert_array_equal(load_unet(path)([x, t]), run.model([x, t]))
    with pytest.raises(ValueError, match=r"a.keras holds a network with conditions, or another"):
        convert(path, str(tmp_path / "b"), config=CONFIG)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_a_damaged_keras_file_is_none(tmp_path, content):
    (tmp_path / "a.keras").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"a\.keras"):  # OSError without PyTorch
        load_unet(str(tmp_path / "a.keras"))


# --- SavedModel

# Blocks the package, loads, and keeps what comes out of it.
ELSEWHERE = """
import sys
sys.modules["diffusion_tf"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
served, arrays = tf.saved_model.load(sys.argv[1]), {}
for dtype in ("int32", "int64"):
    for batch in (1, 3):
        x, t = np.ones([batch, 4, 4, 1], "f4"), np.arange(batch, dtype=dtype)
        arrays[f"{dtype}{batch}"] = served.network(x, t, t % 3)
arrays["signature"] = served.signatures["serving_default"](
    x=tf.ones([2, 4, 4, 1]), t=tf.constant([0, 5]), y=tf.constant([0, -1]))["output"]
for number in (2, 5):
    drawn = served.sample(tf.constant(7, tf.int64), tf.constant(number), tf.constant([0, 2]))
    arrays[f"images{number}"] = drawn["images"]
arrays["samples"] = drawn["samples"]
np.savez(sys.argv[2], **arrays)
"""


def test_a_saved_model_samples_without_the_package(images, served, tmp_path):
    command = [sys.executable, "-c", ELSEWHERE, str(served), "a.npz"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "custom gradients" not in result.stderr
    found, network = np.load(tmp_path / "a.npz"), images.model
    for dtype in ("int32", "int64"):
        for batch in (1, 3):
            x, t = np.ones([batch, 4, 4, 1], "f4"), np.arange(batch, dtype=dtype)
            expected = network([x, t, t % 3])
            np.testing.assert_allclose(found[f"{dtype}{batch}"], expected, atol=1e-5)
    expected = network([np.ones([2, 4, 4, 1], "f4"), np.array([0, 5]), np.array([0, -1])])
    np.testing.assert_allclose(found["signature"], expected, atol=1e-5)
    how = {"seed": 7, "conditions": "0,2", "guidance_scale": 2.0, "jit_compile": "off", **DDIM}
    expected = images.sample(5, float32=True, **how)
    np.testing.assert_allclose(found["samples"], expected, atol=2e-5)
    np.testing.assert_allclose(found["images5"], (expected + 1) * 127.5, atol=0.51)
    assert found["images2"].shape == (2, 4, 4, 1)


@pytest.mark.slow
def test_vectors_are_brought_back_to_the_scale_of_the_data(tmp_path):
    run = run_of(
        POINTS, data=DataRecord(scaling=Scaling(np.array([5.0, -3.0]), np.array([2, 0.5])))
    )
    run.export(tmp_path / "served", format="saved_model")
    served = tf.saved_model.load(tmp_path / "served")
    drawn = served.sample(tf.constant(3, tf.int64), tf.constant(4))
    expected = run.sample(4, seed=3, jit_compile="off")
    np.testing.assert_allclose(drawn["samples"], expected, rtol=1e-4, atol=1e-4)
    assert list(drawn) == ["samples"]


@pytest.mark.slow
def test_a_saved_model_becomes_a_tflite_file(images, served):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(served))
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    x, t, y = (
        np.ones([2, 4, 4, 1], np.float32),
        np.array([0, 5], np.int32),
        np.array([2, -1], np.int32),
    )
    (output,) = interpreter.get_signature_runner()(x=x, t=t, y=y).values()
    np.testing.assert_allclose(output, images.model([x, t, y]), atol=1e-4)


# --- One step, and ONNX


@pytest.mark.parametrize(
    "sampling", [{}, DDIM, {"sampler": "respaced", "sampling_steps": 2}, {"sampler": "noisy_end"}]
)
def test_a_step_is_its_mean_and_its_deviation_times_the_noise(sampling):
    model = randomized(POINTS)
    serving = serving_of(model, POINTS, **sampling)
    last = serving.process.num_timesteps - 1
    x, noise = np.random.default_rng(0).normal(size=[2, 3, 2]).astype(np.float32)
    t = tf.constant([0, 1, last])
    step = serving.step(tf.constant(x), t)
    expected = serving.process.p_sample(
        lambda x, t: model([x, t]), x=x, t=t, noise_fn=lambda shape, dtype: tf.constant(noise),
        clip_denoised=serving.clip_denoised,
    )  # fmt: skip
    np.testing.assert_allclose(step["mean"] + step["std"] * noise, expected, rtol=1e-4, atol=1e-4)
    assert not step["std"].numpy()[0].any()  # also with noisy_end, as the variance is fixedsmall


def test_one_step_is_not_enough_for_a_sampler_that_remembers(tmp_path):
    serving = serving_of(randomized(POINTS), POINTS, sampler="dpmpp_2m", sampling_steps=3)
    with pytest.raises(ValueError, match=r"DPMSolver remembers the step before, .*such as ddim"):
        serving.step(tf.ones([1, 2]), tf.constant([0]))


NETWORKS = {
    "unet": IMAGES,
    "mlp": POINTS,
    "tutorial": get_config("sprites_tutorial", ch=32, image_size=4, **SMALL),
}


@pytest.mark.extras
@pytest.mark.parametrize("name", ["unet", "mlp", pytest.param("tutorial", marks=pytest.mark.slow)])
def test_onnxruntime_gives_the_same(name, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    run = run_of(NETWORKS[name])
    run.export(tmp_path / "a.onnx", sampler="ddim", sampling_steps=3)
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    assert {i.name: i.shape[0] for i in session.get_inputs()}["x"] == "batch"
    serving = serving_of(run.model, run.config, sampler="ddim", sampling_steps=3)
    for batch in (1, 3):
        inputs = {n: a[:batch] for n, a in serving.inputs(tf.int64).items()}
        output, mean, *_ = session.run(None, inputs)
        given = {**inputs, "t": serving.process.timesteps[inputs["t"]].astype(np.int64)}
        np.testing.assert_allclose(output, run.model(list(given.values())), atol=1e-5, rtol=1e-5)
        step = serving.step(*map(tf.constant, inputs.values()))
        np.testing.assert_allclose(mean, step["mean"], atol=1e-4, rtol=1e-5)


# --- What is refused, and what is said


@pytest.fixture
def plain(monkeypatch):
    """An export that writes a word, and says of it what a test wants."""
    code = types.SimpleNamespace(apart=0.0, writes=0, serving=None)

    def write(target, serving):
        code.writes, code.serving = code.writes + 1, serving
        Path(target).write_text("exported")

    code.write, code.difference = write, lambda target, serving: code.apart
    monkeypatch.setitem(sys.modules, "plain_export", code)
    row = dataclasses.replace(EXPORTS["onnx"], module="plain_export", endings=(".txt",))
    monkeypatch.setitem(EXPORTS, "plain", row)
    return code


@pytest.mark.parametrize("apart", [1.1e-5, float("inf"), float("nan")])
def test_what_gives_other_numbers_is_not_kept(plain, apart, tmp_path):
    plain.apart = apart
    with pytest.raises(OSError, match=r"What was written differs from .*; nothing was kept of it"):
        run_of(POINTS).export(tmp_path / "a.txt", format="plain")
    assert list(tmp_path.iterdir()) == [] and plain.writes == 1
    plain.apart = 0.9e-5
    run_of(POINTS).export(tmp_path / "a.txt", format="plain")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_computes_in_16_bits_is_exported_in_float32(plain, tmp_path):
    config = dataclasses.replace(POINTS, dtype="mixed_bfloat16")
    run = run_of(config)
    run.export(tmp_path / "a.txt", format="plain")
    assert plain.serving.model.dtype_policy.name == "float32"
    for a, b in zip(plain.serving.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    run.export(tmp_path / "a.keras")
    assert load_unet(str(tmp_path / "a.keras")).dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"format": "saved_model"}, "name a preset or a config.json with --config"),
        ({"format": "workdir"}, "Format workdir is not an export; choose one of keras_file, saved"),
        ({"format": "saved_model", "config": CONFIG, "sampler": "ddpm"}, "Unknown sampler 'ddpm'"),
        ({"format": "saved_model", "config": CONFIG, "guidance_scale": 2.0}, "takes no guidance"),
        ({"format": "saved_model", "config": CONFIG, "sampling_steps": 0}, "sampling_steps is 0"),
    ],
)
def test_an_export_says_what_it_lacks(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(str(GOLDEN), str(tmp_path / "a"), **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["tf2onnx", "onnxruntime"])
def test_a_missing_package_is_named(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "onnx", types.ModuleType("onnx"))
    if module != "tf2onnx":
        monkeypatch.setitem(sys.modules, "tf2onnx", types.ModuleType("tf2onnx"))
    with pytest.raises(OSError, match=rf"{module}; pip install 'diffusion_tf\[export\]'"):
        run_of(POINTS).export(tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
