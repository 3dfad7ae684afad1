"""Arrays computed by the original code, and the functions that they were computed with.

See tests/golden/README.md.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "golden")

# model_mean_type, model_var_type
TYPES = [
    (mean, var)
    for mean in ("xprev", "xstart", "eps")
    for var in ("fixedsmall", "fixedlarge", "learned")
]


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of golden/<name>.npz."""
    with np.load(os.path.join(FOLDER, f"{name}.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def load_json(name: str) -> dict:
    """The contents of golden/<name>.json."""
    with open(os.path.join(FOLDER, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


def denoise_fn(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """The stand-in for a network with a fixed variance; x is [B, ...] of any rank."""
    t = tf.reshape(tf.cast(t, tf.float32), [-1] + [1] * (len(x.shape) - 1))
    return tf.tanh(0.5 * x + 0.001 * t)


def denoise_fn_learned(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """The stand-in for a network with a learned variance."""
    return tf.concat([denoise_fn(x, t), -4.0 + 0.5 * tf.sin(x)], axis=-1)


def denoise_fn_for(model_var_type: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The stand-in that goes with a variance type."""
    return denoise_fn_learned if model_var_type == "learned" else denoise_fn


def noise_fn(shape: Sequence[int], dtype: tf.DType = tf.float32) -> tf.Tensor:
    """The stand-in for noise: a cosine along the flattened array, the same at every call."""
    noise = np.cos(0.7 * np.arange(np.prod(shape)) + 0.3)
    return tf.constant(noise.reshape(shape), dtype)


def tf1_name(path: str) -> str:
    """The original's name of the variable that has this path in Keras."""
    *scopes, name = path.split("/")
    return "/".join([*scopes, {"kernel": "W", "bias": "b"}.get(name, name)])


def load_weights(
    layer: keras.layers.Layer, values: Mapping[str, np.ndarray], prefix: str = ""
) -> None:
    """Assigns `values[prefix + name]` to every trainable variable, by its name in the original.

    Fails if one is missing, if one of the layer's is left over, or if a shape differs.
    """
    variables = {prefix + tf1_name(v.path): v for v in layer.trainable_variables}
    names = {name for name in values if name.startswith(f"{prefix}{layer.name}/")}
    assert len(variables) == len(layer.trainable_variables), "two variables share a name"
    assert set(variables) == names
    for name, variable in variables.items():
        assert tuple(variable.shape) == values[name].shape, name
        variable.assign(values[name])
