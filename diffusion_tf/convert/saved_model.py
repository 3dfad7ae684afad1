"""SavedModels: a network and a whole sampler, for TensorFlow without this package."""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from diffusion_tf.convert.serving import Serving
from diffusion_tf.convert.serving import difference as difference_of
from diffusion_tf.models.recomputation import plain_gradients
from diffusion_tf.models.saving import input_specs

_SEED = tf.TensorSpec([], tf.int64, "seed")
_NUMBER = tf.TensorSpec([], tf.int32, "number")


class _Served(tf.Module):
    """What `tf.saved_model.load` returns: `network`, `steps` and `sample`."""

    def __init__(self, serving: Serving):
        super().__init__(name="diffusion_tf")
        self.weights = [variable.value for variable in serving.model.variables]

        @tf.function(input_signature=input_specs(serving.model), autograph=False)
        def once(*inputs: tf.Tensor) -> tf.Tensor:  # of which all others make use
            return serving.network(*inputs)

        def network(x: tf.Tensor, t: tf.Tensor, *y: tf.Tensor) -> tf.Tensor:
            return once(x, *(tf.cast(a, tf.int32) if a.dtype.is_integer else a for a in (t, *y)))

        traced = replace(serving, call=lambda inputs, training: network(*inputs))
        self.network = tf.function(network, autograph=False)
        self.serve = self.network  # its name in what Keras exports
        self.steps = tf.function(traced.steps, autograph=False)
        self.sample = tf.function(traced.sample, autograph=False)


def write(target: str, serving: Serving) -> None:
    """Writes a SavedModel with the signatures `serving_default`, of the network, and `sample`.

    Args:
        target: an empty folder.
        serving: the network, and the process that samples from it.

    Raises:
        OSError: it cannot be written.
    """
    served, (x, t, *y) = _Served(serving), input_specs(serving.model)

    @tf.function(input_signature=[x, t, *y], autograph=False)
    def network(x: tf.Tensor, t: tf.Tensor, *y: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output": served.network(x, t, *y)}

    with plain_gradients():
        for dtype in (tf.int64, tf.int32):
            served.network.get_concrete_function(*input_specs(serving.model, dtype))
        number = [tf.TensorSpec([], tf.int32, name) for name in ("first", "last")]
        served.steps.get_concrete_function(x, tf.TensorSpec([2], tf.int64, "seed"), *number, *y)
        sample = served.sample.get_concrete_function(_SEED, _NUMBER, *y)
        tf.saved_model.save(served, target, {"serving_default": network, "sample": sample})


def difference(target: str, serving: Serving) -> float:
    """Of the network and of one step; see `exports.Code`."""
    loaded, (x, t, *y) = tf.saved_model.load(target), map(tf.constant, serving.inputs().values())
    middle = serving.steps_of.num_timesteps // 2
    step = (x, tf.constant([0, 1], tf.int64), tf.constant(middle), tf.constant(middle), *y)
    weight = float(serving.tolerance(np.array([middle]))[0])
    found, expected = (
        {"output": of.network(x, t, *y), "step": of.steps(*step) / weight}
        for of in (loaded, serving)
    )
    return difference_of(found, expected)
