"""Convolutions and products of matrices, in bfloat16 also where the processor has none.

Without instructions for it libraries emulate them, which takes several times as long as float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from diffusion_tf.devices import computes_in_bfloat16


def widened(product: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A product of two tensors that takes float32 copies of bfloat16 where that is faster.

    The numbers are the same: instructions for bfloat16, too, add up in float32 and round once.
    The gradient makes the copies again, so that they need not be kept until then.
    """

    @functools.wraps(product)
    def product_of_copies(a: tf.Tensor, b: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        def of_copies(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
            # Weights wait for the images, or all of them would be copied when a step begins.
            with tf.control_dependencies([a]):
                a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
            return tf.cast(product(a, b, *args, **kwargs), tf.bfloat16)

        if a.dtype != tf.bfloat16 or computes_in_bfloat16():
            return product(a, b, *args, **kwargs)
        return tf.recompute_grad(of_copies)(a, tf.convert_to_tensor(b))

    return product_of_copies


matmul = widened(tf.matmul)
conv2d_transpose = widened(tf.nn.conv2d_transpose)


class Conv2D(layers.Conv2D):
    """Keras's convolution, widened."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The convolution without the bias."""
        return widened(super().convolution_op)(inputs, kernel)


class Dense(layers.Dense):
    """Keras's dense layer without an activation, widened: `call(x [B, C]) -> [B, units]`."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """See the class."""
        return tf.nn.bias_add(matmul(inputs, self.kernel), self.bias)
