"""The other side of a cross-check where it deals in arrays: NumPy, JAX, Keras with any backend."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.counterpart import Counterpart, Layout
from diffusion_tf.crosscheck.inputs import Inputs
from diffusion_tf.crosscheck.optional import guarded
from diffusion_tf.crosscheck.process_side import ProcessSide
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.crosscheck.training_loop import START
from diffusion_tf.crosscheck.training_side import GROUPS as TRAINING_GROUPS
from diffusion_tf.crosscheck.training_side import TrainingSide
from diffusion_tf.crosscheck.waves import numpy_wave


def draw_step_noise(t: int, shape: tuple[int, ...], number: int | None = None) -> np.ndarray:
    """Noise of a shape for the step t; each step has its own. With a number, so many draws."""
    drawn = shape if number is None else (number, *shape)
    return np.random.default_rng(t).standard_normal(drawn, np.float32)


def to_layout(x: Any, layout: Layout) -> np.ndarray:
    """Images NHWC into a layout; other ranks stay."""
    x = np.asarray(x)
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 and layout == "NCHW" else x


def from_layout(x: Any, layout: Layout) -> np.ndarray:
    """The inverse of `to_layout`; x is an array of any framework on the CPU, or a number."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    return np.moveaxis(x, 1, -1) if x.ndim == 4 and layout == "NCHW" else x


class ArraySide(ProcessSide):
    """Computes the stages that the other implementation has, group by group."""

    def __init__(self, counterpart: Counterpart, inputs: Inputs):
        self._layout = layout = counterpart.layout or "NHWC"
        its = (counterpart.training, inputs.training, counterpart.name)
        training = TrainingSide(*its, np.asarray, np.asarray, START.copy)
        super().__init__(
            counterpart,
            inputs,
            lambda x: to_layout(x, layout),
            lambda x: from_layout(x, layout),
            training,
        )

    def values(self, group: str) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS`, NHWC, without those that it does not have."""
        if group in TRAINING_GROUPS:
            return self._training.values(group)
        stages = _GROUPS[group](self) if group in _GROUPS else {}
        return {
            stage: self._by_name(value) if isinstance(value, Mapping) else self._back(value)
            for stage, value in stages.items()
            if value is not None
        }

    def _by_name(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in values.items()}

    def _wave(self, x: Any, t: Any) -> np.ndarray:
        return self._model(numpy_wave(self._inputs.model_var_type))(x, t)

    def _drawing(self, seed: int, noise: np.ndarray, call: Callable[..., Any]) -> Any:
        if noise.ndim == 5:
            return call(noise=np.stack([self._to(step) for step in noise]))
        return call(noise=self._to(noise))

    def _size(self, x: np.ndarray) -> np.ndarray:
        return x

    def _gradient_by_output(self, output: np.ndarray, process: Any) -> Any:
        arguments = (output, self._x_start, self._t, self._noise)
        return self._call_of(process, "loss_gradient", None, *arguments)

    def _network(self) -> dict[str, Any]:
        network = self._its.network
        if network is None:
            return {}
        stages = dict(self._call_of(network, "stages", None, self._x_t, self._t) or {})
        if "output" not in stages:
            what = f"The network of {self._its.name} failed"
            stages["output"] = guarded(what, lambda: network(self._x_t, self._t))
        shape = np.shape(stages["output"])
        if shape != self._to(self._inputs.outputs).shape:
            raise ValueError(
                f"{self._its.name} returned {list(shape)} for x of shape {list(self._x_t.shape)};"
                f" a network must return an array {self._like_x}, {self._layout}."
            )
        return stages

    def _gradient(self) -> dict[str, Any]:
        """By x_t, of the mean square error between the output and the noise."""
        by_x = self._call_of(
            self._its.network, "gradient", None, self._x_t, self._t, self._to(self._inputs.target)
        )
        return {} if by_x is None else {"gradient of the loss by x": by_x}

    def _optimizer(self) -> dict[str, Any]:
        """`adam(lr)` gives `(weights, gradient) -> weights`, which is called step after step."""
        i, adam = self._inputs, self._call_of(self._its.training, "adam", None, self._inputs.lr)
        if adam is None:
            return {}
        reached = [i.weights]
        for gradient in i.gradients.astype(np.float64):
            reached.append(np.asarray(adam(reached[-1], gradient), np.float64))
        return {"three steps of Adam": np.diff(reached, axis=0).ravel()}


_GROUPS = {
    "schedule": ArraySide._schedule,
    "coefficients": ArraySide._coefficients,
    "network": ArraySide._network,
    "gradient": ArraySide._gradient,
    "forward process": ArraySide._forward,
    "reverse process": ArraySide._reverse,
    "sampling": ArraySide._sampling,
    "chain": ArraySide._chain,
    "ddim": ArraySide._ddim,
    "fewer steps": ArraySide._fewer_steps,
    "respacing": ArraySide._respacing,
    "guidance": ArraySide._guidance,
    "loss": ArraySide._loss,
    "respaced loss": ArraySide._respaced_loss,
    "loss gradient": ArraySide._loss_gradient,
    "bpd": ArraySide._bpd,
    "optimizer": ArraySide._optimizer,
}
