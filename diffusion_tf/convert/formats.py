"""Checkpoints of whatever format: which it is, and what it holds."""

import dataclasses
import os

from diffusion_tf.checkpoints import load_model
from diffusion_tf.convert import diffusers_pipeline, pytorch_diffusion, tf1, workdir
from diffusion_tf.convert.architecture import build_from_config, build_from_weights
from diffusion_tf.convert.contents import Contents, check_weights
from diffusion_tf.convert.state_files import read_state_dict
from diffusion_tf.models.unet import UNet
from diffusion_tf.original_runs import read_config

FORMATS = {
    "keras": "a workdir of this project",
    "tf1": "a checkpoint of the original, model.ckpt-*",
    "pytorch_diffusion": "a state dict of pesser/pytorch_diffusion",
    "diffusers": "a folder of diffusers' DDPMPipeline or UNet2DModel",
}


def detect(path: str) -> str:
    """The format of what is at a path, one of `FORMATS`.

    Args:
        path: a folder, a file, or the path of one of the original's checkpoints without the endings
            of its files.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of the formats, or a file that cannot be read.
        OSError: the package that reads the file is not installed.
    """
    if tf1.is_checkpoint(path):
        return "tf1"
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist; name a folder or file with weights.")
    if os.path.isdir(path):
        for format, module in (("diffusers", diffusers_pipeline), ("keras", workdir)):
            if module.is_folder(path):
                return format
        if os.path.exists(os.path.join(path, "kwargs.json")):
            return "tf1"
    else:
        names = read_state_dict(path)
        for format, first in (("pytorch_diffusion", "down.0."), ("diffusers", "down_blocks.0.")):
            if any(name.startswith(first) for name in names):
                return format
    listed = ", ".join(f"{what} ({format})" for format, what in FORMATS.items())
    raise ValueError(f"{path} is none of the formats known here: {listed}.")


def load_unet(path: str, *, weights: str = "ema") -> UNet:
    """The network in a checkpoint of any format, with its weights.

    Where nothing tells the image size, the network takes all sizes (`UNet.image_size` is None).

    Args:
        path: see `detect`.
        weights: `ema` the averaged ones, `raw` those that the optimizer moves. PyTorch's formats
            hold one set of weights, which is taken for either.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of the formats, damaged files, weights that are not there, or a network
            that is not the one here.
        OSError: the package that reads the file is not installed.
    """
    check_weights(weights)
    format = detect(path)
    if format == "keras":
        return load_model(path, weights=weights)[1]
    if format == "diffusers":
        return diffusers_pipeline.load_unet(path)
    if format == "pytorch_diffusion":
        return build_from_weights(pytorch_diffusion.read(path).chosen(weights))
    values, _ = tf1.read_weights(path, weights)
    kwargs = _kwargs_beside(path)
    if kwargs is None:
        return build_from_weights(values)
    return build_from_config(read_config(kwargs), values)


def read(path: str, format: str | None = None) -> Contents:
    """Everything that a checkpoint holds.

    Args:
        path: see `detect`.
        format: of what is there, found out if not given.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `load_unet`.
    """
    format = format or detect(path)
    if format == "tf1":
        contents, kwargs = tf1.read(path), _kwargs_beside(path)
        if kwargs is None:
            return contents
        return dataclasses.replace(contents, fields=dataclasses.asdict(read_config(kwargs)))
    modules = {
        "keras": workdir,
        "pytorch_diffusion": pytorch_diffusion,
        "diffusers": diffusers_pipeline,
    }
    return modules[format].read(path)


def _kwargs_beside(path: str) -> str | None:
    """The `kwargs.json` of the run that one of the original's checkpoints is of."""
    kwargs = os.path.join(os.path.dirname(tf1.newest(path)), "kwargs.json")
    return kwargs if os.path.exists(kwargs) else None
