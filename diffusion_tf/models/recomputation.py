"""Gradients that compute a function again, so that what it computed need not be kept for them."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

_PLAIN = contextvars.ContextVar("plain_gradients", default=False)


@contextlib.contextmanager
def plain_gradients(wanted: bool = True) -> Iterator[None]:
    """Within it gradients are TensorFlow's own: a graph for inference, which can be saved.

    Functions with gradients of Python code cannot be written into a file. Results are the same, and
    gradients, too, but for rounding; they keep more.

    Args:
        wanted: False changes nothing.
    """
    token = _PLAIN.set(wanted or _PLAIN.get())
    try:
        yield
    finally:
        _PLAIN.reset(token)


def custom_gradient(function: Callable[..., tuple]) -> Callable[..., tf.Tensor]:
    """`tf.custom_gradient`; within `plain_gradients` the function without its gradient."""
    if not _PLAIN.get():
        return tf.custom_gradient(function)
    return lambda *operands: function(*operands)[0]


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

    @custom_gradient
    def with_gradient(*operands: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return function(*operands), lambda dy: recomputed_gradient(function, operands, dy)

    return with_gradient
