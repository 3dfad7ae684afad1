"""A person's own PyTorch code beside us: a U-Net, a diffusion object, or both, from a file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.counterpart import LAYOUTS, Counterpart, Layout, Process, Training
from diffusion_tf.crosscheck.networks import NAMINGS, load_ours, naming_of, submodules
from diffusion_tf.crosscheck.optional import guarded, needs
from diffusion_tf.crosscheck.stages import COEFFICIENTS
from diffusion_tf.models.unet import UNet

if TYPE_CHECKING:
    import torch

_PROCESS = {
    "betas", *COEFFICIENTS, *(name for name in vars(Process) if not name.startswith("__")),
}  # fmt: skip

_TRAINING = {name for name in vars(Training) if not name.startswith("_")}


class Adapter(Training, Protocol):
    """What `NAME(config)` may return when a network or a diffusion object alone will not do.

    Every attribute is optional, those of `Training`, too, but there must be one.
    """

    network: torch.nn.Module  # called as network(x [B, C, S, S], t int64 [B])
    process: Process
    submodules: Mapping[str, str]  # see `Counterpart`
    drops: bool  # dropout of its first block, one of the submodules, is compared
    keep_weights: bool  # the network has been trained: --weights names the same weights for ours

    def load_weights(self, unet: UNet) -> None:
        """Gives the network our weights, such as `convert.diffusers.state_dict_of(unet)`."""

    def optimizer(self, parameters: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        """The Adam that it is trained with; here of parameters in float64."""


class Arrays(Adapter, Protocol):
    """An adapter that deals in arrays, NumPy's or what `np.asarray` takes: JAX's, Keras's.

    `network(x, t)` is any function; it may have methods `stages(x, t)`, a mapping of our names of
    stages to their values, and `gradient(x, t, target)` of the mean square error by x. The process
    is that of `Process`, with `noise` as one more argument of `p_sample`, of `p_sample_loop` and,
    with eta, of `ddim_sample`; it may be the adapter itself. `loss_gradient(output, x_start, t,
    noise)` gives the gradient of the summed losses by the network's output. `adam(lr)` returns a
    function `(weights, gradient) -> weights`, called step by step.
    """

    layout: Layout  # of images, in and out


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
    thing = _call(module, config)
    name = module
    if not hasattr(thing, "layout"):
        needs("torch", "torch")
    network, process = _parts(thing, name)
    counterpart = Counterpart(
        name=name,
        network=network,
        process=process,
        optimizer=getattr(thing, "optimizer", None),
        drops=getattr(thing, "drops", False),
        training=thing if any(hasattr(thing, part) for part in (*_TRAINING, "adam")) else None,
    )
    if hasattr(thing, "layout"):
        return _of_arrays(counterpart, thing, unet, weights_given)
    if network is not None:
        network.eval()
        _share_weights(counterpart, thing, unet, weights_given)
    return counterpart


def _of_arrays(
    counterpart: Counterpart, thing: Any, unet: UNet, weights_given: bool
) -> Counterpart:
    """The counterpart of a thing that deals in arrays, with our weights in its network."""
    name = counterpart.name
    if thing.layout not in LAYOUTS:
        raise ValueError(f"{name} has the layout {thing.layout!r}; it must be NHWC or NCHW.")
    counterpart.layout = thing.layout
    if counterpart.network is None:
        return counterpart
    if hasattr(thing, "load_weights"):
        guarded(f"{name} does not take the weights", lambda: thing.load_weights(unet))
    elif not weights_given:
        raise ValueError(
            f"{name} keeps its own weights; name the same weights for ours with --weights, or give"
            " it a method load_weights(unet) that takes ours, such as"
            " convert.maps.weights_of(unet), arrays by name."
        )
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
    torch = sys.modules.get("torch")  # without it, nothing is one
    return torch is not None and isinstance(thing, torch.nn.Module)


def _parts(thing: Any, name: str) -> tuple[torch.nn.Module | None, Any]:
    """The network and the process in what a file gave."""
    if any(hasattr(thing, part) for part in ("network", "process", "optimizer", *_TRAINING)):
        itself = thing if any(hasattr(thing, name) for name in _PROCESS) else None
        return getattr(thing, "network", None), getattr(thing, "process", itself)
    if any(hasattr(thing, attribute) for attribute in _PROCESS):
        return None, thing
    if _is_module(thing):
        return thing, None
    raise ValueError(
        f"{name} is a {type(thing).__name__}; it must give a torch.nn.Module called as (x, t), an"
        " object with methods of diffusion_tf.crosscheck.counterpart.Process, or an object with a"
        " network, a process or an optimizer."
    )
