"""The list of formats: what each row says, and what it takes to add one."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffusion_tf.config import Config
from diffusion_tf.convert import EXPORTS, FORMATS, Format, convert, detect, formats, load_unet, tf1
from diffusion_tf.convert.contents import same_bits
from diffusion_tf.convert.target_names import targets
from helpers import golden_arrays

ROOT = Path(__file__).parents[2]
GOLDEN = Path(golden_arrays.FOLDER) / "ckpt"
CONFIG = Config(image_size=8, channels=3, ch=32, ch_mult=(1,), attn_resolutions=())
# A whole format: this module, and a row in FORMATS.
MODULE = '''"""Weights in an .npz file."""

import os

import numpy as np

from diffusion_tf.convert.architecture import build_from_weights
from diffusion_tf.convert.contents import Contents


def recognizes(path):
    return path.endswith(".npz") and os.path.isfile(path)


def read(path):
    with np.load(path) as file:
        weights = {name: file[name] for name in file.files}
    return Contents(path=path, weights={"ema": weights, "raw": weights})


def build_unet(path, weights):
    return build_from_weights(read(path).chosen(weights))


def write(target, contents, config):
    with open(target, "wb") as file:
        np.savez(file, **contents.weights["ema"])
'''


@pytest.fixture
def npz(tmp_path, monkeypatch):
    """A format that is added with a module and a row."""
    (tmp_path / "npz_format.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    row = Format(
        module="npz_format",
        what="arrays of NumPy",
        written="one set of weights, in a file",
        holds="one set",
        files=None,
    )
    monkeypatch.setitem(FORMATS, "npz", row)
    yield "npz"
    sys.modules.pop("npz_format", None)


def test_a_format_is_added_with_a_module_and_a_row(npz, tmp_path):
    target = str(tmp_path / "weights.npz")
    convert(str(GOLDEN), target, format=npz, weights="raw")
    expected = tf1.read(str(GOLDEN)).chosen("raw")
    # Readers of state dicts, which are asked before, refuse such a file.
    assert detect(target) == npz
    assert same_bits(formats.read(target).chosen("ema"), expected)
    np.testing.assert_array_equal(load_unet(target).conv_in.kernel, expected["conv_in/kernel"])
    convert(target, str(tmp_path / "run"), format="workdir", config=CONFIG)
    assert same_bits(formats.read(str(tmp_path / "run")).chosen("raw"), expected)
    with pytest.raises(ValueError, match=r"weights.npz exists; choose another --target"):
        convert(str(GOLDEN), target, format=npz)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder exists, and npz is written into a file"):
        convert(str(GOLDEN), str(tmp_path / "folder"), format=npz, overwrite=True)
    with pytest.raises(ValueError, match=r"none of the formats .*, arrays of NumPy \(npz\)\."):
        detect(str(tmp_path / "folder"))


@pytest.mark.parametrize("name", EXPORTS)
def test_every_module_has_what_an_export_needs(name):
    for method in ("write", "difference"):
        assert list(inspect.signature(getattr(EXPORTS[name].code, method)).parameters) == [
            "target", "serving"
        ]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_module_has_what_a_format_needs(name):
    methods = [m for m in vars(formats.Code) if not m.startswith("_")]
    assert set(methods) == {"recognizes", "read", "build_unet", "write"}
    for method in methods:
        _, *expected = inspect.signature(getattr(formats.Code, method)).parameters
        found = inspect.signature(getattr(FORMATS[name].code, method)).parameters
        assert list(found) == expected, (name, method)


def test_the_list_is_read_without_what_is_heavy():
    code = (
        "import sys; from diffusion_tf.convert import FORMATS, detect, load_unet;"
        " assert FORMATS['tf1'].what;"
        " assert not {'numpy', 'tensorflow', 'keras'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_documentation_and_the_script_list_the_formats():
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", (ROOT / "docs/converting.md").read_text(), re.M
    )
    listed = [row for row in rows if row[0] in targets()]
    assert listed == [(name, row.what, row.written) for name, row in targets().items()]
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts/convert.py"), "--help"], capture_output=True, text=True
    )
    for name, what, written in listed:
        assert f"{name}: {what} ({written})" in " ".join(result.stdout.split())


def test_a_run_counts_for_one_format_alone(tmp_path):
    """Folders that two formats could claim."""
    (tmp_path / "kwargs.json").write_text("{}")
    assert detect(str(tmp_path)) == "tf1"  # of the original, without a checkpoint yet
    CONFIG.save(tmp_path / "config.json")
    assert detect(str(tmp_path)) == "workdir"
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    assert detect(str(tmp_path)) == "diffusers"
    tf1.write(str(tmp_path), tf1.read(str(GOLDEN)))
    (tmp_path / "kwargs.json").unlink()
    for path in (tmp_path, tmp_path / "model.ckpt-5", tmp_path / "model.ckpt-5.index"):
        assert detect(str(path)) == "tf1"
    (tmp_path / "config.json").write_text("{")
    assert detect(str(tmp_path)) == "tf1"  # a config.json does not matter beside a checkpoint
