"""What the other side does in training beyond Adam, whether it deals in tensors or in arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.optional import guarded
from diffusion_tf.crosscheck.training_loop import START
from diffusion_tf.crosscheck.training_stages import TIMESTEPS, TrainingInputs


class TrainingSide:
    """Computes the stages of training, group by group.

    Args:
        training: see `counterpart.Training`, or None.
        inputs: what it gets.
        name: of the implementation, for errors.
        to, back: from an array to what it deals in, and back.
        network: makes the network that ten training steps are about, see `counterpart.Training`.
    """

    def __init__(
        self,
        training: Any,
        inputs: TrainingInputs,
        name: str,
        to: Callable[[np.ndarray], Any],
        back: Callable[[Any], np.ndarray],
        network: Callable[[], Any],
    ):
        self._training = training
        self._inputs = inputs
        self._name = name
        self._to = to
        self._back = back
        self._network = network

    def values(self, group: str) -> dict[str, Any]:
        """The stages of one of `GROUPS`, without those that it does not have."""
        return GROUPS[group](self)

    def _has(self, method: str) -> bool:
        return hasattr(self._training, method)

    def _call(self, method: str, *args: Any) -> Any:
        function = getattr(self._training, method)
        return guarded(f"{method} of {self._name} failed", lambda: function(*args))

    def _learning_rate(self) -> dict[str, Any]:
        if not self._has("learning_rate"):
            return {}
        rates = [float(self._call("learning_rate", step)) for step in self._inputs.steps]
        return {"learning rate": np.array(rates)}

    def _clipping(self) -> dict[str, Any]:
        if not self._has("clip_gradients"):
            return {}
        clipped: list[np.ndarray] = []
        for gradient in self._inputs.gradients:
            parts = [self._to(part) for part in gradient.reshape(3, -1)]
            clipped += [np.ravel(self._back(p)) for p in self._call("clip_gradients", parts)]
        return {"clipped gradients": np.concatenate(clipped)}

    def _average(self) -> dict[str, Any]:
        if not self._has("update_average"):
            return {}
        first, *rest = self._inputs.weights
        average, after = self._to(first), []
        for step, weights in enumerate(rest):
            average = self._call("update_average", average, self._to(weights), step)
            after.append(np.array(self._back(average)))  # a copy; it may be changed in place
        return {"average of the weights": np.ravel(after)}

    def _timesteps(self) -> dict[str, Any]:
        if not self._has("timestep_probabilities"):
            return {}
        losses = self._to(self._inputs.losses)
        return {TIMESTEPS: self._back(self._call("timestep_probabilities", losses))}

    def _data(self) -> dict[str, Any]:
        pixels, values = np.arange(256, dtype=np.uint8), {}
        if self._has("from_pixels"):
            values["pixels into numbers"] = self._back(self._call("from_pixels", self._to(pixels)))
        if self._has("to_pixels"):
            numbers = self._to(self._inputs.numbers)
            values["numbers into pixels"] = self._back(self._call("to_pixels", numbers))
        return values

    def _ten_steps(self) -> dict[str, Any]:
        if not self._has("ten_training_steps"):
            return {}
        i = self._inputs
        batches = ([self._to(batch) for batch in batches] for batches in (i.pixels, i.t, i.noise))
        weights, averages = self._call("ten_training_steps", self._network(), *batches)
        return {
            "ten training steps": np.array([_numbers(w) for w in weights]) - START,
            "the average over ten training steps": np.array([_numbers(a) for a in averages])
            - START,
        }


def _numbers(weights: Any) -> np.ndarray:
    """Three numbers, of a tensor or of several."""
    return np.array([float(weight) for weight in weights], np.float64)


GROUPS = {
    "learning rate": TrainingSide._learning_rate,
    "clipping": TrainingSide._clipping,
    "average": TrainingSide._average,
    "timesteps": TrainingSide._timesteps,
    "data": TrainingSide._data,
    "training": TrainingSide._ten_steps,
}
