"""PyTorch networks whose weights go by known names: given ours, and watched stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.convert import diffusers, pytorch_diffusion
from diffusion_tf.convert.maps import variables_of
from diffusion_tf.models import get_model
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.random_numbers import host_seed

if TYPE_CHECKING:
    import torch

NAMINGS = {"diffusers": diffusers, "pytorch_diffusion": pytorch_diffusion}


def random_unet(config: Config) -> UNet:
    """The network of a config with random weights, in which no tensor is zero, from its seed.

    Kernels keep the variance of what goes through them; only conv_in makes it a hundred times
    smaller, so that the epsilon of the group normalizations counts.

    Raises:
        ValueError: sizes that the network cannot have.
    """
    unet = get_model(dataclasses.replace(config, dtype="float32"))
    random = np.random.default_rng(host_seed(config.seed))
    for path, variable in variables_of(unet).items():
        value = random.standard_normal(variable.shape)
        if path.endswith("gamma"):
            value = 1 + 0.1 * value
        elif path.endswith("kernel"):
            value *= np.prod(variable.shape[:-1]) ** -0.5 * (0.1 if path == "conv_in/kernel" else 1)
        else:
            value *= 0.1 if path != "conv_in/bias" else 0.01
        variable.assign(value)
    return unet


def load_ours(network: torch.nn.Module, unet: UNet, naming: str, name: str) -> None:
    """Gives a network our weights.

    Args:
        network: whose state dict has the names of `naming`, one of `NAMINGS`.
        unet: ours.
        naming: see `NAMINGS`.
        name: of the network, for the error.

    Raises:
        ValueError: it is of another architecture.
    """
    load_state(network, NAMINGS[naming].state_dict_of(unet), name)


def load_state(
    network: torch.nn.Module,
    state: Mapping[str, np.ndarray],
    name: str,
    ignore: Callable[[str], bool] = lambda name: False,
) -> None:
    """Gives a network weights by its own names.

    Args:
        network: of the other side.
        state: all of its weights.
        name: of the network, for the error.
        ignore: which of its tensors are no weights and stay as they are.

    Raises:
        ValueError: it is of another architecture.
    """
    import torch

    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in state.items()}
    its = {k: tuple(v.shape) for k, v in network.state_dict().items() if not ignore(k)}
    for key in sorted(its.keys() ^ tensors.keys()) or sorted(tensors):
        shape = tuple(tensors[key].shape) if key in tensors else None
        if its.get(key) != shape:
            raise ValueError(
                f"{name} is of another architecture: {key} is {its.get(key, 'missing')} there and"
                f" {shape or 'missing'} here; give both the same channels, blocks and attention."
            )
    network.load_state_dict(tensors, strict=False)


def naming_of(network: torch.nn.Module, unet: UNet) -> str | None:
    """Whose names the network's weights have; None if nobody's that is known."""
    for naming, module in NAMINGS.items():
        try:
            if module.state_dict_of(unet).keys() == network.state_dict().keys():
                return naming
        except ValueError:  # an architecture that this one does not have
            continue
    return None


def submodules(unet: UNet, naming: str) -> dict[str, str]:
    """For every stage of the network, the submodule there whose output it is."""
    paths = {}
    for path, (name, _, _) in NAMINGS[naming].NAMES.names(variables_of(unet)).items():
        scope, layer = path.split("/")[:-1], name.split(".")[:-1]
        if scope == ["temb", "dense0"]:
            paths["sinusoids"] = ".".join(layer) + ":input"
        elif scope == ["temb", "dense1"]:
            paths["temb"] = ".".join(layer)
        elif scope == ["conv_in"]:
            paths["conv_in"] = ".".join(layer)
        elif len(scope) == 3:  # a layer of a block; the first one is a child of its own
            paths.setdefault("/".join(scope[:2]), ".".join(layer[:-1]))
    return paths


def attending_levels(unet: UNet) -> list[int]:
    """Numbers of the resolutions that have attention, the largest being 0."""
    return [i for i, down in enumerate(unet.down) if hasattr(down, "attn_0")]


def attn_resolutions(unet: UNet, height: int) -> tuple[int, ...]:
    """Heights, in pixels, of the resolutions that have attention."""
    return tuple(height >> i for i in attending_levels(unet))
