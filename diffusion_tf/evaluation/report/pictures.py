"""The pictures of a report: samples, their nearest neighbours, trajectories, interpolations."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset
from diffusion_tf.evaluation.image_files import ImageFiles
from diffusion_tf.evaluation.report.document import Picture
from diffusion_tf.evaluation.report.neighbours import nearest, save_neighbours
from diffusion_tf.gaussian_diffusion.fewer_steps import RespacedDiffusion
from diffusion_tf.sampling import pictures
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils import images

NUM_SHOWN, NUM_WITH_NEIGHBOURS, NUM_NEIGHBOURS = 64, 8, 8


def illustrate_samples(
    folder: Path, samples: np.ndarray, training_images: Dataset
) -> Iterator[Picture]:
    """Pictures of samples, and of the training images that are most like them.

    Args:
        folder: for samples.png and neighbours.png.
        samples: uint8 [N, H, W, C].
        training_images: where neighbours are looked for.
    """
    path = folder / "samples.png"
    images.save_png(str(path), images.show_grid(samples))
    yield Picture("Samples", f"The first {len(samples)}, none chosen.", path)
    shown = samples[:NUM_WITH_NEIGHBOURS]
    k = min(NUM_NEIGHBOURS, len(training_images))
    _, neighbours, _ = nearest(shown, training_images, k=k)
    path = folder / "neighbours.png"
    save_neighbours(str(path), shown, neighbours)
    yield Picture(
        "Nearest training images",
        f"A sample, and the {neighbours.shape[1]} of {len(training_images)} training images that"
        " differ least from it, by the mean square of the differences of pixels.",
        path,
    )


def illustrate_model(
    folder: Path, config: Config, sampler: Sampler, real_images: Dataset, *, num_chains: int
) -> tuple[np.ndarray, list[Picture]]:
    """Pictures of what only a model can show.

    Args:
        folder: for trajectory.png and interpolation.png.
        config: of the run.
        sampler: what draws.
        real_images: whose first images are mixed.
        num_chains: samples to draw.

    Returns:
        The samples drawn, uint8 [num_chains, H, W, C], and the pictures.
    """
    trajectory, interpolation = folder / "trajectory.png", folder / "interpolation.png"
    conditions = pictures.conditions_to_show(config, real_images)
    shown = dataclasses.replace(sampler, conditions=conditions)
    _, frames = pictures.write_trajectory_picture(
        str(trajectory), shown, num_chains, real_images.class_names
    )
    pictures.write_interpolations(str(interpolation), config, sampler, real_images)
    return frames[-1], [
        Picture(
            "From noise to samples", f"x_t before the step at t. {_of_time(sampler)}", trajectory
        ),
        Picture(
            "Interpolations",
            "Two real images, left and right, are diffused up to the noise at t, mixed with weight"
            f" λ, and denoised (the paper's Figure 8). {_of_time(sampler)}",
            interpolation,
        ),
    ]


def _of_time(sampler: Sampler) -> str:
    """What t is above the columns and beside the rows."""
    process = sampler.process
    if not isinstance(process, RespacedDiffusion):
        return f"t counts the {process.num_timesteps:,} steps of training from 0."
    return (
        f"t counts the {process.training.num_timesteps:,} steps of training from 0, of which"
        f" {process.num_timesteps:,} are gone through."
    )


def first_images(samples: ImageFiles) -> np.ndarray:
    """The first samples as uint8 [N, H, W, C], as many as are shown."""
    return images.as_pixels(next(samples.batches(NUM_SHOWN)))
