"""Random numbers as a function of a seed: no state, the same with XLA and without.

TensorFlow's `stateless_normal` and `stateless_uniform` draw other floats under XLA than outside it;
its integers agree. So normal numbers are made from integers here.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from diffusion_tf.utils.numbers import checked_seed

# Streams of one seed, so that no two uses of randomness share numbers.
StreamName = Literal[
    "data_order", "train", "dropout", "sample", "pictures", "likelihood", "validation"
]
# Of a seed: one number, two, or two for each example.
_SHAPES: tuple[list, ...] = ([], [2], [None, 2])
STREAMS: tuple[StreamName, ...] = get_args(StreamName)


def stream(seed: int, name: StreamName) -> tf.Tensor:
    """The seed of one use of randomness.

    Args:
        seed: of the run, any int64.
        name: one of `STREAMS`.

    Returns:
        int64 [2], for `fold_in`, `normal` and TensorFlow's stateless functions.

    Raises:
        ValueError: the seed is not an int64.
    """
    return fold_in(seed_pair(seed), STREAMS.index(name))


def seed_pair(seed: int | tf.Tensor) -> tf.Tensor:
    """A seed, or two numbers that are one already, as int64 [2].

    Args:
        seed: any int64; or an integer tensor, a scalar, [2] or [B, 2], of a type that int64 holds.

    Raises:
        ValueError: it is something else.
    """
    values: Any = seed
    if not tf.is_tensor(values):
        values = np.asarray(checked_seed(values) if np.ndim(values) == 0 else values)
    if (
        not tf.as_dtype(values.dtype).is_integer
        or values.dtype == tf.uint64
        or not any(tf.TensorShape(values.shape).is_compatible_with(shape) for shape in _SHAPES)
    ):
        raise ValueError(
            f"seed has dtype {tf.as_dtype(values.dtype).name} and shape {values.shape}; it must be"
            " a whole number, or int64 [2] or [B, 2]."
        )
    values = tf.cast(values, tf.int64)
    return tf.stack([values, tf.zeros_like(values)]) if values.shape.rank == 0 else values


def host_seed(seed: int) -> int:
    """A seed of 32 bits, which Keras and NumPy take: the same where it fits, a hash of it else."""
    if 0 <= seed < 2**32:
        return seed
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A new seed from a seed [2] and a number (a step, a shard, a replica)."""
    return tf.random.fold_in(seed, tf.cast(data, tf.int64), alg="philox")


def normal(shape: Sequence[int] | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal float32 numbers, by Box and Muller from 24-bit uniform ones.

    A larger first axis adds rows and leaves those before them as they are, up to rounding.

    Args:
        shape: of the result.
        seed: integers [2].
    """
    return _box_muller(
        tf.random.stateless_uniform(
            tf.concat([shape, [2]], axis=0), seed, None, None, tf.uint32, alg="philox"
        )
    )


def unseeded_normal(shape: Sequence[int] | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Standard normal numbers, others at every call, where nobody gave a seed.

    Not `tf.random.normal`: after `tf.random.set_seed` such operations draw the same numbers inside
    a loop's body as outside it.
    """
    return tf.cast(normal(shape, unseeded()), dtype)


def unseeded() -> tf.Tensor:
    """A seed [2] that is another one at every call; `tf.random.set_seed` determines it."""
    return tf.random.uniform([2], tf.int64.min, tf.int64.max, tf.int64)


def normal_rows(shape: Sequence[int], seed: tf.Tensor, first_row: int | tf.Tensor) -> tf.Tensor:
    """Rows of an endless array of standard normal numbers, from `first_row` on.

    So a row is the same whatever it is drawn together with.

    Args:
        shape: of the result; all but the first number must be known.
        seed: integers [2].
        first_row: number of the first row of the result, a number or scalar.
    """
    blocks = -(-math.prod(shape[1:]) // 2)  # of Philox: its counter gives 4 integers, 2 numbers
    key = tf.random.stateless_uniform([2], seed, None, None, tf.uint64, alg="philox")
    skipped = tf.bitcast(tf.cast(first_row, tf.int64) * blocks, tf.uint64)
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[shape[0], 2 * blocks, 2],
        key=key[:1],
        counter=tf.stack([skipped, key[1]]),
        alg=tf.random.Algorithm.PHILOX.value,
        dtype=tf.uint32,
    )
    return tf.reshape(_box_muller(bits)[:, : math.prod(shape[1:])], shape)


def _box_muller(bits: tf.Tensor) -> tf.Tensor:
    """From uint32 [..., 2] to standard normal numbers [...]."""
    bits = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))
    uniform = (tf.cast(bits, tf.float32) + 0.5) * 2**-24
    radius = tf.sqrt(-2.0 * tf.math.log(uniform[..., 0]))
    return radius * tf.cos(2.0 * math.pi * uniform[..., 1])
