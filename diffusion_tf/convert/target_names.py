"""What a target's name says of its format, told before anything heavy is imported."""

import os

from absl import logging

from diffusion_tf.convert.exports import EXPORTS, Export
from diffusion_tf.convert.formats import FORMATS, Format

DEFAULT = "workdir"
_FORMER = {"keras": "workdir"}  # names of earlier versions
# Of files with weights or arrays, which are no names for a folder.
_OF_STATES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_NOT_OF_STATES = (".h5", ".hdf5", ".keras", ".onnx", ".pb", ".tflite")
_OF_FILES = (*_OF_STATES, *_NOT_OF_STATES, ".npy", ".npz", ".pkl", ".tar", ".zip")


def targets() -> dict[str, Format | Export]:
    """All that `--format` names: checkpoint formats, then exports."""
    return {**FORMATS, **EXPORTS}


def known_name(format: str) -> str:
    """The name of a format; that of an earlier version becomes the one of today, with a warning.

    Raises:
        ValueError: an unknown name.
    """
    if format in targets():
        return format
    if format not in _FORMER:
        raise ValueError(f"Unknown format {format!r}; choose one of {', '.join(targets())}.")
    now = _FORMER[format]
    logging.warning(
        "Format %s, which makes a workdir, is called %s now (--format=%s); a file *.keras is"
        " --format=keras_file.", format, now, now,
    )  # fmt: skip
    return now


def format_of(target: str, format: str | None = None) -> str:
    """The format that is written, as far as a target's name agrees with it.

    Args:
        target: a file or folder.
        format: what was asked for. If not given, an ending that belongs to one export says it, and
            other targets become workdirs.

    Raises:
        ValueError: an unknown format, a name of a file for a folder, or a file without its ending.
    """
    ending = os.path.splitext(target.rstrip("/"))[1]
    if format is None:
        format = next((n for n, row in EXPORTS.items() if ending.lower() in row.endings), DEFAULT)
    format = known_name(format)
    row = targets()[format]
    if row.files is not None and ending.lower() in _OF_FILES and not os.path.isdir(target):
        raise ValueError(
            f"--target={target} is named like a file, and --format={format} makes a folder; leave"
            f" out {ending}{_instead(ending.lower())}."
        )
    foreign = not row.endings and ending.lower() in _NOT_OF_STATES
    if row.files is None and (foreign or (row.endings and ending not in row.endings)):
        raise ValueError(
            f"--format={format} makes a file whose name ends with"
            f" {' or '.join(row.endings) or '.safetensors or .pt'}; --target={target} does not."
        )
    return format


def _instead(ending: str) -> str:
    names = [name for name, row in targets().items() if ending in row.endings]
    if ending in _OF_STATES:
        names = ["pytorch_diffusion"]
    return f", or choose --format={names[0]}" if names else ", which no format here writes"
