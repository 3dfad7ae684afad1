"""Sampling with a trained network: exactly N samples in shards, on any number of devices."""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from diffusion_tf.conditions import Conditions, denoise_fn
from diffusion_tf.config import Config
from diffusion_tf.devices import distribute
from diffusion_tf.fewer_steps import DDIM, RespacedDiffusion
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.numbers import whole
from diffusion_tf.progress import progress_bar
from diffusion_tf.random_numbers import fold_in, stream

SAMPLERS = ("ancestral", "respaced", "ddim")
MAX_PIECES = 50  # a chain is run in so many pieces, so that progress can be shown between them


def get_sampler(
    config: Config,
    sampler: str = "ancestral",
    sampling_steps: int | None = None,
    eta: float | None = None,
) -> GaussianDiffusion:
    """The process that draws samples.

    Args:
        config: of the trained network.
        sampler: `ancestral`, Algorithm 2 of the paper; `respaced`, the same with betas for fewer
            steps, which `ancestral` becomes where it has fewer; `ddim`.
        sampling_steps: number of steps, spread evenly over the T of training; all T if None.
        eta: of `ddim`: from 0, deterministic given x_T, to 1; 0 if None.

    Raises:
        ValueError: unknown sampler, a number of steps that is not in 1..T, an eta that is not in
            [0, 1] or that the sampler does not have.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"Unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}.")
    if eta is not None and sampler != "ddim":
        raise ValueError(f"eta is {eta}, which sampler {sampler!r} does not have, only 'ddim'.")
    diffusion = get_diffusion(config)
    steps = diffusion.num_timesteps
    if sampling_steps is not None:
        steps = whole(sampling_steps, "sampling_steps", 1, steps)
    if sampler == "ddim":
        return DDIM(diffusion, steps, eta=0.0 if eta is None else eta)
    if sampler == "ancestral" and steps == diffusion.num_timesteps:
        return diffusion
    return RespacedDiffusion(diffusion, steps)


def sample(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    *,
    num_samples: int,
    batch_size: int,
    sample_shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    strategy: tf.distribute.Strategy | None = None,
    conditions: Conditions | None = None,
) -> Iterator[np.ndarray]:
    """Draws exactly `num_samples` samples, shard by shard, showing progress.

    A sample depends on the seed and on its place in its shard of `batch_size` alone.

    Args:
        model, diffusion, sample_shape, seed, jit_compile, strategy, conditions: see
            `sample_shards`.
        num_samples: how many in all.
        batch_size: how many at once on a device.

    Yields:
        float32 [n, *sample_shape], not clipped; n is `batch_size` but for the last.

    Raises:
        ValueError: num_samples or batch_size < 1.
    """
    batch_size, num_shards = split(num_samples, batch_size)
    rounds = sample_shards(
        model, diffusion, range(num_shards), num_shards=num_shards, batch_size=batch_size,
        sample_shape=sample_shape, seed=seed, jit_compile=jit_compile, strategy=strategy,
        conditions=conditions,
    )  # fmt: skip
    for drawn in rounds:
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


def shard_seed(seed: int, shard: int) -> tf.Tensor:
    """The seed [2] of all noise of a shard."""
    return fold_in(stream(seed, "sample"), shard)


def sample_shards(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    shards: Sequence[int],
    *,
    num_shards: int,
    batch_size: int,
    sample_shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    strategy: tf.distribute.Strategy | None = None,
    conditions: Conditions | None = None,
) -> Iterator[dict[int, np.ndarray]]:
    """Draws whole shards, one on each device at a time, showing progress.

    A shard depends on the seed and its number alone: not on the devices, nor on the shards that are
    drawn with it.

    Args:
        model: the network, built in the scope of the strategy.
        diffusion: see `get_sampler`.
        shards: numbers of the shards to draw.
        num_shards: how many there are in all; those that are not to be drawn count as done.
        batch_size: samples in a shard.
        sample_shape: of one sample.
        seed: of the noise.
        jit_compile: compile with XLA.
        strategy: of this machine's devices; one device if not given.
        conditions: of a conditional network.

    Yields:
        The shards that were drawn at the same time: float32 [batch_size, *sample_shape] by number.
    """
    strategy = strategy or tf.distribute.get_strategy()
    num_replicas, T = strategy.num_replicas_in_sync, diffusion.num_timesteps
    scale = conditions.guidance_scale if conditions else 1.0
    if conditions:
        conditions.check(model)
    run_piece = _piece_runner(model, diffusion, strategy, jit_compile, scale)
    bounds = np.unique(np.linspace(0, T, min(T, MAX_PIECES) + 1, dtype=np.int32))[::-1]
    done = (num_shards - len(shards)) * batch_size
    total = num_shards * batch_size
    with progress_bar("sampling", "sample", total=total, done=done) as progress:
        for start in range(0, len(shards), num_replicas):
            done = progress.n
            drawn = shards[start : start + num_replicas]
            spread = [*drawn, *[drawn[-1]] * (num_replicas - len(drawn))]  # no device is idle
            seeds = [shard_seed(seed, shard) for shard in spread]
            y = conditions and distribute(
                strategy, [tf.constant(conditions.rows(s * batch_size, batch_size)) for s in spread]
            )
            shape = [batch_size, *sample_shape]
            x = distribute(strategy, [diffusion.prior_sample(shape=shape, seed=s) for s in seeds])
            distributed_seeds = distribute(strategy, seeds)
            for first, end in zip(bounds[:-1] - 1, bounds[1:], strict=True):
                x = run_piece(x, tf.constant(first), tf.constant(end), distributed_seeds, y)
                share = len(drawn) * batch_size * (T - int(end)) // T
                progress.update(done + share - progress.n)
            results = strategy.experimental_local_results(x)[: len(drawn)]
            yield {shard: result.numpy() for shard, result in zip(drawn, results, strict=True)}


def _piece_runner(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    strategy: tf.distribute.Strategy,
    jit_compile: bool,
    guidance_scale: float,
) -> Callable:
    """A function (x, first, last, seed, y) -> x of some steps.

    x, seed and the conditions y, or None, are one for each replica.
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run_replica(x, first, last, seed, y) -> tf.Tensor:
        network = denoise_fn(model, y, guidance_scale)
        return diffusion.p_sample_steps(network, x=x, first=first, last=last, seed=seed)

    if strategy.num_replicas_in_sync == 1:
        return run_replica

    @tf.function(autograph=False)
    def run_replicas(x, first, last, seed, y):
        return strategy.run(run_replica, args=(x, first, last, seed, y))

    return run_replicas
