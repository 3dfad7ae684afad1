"""Convolutions and products of matrices, in bfloat16 also where the processor has none.

Without instructions for it libraries emulate them, which takes several times as long as float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from diffusion_tf.models.recomputation import recomputed
from diffusion_tf.utils.devices import computes_in_bfloat16
from diffusion_tf.utils.keras_backend import keras, layers


def widened(product: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A product of two tensors that takes float32 copies of bfloat16 where that is faster.

    The numbers are the same: instructions for bfloat16, too, add up in float32 and round once.
    The second factor may be weights in float32, which are rounded to the dtype of the first. The
    gradient makes all copies again, so that they need not be kept until then.
    """

    @functools.wraps(product)
    def product_of_copies(a: tf.Tensor, b: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        def of_copies(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
            # Weights wait for the images, or all of them would be copied when a step begins.
            with tf.control_dependencies([a]):
                b = tf.cast(b, a.dtype)
                if a.dtype == tf.bfloat16 and not computes_in_bfloat16():
                    a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
            return tf.cast(product(a, b, *args, **kwargs), dtype)

        dtype, b = a.dtype, tf.convert_to_tensor(b)
        return (recomputed(of_copies) if dtype.size < 4 else of_copies)(a, b)

    return product_of_copies


matmul = widened(tf.matmul)
conv2d_transpose = widened(tf.nn.conv2d_transpose)


class _KeepsWeights(keras.layers.Layer):
    """Hands its weights on as they are stored, not rounded to the dtype of its computations."""

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """Creates a weight."""
        return super().add_weight(*args, **{**kwargs, "autocast": False})


class Conv2D(_KeepsWeights, layers.Conv2D):
    """Keras's convolution without an activation, widened; channels last unless told otherwise."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"data_format": "channels_last", **kwargs})

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The convolution without the bias."""
        return widened(super().convolution_op)(inputs, kernel)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return add_bias(self.convolution_op(inputs, self.kernel), self.bias)


class Dense(_KeepsWeights, layers.Dense):
    """Keras's dense layer without an activation, widened: `call(x [B, C]) -> [B, units]`."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """See the class."""
        return add_bias(matmul(inputs, self.kernel), self.bias)


def add_bias(x: tf.Tensor, bias: keras.Variable) -> tf.Tensor:
    """[..., C] + [C], in the dtype of x."""
    return tf.nn.bias_add(x, tf.cast(bias, x.dtype))
