"""Intermediate states of sampling, x_0 predictions and trajectories, to npz and PNG."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.sampling import scatter
from diffusion_tf.sampling.choices import check_progressive
from diffusion_tf.sampling.parts import Parts, explained
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.times import time_labels
from diffusion_tf.utils import images
from diffusion_tf.utils.array_files import Damaged, check_seal, open_npz, save_npz
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.numbers import is_whole

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
    check_progressive(progressive, T)
    for time in trajectory:
        if not (is_whole(time) and -1 <= time < T):
            raise ValueError(f"--trajectory has {time}; each time must lie in -1..{T - 1}.")
    return progressive and int(progressive), [int(time) for time in trajectory]


def write_progressive(parts: Parts, sampler: Sampler, number: int, freq: int) -> None:
    """Draws shard 0 and keeps the predictions of x_0 on the way, if they are not there intact.

    `progressive.npz` holds `xstartpreds`, uint8 [B, K, H, W, C], and `steps`, int32 [K]: the steps
    at which they were made, rising. `progressive.png` shows some of them, from noise to sample.

    Args:
        parts: where they are kept beside the shards.
        sampler: what draws.
        number: of samples in the shard.
        freq: distance in steps between predictions.

    Raises:
        NotFiniteError: some of what was drawn holds NaN or infinity; nothing is written then.
        OSError: the files cannot be written.
    """

    def draw() -> dict[str, np.ndarray]:
        logging.info("Drawing predictions of x_0 on the way to the first %d samples ...", number)
        steps, predictions = sampler.progressive(number, freq)
        check_finite(predictions, "samples (predictions of x_0, shard 0)")
        return {"xstartpreds": _stored(predictions, sampler), "steps": steps}

    path = parts.path_beside("progressive.npz")
    with explained(path):
        kept = _kept(path, parts.context, draw)
        predictions, steps = kept["xstartpreds"], kept["steps"]
        picture = parts.path_beside("progressive.png")
        _save_picture(picture, predictions[:, ::-1], steps[::-1], sampler)


def write_trajectory(parts: Parts, sampler: Sampler, number: int, times: Sequence[int]) -> None:
    """Draws shard 0 and keeps the images at some times, if they are not there intact.

    `trajectory.npz` holds `times`, int32 [F], falling, and `images`, uint8 [F, B, H, W, C];
    `trajectory.png` shows some of them.

    Args:
        parts, sampler, number: see `write_progressive`.
        times: from T - 1, the noise, to -1, the sample.

    Raises:
        NotFiniteError: some of what was drawn holds NaN or infinity; nothing is written then.
        OSError: the files cannot be written.
    """

    def draw() -> dict[str, np.ndarray]:
        logging.info("Drawing images on the way to the first %d samples ...", number)
        kept, frames = sampler.trajectory(number, times, noise="sample")
        check_finite(frames.swapaxes(0, 1), "samples (their trajectory, shard 0)")
        return {"times": kept, "images": _stored(frames, sampler)}

    path = parts.path_beside("trajectory.npz")
    with explained(path):
        kept = _kept(path, parts.context, draw)
        picture = parts.path_beside("trajectory.png")
        _save_picture(picture, kept["images"].swapaxes(0, 1), kept["times"], sampler)


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
    drawn = draw()
    save_npz(path, drawn, context=context)
    return drawn


def _stored(frames: np.ndarray, sampler: Sampler) -> np.ndarray:
    """Images as pixels, vectors as they are."""
    return images.to_pixels(frames) if len(sampler.sample_shape) > 1 else frames


def _save_picture(path: Path, frames: np.ndarray, times: np.ndarray, sampler: Sampler) -> None:
    """Of images [B, F, H, W, C], a row for each of the first, a column for some of the times.

    Of vectors [B, F, D], a panel with all their points for each of these times.
    """
    chosen = np.unique(np.rint(np.linspace(0, len(times) - 1, NUM_COLUMNS)).astype(int))
    titles = time_labels(sampler.process, times[chosen])
    if frames.ndim == 3:
        names = scatter.names_of_axes(frames.shape[-1])
        panels = scatter.in_a_plane(frames[:, chosen].swapaxes(0, 1), like=frames[:, -1])
        limits = [scatter.limits_around(x, each_axis=bool(sampler.scaling)) for x in panels]
        scatter.save_panels(str(path), [panels], titles, [""], limits=limits, axis_names=names)
        return
    rows = frames[:NUM_ROWS, chosen]
    images.save_labelled_grid(
        str(path),
        rows,
        row_labels=[""] * len(rows),
        column_labels=titles,
    )
