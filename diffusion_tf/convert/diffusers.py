"""Weights and `config.json` of diffusers' `UNet2DModel`, as google/ddpm-cifar10-32 has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusion_tf.convert.architecture import Architecture
from diffusion_tf.convert.maps import CONV, DENSE, NIN, NORM, NameMap, assign, weights_of
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.image_sizes import Size, parse_size
from diffusion_tf.utils.numbers import MAX_RES_BLOCKS, check_rate, shown, whole, whole_numbers

_BLOCK = (
    ("norm1", "norm1", NORM),
    ("conv1", "conv1", CONV),
    ("temb_proj", "time_emb_proj", DENSE),
    ("norm2", "norm2", NORM),
    ("conv2", "conv2", CONV),
    ("nin_shortcut", "conv_shortcut", NIN),
)
_ATTN = (
    ("norm", "group_norm", NORM),
    ("q", "to_q", DENSE),
    ("k", "to_k", DENSE),
    ("v", "to_v", DENSE),
    ("proj_out", "to_out.0", DENSE),
    # Before diffusers 0.15; only read.
    ("q", "query", DENSE),
    ("k", "key", DENSE),
    ("v", "value", DENSE),
    ("proj_out", "proj_attn", DENSE),
)
_RESAMPLE = (("conv", "conv", CONV),)

NAMES = NameMap(
    (
        ("", "", (("conv_in", "conv_in", CONV),)),
        ("temb", "time_embedding", (("dense0", "linear_1", DENSE), ("dense1", "linear_2", DENSE))),
        ("down_{i}/block_{j}", "down_blocks.{i}.resnets.{j}", _BLOCK),
        ("down_{i}/attn_{j}", "down_blocks.{i}.attentions.{j}", _ATTN),
        ("down_{i}/downsample", "down_blocks.{i}.downsamplers.0", _RESAMPLE),
        ("mid/block_1", "mid_block.resnets.0", _BLOCK),
        ("mid/attn_1", "mid_block.attentions.0", _ATTN),
        ("mid/block_2", "mid_block.resnets.1", _BLOCK),
        ("up_{r}/block_{j}", "up_blocks.{r}.resnets.{j}", _BLOCK),
        ("up_{r}/attn_{j}", "up_blocks.{r}.attentions.{j}", _ATTN),
        ("up_{r}/upsample", "up_blocks.{r}.upsamplers.0", _RESAMPLE),
        ("", "", (("norm_out", "conv_norm_out", NORM), ("conv_out", "conv_out", CONV))),
    )
)

# Arguments of UNet2DModel that this network's mathematics fixes, and diffusers' own defaults, which
# hold where a config.json is silent.
_FIXED: dict[str, tuple[Any, Any]] = {
    "act_fn": ("silu", "silu"),
    "add_attention": (True, True),
    "attention_head_dim": (None, 8),  # one head
    "attn_norm_num_groups": (None, None),
    "center_input_sample": (False, False),
    "class_embed_type": (None, None),
    "downsample_padding": (0, 1),  # 0: pads bottom and right only
    "downsample_type": ("conv", "conv"),
    "flip_sin_to_cos": (False, True),  # sines first
    "freq_shift": (1, 0),  # frequencies over half - 1 intervals
    "mid_block_scale_factor": (1, 1),
    "mid_block_type": ("UNetMidBlock2D", "UNetMidBlock2D"),
    "norm_eps": (1e-6, 1e-5),
    "norm_num_groups": (32, 32),
    "num_class_embeds": (None, None),
    "resnet_time_scale_shift": ("default", "default"),
    "time_embedding_dim": (None, None),
    "time_embedding_type": ("positional", "positional"),
    "upsample_type": ("conv", "conv"),
}
# What diffusers' EMAModel notes of itself in the config.json of the averages.
_OF_AVERAGES = (
    "decay", "inv_gamma", "max_value", "min_decay", "min_value", "optimization_step", "power",
    "update_after_step", "use_ema_warmup",
)  # fmt: skip
_NEEDED = ("block_out_channels", "down_block_types", "up_block_types")
_OPTIONAL = (
    "dropout", "in_channels", "layers_per_block", "num_train_timesteps", "out_channels",
    "sample_size",
)  # fmt: skip


def state_dict_of(unet: UNet) -> dict[str, np.ndarray]:
    """The weights of a network as `UNet2DModel.state_dict()` has them.

    Raises:
        ValueError: an architecture that UNet2DModel does not have.
    """
    _check(unet)
    return NAMES.state_dict(weights_of(unet))


def load_state_dict(unet: UNet, state: Mapping[str, np.ndarray]) -> None:
    """Sets the weights of a built network from diffusers'; if anything does not fit, none.

    Attention may have its old names (`query`, `key`, `value`, `proj_attn`) or the new ones.

    Raises:
        ValueError: what is missing, left over, or of another shape; an architecture that
            UNet2DModel does not have.
    """
    _check(unet)
    assign(unet, NAMES.weights(state), NAMES)


def unet_config(unet: UNet, image_size: Size) -> dict[str, Any]:
    """The `config.json` of the `UNet2DModel` that computes what a network computes.

    Args:
        unet: built.
        image_size: of the images, in pixels.

    Raises:
        ValueError: an architecture that UNet2DModel does not have.
    """
    _check(unet)
    attends = [hasattr(scope, "attn_0") for scope in unet.down]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.15.0",  # the first with the names that are written here
        **{name: value for name, (value, _) in _FIXED.items()},
        "block_out_channels": [unet.ch * mult for mult in unet.ch_mult],
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "dropout": unet.dropout_rate,
        "in_channels": unet.conv_in.kernel.shape[2],
        "layers_per_block": unet.num_res_blocks,
        "out_channels": unet.out_ch,
        "sample_size": list(image_size) if isinstance(image_size, tuple) else image_size,
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
    }


def unet_from_config(values: Mapping[str, Any]) -> UNet:
    """The network that computes what a `UNet2DModel` does, not trained; the reverse of the above.

    Args:
        values: what its `config.json` holds. Without `sample_size` the network takes all sizes.

    Raises:
        ValueError: what this network cannot do is asked for, or what it needs is not said.
    """
    values = {name: value for name, value in values.items() if not name.startswith("_")}
    _refuse_others(values)
    _check_types(values)
    widths, size = values["block_out_channels"], parse_size(values.get("sample_size"))
    attends = [kind == "AttnDownBlock2D" for kind in values["down_block_types"]]
    types = ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends]
    up_types = ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)]
    if list(values["down_block_types"]) != types or list(values["up_block_types"]) != up_types:
        raise ValueError(
            f"config.json has down_block_types {shown(values['down_block_types'])} and"
            f" up_block_types {shown(values['up_block_types'])}; they must be (Attn)DownBlock2D,"
            " and (Attn)UpBlock2D with attention at the same resolutions."
        )
    if len(widths) != len(types) or any(width % widths[0] for width in widths):
        raise ValueError(
            f"config.json has block_out_channels {shown(widths)}; there must be {len(types)},"
            " multiples of the first."
        )
    architecture = Architecture(
        in_channels=values.get("in_channels", 3),
        out_channels=values.get("out_channels", 3),
        ch=widths[0],
        ch_mult=tuple(width // widths[0] for width in widths),
        num_res_blocks=values.get("layers_per_block", 2),
        attention=tuple(level for level, a in enumerate(attends) if a),
        resamp_with_conv=True,
    )
    return architecture.build(size, dropout=values.get("dropout", 0.0))


def differing(values: Mapping[str, Any], fixed: Mapping[str, tuple[Any, Any]]) -> str:
    """The values that are not as they must be, in words; "" if there are none.

    Args:
        values: of a config of diffusers.
        fixed: what each must be, and what diffusers takes where it is missing.
    """
    return "; ".join(
        f"{name} {values.get(name, default)!r}, not {value!r}"
        for name, (value, default) in fixed.items()
        if values.get(name, default) != value
    )


def _refuse_others(values: Mapping[str, Any]) -> None:
    """Raises a ValueError for a `config.json` of a network that computes something else."""
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}; give that of a UNet2DModel.")
    others = sorted(set(values) - {*_FIXED, *_NEEDED, *_OPTIONAL, *_OF_AVERAGES})
    if others:
        raise ValueError(f"config.json holds {', '.join(others)}, which is not known here.")
    if unlike := differing(values, _FIXED):
        raise ValueError(
            f"config.json is of a network that computes something else: {unlike};"
            " give a DDPM of the paper, such as google/ddpm-cifar10-32."
        )


def _check_types(values: Mapping[str, Any]) -> None:
    """Raises a ValueError for a field that cannot be what it stands for."""
    for name in ("down_block_types", "up_block_types"):
        kinds = values[name]
        if not (isinstance(kinds, list | tuple) and all(isinstance(kind, str) for kind in kinds)):
            raise ValueError(f"config.json has {name} {shown(kinds)}; it must be a list of texts.")
    if not whole_numbers(values["block_out_channels"], "config.json's block_out_channels", 1):
        raise ValueError("config.json has block_out_channels []; it must hold a number.")
    for name in ("in_channels", "out_channels"):
        whole(values.get(name, 1), f"config.json's {name}", 1)
    whole(values.get("layers_per_block", 1), "config.json's layers_per_block", 1, MAX_RES_BLOCKS)
    check_rate(values.get("dropout", 0.0), "config.json's dropout")
    size = values.get("sample_size")
    pair = size if isinstance(size, list | tuple) else [] if size is None else [size]
    if len(pair) > 2 or (size is not None and not pair):
        raise ValueError(
            f"config.json has sample_size {shown(size)}; it must be a number, or height and width."
        )
    for side in pair:
        whole(side, "config.json's sample_size", 1)


def _check(unet: UNet) -> None:
    problem = None
    if unet.block_size > 1:
        problem = f"block_size is {unet.block_size}, and it takes images as they are"
    elif unet.ch_mult[0] != 1:
        problem = f"ch_mult is {unet.ch_mult}, and its first resolution has the channels of conv_in"
    elif not unet.resamp_with_conv and len(unet.ch_mult) > 1:
        problem = "resamp_with_conv is off, and it always convolves"
    if problem:
        raise ValueError(
            f"diffusers' UNet2DModel does not have this architecture: {problem}; choose another"
            " format."
        )
