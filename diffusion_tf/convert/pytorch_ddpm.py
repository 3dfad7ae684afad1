"""Checkpoints of w86763777/pytorch-ddpm, whose network is close to the paper's and not the same.

Two of its differences are carried over into the weights: the order of sines and cosines, and the
epsilon of the group normalization, 1e-5 instead of 1e-6. Two cannot be: its frequencies, which fall
over half intervals instead of half - 1, and its downsampling, which pads all sides instead of
bottom and right. A checkpoint with either is refused. The network here would need both as options.
"""

import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from diffusion_tf.convert.architecture import Architecture, build_from_weights
from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.maps import CONV, DENSE, NIN, NORM, NameMap, Weights, listed
from diffusion_tf.convert.state_files import StateDict, read_weights, tensor_names
from diffusion_tf.models.unet import UNet
from diffusion_tf.nn import get_timestep_embedding
from diffusion_tf.utils.weight_sets import WeightsKind

BLOCK = (
    ("norm1", "block1.0", NORM),
    ("conv1", "block1.2", CONV),
    ("temb_proj", "temb_proj.1", DENSE),
    ("norm2", "block2.0", NORM),
    ("conv2", "block2.3", CONV),
    ("nin_shortcut", "shortcut", NIN),
)
ATTN = (
    ("norm", "attn.group_norm", NORM),
    ("q", "attn.proj_q", NIN),
    ("k", "attn.proj_k", NIN),
    ("v", "attn.proj_v", NIN),
    ("proj_out", "attn.proj", NIN),
)
RESAMPLE = (("conv", "main", CONV),)

# Names with the numbers of resolution and block, which `_numbered` makes of one number.
NAMES = NameMap(
    (
        ("", "", (("conv_in", "head", CONV),)),
        ("temb", "time_embedding.timembedding", (("dense0", "1", DENSE), ("dense1", "3", DENSE))),
        ("down_{i}/block_{j}", "downblocks.{i}.{j}", BLOCK),
        ("down_{i}/attn_{j}", "downblocks.{i}.{j}", ATTN),
        ("down_{i}/downsample", "downblocks.{i}.{j}", RESAMPLE),
        ("mid/block_1", "middleblocks.0", BLOCK),
        ("mid/attn_1", "middleblocks.0", ATTN),
        ("mid/block_2", "middleblocks.1", BLOCK),
        ("up_{r}/block_{j}", "upblocks.{r}.{j}", BLOCK),
        ("up_{r}/attn_{j}", "upblocks.{r}.{j}", ATTN),
        ("up_{r}/upsample", "upblocks.{r}.{j}", RESAMPLE),
        ("", "tail", (("norm_out", "0", NORM), ("conv_out", "2", CONV))),
    )
)
TABLE = "time_embedding.timembedding.0.weight"  # sinusoids of every timestep
_EPSILON, _EPSILON_THERE = 1e-6, 1e-5
# Layers whose output is normalized, at once or as part of a sum. Of those with a star the input is
# such an output, so that the kernel stays and the bias alone is scaled.
_NORMALIZED = re.compile(
    r"(?:conv_in|.*/(?:conv1|temb_proj|conv2|proj_out|(?P<star>conv|nin_shortcut)))/(?P<what>\w+)"
)


def recognizes(path: str) -> bool:
    """Whether a path is a file of the port's state dict, alone or in a checkpoint.

    Raises:
        ValueError, OSError: a file that cannot be read; see `state_files.tensor_names`.
    """
    return any(name.startswith("downblocks.0.") for name in tensor_names(path))


def read(path: str) -> Contents:
    """What a checkpoint holds, in which `ema_model` are the averages, `net_model` the raw weights.

    Raises:
        FileNotFoundError, OSError: as for `state_files.read_weights`.
        ValueError: it is not such a file, or its network computes something else than that of here.
    """

    def to_here(state: StateDict) -> Weights:
        weights = weights_of_state(state)
        if problems := differences(state, weights):
            raise ValueError(
                f"{path} is of w86763777/pytorch-ddpm, whose network is another:"
                f" {' and '.join(problems)}, for which no weights can make up; the UNet here would"
                f" need {'that as an option' if len(problems) == 1 else 'both as options'}, and"
                " until then only that port can sample from it."
            )
        return weights

    return Contents(path=path, weights=read_weights(path, to_here))


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network of a checkpoint, for all image sizes.

    Args:
        path: of the file.
        weights: `ema` or `raw`, which are the same where the file holds one set.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `read`; unknown weights, or weights that are
            not there.
    """
    return build_from_weights(read(path).chosen(weights))


def differences(state: Mapping[str, np.ndarray], weights: Weights) -> list[str]:
    """What the port's network does that no weights of here do, in words.

    Args:
        state: of the port.
        weights: the same ones, see `weights_of_state`.
    """
    problems, table = [], state[TABLE]
    half = table.shape[1] // 2
    paper = get_timestep_embedding(tf.range(len(table)), 2 * half).numpy()
    if not np.allclose(_sines_first(table, axis=1), paper, rtol=0, atol=1e-3):
        problems.append(
            f"the frequencies of its time embedding are others (that port's fall over {half}"
            f" intervals, the paper's over {half - 1})"
        )
    if len(Architecture.of_weights(weights).ch_mult) > 1:
        problems.append(
            "its downsampling pads all four sides of an image (the paper's bottom and right only)"
        )
    return problems


def weights_of_state(state: Mapping[str, np.ndarray]) -> Weights:
    """A state dict of the port in the names, the layout and the arithmetic of here.

    With these weights the network of here computes what the port's does, but for `differences`.

    Group normalization divides by sqrt(variance + epsilon). With s = sqrt(1e-6 / 1e-5), normalizing
    s x with 1e-6 gives what normalizing x with 1e-5 does. So what is normalized, all sums that run
    through the network and the inside of each block, is made s times as large.

    Raises:
        ValueError: a name that has no place here, a tensor of a shape that it cannot have, or no
            table of sinusoids.
    """
    table = state.get(TABLE)
    if table is None or table.ndim != 2 or table.shape[1] % 2 or table.shape[1] < 4:
        raise ValueError(
            f"The weights lack {TABLE}, a table with the sinusoids of each timestep; give those of"
            " a whole network."
        )
    rest = {name: value for name, value in state.items() if name != TABLE}
    weights = NAMES.weights(_numbered(rest))
    weights = {path: _scaled(path, value) for path, value in weights.items()}
    if "temb/dense0/kernel" in weights:
        weights["temb/dense0/kernel"] = _sines_first(weights["temb/dense0/kernel"], axis=0)
    return weights


def _sines_first(values: np.ndarray, axis: int) -> np.ndarray:
    """[sin, cos, sin, cos, ...] becomes [sin, sin, ..., cos, cos, ...] along an axis."""
    order = np.r_[0 : values.shape[axis] : 2, 1 : values.shape[axis] : 2]
    return np.ascontiguousarray(np.take(values, order, axis))


def _scaled(path: str, value: np.ndarray) -> np.ndarray:
    """A tensor of a layer whose output is to be s times as large, others as they are."""
    match = _NORMALIZED.fullmatch(path)
    if match is None or (match["star"] and match["what"] == "kernel"):
        return value
    return value * np.float32((_EPSILON / _EPSILON_THERE) ** 0.5)


def _numbered(state: Mapping[str, np.ndarray]) -> StateDict:
    """The state with the number of each block in two: that of its resolution and that in it."""
    pattern = re.compile(r"(downblocks|upblocks)\.(\d+)\.(.*)")
    matches = {name: match for name in state if (match := pattern.fullmatch(name))}
    down = [int(m[2]) for m in matches.values() if m[1] == "downblocks"]
    halving = [int(m[2]) for m in matches.values() if m[1] == "downblocks" and m[3][:4] == "main"]
    num_res_blocks = min(halving) if halving else max(down, default=-1) + 1
    if num_res_blocks < 1:
        raise ValueError(
            f"The weights hold {listed(list(state))} and no block of the first resolution; give"
            " those of a whole network."
        )
    per_level = {"downblocks": num_res_blocks + 1, "upblocks": num_res_blocks + 2}
    numbered = {}
    for name, value in state.items():
        if match := matches.get(name):
            level, block = divmod(int(match[2]), per_level[match[1]])
            name = f"{match[1]}.{level}.{block}.{match[3]}"
        numbered[name] = value
    return numbered
