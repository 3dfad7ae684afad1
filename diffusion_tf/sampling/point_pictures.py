"""The pictures that a run on vectors ends with: points on their way to noise and back."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.sampling import scatter
from diffusion_tf.sampling.guidance import Conditions
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.times import time_labels
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.random_numbers import fold_in, normal, stream

NUM_POINTS = 2000
NUM_FRAMES = 60  # of trajectory.gif
NUM_PANELS = 10  # of each process in panels.png


def write_point_pictures(
    workdir: str, config: Config, sampler: Sampler, dataset: Dataset
) -> list[str]:
    """Writes the pictures of a finished run on vectors.

    Vectors of more than two dimensions are shown by the first two principal components of the data.
    A conditional network is given the conditions of the points that its samples are drawn over.

    Args:
        workdir: of the run.
        config: of the run.
        sampler: the network, with the averaged weights, and the process of training.
        dataset: whose first points are shown.

    Returns:
        Paths of samples.png, panels.png (above the points of q, below those of p) and
        trajectory.gif.

    Raises:
        NotFiniteError: some of the samples hold NaN or infinity; nothing is written then.
    """
    process = sampler.process
    number = min(NUM_POINTS, len(dataset))
    real = next(dataset.batches(number))
    conditions = Conditions(dataset.known_conditions[:number]) if config.conditional else None
    logging.info("Drawing %d samples in %d steps ...", number, process.num_timesteps)
    T = process.num_timesteps
    keep = np.unique(np.rint(np.linspace(-1, T - 1, NUM_FRAMES)).astype(int))[::-1]
    shown = dataclasses.replace(sampler, conditions=conditions)
    _, p = shown.trajectory(number, keep.tolist())
    check_finite(p.swapaxes(0, 1), "samples")
    q = sampler.to_data(diffuse(process, real, keep, sampler.seed))
    real = sampler.to_data(real)
    names = scatter.names_of_axes(real.shape[-1])
    p, q, real = (scatter.in_a_plane(points, like=real) for points in (p, q, real))
    limits = scatter.limits_about(real) if sampler.scaling else None
    # What q is at each time fills the frame: noise reaches much further than data.
    frames = [scatter.limits_around(x, real, each_axis=bool(sampler.scaling)) for x in q]
    samples, panels, trajectory = paths = [
        os.path.join(workdir, name) for name in ("samples.png", "panels.png", "trajectory.gif")
    ]
    scatter.save_points(samples, p[-1], real, limits=limits, axis_names=names)
    chosen = np.rint(np.linspace(len(keep) - 1, 0, NUM_PANELS)).astype(int)  # from data to noise
    scatter.save_panels(
        panels,
        [q[chosen], p[chosen]],
        ["x₀", *time_labels(process, keep[chosen[1:]])],
        ["q adds noise →", "← p removes it"],
        real=real,
        limits=[frames[i] for i in chosen],
        axis_names=names,
    )
    labels = time_labels(process, keep)
    scatter.save_animation(
        trajectory, p, labels, real=real, frame_ms=80, hold_ms=3000, limits=frames
    )
    return paths


def points_drawer(config: Config, sampler: Sampler, dataset: Dataset) -> Callable[[], np.ndarray]:
    """A function that draws samples over real points, from what the weights are at that moment.

    Args:
        config, sampler, dataset: see `write_point_pictures`.

    Returns:
        Function without arguments; its result is uint8 [H, W, 3]. The noise is the same each time.
        It raises NotFiniteError if samples hold NaN or infinity.
    """
    number = min(NUM_POINTS, len(dataset))
    conditions = Conditions(dataset.known_conditions[:number]) if config.conditional else None
    draw = dataclasses.replace(sampler, conditions=conditions).grid(number)

    def draw_points() -> np.ndarray:
        samples = draw().numpy()
        check_finite(samples, "samples of the picture")
        real = sampler.to_data(next(dataset.batches(number)))
        points, behind = (
            scatter.in_a_plane(x, like=real) for x in (sampler.to_data(samples), real)
        )
        names = scatter.names_of_axes(real.shape[-1])
        limits = scatter.limits_about(behind)
        return scatter.draw_points(points, behind, limits=limits, axis_names=names)

    return draw_points


def diffuse(
    diffusion: GaussianDiffusion, x_start: np.ndarray, times: np.ndarray, seed: int
) -> np.ndarray:
    """Points after t + 1 steps of q for each of some times, -1 for the points as they are.

    Args:
        diffusion: the process.
        x_start: [N, D].
        times: int [F].
        seed: of the noise, which is the same at all times.

    Returns:
        float32 [F, N, D].
    """
    noise = normal(x_start.shape, fold_in(stream(seed, "pictures"), diffusion.num_timesteps + 1))
    return np.stack(
        [
            diffusion.q_sample(x_start, tf.fill([len(x_start)], int(t)), noise=noise).numpy()
            if t >= 0
            else x_start
            for t in times
        ]
    )
