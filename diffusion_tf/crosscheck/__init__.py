"""Another implementation beside this one, stage by stage: where they differ and why."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from diffusion_tf.config import Config, get_config
from diffusion_tf.convert.architecture import Architecture
from diffusion_tf.convert.formats import detect, load_unet, read
from diffusion_tf.convert.maps import assign, weights_of
from diffusion_tf.crosscheck import (
    array_side,
    denoising_diffusion,
    diffusers,
    improved_diffusion,
    kit,
    module,
    pytorch_diffusion,
    tqch,
    w86763777,
)
from diffusion_tf.crosscheck.array_side import ArraySide
from diffusion_tf.crosscheck.comparison import Comparer, Comparison
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.networks import random_unet
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.torch_side import TorchSide, draw_step_noise
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.weight_sets import WeightsKind

Against = Literal[
    "diffusers", "pytorch_diffusion", "denoising_diffusion_pytorch", "lucidrains",
    "improved_diffusion", "w86763777", "tqch",
]  # fmt: skip
AGAINST: tuple[Against, ...] = get_args(Against)


@tf32(False)
def crosscheck(
    config: Config,
    *,
    against: Against | None = None,
    own: str | None = None,
    weights: str | None = None,
    kind: WeightsKind = "ema",
    checkout: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Counterpart, Comparison]:
    """Compares this implementation with another one, on the same weights, inputs and noise.

    Args:
        config: of the process, the network and the seed.
        against: one of `AGAINST`.
        own: instead of `against`, FILE.py:NAME; see `module.make_counterpart`.
        weights: any file or folder that `convert.load_unet` reads; random weights if not given, in
            which no tensor is zero.
        kind: ema or raw, of the weights.
        checkout: of pytorch_diffusion's repository.
        options: arguments of the other implementation that replace those that make it ours.

    Raises:
        ValueError, FileNotFoundError: what the person gave does not fit together, or a package is
            missing.
    """
    if (against is None) == (own is None):
        raise ValueError("Give either --against or --module.")
    _check(config)
    unet = None
    if against in _OTHER_NETWORK:
        if weights:
            raise ValueError(f"{against}'s network is another network; no --weights.")
        counterpart = _process_alone(config, against, checkout, options)
    else:
        unet = _load(weights, kind) if weights else random_unet(config)
        config = _with_network_of(unet, config)
        counterpart = _make_counterpart(config, unet, against, own, weights, checkout, options)
    unet = None if counterpart.network is None else unet
    arrays = counterpart.layout is not None
    inputs = make_inputs(config, array_side.draw_step_noise if arrays else draw_step_noise)
    other = None
    if weights and counterpart.keeps_weights:
        with contextlib.suppress(ValueError):  # the file has one set of weights only
            other = _load(weights, "raw" if kind == "ema" else "ema")
    ours = Reference(config, inputs, unet, other, counterpart.names)
    side = ArraySide(counterpart, inputs) if arrays else TorchSide(counterpart, inputs)
    return counterpart, Comparer(ours, side, counterpart).run()


def export(
    config: Config, folder: str, *, weights: str | None = None, kind: WeightsKind = "ema"
) -> Path:
    """Writes a kit: inputs, weights and what is expected at every stage; see `kit`.

    Args:
        config: of the process, the network and the seed.
        folder: to write to; created.
        weights, kind: see `crosscheck`.

    Raises:
        ValueError, OSError: as `crosscheck`; a file cannot be written.
    """
    _check(config)
    unet = _load(weights, kind) if weights else random_unet(config)
    return kit.export(_with_network_of(unet, config), folder, unet)


compare_answers = kit.compare_answers


def _check(config: Config) -> None:
    """ValueError for what cannot be compared."""
    if config.block_size != 1:
        raise ValueError(
            f"block_size is {config.block_size}; what can be compared has block_size 1."
        )


_OTHER_NETWORK = ("denoising_diffusion_pytorch", "lucidrains", "improved_diffusion")


def _process_alone(
    config: Config, against: Against, checkout: str | None, options: Mapping[str, Any] | None
) -> Counterpart:
    """The other side whose network is another one."""
    if against == "improved_diffusion":
        return improved_diffusion.make_counterpart(config, checkout=checkout, options=options)
    return denoising_diffusion.make_counterpart(config, options=options)


def _make_counterpart(
    config: Config,
    unet: UNet,
    against: Against | None,
    own: str | None,
    weights: str | None,
    checkout: str | None,
    options: Mapping[str, Any] | None,
) -> Counterpart:
    """The other side that has a network."""
    if own:
        if options:
            raise ValueError(
                "--options are for --against; an own module is called with the config."
            )
        return module.make_counterpart(config, unet, module=own, weights_given=bool(weights))
    ports = {"pytorch_diffusion": pytorch_diffusion, "w86763777": w86763777, "tqch": tqch}
    if against in ports:
        port: Any = ports[against]
        return port.make_counterpart(config, unet, checkout=checkout, options=options)
    directory = weights if weights and detect(weights) == "diffusers" else None
    return diffusers.make_counterpart(config, unet, directory=directory, options=options)


def _load(weights: str, kind: WeightsKind) -> UNet:
    """The network of a checkpoint, in float32 whatever it was trained in."""
    unet = load_unet(weights, weights=kind)
    if unet.dtype_policy.name == "float32":
        return unet
    values = weights_of(unet)
    in_float32 = Architecture.of_weights(values).build(unet.image_size)
    assign(in_float32, values)
    return in_float32


def config_of(weights: str) -> Config:
    """What a checkpoint says about its network and process, and the paper's CIFAR-10 for the rest.

    Raises:
        FileNotFoundError, ValueError, OSError: as `convert.load_unet`.
    """
    contents, config = read(weights), get_config("cifar10")
    size = contents.fields.get("image_size", config.image_size)
    network = contents.architecture.config_fields(size)
    return dataclasses.replace(config, **{**network, **contents.fields})


def _with_network_of(unet: UNet, config: Config) -> Config:
    """The config with the network that was read."""
    architecture = Architecture.of_weights(weights_of(unet))
    return dataclasses.replace(
        config, **architecture.config_fields(unet.image_size or config.image_size)
    )
