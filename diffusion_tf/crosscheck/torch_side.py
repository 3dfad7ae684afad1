"""The other side of a cross-check: what a PyTorch implementation gives for every stage.

torch is imported where it is used, so that the rest of the package does without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusion_tf.crosscheck.bound import bound_of
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import Inputs, wave
from diffusion_tf.crosscheck.optional import guarded
from diffusion_tf.crosscheck.reference import FIRST_STEP
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.crosscheck.stages import COEFFICIENTS, LAST_STEP
from diffusion_tf.crosscheck.training_side import GROUPS as TRAINING_GROUPS
from diffusion_tf.crosscheck.training_side import TrainingSide

if TYPE_CHECKING:
    import torch


def to_torch(x: np.ndarray) -> torch.Tensor:
    """Images NHWC to a tensor NCHW; other ranks as they are."""
    import torch

    x = np.asarray(x)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1) if x.ndim == 4 else x))


def to_numpy(x: Any) -> np.ndarray:
    """The inverse of `to_torch`."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator with this seed inside the block, and as it was after it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def draw_step_noise(t: int, shape: tuple[int, ...]) -> np.ndarray:
    """The first noise [B, S, S, C] that torch draws under the seed of a timestep."""
    import torch

    batch, height, width, channels = shape
    with seeded(t):
        return to_numpy(torch.randn(batch, channels, height, width))


def torch_wave(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """`wave` in PyTorch, as a network: x [B, C, S, S], t [B]."""
    import torch

    return wave(x, t.float().reshape(-1, 1, 1, 1), torch.sin)


def moments(
    p_sample: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: torch.Tensor, t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance of a step that returns mean + deviation * noise, from two samples.

    Args:
        p_sample: `(x [1, ...], t [1])` -> a sample, with the first noise from torch's generator. It
            is called twice for each example, one after the other.
        x, t: see `Process`.

    Returns:
        mean [B, ...] and log-variance [B, 1, ...], clipped at log(1e-20).
    """
    import torch

    means, log_variances = [], []
    for x_i, t_i in zip(x.split(1), t.split(1), strict=True):
        samples, noises = [], []
        for seed in range(2):
            with seeded(seed):
                samples.append(p_sample(x_i, t_i))
            with seeded(seed):
                noises.append(torch.randn(x_i.shape))
        difference = noises[1] - noises[0]
        deviation = ((samples[1] - samples[0]) * difference).sum() / difference.square().sum()
        means.append(samples[0] - deviation * noises[0])
        log_variances.append(2 * deviation.clamp(min=1e-10).log())
    return torch.cat(means), torch.stack(log_variances).reshape(-1, *[1] * (x.ndim - 1))


class TorchSide:
    """Computes the stages that the other implementation has, group by group."""

    def __init__(self, counterpart: Counterpart, inputs: Inputs):
        self._its = counterpart
        self._lr = inputs.lr
        self._process = counterpart.process
        self._inputs = inputs
        its = (counterpart.training, inputs.training, counterpart.name)
        self._training = TrainingSide(*its, to_torch, to_numpy)
        names = ("x_start", "noise", "t", "x_t", "x_first")
        self._x_start, self._noise, self._t, self._x_t, self._x_first = (
            to_torch(getattr(inputs, name)) for name in names
        )

    def values(self, group: str) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS`, without those that it does not have."""
        of_training = group in TRAINING_GROUPS
        values = self._training.values(group) if of_training else _GROUPS[group](self)
        return {
            stage: value if isinstance(value, dict) else to_numpy(value)
            for stage, value in values.items()
            if value is not None
        }

    def _call(self, method: str, key: str | None, *args: Any, **kwargs: Any) -> Any:
        """What a method of the process returns (under a key, if it is a mapping); None without."""
        import torch

        if not hasattr(self._process, method):
            return None

        def call() -> Any:
            with torch.no_grad():
                result = getattr(self._process, method)(*args, **kwargs)
            return result[key] if isinstance(result, Mapping) and key else result

        return guarded(f"{method} of {self._its.name} failed", call)

    def _weights(self) -> dict[str, Any]:
        if not self._its.keeps_weights or self._its.names is None:
            return {}
        return {"weights": {k: v.numpy() for k, v in self._own_network.state_dict().items()}}

    def _schedule(self) -> dict[str, Any]:
        return {"betas": getattr(self._process, "betas", None)}

    def _coefficients(self) -> dict[str, Any]:
        return {name: getattr(self._process, name, None) for name in COEFFICIENTS}

    def _guess(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return to_torch(self._inputs.guess(to_numpy(x), t.numpy()))

    @property
    def _own_network(self) -> torch.nn.Module:
        """The network, where it has one."""
        assert self._its.network is not None
        return self._its.network

    def _run_network(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        its = self._its
        output = guarded(f"The network of {its.name} failed", lambda: self._own_network(x, t))
        output = getattr(output, "sample", output)  # diffusers wraps it
        if getattr(output, "shape", None) != x.shape:
            shape = list(getattr(output, "shape", [])) or type(output).__name__
            raise ValueError(
                f"{its.name} returned {shape} for x of shape {list(x.shape)}; a network must"
                " return a tensor shaped like x."
            )
        return output

    def _network(self) -> dict[str, Any]:
        import torch

        if self._its.network is None:
            return {}
        stages: dict[str, Any] = {}
        hooks = [self._hook(stage, path, stages) for stage, path in self._its.submodules.items()]
        try:
            with torch.no_grad():
                stages["output"] = self._run_network(self._x_t, self._t)
        finally:
            for hook in hooks:
                hook.remove()
        return stages

    def _hook(self, stage: str, path: str, stages: dict[str, Any]) -> Any:
        """Records what goes into or comes out of a submodule as a stage."""
        path, _, what = path.partition(":")
        try:
            module = self._own_network.get_submodule(path)
        except AttributeError:
            raise ValueError(
                f"{self._its.name} has no submodule {path!r}, whose output would be {stage!r}."
            ) from None

        def record(_: torch.nn.Module, inputs: tuple, output: Any) -> None:
            stages[stage] = inputs[0] if what == "input" else output

        return module.register_forward_hook(record)

    def _gradient(self) -> dict[str, Any]:
        if self._its.network is None:
            return {}
        x = self._x_t.clone().requires_grad_(True)
        self._its.network.zero_grad()
        (self._run_network(x, self._t) - self._noise).square().mean().backward()
        values: dict[str, Any] = {"gradient of the loss by x": x.grad}
        if self._its.names is not None:
            values["gradient of the loss by weights"] = {
                name: np.zeros(weight.shape) if weight.grad is None else weight.grad.numpy()
                for name, weight in self._its.network.named_parameters()
                if weight.requires_grad
            }
        return values

    def _forward(self) -> dict[str, Any]:
        posterior = self._call("q_posterior_mean_variance", None, self._x_start, self._x_t, self._t)
        mean, _, log_variance = posterior or (None, None, None)
        return {
            "q_sample": self._call("q_sample", None, self._x_start, self._t, self._noise),
            "posterior mean": mean,
            "posterior log variance": _of_examples(log_variance),
        }

    def _reverse(self) -> dict[str, Any]:
        p = self._call("p_mean_variance", None, self._guess, self._x_t, self._t) or {}
        if not isinstance(p, Mapping):
            raise ValueError(
                f"p_mean_variance of {self._its.name} returned a {type(p).__name__}; it must return"
                " a mapping with mean, log_variance and pred_xstart."
            )
        return {
            "p_mean_variance: pred_xstart": p.get("pred_xstart"),
            "p_mean_variance: mean": p.get("mean"),
            "p_mean_variance: log variance": _of_examples(p.get("log_variance")),
        }

    def _sampling(self) -> dict[str, Any]:
        import torch

        x, after = self._x_first, []
        for t in self._inputs.steps:
            with seeded(t):
                t_batch = torch.full((len(x),), t)
                x = self._call("p_sample", "sample", torch_wave, x, t_batch)
            if x is None:
                return {}
            after.append(x)
        return {LAST_STEP: x, FIRST_STEP: after[0]}

    def _ddim(self) -> dict[str, Any]:
        arguments = (self._guess, self._x_t, self._t)
        return {"a step of DDIM": self._call("ddim_sample", "sample", *arguments)}

    def _loss(self) -> dict[str, Any]:
        model = self._guess if self._inputs.loss_is_bound else torch_wave
        arguments = (model, self._x_start, self._t)
        return {"loss": self._call("training_losses", "loss", *arguments, noise=self._noise)}

    def _bpd(self) -> dict[str, Any]:
        arguments = (self._guess, self._x_start, self._x_t, self._t)
        terms = self._call("_vb_terms_bpd", "output", *arguments)
        return {"bpd term": self._bpd_of_its_moments() if terms is None else terms}

    def _optimizer(self) -> dict[str, Any]:
        import torch

        if self._its.optimizer is None:
            return {}
        inputs = self._inputs
        # In float64, as float32 has few digits for a small step from a large weight.
        weights = torch.nn.Parameter(torch.tensor(inputs.weights))
        optimizer = self._its.optimizer([weights], self._lr)
        reached = [inputs.weights]
        for gradient in inputs.gradients.astype(np.float64):
            weights.grad = torch.tensor(gradient)
            optimizer.step()
            reached.append(weights.detach().numpy().copy())
        return {"three steps of Adam": np.diff(reached, axis=0).ravel()}

    def _bpd_of_its_moments(self) -> np.ndarray | None:
        """The bound by our formula, from its means and variances, if it has them.

        In float64, as a small KL is what is left of 1 - 1.
        """
        posterior, p = self._forward(), self._reverse()
        needed = [
            posterior["posterior mean"], posterior["posterior log variance"],
            p["p_mean_variance: mean"], p["p_mean_variance: log variance"],
        ]  # fmt: skip
        if any(moment is None for moment in needed):
            return None
        moments_of_both = (to_numpy(moment) for moment in needed)
        return bound_of(self._inputs.x_start, self._inputs.t, *moments_of_both)


def _of_examples(log_variance: torch.Tensor | None) -> torch.Tensor | None:
    """[B, 1, ...] or [B, ...] to [B]: a fixed variance is the same for all pixels."""
    return None if log_variance is None else log_variance.flatten(1)[:, 0]


_GROUPS = {
    "weights": TorchSide._weights,
    "schedule": TorchSide._schedule,
    "coefficients": TorchSide._coefficients,
    "network": TorchSide._network,
    "gradient": TorchSide._gradient,
    "forward process": TorchSide._forward,
    "reverse process": TorchSide._reverse,
    "sampling": TorchSide._sampling,
    "ddim": TorchSide._ddim,
    "loss": TorchSide._loss,
    "bpd": TorchSide._bpd,
    "optimizer": TorchSide._optimizer,
}
