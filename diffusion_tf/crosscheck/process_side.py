"""What both kinds of other sides share, those of tensors and those of arrays: the process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.inputs import GUIDANCE_SCALE, Inputs
from diffusion_tf.crosscheck.optional import guarded
from diffusion_tf.crosscheck.reference import FIRST_STEP
from diffusion_tf.crosscheck.reference_sampling import ETA
from diffusion_tf.crosscheck.spacings import SPACINGS, number_of_steps, respaced_timesteps
from diffusion_tf.crosscheck.stages import COEFFICIENTS, LAST_STEP, of_examples
from diffusion_tf.crosscheck.training_side import TrainingSide
from diffusion_tf.utils.literals import LEARNED


class ProcessSide:
    """Computes the stages of a process that the other implementation has, group by group.

    Args:
        counterpart: the other side.
        inputs: what it gets.
        to, back: from arrays NHWC to what it deals in, and back.
        training: see `TrainingSide`.
    """

    def __init__(
        self,
        counterpart: Counterpart,
        inputs: Inputs,
        to: Callable[[Any], Any],
        back: Callable[[Any], np.ndarray],
        training: TrainingSide,
    ):
        self._its, self._inputs = counterpart, inputs
        self._process = counterpart.process
        self._to, self._back = to, back
        self._training = training
        names = ("x_start", "noise", "t", "x_t", "x_first")
        self._x_start, self._noise, self._t, self._x_t, self._x_first = (
            to(getattr(inputs, name)) for name in names
        )

    # --- What a side of tensors does otherwise than one of arrays

    def _run(self, call: Callable[[], Any]) -> Any:
        """Calls code of the process."""
        return call()

    def _wave(self, x: Any, t: Any) -> Any:
        """`waves` as a network of the other side."""
        raise NotImplementedError

    def _drawing(self, seed: int, noise: np.ndarray, call: Callable[..., Any]) -> Any:
        """Calls code that draws noise: from a generator of this seed, or as it is given."""
        raise NotImplementedError

    def _size(self, x: Any) -> Any:
        """Where a chain of the other side starts: a shape to draw, or what was drawn."""
        raise NotImplementedError

    def _gradient_by_output(self, output: Any, process: Any) -> Any:
        """Of the summed losses by the network's output; None if there is no way to it."""
        raise NotImplementedError

    # ---

    def _call_of(self, thing: Any, method: str, key: str | None, *args: Any, **kwargs: Any) -> Any:
        """What a method returns, under a key if it is a mapping; None without the method."""
        if not hasattr(thing, method):
            return None

        def call() -> Any:
            result = self._run(lambda: getattr(thing, method)(*args, **kwargs))
            return result[key] if isinstance(result, Mapping) and key else result

        return guarded(f"{method} of {self._its.name} failed", call)

    def _call(self, method: str, key: str | None, *args: Any, **kwargs: Any) -> Any:
        return self._call_of(self._process, method, key, *args, **kwargs)

    def _takes(self, method: str, *args: Any, **kwargs: Any) -> bool:
        """Whether the process has a method that takes such arguments."""
        if not hasattr(self._process, method):
            return False
        try:
            inspect.signature(getattr(self._process, method)).bind(*args, **kwargs)
        except (TypeError, ValueError):
            return False
        return True

    def _model(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Model:
        """A function of NHWC as a network of the other side."""
        return lambda x, t: self._to(function(self._back(x), np.asarray(t)))

    @property
    def _like_x(self) -> str:
        """The shape of a network's output in words."""
        learned = self._inputs.model_var_type in LEARNED
        return "with twice the channels of x" if learned else "shaped like x"

    def _guess(self, x: Any, t: Any) -> Any:
        return self._model(self._inputs.guess)(x, t)

    def _schedule(self) -> dict[str, Any]:
        return {"betas": getattr(self._process, "betas", None)}

    def _coefficients(self) -> dict[str, Any]:
        return {name: getattr(self._process, name, None) for name in COEFFICIENTS}

    def _forward(self) -> dict[str, Any]:
        posterior = self._call("q_posterior_mean_variance", None, self._x_start, self._x_t, self._t)
        mean, _, log_variance = posterior or (None, None, None)
        return {
            "q_sample": self._call("q_sample", None, self._x_start, self._t, self._noise),
            "posterior mean": mean,
            "posterior log variance": of_examples(log_variance),
        }

    def _moments(self, process: Any, t: Any) -> Mapping[str, Any]:
        """What p_mean_variance of a process says of x_t at t."""
        p = self._call_of(process, "p_mean_variance", None, self._guess, self._x_t, t) or {}
        if not isinstance(p, Mapping):
            raise ValueError(
                f"p_mean_variance of {self._its.name} returned a {type(p).__name__}; it must return"
                " a mapping with mean, log_variance and pred_xstart."
            )
        learned = self._inputs.model_var_type in LEARNED
        log_variance = p.get("log_variance")
        return {
            "pred_xstart": p.get("pred_xstart"),
            "mean": p.get("mean"),
            "log variance": log_variance if learned else of_examples(log_variance),
        }

    def _reverse(self) -> dict[str, Any]:
        moments = self._moments(self._process, self._t)
        return {f"p_mean_variance: {name}": value for name, value in moments.items()}

    def _sampling(self) -> dict[str, Any]:
        x, after = self._x_first, []
        for t, noise in zip(self._inputs.steps, self._inputs.step_noise, strict=True):
            x = self._step("p_sample", x, t, noise)
            if x is None:
                return {}
            after.append(x)
        return {LAST_STEP: x, FIRST_STEP: after[0]}

    def _step(self, method: str, x: Any, t: int, noise: np.ndarray) -> Any:
        t_batch = self._to(np.full(len(x), t))

        def call(**given: Any) -> Any:
            return self._call(method, "sample", self._wave, x, t_batch, **given)

        return self._drawing(t, noise, call)

    def _chain(self) -> dict[str, Any]:
        T, start = len(self._inputs.chain_noise), self._to(self._inputs.chain_first)
        if not T or not hasattr(self._process, "p_sample_loop"):
            return {}

        def call(**given: Any) -> Any:
            if not self._takes("p_sample_loop", self._wave, self._size(start), **given):
                return None
            return self._call("p_sample_loop", "sample", self._wave, self._size(start), **given)

        return {"the whole chain": self._drawing(T, self._inputs.chain_noise, call)}

    def _ddim(self) -> dict[str, Any]:
        arguments, i = (self._guess, self._x_t, self._t), self._inputs

        def noisy(**given: Any) -> Any:
            if not self._takes("ddim_sample", *arguments, eta=ETA, **given):
                return None
            return self._call("ddim_sample", "sample", *arguments, eta=ETA, **given)

        return {
            "a step of DDIM": self._call("ddim_sample", "sample", *arguments),
            "a step of DDIM with noise": self._drawing(i.steps[0], i.step_noise[0], noisy),
        }

    def _fewer_steps(self) -> dict[str, Any]:
        S, values = number_of_steps(self._inputs.num_timesteps), {}
        for spacing in SPACINGS:
            timesteps = self._call("timesteps", None, spacing, S)
            if timesteps is not None:
                values[f"timesteps, {spacing}"] = np.asarray(timesteps, np.float64)
        for spacing in SPACINGS:
            x = self._call("ddim_chain", None, self._wave, self._noise, spacing, S)
            values[f"DDIM in fewer steps, {spacing}"] = x
        return values

    def _respacing(self) -> dict[str, Any]:
        timesteps = respaced_timesteps(self._inputs.num_timesteps, self._inputs.t)
        process = self._call("respaced", None, timesteps)
        if process is None:
            return {}
        t = self._to(np.searchsorted(timesteps, self._inputs.t))
        moments = self._moments(process, t)
        return {
            "respaced betas": getattr(process, "betas", None),
            **{f"respaced {name}": value for name, value in moments.items()},
        }

    def _respaced_loss(self) -> dict[str, Any]:
        timesteps = respaced_timesteps(self._inputs.num_timesteps, self._inputs.t)
        t = self._to(np.searchsorted(timesteps, self._inputs.t))
        process, arguments = self._call("respaced", None, timesteps), (self._x_start, t)
        losses = ("training_losses", "loss", self._guess, *arguments)
        return {"respaced loss": self._call_of(process, *losses, noise=self._noise)}

    def _guidance(self) -> dict[str, Any]:
        outputs = self._to(self._inputs.conditional), self._to(self._inputs.unconditional)
        return {"guided output": self._call("guided", None, *outputs, GUIDANCE_SCALE)}

    def _loss(self) -> dict[str, Any]:
        model = self._guess if self._inputs.loss_is_bound else self._wave
        arguments = (model, self._x_start, self._t)
        return {"loss": self._call("training_losses", "loss", *arguments, noise=self._noise)}

    def _loss_gradient(self) -> dict[str, Any]:
        model = self._guess if self._inputs.loss_is_bound else self._wave
        gradient = self._gradient_by_output(model(self._x_t, self._t), self._process)
        if gradient is None:
            return {}
        bound, t = self._inputs.loss_is_bound, self._inputs.t
        later = np.flatnonzero(t > 0) if bound else slice(None)  # see `Reference`
        return {"gradient of the loss by the output": gradient[later]}

    def _bpd(self) -> dict[str, Any]:
        arguments = (self._guess, self._x_start, self._x_t, self._t)
        return {"bpd term": self._call("_vb_terms_bpd", "output", *arguments)}
