"""How samples come about: predictions of x_0 and images on the way, to npz and PNG."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf import images, scatter
from diffusion_tf.array_files import Damaged, check_seal, open_npz, save_npz
from diffusion_tf.conditions import Conditions, denoise_fn_for
from diffusion_tf.finite import check_finite
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.numbers import is_whole
from diffusion_tf.sample_parts import explained
from diffusion_tf.sampling import shard_seed

NUM_ROWS, NUM_COLUMNS = 8, 11  # of a picture, at most


def checked_paths(
    diffusion: GaussianDiffusion, progressive: int | None, trajectory: Sequence[int]
) -> tuple[int | None, list[int]]:
    """Makes sure that the process has the steps that are to be kept.

    Args:
        diffusion: the process.
        progressive: distance in steps between the predictions; None for none.
        trajectory: times of the images.

    Returns:
        The same, as numbers of Python.

    Raises:
        ValueError: it has not.
    """
    T = diffusion.num_timesteps
    if progressive is not None and not (is_whole(progressive) and 1 <= progressive <= T):
        raise ValueError(
            f"--progressive={progressive} is no distance between steps; it must lie in 1..{T}."
        )
    for time in trajectory:
        if not (is_whole(time) and -1 <= time < T):
            raise ValueError(f"--trajectory has {time}; each time must lie in -1..{T - 1}.")
    return progressive and int(progressive), [int(time) for time in trajectory]


def write_progressive(
    path_of: Callable[[str], Path],
    model: keras.Model,
    diffusion: GaussianDiffusion,
    freq: int,
    *,
    shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    context: str,
    conditions: Conditions | None = None,
) -> None:
    """Draws shard 0 and keeps the predictions of x_0 on the way, if they are not there intact.

    `progressive.npz` holds `xstartpreds`, uint8 [B, K, H, W, C], and `steps`, int32 [K]: the steps
    at which they were made, rising. `progressive.png` shows some of them, from noise to sample.

    Args:
        path_of: a file's path, from its name.
        model, diffusion: what draws.
        freq: distance in steps between predictions.
        shape: [B, H, W, C] of the shard.
        seed: of the samples.
        jit_compile: compile with XLA.
        context: of the seal, see `array_files`.
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

    def draw_arrays() -> dict[str, np.ndarray]:
        logging.info("Drawing predictions of x_0 on the way to the first %d samples ...", shape[0])
        predictions = draw().numpy()
        check_finite(predictions, "samples (predictions of x_0, shard 0)")
        predictions = _stored(predictions, shape)
        steps = freq * np.arange(predictions.shape[1], dtype=np.int32)
        return {"xstartpreds": predictions, "steps": steps}

    with explained(path_of("progressive.npz")):
        kept = _kept(path_of("progressive.npz"), context, draw_arrays)
        predictions, steps = kept["xstartpreds"], kept["steps"]
        _save_picture(path_of("progressive.png"), predictions[:, ::-1], steps[::-1])


def write_trajectory(
    path_of: Callable[[str], Path],
    model: keras.Model,
    diffusion: GaussianDiffusion,
    times: Sequence[int],
    *,
    shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    context: str,
    conditions: Conditions | None = None,
) -> None:
    """Draws shard 0 and keeps the images at some times, if they are not there intact.

    `trajectory.npz` holds `times`, int32 [F], falling, and `images`, uint8 [F, B, H, W, C];
    `trajectory.png` shows some of them.

    Args:
        path_of, model, diffusion, shape, seed, jit_compile, context, conditions: see
            `write_progressive`.
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

    def draw_arrays() -> dict[str, np.ndarray]:
        logging.info("Drawing images on the way to the first %d samples ...", shape[0])
        times, frames = (tensor.numpy() for tensor in draw())
        check_finite(frames.swapaxes(0, 1), "samples (their trajectory, shard 0)")
        return {"times": times, "images": _stored(frames, shape)}

    with explained(path_of("trajectory.npz")):
        kept = _kept(path_of("trajectory.npz"), context, draw_arrays)
        _save_picture(path_of("trajectory.png"), kept["images"].swapaxes(0, 1), kept["times"])


def _kept(
    path: Path, context: str, draw: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of a sealed file; drawn, and written to it, if it is damaged or not there."""
    if path.exists():
        try:
            check_seal(path, context=context)
        except Damaged as damage:
            logging.warning("%s It is drawn again.", damage)
        else:
            with open_npz(path) as arrays:
                return dict(arrays)
    arrays = draw()
    save_npz(path, arrays, context=context)
    return arrays


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
