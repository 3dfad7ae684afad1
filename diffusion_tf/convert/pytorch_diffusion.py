"""Weights of pesser/pytorch_diffusion's `Model`, the port that keeps the original's names."""

from collections.abc import Mapping

import numpy as np

from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.maps import CONV, DENSE, NIN, NORM, NameMap, assign, weights_of
from diffusion_tf.convert.state_files import read_state_dict, write_state_dict
from diffusion_tf.models.unet import UNet

_BLOCK = (
    ("norm1", "norm1", NORM),
    ("conv1", "conv1", CONV),
    ("temb_proj", "temb_proj", DENSE),
    ("norm2", "norm2", NORM),
    ("conv2", "conv2", CONV),
    ("nin_shortcut", "nin_shortcut", NIN),
)
_ATTN = (
    ("norm", "norm", NORM),
    ("q", "q", NIN),
    ("k", "k", NIN),
    ("v", "v", NIN),
    ("proj_out", "proj_out", NIN),
)
_RESAMPLE = (("conv", "conv", CONV),)

NAMES = NameMap(
    (
        ("", "", (("conv_in", "conv_in", CONV),)),
        ("temb", "temb", (("dense{i}", "dense.{i}", DENSE),)),
        ("down_{i}/block_{j}", "down.{i}.block.{j}", _BLOCK),
        ("down_{i}/attn_{j}", "down.{i}.attn.{j}", _ATTN),
        ("down_{i}/downsample", "down.{i}.downsample", _RESAMPLE),
        ("mid/block_{j}", "mid.block_{j}", _BLOCK),
        ("mid/attn_1", "mid.attn_1", _ATTN),
        ("up_{i}/block_{j}", "up.{i}.block.{j}", _BLOCK),
        ("up_{i}/attn_{j}", "up.{i}.attn.{j}", _ATTN),
        ("up_{i}/upsample", "up.{i}.upsample", _RESAMPLE),
        ("", "", (("norm_out", "norm_out", NORM), ("conv_out", "conv_out", CONV))),
    )
)


def state_dict_of(unet: UNet) -> dict[str, np.ndarray]:
    """The weights of a network as the port's `Model.state_dict()` has them.

    Raises:
        ValueError: a block size above 1, which the port does not have.
    """
    _check(unet)
    return NAMES.state_dict(weights_of(unet))


def load_state_dict(unet: UNet, state: Mapping[str, np.ndarray]) -> None:
    """Sets the weights of a built network from the port's; if anything does not fit, none.

    Raises:
        ValueError: what is missing, left over, or of another shape; a block size above 1.
    """
    _check(unet)
    assign(unet, NAMES.weights(state), NAMES)


def read(path: str) -> Contents:
    """What a file of the port's state dict holds; see `state_files.read_state_dict`.

    Raises:
        FileNotFoundError, ValueError, OSError: it is no such file.
    """
    weights = NAMES.weights(read_state_dict(path))
    return Contents(path=path, weights={"ema": weights, "raw": weights})


def write(path: str, unet: UNet) -> None:
    """Writes a network's weights into a file that the port loads.

    Raises:
        ValueError: a block size above 1.
        OSError: it cannot be written.
    """
    write_state_dict(path, state_dict_of(unet))


def _check(unet: UNet) -> None:
    if unet.block_size > 1:
        raise ValueError(
            f"block_size is {unet.block_size}; pytorch_diffusion's Model takes images as they are,"
            " that is block_size 1."
        )
