"""Checkpoints of tqch/ddpm-torch, which has the paper's network under other names.

Only two things are kept differently: q, k and v are one layer, and the pixels of a block
(`block_size` above 1) are the channels of one in another order. Both are carried over.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusion_tf.convert.architecture import build_from_weights
from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.maps import CONV, DENSE, NIN, NORM, NameMap, Weights
from diffusion_tf.convert.state_files import StateDict, read_weights, tensor_names
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.weight_sets import WeightsKind

BLOCK = (
    ("norm1", "norm1", NORM),
    ("conv1", "conv1", CONV),
    ("temb_proj", "fc", DENSE),
    ("norm2", "norm2", NORM),
    ("conv2", "conv2", CONV),
    ("nin_shortcut", "skip", NIN),
)
ATTN = (
    ("norm", "norm", NORM),
    ("q", "project_in.q", NIN),  # parts of one layer, see `_with_parts`
    ("k", "project_in.k", NIN),
    ("v", "project_in.v", NIN),
    ("proj_out", "project_out", NIN),
)
RESAMPLE = (("conv", "1", CONV),)

NAMES = NameMap(
    (
        ("", "", (("conv_in", "in_conv", CONV),)),
        ("temb", "embed", (("dense0", "0", DENSE), ("dense1", "2", DENSE))),
        # A block stands alone, or with its attention behind it.
        ("down_{i}/block_{j}", "downsamples.level_{i}.{j}", BLOCK),
        ("down_{i}/block_{j}", "downsamples.level_{i}.{j}.0", BLOCK),
        ("down_{i}/attn_{j}", "downsamples.level_{i}.{j}.1", ATTN),
        ("down_{i}/downsample", "downsamples.level_{i}.{j}", RESAMPLE),
        ("mid/block_1", "middle.0", BLOCK),
        ("mid/attn_1", "middle.1", ATTN),
        ("mid/block_2", "middle.2", BLOCK),
        ("up_{i}/block_{j}", "upsamples.level_{i}.{j}", BLOCK),
        ("up_{i}/block_{j}", "upsamples.level_{i}.{j}.0", BLOCK),
        ("up_{i}/attn_{j}", "upsamples.level_{i}.{j}.1", ATTN),
        ("up_{i}/upsample", "upsamples.level_{i}.{j}", RESAMPLE),
        ("", "out_conv", (("norm_out", "0", NORM), ("conv_out", "2", CONV))),
    )
)
# Channels of conv_in by those of the images and the block size; no image has other channels.
_BLOCKS = {c * b**2: (c, b) for c in (1, 3) for b in range(1, 33)}


def recognizes(path: str) -> bool:
    """Whether a path is a file of the port's state dict, alone or in a checkpoint.

    Raises:
        ValueError, OSError: a file that cannot be read; see `state_files.tensor_names`.
    """
    return any(name.startswith("downsamples.level_0.") for name in tensor_names(path))


def read(path: str) -> Contents:
    """What a checkpoint holds, in which `ema` are the averages and `model` the raw weights.

    Raises:
        FileNotFoundError, ValueError, OSError: it is not such a file; see
            `state_files.read_weights`.
    """
    weights = read_weights(path, weights_of_state)
    channels, block_size = _channels_and_block(next(iter(weights.values())))
    fields: dict[str, Any] = {}
    if block_size > 1:
        fields = {"channels": channels, "block_size": block_size}
    return Contents(path=path, weights=weights, fields=fields)


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network of a checkpoint, for all image sizes.

    Args:
        path: of the file.
        weights: `ema` or `raw`, which are the same where the file holds one set.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `read`; unknown weights, or weights that are
            not there.
    """
    contents = read(path)
    return build_from_weights(contents.chosen(weights), contents.fields.get("block_size", 1))


def weights_of_state(state: Mapping[str, np.ndarray]) -> Weights:
    """A state dict of the port in the names and the layout of here.

    Raises:
        ValueError: a name that has no place here, or a tensor of a shape that it cannot have.
    """
    weights = NAMES.weights(_with_parts(state))
    _, block_size = _channels_and_block(weights)
    if block_size > 1:
        _order_blocks(weights, "conv_in/kernel", block_size, axis=2)
        for name in ("conv_out/kernel", "conv_out/bias"):
            _order_blocks(weights, name, block_size, axis=-1)
    return weights


def _with_parts(state: Mapping[str, np.ndarray]) -> StateDict:
    """The state with `project_in` taken apart into q, k and v, which follow upon one another."""
    parts: StateDict = {}
    for name, value in state.items():
        scope, found, parameter = name.rpartition(".project_in.")
        if not found:
            parts[name] = value
        elif value.ndim == 0 or len(value) % 3:
            raise ValueError(
                f"{name} has shape {value.shape}; its first axis must hold q, k and v, each of as"
                " many channels."
            )
        else:
            values = np.split(value, 3)
            parts |= {
                f"{scope}.project_in.{part}.{parameter}": value
                for part, value in zip("qkv", values, strict=True)
            }
    return parts


def _channels_and_block(weights: Weights) -> tuple[int, int]:
    """Channels of the images and block size of the network that weights are of."""
    kernel = weights.get("conv_in/kernel")
    if kernel is None:
        raise ValueError("The weights lack in_conv.weight; give those of a whole network.")
    if kernel.shape[2] not in _BLOCKS:
        raise ValueError(
            f"in_conv.weight is for {kernel.shape[2]} channels; images have 1 or 3, times the"
            " pixels of a block."
        )
    return _BLOCKS[kernel.shape[2]]


def _order_blocks(weights: Weights, name: str, block_size: int, axis: int) -> None:
    """Channels first and pixels in them (PyTorch's PixelShuffle) becomes the reverse."""
    value = np.moveaxis(weights[name], axis, 0)
    pixels = block_size**2
    if len(value) % pixels:
        raise ValueError(
            f"{name} has {len(value)} channels; blocks of {block_size}x{block_size} pixels have"
            f" multiples of {pixels}."
        )
    value = np.swapaxes(value.reshape(-1, pixels, *value.shape[1:]), 0, 1).reshape(value.shape)
    weights[name] = np.ascontiguousarray(np.moveaxis(value, 0, axis))
