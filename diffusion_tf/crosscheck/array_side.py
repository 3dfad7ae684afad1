"""The other side of a cross-check where it deals in arrays: NumPy, JAX, Keras with any backend."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.counterpart import Counterpart, Layout
from diffusion_tf.crosscheck.inputs import Inputs
from diffusion_tf.crosscheck.optional import guarded
from diffusion_tf.crosscheck.reference import FIRST_STEP, numpy_wave
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.crosscheck.stages import COEFFICIENTS, LAST_STEP
from diffusion_tf.crosscheck.training_side import GROUPS as TRAINING_GROUPS
from diffusion_tf.crosscheck.training_side import TrainingSide


def draw_step_noise(t: int, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of a shape for the step t; each step has its own."""
    return np.random.default_rng(t).standard_normal(shape, np.float32)


def to_layout(x: Any, layout: Layout) -> np.ndarray:
    """Images NHWC into a layout; other ranks stay."""
    x = np.asarray(x)
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 and layout == "NCHW" else x


def from_layout(x: Any, layout: Layout) -> np.ndarray:
    """The inverse of `to_layout`; x is an array of any framework on the CPU, or a number."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    return np.moveaxis(x, 1, -1) if x.ndim == 4 and layout == "NCHW" else x


class ArraySide:
    """Computes the stages that the other implementation has, group by group."""

    def __init__(self, counterpart: Counterpart, inputs: Inputs):
        self._its = counterpart
        self._inputs = inputs
        self._layout = counterpart.layout or "NHWC"
        its = (counterpart.training, inputs.training, counterpart.name)
        self._training = TrainingSide(*its, np.asarray, np.asarray)
        names = ("x_start", "noise", "t", "x_t", "x_first")
        self._x_start, self._noise, self._t, self._x_t, self._x_first = (
            self._to(getattr(inputs, name)) for name in names
        )

    def values(self, group: str) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS`, NHWC, without those that it does not have."""
        if group in TRAINING_GROUPS:
            return self._training.values(group)
        stages = _GROUPS[group](self) if group in _GROUPS else {}
        return {
            stage: self._by_name(value) if isinstance(value, Mapping) else self._from(value)
            for stage, value in stages.items()
            if value is not None
        }

    def _to(self, x: Any) -> np.ndarray:
        return to_layout(x, self._layout)

    def _from(self, x: Any) -> np.ndarray:
        return from_layout(x, self._layout)

    def _by_name(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in values.items()}

    def _call(self, thing: Any, method: str, key: str | None, *args: Any, **kwargs: Any) -> Any:
        """What a method returns, under a key if it is a mapping; None without the method."""
        if not hasattr(thing, method):
            return None

        def call() -> Any:
            result = getattr(thing, method)(*args, **kwargs)
            return result[key] if isinstance(result, Mapping) and key else result

        return guarded(f"{method} of {self._its.name} failed", call)

    def _model(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable:
        """A function of NHWC as a network of the other side's layout."""
        return lambda x, t: self._to(function(self._from(x), np.asarray(t)))

    def _schedule(self) -> dict[str, Any]:
        return {"betas": getattr(self._its.process, "betas", None)}

    def _coefficients(self) -> dict[str, Any]:
        return {name: getattr(self._its.process, name, None) for name in COEFFICIENTS}

    def _network(self) -> dict[str, Any]:
        network = self._its.network
        if network is None:
            return {}
        stages = dict(self._call(network, "stages", None, self._x_t, self._t) or {})
        if "output" not in stages:
            what = f"The network of {self._its.name} failed"
            stages["output"] = guarded(what, lambda: network(self._x_t, self._t))
        shape = np.shape(stages["output"])
        if shape != self._x_t.shape:
            raise ValueError(
                f"{self._its.name} returned {list(shape)} for x of shape {list(self._x_t.shape)};"
                f" a network must return an array shaped like x, {self._layout}."
            )
        return stages

    def _gradient(self) -> dict[str, Any]:
        """By x_t, of the mean square error between the output and the noise."""
        by_x = self._call(self._its.network, "gradient", None, self._x_t, self._t, self._noise)
        return {} if by_x is None else {"gradient of the loss by x": by_x}

    def _forward(self) -> dict[str, Any]:
        i, process = self, self._its.process
        posterior = self._call(process, "q_posterior_mean_variance", None, i._x_start, i._x_t, i._t)
        mean, _, log_variance = posterior or (None, None, None)
        return {
            "q_sample": self._call(process, "q_sample", None, i._x_start, i._t, i._noise),
            "posterior mean": mean,
            "posterior log variance": _of_examples(log_variance),
        }

    def _reverse(self) -> dict[str, Any]:
        guess = self._model(self._inputs.guess)
        p = self._call(self._its.process, "p_mean_variance", None, guess, self._x_t, self._t) or {}
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
        x, after = self._x_first, []
        for t, noise in zip(self._inputs.steps, self._inputs.step_noise, strict=True):
            x = self._call(
                self._its.process, "p_sample", "sample", self._model(numpy_wave), x,
                np.full(len(x), t), noise=self._to(noise),
            )  # fmt: skip
            if x is None:
                return {}
            after.append(x)
        return {LAST_STEP: x, FIRST_STEP: after[0]}

    def _ddim(self) -> dict[str, Any]:
        arguments = (self._model(self._inputs.guess), self._x_t, self._t)
        return {
            "a step of DDIM": self._call(self._its.process, "ddim_sample", "sample", *arguments)
        }

    def _loss(self) -> dict[str, Any]:
        model = self._model(self._inputs.guess if self._inputs.loss_is_bound else numpy_wave)
        loss = self._call(
            self._its.process, "training_losses", "loss", model, self._x_start, self._t,
            noise=self._noise,
        )  # fmt: skip
        return {"loss": loss}

    def _bpd(self) -> dict[str, Any]:
        arguments = (self._model(self._inputs.guess), self._x_start, self._x_t, self._t)
        return {"bpd term": self._call(self._its.process, "_vb_terms_bpd", "output", *arguments)}

    def _optimizer(self) -> dict[str, Any]:
        """`adam(lr)` gives `(weights, gradient) -> weights`, which is called step after step."""
        i, adam = self._inputs, self._call(self._its.training, "adam", None, self._inputs.lr)
        if adam is None:
            return {}
        reached = [i.weights]
        for gradient in i.gradients.astype(np.float64):
            reached.append(np.asarray(adam(reached[-1], gradient), np.float64))
        return {"three steps of Adam": np.diff(reached, axis=0).ravel()}


def _of_examples(log_variance: Any) -> np.ndarray | None:
    """[B, 1, ...] or [B, ...] to [B]: a fixed variance is the same for all pixels."""
    if log_variance is None:
        return None
    array = np.asarray(log_variance)
    return array.reshape(len(array), -1)[:, 0]


_GROUPS = {
    "schedule": ArraySide._schedule,
    "coefficients": ArraySide._coefficients,
    "network": ArraySide._network,
    "gradient": ArraySide._gradient,
    "forward process": ArraySide._forward,
    "reverse process": ArraySide._reverse,
    "sampling": ArraySide._sampling,
    "ddim": ArraySide._ddim,
    "loss": ArraySide._loss,
    "bpd": ArraySide._bpd,
    "optimizer": ArraySide._optimizer,
}
