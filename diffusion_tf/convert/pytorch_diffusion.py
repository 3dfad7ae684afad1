"""Weights of pesser/pytorch_diffusion's `Model`, the port that keeps the original's names."""

from collections.abc import Mapping

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.convert.architecture import build_from_config, build_from_weights
from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.maps import CONV, DENSE, NIN, NORM, NameMap, assign, weights_of
from diffusion_tf.convert.state_files import read_weights, tensor_names, write_state_dict
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.weight_sets import WeightsKind

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


def recognizes(path: str) -> bool:
    """Whether a path is a file of the port's state dict.

    Raises:
        ValueError, OSError: a file that cannot be read; see `state_files.tensor_names`.
    """
    return any(name.startswith("down.0.") for name in tensor_names(path))


def read(path: str) -> Contents:
    """What a file of the port's state dict holds; see `state_files.read_weights`.

    Raises:
        FileNotFoundError, ValueError, OSError: it is not such a file.
    """
    return Contents(path=path, weights=read_weights(path, NAMES.weights))


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network of a file, for all image sizes.

    Args:
        path: of the file.
        weights: `ema` or `raw`, which are the same where the file holds one set.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `read`; unknown weights, or weights that are
            not there.
    """
    return build_from_weights(read(path).chosen(weights))


def write(target: str, contents: Contents, config: Config | None = None) -> None:
    """Writes weights into a file that the port loads.

    Args:
        target: `*.safetensors`, or any other name for what `torch.save` writes.
        contents: with the weights as `ema`.
        config: of the run, if it is known.

    Raises:
        ValueError: a block size above 1, or weights of another network than the config's.
        OSError: it cannot be written.
    """
    values = contents.weights["ema"]
    unet = build_from_config(config, values) if config else build_from_weights(values)
    write_state_dict(target, state_dict_of(unet))


def _check(unet: UNet) -> None:
    if unet.block_size > 1:
        raise ValueError(
            f"block_size is {unet.block_size}; pytorch_diffusion's Model takes images as they are,"
            " that is block_size 1."
        )
