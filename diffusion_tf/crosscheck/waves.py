"""Stand-ins for a network, which every framework computes alike: elementwise in x and t."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.utils.literals import LEARNED, ModelVarType

Network = Callable[[Any, Any], Any]


def tf_wave(model_var_type: ModelVarType) -> Network:
    """The stand-in in TensorFlow, as a network: x [B, S, S, C], t [B]."""

    def network(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        t = tf.reshape(tf.cast(t, tf.float32), [-1, 1, 1, 1])
        return waves(x, t, tf.sin, lambda parts: tf.concat(parts, -1), model_var_type)

    return network


def numpy_wave(model_var_type: ModelVarType) -> Network:
    """The stand-in in NumPy, in float32."""

    def network(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        t = np.reshape(t, [-1, 1, 1, 1]).astype(np.float32)
        output = waves(x, t, np.sin, lambda parts: np.concatenate(parts, -1), model_var_type)
        return output.astype(np.float32)

    return network


def waves(
    x: Any,
    t: Any,
    sin: Callable[[Any], Any],
    concat: Callable[[list], Any],
    model_var_type: ModelVarType,
) -> Any:
    """`wave`, and beside it `variance_wave` if the variance is learned.

    Args:
        x, t, sin: see `wave`.
        concat: the framework's, of a list of arrays along their channels.
        model_var_type: of the config.
    """
    if model_var_type not in LEARNED:
        return wave(x, t, sin)
    return concat([wave(x, t, sin), variance_wave(x, t, sin, model_var_type)])


def wave(x: Any, t: Any, sin: Callable[[Any], Any]) -> Any:
    """What stands in for the prediction of a network.

    Args:
        x: [B, ...], of any framework.
        t: [B, 1, ...], floating.
        sin: the framework's sine.
    """
    return 0.8 * x + 0.3 * sin(3.0 * x + 0.01 * t)


def variance_wave(x: Any, t: Any, sin: Callable[[Any], Any], model_var_type: str) -> Any:
    """What stands in for the second half of a network's output, where the variance is learned.

    Args:
        x, t, sin: see `wave`.
        model_var_type: learned, a log-variance, or learned_range, a place between the bounds.
    """
    place = sin(2.0 * x + 0.02 * t)
    return place if model_var_type == "learned_range" else 0.5 * place - 4.0
