"""Gradients that compute a function again, so that what it computed need not be kept for them."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def recomputed_gradient(
    function: Callable[..., tf.Tensor], operands: Sequence[tf.Tensor], upstream: tf.Tensor
) -> list[tf.Tensor]:
    """The gradient of a function, which is computed for it when the upstream gradient is there.

    `tf.recompute_grad` waits in a way that copies the operands. XLA does not wait at all: it may
    find that it has computed the same before.

    Args:
        function: `function(*operands)`.
        operands: which the gradient is by; all that the function computes with.
        upstream: the gradient by its result.
    """
    with tf.control_dependencies([upstream]), tf.GradientTape() as tape:
        tape.watch(operands)
        result = function(*operands)
    return tape.gradient(result, operands, upstream)


def recomputed(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A function of tensors of which only these are kept for the gradient."""

    @tf.custom_gradient
    def with_gradient(*operands: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return function(*operands), lambda dy: recomputed_gradient(function, operands, dy)

    return with_gradient
