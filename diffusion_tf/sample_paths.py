"""How samples come about: predictions of x_0 and images on the way, to npz and PNG."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf import images, scatter
from diffusion_tf.conditions import Conditions, denoise_fn_for
from diffusion_tf.files import replacing
from diffusion_tf.finite import check_finite
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.sample_parts import explained
from diffusion_tf.sampling import shard_seed

NUM_ROWS, NUM_COLUMNS = 8, 11  # of a picture, at most


def check_paths(
    diffusion: GaussianDiffusion, progressive: int | None, trajectory: Sequence[int]
) -> None:
    """Makes sure that the process has the steps that are to be kept.

    Args:
        diffusion: the process.
        progressive: distance in steps between the predictions; None for none.
        trajectory: times of the images.

    Raises:
        ValueError: it has not.
    """
    T = diffusion.num_timesteps
    if progressive is not None and not 1 <= progressive <= T:
        raise ValueError(
            f"--progressive={progressive} is no distance between steps; it must lie in 1..{T}."
        )
    for time in trajectory:
        if not -1 <= time < T:
            raise ValueError(f"--trajectory has {time}; each time must lie in -1..{T - 1}.")


def write_progressive(
    path_of: Callable[[str], Path],
    model: keras.Model,
    diffusion: GaussianDiffusion,
    freq: int,
    *,
    shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    conditions: Conditions | None = None,
) -> None:
    """Draws shard 0 and keeps the predictions of x_0 on the way, if they are not there already.

    `progressive.npz` holds `xstartpreds`, uint8 [B, K, H, W, C], and `steps`, int32 [K]: the steps
    at which they were made, rising. `progressive.png` shows some of them, from noise to sample.

    Args:
        path_of: a file's path, from its name.
        model, diffusion: what draws.
        freq: distance in steps between predictions.
        shape: [B, H, W, C] of the shard.
        seed: of the samples.
        jit_compile: compile with XLA.
        conditions: of a conditional network.

    Raises:
        NotFiniteError: some of what was drawn holds NaN or infinity; nothing is written then.
        OSError: the files cannot be written.
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def draw() -> tf.Tensor:
        return diffusion.p_sample_loop_progressive(
            denoise_fn_for(model, conditions, shape[0]), shape=shape, include_xstartpred_freq=freq,
            seed=shard_seed(seed, 0),
        )[1]  # fmt: skip

    if path_of("progressive.npz").exists():
        return
    logging.info("Drawing predictions of x_0 on the way to the first %d samples ...", shape[0])
    predictions = draw().numpy()
    check_finite(predictions, "samples (predictions of x_0, shard 0)")
    predictions = _stored(predictions, shape)
    steps = freq * np.arange(predictions.shape[1], dtype=np.int32)
    with explained(path_of("progressive.npz")):
        _save_picture(path_of("progressive.png"), predictions[:, ::-1], steps[::-1])
        with replacing(path_of("progressive.npz")) as temporary:
            np.savez(temporary, xstartpreds=predictions, steps=steps)


def write_trajectory(
    path_of: Callable[[str], Path],
    model: keras.Model,
    diffusion: GaussianDiffusion,
    times: Sequence[int],
    *,
    shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    conditions: Conditions | None = None,
) -> None:
    """Draws shard 0 and keeps the images at some times, if they are not there already.

    `trajectory.npz` holds `times`, int32 [F], falling, and `images`, uint8 [F, B, H, W, C];
    `trajectory.png` shows some of them.

    Args:
        path_of, model, diffusion, shape, seed, jit_compile, conditions: see `write_progressive`.
        times: from T - 1, the noise, to -1, the sample.

    Raises:
        NotFiniteError: some of what was drawn holds NaN or infinity; nothing is written then.
        OSError: the files cannot be written.
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def draw() -> tuple[tf.Tensor, tf.Tensor]:
        return diffusion.p_sample_loop_trajectory(
            denoise_fn_for(model, conditions, shape[0]), shape=shape, keep=list(times),
            seed=shard_seed(seed, 0),
        )  # fmt: skip

    if path_of("trajectory.npz").exists():
        return
    logging.info("Drawing images on the way to the first %d samples ...", shape[0])
    kept, frames = draw()
    frames = frames.numpy()
    check_finite(frames.swapaxes(0, 1), "samples (their trajectory, shard 0)")
    frames = _stored(frames, shape)
    with explained(path_of("trajectory.npz")):
        _save_picture(path_of("trajectory.png"), frames.swapaxes(0, 1), kept.numpy())
        with replacing(path_of("trajectory.npz")) as temporary:
            np.savez(temporary, times=kept.numpy(), images=frames)


def _stored(frames: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images as pixels; vectors, whose batches have the shape [B, D], as they are."""
    return images.to_pixels(frames) if len(shape) > 2 else frames


def _save_picture(path: Path, frames: np.ndarray, times: np.ndarray) -> None:
    """Of images [B, F, H, W, C], a row for each of the first, a column for some of the times.

    Of vectors [B, F, D], a panel with all their points for each of these times.
    """
    chosen = np.unique(np.rint(np.linspace(0, len(times) - 1, NUM_COLUMNS)).astype(int))
    titles = [f"t={t}" if t >= 0 else "sample" for t in times[chosen]]
    if frames.ndim == 3:
        panels = scatter.in_a_plane(frames[:, chosen].swapaxes(0, 1), like=frames[:, -1])
        scatter.save_panels(str(path), [panels], titles, [""])
        return
    rows = frames[:NUM_ROWS, chosen]
    images.save_labelled_grid(
        str(path),
        rows,
        row_labels=[""] * len(rows),
        column_labels=titles,
    )
