"""Where the noise of a chain comes from: a function, or a seed and the step."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from diffusion_tf.utils.numbers import INT64_MAX, whole
from diffusion_tf.utils.random_numbers import fold_in, normal, normal_rows, seed_pair, unseeded

NoiseFn = Callable[..., tf.Tensor]  # noise_fn(shape=..., dtype=...)
StepNoise = Callable[..., tf.Tensor]  # step_noise(step, shape=..., dtype=...)


def noise_source(
    noise_fn: NoiseFn | None,
    seed: int | tf.Tensor | None,
    first_row: int | tf.Tensor | None = None,
) -> StepNoise:
    """Returns `draw(step, shape=, dtype=)`, the noise of each step of a chain.

    Args:
        noise_fn: called as `noise_fn(shape=, dtype=)` at every step. If neither is given, a seed is
            drawn, which `tf.random.set_seed` makes the same each time.
        seed: any int64, or an integer tensor [2]: the noise then depends on seed and step alone,
            whatever the device and whether compiled or not. Or [B, 2], a seed for each example,
            whose noise then does not depend on what else is in the batch.
        first_row: with a seed: the batch is a part of more examples and begins at this one; the
            noise of an example then does not depend on what else is in the batch.

    Raises:
        ValueError: noise_fn and seed are both given, first_row without a seed, or a seed that is
            not an int64.
    """
    if first_row is not None and seed is None:
        raise ValueError("first_row numbers the rows of seeded noise; give a seed with it.")
    if noise_fn is not None:
        if seed is not None:
            raise ValueError("noise_fn and seed were both given; give one of them.")
        return lambda step, shape, dtype: noise_fn(shape=shape, dtype=dtype)
    pair: tf.Tensor = unseeded() if seed is None else seed_pair(seed)
    if first_row is not None and not tf.is_tensor(first_row):
        first_row = whole(first_row, "the number of the first row", 0, INT64_MAX)

    def draw_stateless(step: int | tf.Tensor, shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
        if pair.shape.rank == 2:
            return tf.cast(_normal_of_each(shape, pair, step), dtype)
        step_seed = fold_in(pair, step)
        if first_row is None:
            return tf.cast(normal(shape, step_seed), dtype)
        return tf.cast(normal_rows(shape, step_seed, first_row), dtype)

    return draw_stateless


def _normal_of_each(shape: Sequence[int], seeds: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
    """Standard normal numbers [B, ...], each example's by its own of the seeds [B, 2]."""
    return tf.map_fn(
        lambda seed: normal(shape[1:], fold_in(seed, step)),
        seeds,
        fn_output_signature=tf.TensorSpec(list(shape[1:]), tf.float32),
    )


def repeat_noise(draw: StepNoise, while_step_from: int) -> StepNoise:
    """The same noise for the whole batch at every step >= `while_step_from`."""

    def draw_repeated(step: int | tf.Tensor, shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
        def one_for_all() -> tf.Tensor:
            one = draw(step, shape=[1, *shape[1:]], dtype=dtype)
            return tf.repeat(one, shape[0], axis=0)

        return tf.cond(
            tf.convert_to_tensor(step) >= while_step_from,
            one_for_all,
            lambda: draw(step, shape=shape, dtype=dtype),
        )

    return draw_repeated
