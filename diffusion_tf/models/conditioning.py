"""Conditions of a network: labels or vectors, embedded beside the time, or none.

Where an example has no condition, a label of -1 or a vector of NaN stands in its place. Its
embedding is zero: the network is then the unconditional one.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.models.blocks import Shape, dense
from diffusion_tf.utils.keras_backend import layers
from diffusion_tf.utils.numbers import INT32_MAX, outside, whole_array


def no_condition(y: tf.Tensor) -> tf.Tensor:
    """What stands for "no condition" in the place of labels or vectors y; shaped like y."""
    if y.dtype.is_unsigned:
        raise ValueError(
            f"y has dtype {y.dtype.name}, which has no -1, the label of none; take int32."
        )
    return tf.fill(tf.shape(y), tf.constant(-1 if y.dtype.is_integer else math.nan, y.dtype))


def as_condition(y: Any) -> tf.Tensor:
    """Labels of any integer type as int32 or int64, which hold that of none; vectors as they are.

    Raises:
        ValueError: a label beyond int32, where values are known (eager execution). Where they are
            not, such a one stays too large.
    """
    y = tf.convert_to_tensor(y if tf.is_tensor(y) else np.asarray(y))
    if not y.dtype.is_integer:
        return y
    if hasattr(y, "numpy"):
        return tf.constant(whole_array(y.numpy(), "y", -1))
    if y.dtype == tf.uint64:
        y = tf.minimum(y, tf.constant(INT32_MAX, tf.uint64))
    return y if y.dtype == tf.int32 else tf.cast(y, tf.int64)


def check_condition(y: tf.Tensor, num_classes: int, cond_dim: int) -> None:
    """Makes sure that y is what a network is conditioned on.

    Args:
        y: labels [B] in 0..num_classes-1, or -1 for none; or vectors [B, cond_dim], NaN for none.
            Values are looked at only where they are known, that is outside `tf.function`.
        num_classes, cond_dim: of the network; one of them is 0.

    Raises:
        ValueError: it is not.
    """
    if num_classes and not (y.dtype.is_integer and y.shape.rank == 1):
        raise ValueError(
            f"y has dtype {y.dtype.name} and shape {y.shape}; this network is conditioned on"
            f" labels: integers [batch] in 0..{num_classes - 1}."
        )
    if cond_dim and not (y.dtype.is_floating and y.shape.rank == 2 and y.shape[1] == cond_dim):
        raise ValueError(
            f"y has dtype {y.dtype.name} and shape {y.shape}; this network is conditioned on"
            f" vectors: floats [batch, {cond_dim}]."
        )
    if num_classes and hasattr(y, "numpy"):
        check_labels(y.numpy(), num_classes)


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raises a ValueError unless whole numbers, of any type, are in 0..num_classes-1, or -1."""
    wrong = outside(labels, -1, num_classes - 1)
    if wrong is not None:
        raise ValueError(f"y has the label {wrong}; labels lie in 0..{num_classes - 1} (-1: none).")


class ConditionEmbedding(layers.Layer):
    """Embeds conditions: `call(y) -> [B, units]`, zero where there is none.

    Args:
        units: length of the embedding.
        num_classes: y are labels, int [B]; one learned row for each.
        cond_dim: y are vectors, float [B, cond_dim], which go through two dense layers.
    """

    def __init__(self, units: int, *, num_classes: int = 0, cond_dim: int = 0, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # half precision would round labels
        self.units, self.num_classes, self.cond_dim = units, num_classes, cond_dim

    def build(self, input_shape: Shape | None) -> None:
        """Creates the layers."""
        dtype = self.dtype_policy
        if self.num_classes:
            self.labels = layers.Embedding(self.num_classes, self.units, name="labels", dtype=dtype)
            self.labels.build()
        else:
            self.dense0 = dense(self.units, "dense0", dtype=dtype)
            self.dense1 = dense(self.units, "dense1", dtype=dtype)
            self.dense0.build((None, self.cond_dim))
            self.dense1.build((None, self.units))

    def call(self, y: tf.Tensor) -> tf.Tensor:
        """See the class."""
        check_condition(y, self.num_classes, self.cond_dim)
        y = as_condition(y)
        if self.num_classes:
            known = (y >= 0)[:, None]
            embedding = self.labels(tf.maximum(y, 0))
            if not hasattr(y, "numpy"):  # unchecked, and XLA would take another label instead
                embedding = tf.where((y < self.num_classes)[:, None], embedding, math.nan)
        else:
            known = tf.reduce_all(tf.math.is_finite(y), axis=1, keepdims=True)
            embedding = self.dense1(tf.nn.silu(self.dense0(tf.where(known, y, 0.0))))
        return tf.where(known, embedding, tf.zeros_like(embedding))


def get_condition_embedding(
    units: int, num_classes: int, cond_dim: int, **kwargs: Any
) -> ConditionEmbedding | None:
    """The built layer of a conditional network, `cond`; None for an unconditional one.

    Raises:
        ValueError: both labels and vectors are asked for.
    """
    if num_classes and cond_dim:
        raise ValueError(
            f"num_classes is {num_classes} and cond_dim is {cond_dim}; a condition is a label or a"
            " vector, so one of them must be 0."
        )
    if not (num_classes or cond_dim):
        return None
    layer = ConditionEmbedding(
        units, num_classes=num_classes, cond_dim=cond_dim, name="cond", **kwargs
    )
    layer.build(None)
    return layer


def add_condition(
    temb: tf.Tensor, condition: list[tf.Tensor], layer: ConditionEmbedding | None
) -> tf.Tensor:
    """Adds the embedding of the condition to that of the time.

    Args:
        temb: [B, units].
        condition: what follows x and t in a network's inputs: [y], or [] for none.
        layer: of a conditional network.

    Raises:
        ValueError: a condition for an unconditional network, or the reverse.
    """
    if layer is None:
        if condition:
            raise ValueError("This network takes no condition; call it with [x, t].")
        return temb
    if not condition:
        raise ValueError("This network is conditional; call it with [x, t, y].")
    if not temb.shape[:1].is_compatible_with(condition[0].shape[:1]):
        raise ValueError(
            f"y has shape {condition[0].shape} for a batch of {temb.shape[0]}; give one condition"
            " for each example."
        )
    return temb + layer(condition[0])
