"""What a target's name says of its format, and how early a mistake is answered."""

import os

import pytest

from diffusion_tf.convert.target_names import format_of
from helpers.processes import SCRIPTS, start


@pytest.mark.parametrize(
    "target, format, found",
    [
        ("runs/a", None, "workdir"),
        ("runs/a", "tf1", "tf1"),
        ("runs/v2.5", None, "workdir"),
        ("runs/model.v2/", None, "workdir"),
        ("runs.keras/a", None, "workdir"),
        ("a.keras", None, "keras_file"),
        ("a.onnx", None, "onnx"),
        ("a.onnx", "onnx", "onnx"),
        ("served", "saved_model", "saved_model"),
        ("a.pt", "pytorch_diffusion", "pytorch_diffusion"),
        ("a", "pytorch_diffusion", "pytorch_diffusion"),
        ("runs/a", "keras", "workdir"),
    ],
)
def test_a_name_says_its_format(target, format, found):
    assert format_of(target, format) == found


@pytest.mark.parametrize(
    "target, format, message",
    [
        ("x.h5", None, "x.h5 is named like a file, and --format=workdir makes a folder; leave out"
         " .h5, which no format here writes"),
        ("x.HDF5", "tf1", "--format=tf1 makes a folder"),
        ("x.keras", "workdir", "leave out .keras, or choose --format=keras_file"),
        ("x.keras/", "keras", "--format=workdir makes a folder; leave out .keras, or choose"),
        ("x.onnx", "saved_model", "makes a folder; leave out .onnx, or choose --format=onnx"),
        ("x.pt", None, "makes a folder; leave out .pt, or choose --format=pytorch_diffusion"),
        ("x.safetensors", "diffusers", "or choose --format=pytorch_diffusion"),
        ("x.tflite", "saved_model", "leave out .tflite, which no format here writes"),
        ("x", "keras_file", "makes a file whose name ends with .keras; --target=x does not"),
        ("x.h5", "keras_file", "name ends with .keras; --target=x.h5 does not"),
        ("x.KERAS", None, "name ends with .keras; --target=x.KERAS does not"),
        ("x.keras", "onnx", "name ends with .onnx; --target=x.keras does not"),
        ("x.onnx", "pytorch_diffusion", "ends with .safetensors or .pt; --target=x.onnx does not"),
        ("x", "onxx", "Unknown format 'onxx'; choose one of workdir, tf1, .*, onnx"),
    ],
)  # fmt: skip
def test_a_name_that_misleads_is_refused(target, format, message):
    with pytest.raises(ValueError, match=message):
        format_of(target, format)


def test_a_folder_that_is_there_may_have_any_name(tmp_path):
    (tmp_path / "x.h5").mkdir()
    assert format_of(str(tmp_path / "x.h5"), "workdir") == "workdir"


def test_the_former_name_of_a_workdir_is_answered_with_its_name_of_today(caplog):
    assert format_of("run", "keras") == "workdir"
    assert "is called workdir now (--format=workdir)" in caplog.text


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--target=x.h5"], "--target=x.h5 is named like a file, and --format=workdir makes"),
        (["--target=x.keras", "--sampling_steps=5"], "--sampling_steps is for exports"),
        (["--target=x", "--format=Keras"], "Unknown format 'Keras'; choose one of workdir,"),
    ],
)  # fmt: skip
def test_mistakes_are_answered_before_tensorflow_is_imported(tmp_path, flags, message):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('it took its time')")
    path = os.pathsep.join([str(tmp_path), str(SCRIPTS.parent)])
    process = start(
        "convert", "--source=w", *flags, cwd=tmp_path, log="log",
        environment={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.wait(300) == 1
    log = (tmp_path / "log").read_text()
    assert log.startswith(f"Error: {message}"), log
    assert len(log.splitlines()) == 1
