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
from diffusion_tf.crosscheck.dropout import BLOCK, EXAMPLE, REPEATS, statistics
from diffusion_tf.crosscheck.inputs import Inputs
from diffusion_tf.crosscheck.optional import guarded
from diffusion_tf.crosscheck.process_side import ProcessSide
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.crosscheck.training_loop import START
from diffusion_tf.crosscheck.training_side import GROUPS as TRAINING_GROUPS
from diffusion_tf.crosscheck.training_side import TrainingSide
from diffusion_tf.crosscheck.waves import waves

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


def draw_step_noise(t: int, shape: tuple[int, ...], number: int | None = None) -> np.ndarray:
    """The first noise [B, S, S, C] that torch draws under the seed of a timestep.

    With a number, so many, one after the other: [number, B, S, S, C].
    """
    import torch

    batch, height, width, channels = shape
    with seeded(t):
        drawn = [to_numpy(torch.randn(batch, channels, height, width)) for _ in range(number or 1)]
    return drawn[0] if number is None else np.stack(drawn)


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


def three_weights() -> torch.nn.Module:
    """The network of ten training steps; see `counterpart.Training`."""
    import torch

    class ThreeWeights(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            a, b, c = (torch.nn.Parameter(torch.tensor(number)) for number in START)
            self.a, self.b, self.c = a, b, c

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            wave = torch.sin(3.0 * x + 0.01 * t.reshape(-1, 1, 1, 1))
            return self.a * x + self.b * wave + self.c

    return ThreeWeights()


class TorchSide(ProcessSide):
    """Computes the stages that the other implementation has, group by group."""

    def __init__(self, counterpart: Counterpart, inputs: Inputs):
        its = (counterpart.training, inputs.training, counterpart.name)
        training = TrainingSide(*its, to_torch, to_numpy, three_weights)
        super().__init__(counterpart, inputs, to_torch, to_numpy, training)

    def values(self, group: str) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS`, without those that it does not have."""
        of_training = group in TRAINING_GROUPS
        values = self._training.values(group) if of_training else _GROUPS[group](self)
        return {
            stage: value if isinstance(value, dict) else to_numpy(value)
            for stage, value in values.items()
            if value is not None
        }

    def _run(self, call: Callable[[], Any]) -> Any:
        import torch

        with torch.no_grad():
            return call()

    def _wave(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        import torch

        t = t.float().reshape(-1, 1, 1, 1)
        kind = self._inputs.model_var_type
        return waves(x, t, torch.sin, lambda parts: torch.cat(parts, dim=1), kind)

    def _drawing(self, seed: int, noise: np.ndarray, call: Callable[..., Any]) -> Any:
        with seeded(seed):
            return call()

    def _size(self, x: torch.Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def _gradient_by_output(self, output: torch.Tensor, process: Any) -> torch.Tensor | None:
        import torch

        if not hasattr(process, "training_losses"):
            return None
        leaf = output.detach().clone().requires_grad_(True)

        def call() -> Any:
            arguments = (lambda *_, **__: 1 * leaf, self._x_start, self._t)
            loss = process.training_losses(*arguments, noise=self._noise)
            loss = loss["loss"] if isinstance(loss, Mapping) else loss
            if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
                return None
            return torch.autograd.grad(loss.sum(), leaf)[0]

        return guarded(f"The gradient of training_losses of {self._its.name} failed", call)

    def _weights(self) -> dict[str, Any]:
        if not self._its.keeps_weights or self._its.names is None:
            return {}
        return {"weights": {k: v.numpy() for k, v in self._own_network.state_dict().items()}}

    @property
    def _own_network(self) -> torch.nn.Module:
        """The network, where it has one."""
        assert self._its.network is not None
        return self._its.network

    def _run_network(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        its = self._its
        output = guarded(f"The network of {its.name} failed", lambda: self._own_network(x, t))
        output = getattr(output, "sample", output)  # diffusers wraps it
        expected = to_torch(self._inputs.outputs).shape
        if getattr(output, "shape", None) != expected:
            shape = list(getattr(output, "shape", [])) or type(output).__name__
            raise ValueError(
                f"{its.name} returned {shape} for x of shape {list(x.shape)}; a network must"
                f" return a tensor {self._like_x}."
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
        (self._run_network(x, self._t) - to_torch(self._inputs.target)).square().mean().backward()
        values: dict[str, Any] = {"gradient of the loss by x": x.grad}
        if self._its.names is not None:
            values["gradient of the loss by weights"] = {
                name: np.zeros(weight.shape) if weight.grad is None else weight.grad.numpy()
                for name, weight in self._its.network.named_parameters()
                if weight.requires_grad
            }
        return values

    def _bpd(self) -> dict[str, Any]:
        terms = super()._bpd()["bpd term"]
        return {"bpd term": self._bpd_of_its_moments() if terms is None else terms}

    def _dropout(self) -> dict[str, Any]:
        """Of the first block in training, with masks of its own."""
        path = self._its.submodules.get(BLOCK)
        if self._its.network is None or not self._its.drops or path is None:
            return {}
        network, one = self._its.network, slice(EXAMPLE, EXAMPLE + 1)
        outputs = []
        for repeats in (1, REPEATS):
            network.train(repeats > 1)
            x = self._x_t[one].repeat_interleave(repeats, 0)
            outputs.append(self._of_block(path, x, self._t[one].repeat_interleave(repeats)))
        network.eval()
        without, dropped = outputs
        return {"dropout": statistics(dropped, without)}

    def _of_block(self, path: str, x: torch.Tensor, t: torch.Tensor) -> np.ndarray:
        """What comes out of the first block."""
        import torch

        stages: dict[str, Any] = {}
        hook = self._hook(BLOCK, path, stages)
        try:
            with torch.no_grad(), seeded(0):
                self._own_network(x, t)
        finally:
            hook.remove()
        return to_numpy(stages[BLOCK])

    def _optimizer(self) -> dict[str, Any]:
        import torch

        if self._its.optimizer is None:
            return {}
        inputs = self._inputs
        # In float64, as float32 has few digits for a small step from a large weight.
        weights = torch.nn.Parameter(torch.tensor(inputs.weights))
        optimizer = self._its.optimizer([weights], inputs.lr)
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


_GROUPS = {
    "weights": TorchSide._weights,
    "schedule": TorchSide._schedule,
    "coefficients": TorchSide._coefficients,
    "network": TorchSide._network,
    "gradient": TorchSide._gradient,
    "dropout": TorchSide._dropout,
    "forward process": TorchSide._forward,
    "reverse process": TorchSide._reverse,
    "sampling": TorchSide._sampling,
    "chain": TorchSide._chain,
    "ddim": TorchSide._ddim,
    "fewer steps": TorchSide._fewer_steps,
    "respacing": TorchSide._respacing,
    "guidance": TorchSide._guidance,
    "loss": TorchSide._loss,
    "respaced loss": TorchSide._respaced_loss,
    "loss gradient": TorchSide._loss_gradient,
    "bpd": TorchSide._bpd,
    "optimizer": TorchSide._optimizer,
}
