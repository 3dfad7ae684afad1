"""A person's own PyTorch code beside us: a U-Net, a diffusion object, or both, from a file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.counterpart import Counterpart, Process
from diffusion_tf.crosscheck.networks import NAMINGS, load_ours, naming_of, submodules
from diffusion_tf.crosscheck.optional import guarded, needs
from diffusion_tf.crosscheck.reference import COEFFICIENTS
from diffusion_tf.models.unet import UNet

if TYPE_CHECKING:
    import torch

_PROCESS = {
    "betas", *COEFFICIENTS, *(name for name in vars(Process) if not name.startswith("__")),
}  # fmt: skip


class Adapter(Protocol):
    """What `NAME(config)` may return when a network or a diffusion object alone will not do.

    Every attribute is optional, but there must be a network, a process or an optimizer.
    """

    network: torch.nn.Module  # called as network(x [B, C, S, S], t int64 [B])
    process: Process
    submodules: Mapping[str, str]  # see `Counterpart`
    keep_weights: bool  # the network has been trained: --weights names the same weights for ours

    def load_weights(self, unet: UNet) -> None:
        """Gives the network our weights, such as `convert.diffusers.state_dict_of(unet)`."""

    def optimizer(self, parameters: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        """The Adam that it is trained with; here of parameters in float64."""


def make_counterpart(
    config: Config, unet: UNet, *, module: str, weights_given: bool
) -> Counterpart:
    """What `FILE.py:NAME` gives.

    NAME is an object, or a function or class that is called with the config and returns one: a
    `torch.nn.Module` called as (x, t), an object with methods of `Process`, or an `Adapter`. A
    network whose weights go by diffusers' or pytorch_diffusion's names gets ours, and is compared
    block by block. Any other is either given them by its adapter, or keeps its own, which ours must
    then have got with --weights.

    Args:
        config: of the process and the network.
        unet: ours.
        module: FILE.py:NAME.
        weights_given: whether our weights come from a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no such name, raises something, or gives something else; a network
            of another architecture, or with weights of its own where ours are random.
    """
    needs("torch", "torch")
    thing = _call(module, config)
    name = module
    network, process = _parts(thing, name)
    optimizer = getattr(thing, "optimizer", None)
    counterpart = Counterpart(name=name, network=network, process=process, optimizer=optimizer)
    if network is not None:
        network.eval()
        _share_weights(counterpart, thing, unet, weights_given)
    return counterpart


def _share_weights(counterpart: Counterpart, thing: Any, unet: UNet, weights_given: bool) -> None:
    """Puts our weights into the network, or makes sure that it may keep its own."""
    name, network = counterpart.name, counterpart.network
    naming = naming_of(network, unet)
    keeps = getattr(thing, "keep_weights", False) or not (naming or hasattr(thing, "load_weights"))
    if keeps and not weights_given:
        raise ValueError(
            f"{name} keeps its own weights; name the same weights for ours with --weights. Ours can"
            " be put into it if they go by the names of diffusers or pytorch_diffusion and it has"
            " the architecture that --config, --ch, --ch_mult and so on describe, or through"
            " load_weights of an adapter."
        )
    if naming:
        counterpart.names = NAMINGS[naming].NAMES
        counterpart.submodules = submodules(unet, naming)
    counterpart.submodules = getattr(thing, "submodules", counterpart.submodules)
    counterpart.keeps_weights = keeps
    if keeps:
        return
    if hasattr(thing, "load_weights"):
        guarded(f"{name} does not take the weights", lambda: thing.load_weights(unet))
    elif naming:  # without either, it keeps its own
        load_ours(network, unet, naming, name)


def _call(module: str, config: Config) -> Any:
    """The object that FILE.py:NAME means."""
    file, _, name = module.rpartition(":")
    if not file or not name:
        raise ValueError(f"--module={module} is not of the form FILE.py:NAME.")
    if not Path(file).is_file():
        raise FileNotFoundError(f"There is no file {file}; --module takes FILE.py:NAME.")
    namespace = guarded(f"{file} cannot be imported", lambda: _import(file))
    if not hasattr(namespace, name):
        raise ValueError(f"{file} has no {name}; --module takes FILE.py:NAME.")
    thing = getattr(namespace, name)
    if not callable(thing) or _is_module(thing):
        return thing
    return guarded(f"{module} cannot be called with the config", lambda: thing(config))


def _import(file: str) -> Any:
    """Runs a Python file as a module of its own; it may import what lies beside it."""
    spec = importlib.util.spec_from_file_location(f"_crosscheck_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file; its name must end in .py.")
    namespace = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = namespace  # dataclasses look their module up there
    sys.path.insert(0, str(Path(file).resolve().parent))
    try:
        spec.loader.exec_module(namespace)
    finally:
        sys.path.pop(0)
    return namespace


def _is_module(thing: Any) -> bool:
    import torch

    return isinstance(thing, torch.nn.Module)


def _parts(thing: Any, name: str) -> tuple[torch.nn.Module | None, Any]:
    """The network and the process in what a file gave."""
    if any(hasattr(thing, part) for part in ("network", "process", "optimizer")):
        return getattr(thing, "network", None), getattr(thing, "process", None)
    if any(hasattr(thing, attribute) for attribute in _PROCESS):
        return None, thing
    if _is_module(thing):
        return thing, None
    raise ValueError(
        f"{name} is a {type(thing).__name__}; it must give a torch.nn.Module called as (x, t), an"
        " object with methods of diffusion_tf.crosscheck.counterpart.Process, or an object with a"
        " network, a process or an optimizer."
    )
