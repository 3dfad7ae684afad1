"""Exactly N samples in shards, on any number of devices."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.devices import distribute
from diffusion_tf.utils.numbers import whole
from diffusion_tf.utils.progress import progress_bar

MAX_PIECES = 50  # a chain is run in so many pieces, so that progress can be shown between them


def sample(sampler: Sampler, num_samples: int, batch_size: int) -> Iterator[np.ndarray]:
    """Draws exactly `num_samples` samples, shard by shard, showing progress.

    A sample depends on the seed and on its place in its shard of `batch_size` alone; where the
    sampler has a seed for each, on that alone.

    Args:
        sampler: what draws.
        num_samples: how many in all.
        batch_size: how many at once on a device.

    Yields:
        float32 [n, *sample_shape]; n is `batch_size` but for the last.

    Raises:
        ValueError: num_samples or batch_size < 1.
    """
    batch_size, num_shards = split(num_samples, batch_size)
    for drawn in sample_shards(sampler, range(num_shards), num_shards, batch_size):
        for shard, samples in drawn.items():
            yield samples[: num_samples - shard * batch_size]


def split(num_samples: int, batch_size: int) -> tuple[int, int]:
    """The shards of a number of samples.

    Returns:
        Samples in a shard, not more than there are in all, and number of shards. The last shard may
        hold more samples than are asked for.

    Raises:
        ValueError: num_samples or batch_size < 1.
    """
    num_samples = whole(num_samples, "num_samples", 1)
    batch_size = whole(batch_size, "batch_size", 1)
    batch_size = min(batch_size, num_samples)
    return batch_size, -(-num_samples // batch_size)


def sample_shards(
    sampler: Sampler, shards: Sequence[int], num_shards: int, batch_size: int
) -> Iterator[dict[int, np.ndarray]]:
    """Draws whole shards, one on each device at a time, showing progress.

    A shard depends on the seed and its number alone: not on the devices, nor on the shards that are
    drawn with it.

    Args:
        sampler: what draws.
        shards: numbers of the shards to draw.
        num_shards: how many there are in all; those that are not to be drawn count as done.
        batch_size: samples in a shard.

    Yields:
        The shards that were drawn at the same time: float32 [batch_size, *sample_shape] by number.
    """
    strategy = sampler.strategy or tf.distribute.get_strategy()
    num_replicas, T = strategy.num_replicas_in_sync, sampler.process.num_timesteps
    run_piece = _piece_runner(sampler)
    bounds = np.unique(np.linspace(0, T, min(T, MAX_PIECES) + 1, dtype=np.int32))[::-1]
    done = (num_shards - len(shards)) * batch_size
    total = num_shards * batch_size
    with progress_bar(
        "sampling", "sample", total=total, done=done, first_compiles=True
    ) as progress:
        for start in range(0, len(shards), num_replicas):
            done = progress.n
            drawn = shards[start : start + num_replicas]
            spread = [*drawn, *[drawn[-1]] * (num_replicas - len(drawn))]  # no device is idle
            y, seeds, x, memory = _starts(sampler, strategy, spread, batch_size)
            for first, end in zip(bounds[:-1] - 1, bounds[1:], strict=True):
                x, memory = run_piece(y, x, memory, tf.constant(first), tf.constant(end), seeds)
                share = len(drawn) * batch_size * (T - int(end)) // T
                progress.update(done + share - progress.n)
            results = strategy.experimental_local_results(x)[: len(drawn)]
            arrays = [sampler.to_data(result.numpy()) for result in results]
            yield dict(zip(drawn, arrays, strict=True))


def _starts(
    sampler: Sampler, strategy: tf.distribute.Strategy, shards: Sequence[int], batch_size: int
) -> tuple:
    """Conditions, seeds, x_T and the empty memory of shards, one for each replica."""
    shape, process = [batch_size, *sampler.sample_shape], sampler.process
    seeds = [sampler.shard_seed(shard, batch_size) for shard in shards]
    x = [process.prior_sample(shape=shape, seed=seed) for seed in seeds]
    memories = zip(*map(process.initial_memory, x), strict=True)
    y = sampler.conditions and distribute(
        strategy, [sampler.rows(shard * batch_size, batch_size) for shard in shards]
    )
    return (
        y,
        distribute(strategy, seeds),
        distribute(strategy, x),
        tuple(distribute(strategy, memory) for memory in memories),
    )


def _piece_runner(sampler: Sampler) -> Callable:
    """A function (y, x, memory, first, last, seed) -> (x, memory) of some steps."""

    def steps(
        network: DenoiseFn,
        x: tf.Tensor,
        memory: tf.Tensor,
        first: tf.Tensor,
        last: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple:
        return sampler.process.p_sample_steps(
            network, x=x, memory=memory, first=first, last=last, seed=seed,
            clip_denoised=sampler.clip_denoised,
        )  # fmt: skip

    return sampler.on_replicas(steps)
