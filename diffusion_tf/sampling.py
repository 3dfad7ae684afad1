"""Sampling with a trained network: exactly N samples in shards, with progress, to npz or PNG."""

import os
import sys
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from diffusion_tf import images
from diffusion_tf.config import Config
from diffusion_tf.fewer_steps import DDIM, RespacedDiffusion
from diffusion_tf.files import replacing
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.random_numbers import fold_in, stream

SAMPLERS = ("ancestral", "ddim")
MAX_PIECES = 50  # a chain is run in so many pieces, so that progress can be shown between them


def get_sampler(
    config: Config, sampler: str = "ancestral", sampling_steps: int | None = None
) -> GaussianDiffusion:
    """The process that draws samples.

    Args:
        config: of the trained network.
        sampler: `ancestral`, Algorithm 2 of the paper; `ddim`, deterministic given x_T.
        sampling_steps: number of steps, spread evenly over the T of training; all T if None.

    Raises:
        ValueError: unknown sampler, or a number of steps that is not in 1..T.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"Unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}.")
    diffusion = get_diffusion(config)
    steps = diffusion.num_timesteps if sampling_steps is None else sampling_steps
    if sampler == "ddim":
        return DDIM(diffusion, steps)
    return diffusion if steps == diffusion.num_timesteps else RespacedDiffusion(diffusion, steps)


def denoise_fn(model: keras.Model):
    """The network as the diffusion classes call it, without dropout."""
    return lambda x, t: model([x, t], training=False)


def sample(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    *,
    num_samples: int,
    batch_size: int,
    sample_shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
) -> Iterator[np.ndarray]:
    """Draws exactly `num_samples` samples, shard by shard, showing progress.

    A sample depends on the seed and on its place in its shard of `batch_size` alone.

    Args:
        model: the network.
        diffusion: see `get_sampler`.
        num_samples: how many in all.
        batch_size: how many at once.
        sample_shape: of one sample.
        seed: of the noise.
        jit_compile: compile with XLA.

    Yields:
        float32 [n, *sample_shape], not clipped; n is `batch_size` but for the last.

    Raises:
        ValueError: num_samples or batch_size < 1.
    """
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    T = diffusion.num_timesteps
    batch_size = min(batch_size, num_samples)
    network = denoise_fn(model)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run_piece(x: tf.Tensor, first: tf.Tensor, last: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return diffusion.p_sample_steps(network, x=x, first=first, last=last, seed=seed)

    bounds = np.unique(np.linspace(0, T, min(T, MAX_PIECES) + 1, dtype=np.int32))[::-1]
    num_shards = -(-num_samples // batch_size)
    with tqdm(
        total=num_shards * T,
        desc="sampling",
        unit="step",
        mininterval=0.5 if sys.stderr.isatty() else 20,
    ) as progress:
        for shard in range(num_shards):
            shard_seed = fold_in(stream(seed, "sample"), shard)
            x = diffusion.prior_sample(shape=[batch_size, *sample_shape], seed=shard_seed)
            for first, end in zip(bounds[:-1] - 1, bounds[1:], strict=True):
                x = run_piece(x, tf.constant(first), tf.constant(end), shard_seed)
                progress.update(int(first - end + 1))
            yield x.numpy()[: num_samples - shard * batch_size]


def check_output(path: str, *, overwrite: bool = False) -> None:
    """Makes sure that samples can be written to `path` before hours are spent on them.

    Raises:
        ValueError: it exists and may not be overwritten.
    """
    exists = os.path.exists(path) and not (os.path.isdir(path) and not os.listdir(path))
    if exists and not overwrite:
        raise ValueError(f"{path} exists; choose another --out, or add --overwrite.")


def save_samples(path: str, batches: Iterator[np.ndarray]) -> int:
    """Writes samples in [-1, 1] as 8-bit images.

    Args:
        path: `*.npz` for uint8 [N, H, W, C] under the name `arr_0`, the layout that the
            evaluators of guided-diffusion and EDM read; `*.png` for one picture of them all; any
            other name for a folder of PNG files.
        batches: float [n, H, W, C] each.

    Returns:
        Number of samples written.
    """
    if not path.endswith((".npz", ".png")):
        return _save_folder(path, batches)
    pixels = np.concatenate([images.to_pixels(batch) for batch in batches])
    if path.endswith(".png"):
        images.save_png(path, images.show_grid(pixels))
    else:
        with replacing(path) as temporary:
            np.savez(temporary, arr_0=pixels)
    return len(pixels)


def _save_folder(path: str, batches: Iterator[np.ndarray]) -> int:
    number = 0
    for batch in batches:
        for pixels in images.to_pixels(batch):
            images.save_png(os.path.join(path, f"{number:06d}.png"), pixels)
            number += 1
    return number
