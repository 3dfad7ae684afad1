"""The pictures that a run ends with: samples, trajectories, interpolations, the loss."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset
from diffusion_tf.sampling import scatter
from diffusion_tf.sampling.choices import check_num_lambdas
from diffusion_tf.sampling.guidance import Conditions, get_conditions
from diffusion_tf.sampling.point_pictures import write_point_pictures
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.shards import sample
from diffusion_tf.sampling.times import time_labels, timesteps_to_mix_at
from diffusion_tf.utils import images
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.numbers import is_whole, shown

NUM_SAMPLES = 64
NUM_FRAMES = 60  # of trajectory.gif
NUM_CHAINS, NUM_TIMES = 8, 11  # rows and columns of trajectory.png
NUM_GRID = 16  # samples of a grid in TensorBoard
NUM_PAIRS, NUM_LAMBDAS = 3, 9  # of interpolation.png
GUIDANCE_SCALES, NUM_GUIDED = (0, 1, 2, 4), 6  # of guidance.png, and samples of each
MAX_CONDITIONS = 20  # rows of guidance.png
MAX_NAME = 24  # characters of a class's name in a picture
GUIDANCE_STEPS = 250  # at most: more would take longer than the rest of the pictures


@tf32(False)
def write_pictures(
    workdir: str,
    config: Config,
    sampler: Sampler,
    dataset: Dataset,
    losses: tuple[np.ndarray, np.ndarray],
) -> list[str]:
    """Writes the pictures of a finished run.

    Args:
        workdir: of the run.
        config: of the run.
        sampler: the network, with the averaged weights, and the process of training.
        dataset: whose first images are mixed in pairs.
        losses: of training, steps [N] and losses [N]; without any there is no loss.png.

    Returns:
        Paths: samples.png, trajectory.gif, loss.png; of images trajectory.png and
        interpolation.png, too, and guidance.png if they have conditions; of vectors panels.png.
    """
    write = write_point_pictures if config.data_dim else _write_image_pictures
    paths = write(workdir, config, sampler, dataset)
    if not len(losses[0]):
        logging.warning("No loss.png: the losses of %s cannot be read any more.", workdir)
        return paths
    loss = os.path.join(workdir, "loss.png")
    images.save_figure(loss, images.loss_curve(*losses))
    return [*paths, loss]


def _write_image_pictures(
    workdir: str, config: Config, sampler: Sampler, dataset: Dataset
) -> list[str]:
    names = ("samples.png", "trajectory.gif", "trajectory.png", "interpolation.png")
    samples, animation, trajectory, interpolation = paths = [
        os.path.join(workdir, name) for name in names
    ]
    shown = dataclasses.replace(sampler, conditions=conditions_to_show(config, dataset))
    times, frames = write_trajectory_picture(trajectory, shown, NUM_SAMPLES, dataset.class_names)
    images.save_png(samples, images.show_grid(frames[-1]))
    labels = time_labels(sampler.process, times)
    grids = [
        images.with_caption(images.show_grid(frame), label)
        for frame, label in zip(frames, labels, strict=True)
    ]
    images.save_gif(animation, grids, frame_ms=80, hold_ms=3000)
    write_interpolations(interpolation, config, sampler, dataset)
    if config.conditional:
        paths.append(os.path.join(workdir, "guidance.png"))
        of_conditions = dataset.class_names or dataset.attribute_names
        write_guidance(paths[-1], config, sampler, of_conditions)
    return paths


def conditions_to_show(config: Config, dataset: Dataset) -> Conditions | None:
    """What samples in pictures are conditioned on: all labels in turn, or vectors of the data."""
    if config.num_classes:
        return Conditions(np.arange(config.num_classes, dtype=np.int32))
    return Conditions(dataset.known_conditions[:NUM_SAMPLES]) if config.conditional else None


def write_guidance(
    path: str, config: Config, sampler: Sampler, names: Sequence[str] | None = None
) -> None:
    """Writes a picture with a row for each condition and columns for each guidance scale.

    Conditions are the labels; or vectors, each number alone at 1, then neighbours at 1/2 together.
    The noise of a column is the same at every scale.

    Args:
        path: of the picture.
        config: of the run.
        sampler: with the process of training, which is cut short.
        names: of labels 0, 1, ..., or of the numbers of a vector, where they have some.
    """
    steps = min(sampler.process.num_timesteps, GUIDANCE_STEPS)
    process = get_sampling_process(sampler.process, sampling_steps=steps)
    values, labels = _conditions_alone_and_mixed(config, names)
    scales = GUIDANCE_SCALES if config.cond_drop_prob else (1,)
    number = len(values) * NUM_GUIDED
    columns = []
    for scale in scales:
        conditions = Conditions(values.repeat(NUM_GUIDED, axis=0), scale)
        guided = dataclasses.replace(sampler, process=process, conditions=conditions)
        drawn = np.concatenate(list(sample(guided, number, number)))
        check_finite(drawn, f"samples with guidance scale {scale}")
        columns.append(images.to_pixels(drawn).reshape(len(values), NUM_GUIDED, *drawn.shape[1:]))
    scatter.save_conditions_grid(
        path,
        np.concatenate(columns, axis=1),
        labels,
        [(f"guidance {scale}" + " (no condition)" * (scale == 0), NUM_GUIDED) for scale in scales],
    )


def _conditions_alone_and_mixed(
    config: Config, names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    if config.num_classes:
        values = np.arange(min(config.num_classes, MAX_CONDITIONS), dtype=np.int32)
        return values, _names_of(values, names)
    alone = np.eye(config.cond_dim, dtype=np.float32)
    vectors = np.concatenate([alone, (alone + np.roll(alone, -1, axis=0)) / 2])[:MAX_CONDITIONS]
    return vectors, [_vector_in_words(vector, names) for vector in vectors]


def _vector_in_words(vector: np.ndarray, names: Sequence[str] | None) -> str:
    """Its numbers other than 0, each with the name of what it says, or with its place from 1."""
    words = [names[i] if names else f"number {i + 1}" for i in range(len(vector))]
    said = [f"{_short(words[i])}={vector[i]:g}" for i in np.flatnonzero(vector)]
    return ", ".join(said) or "all 0"


def _names_of(labels: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    """Words for labels: the names of their classes, else their numbers."""
    return [_short(class_names[label] if class_names else f"class {label}") for label in labels]


def _short(word: str) -> str:
    """A word that has room beside a picture, and is drawn as it is, not as a formula."""
    shown = word if len(word) <= MAX_NAME else f"{word[: MAX_NAME - 1]}…"
    return shown.replace("$", r"\$")


def write_trajectory_picture(
    path: str, sampler: Sampler, number: int, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draws samples, and writes a picture of how the first of them came about.

    Args:
        path: of the picture.
        sampler: what draws.
        number: of samples.
        class_names: of the labels that the samples are conditioned on, to stand before the rows.

    Returns:
        What `draw_trajectory` returns.
    """
    logging.info("Drawing %d samples in %d steps ...", number, sampler.process.num_timesteps)
    times, frames = draw_trajectory(sampler, number)
    chosen = np.unique(np.rint(np.linspace(0, len(times) - 1, NUM_TIMES)).astype(int))
    rows = frames[chosen, :NUM_CHAINS].swapaxes(0, 1)
    words = [""] * len(rows)
    if class_names and sampler.conditions:
        words = _names_of(sampler.conditions.rows(0, len(rows)), class_names)
    images.save_labelled_grid(
        path,
        rows,
        row_labels=words,
        column_labels=time_labels(sampler.process, times[chosen]),
    )
    return times, frames


def write_interpolations(path: str, config: Config, sampler: Sampler, dataset: Dataset) -> None:
    """Writes a picture of mixtures of the first images of a data set, in pairs.

    A network that has learned to do without conditions gets none, so that both ends count alike;
    another gets that of the first of a pair.

    Args:
        path: of the picture.
        config: of the run.
        sampler: what draws; its conditions are replaced.
        dataset: of at least 2 images.
    """
    num_pairs, T = min(NUM_PAIRS, len(dataset) // 2), sampler.process.num_timesteps
    logging.info("Interpolating between %d pairs of real images ...", num_pairs)
    x1, x2 = (np.stack([dataset.example(2 * i + k) for i in range(num_pairs)]) for k in (0, 1))
    timesteps = timesteps_to_mix_at(T)
    y = get_conditions(config, "none") if config.cond_drop_prob else None
    if config.conditional and y is None:
        y = Conditions(dataset.known_conditions[: 2 * num_pairs : 2])
    sampler = dataclasses.replace(sampler, conditions=y)
    rows = draw_interpolations(sampler, x1, x2, timesteps=timesteps, num_lambdas=NUM_LAMBDAS)
    save_interpolations(path, rows, time_labels(sampler.process, timesteps))


def grid_drawer(sampler: Sampler) -> Callable[[], np.ndarray]:
    """A function that draws a grid of samples from what the model's weights are at that moment.

    The noise is the same each time, so that grids of different steps can be compared.

    Args:
        sampler: what draws.

    Returns:
        Function without arguments; its result is uint8 [H, W, C]. It raises NotFiniteError if
        samples hold NaN or infinity.
    """
    draw = sampler.grid(NUM_GRID)

    def draw_grid() -> np.ndarray:
        samples = draw().numpy()
        check_finite(samples, "samples of the grid")
        return images.show_grid(images.to_pixels(samples))

    return draw_grid


def draw_trajectory(sampler: Sampler, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws samples and keeps images on their way from noise.

    Returns:
        times [F] in falling order, denser towards the end where the image takes shape, and uint8
        frames [F, B, H, W, C]. The last is the sample, at time -1.

    Raises:
        NotFiniteError: some of the samples hold NaN or infinity.
    """
    T = sampler.process.num_timesteps
    keep = np.unique(np.rint(T * np.linspace(0, 1, NUM_FRAMES) ** 1.5).astype(int) - 1)
    times, frames = sampler.trajectory(number, keep.tolist())
    check_finite(frames.swapaxes(0, 1), "samples")
    return times, images.to_pixels(frames)


@tf32(False)
def draw_interpolations(
    sampler: Sampler,
    x1: np.ndarray,
    x2: np.ndarray,
    *,
    timesteps: Sequence[int],
    num_lambdas: int,
    **how: Any,
) -> np.ndarray:
    """Mixes pairs of real images after diffusing them by different numbers of steps.

    Args:
        sampler: what draws; its conditions are B or one.
        x1, x2: uint8 [B, H, W, C], the ends.
        timesteps: how far to diffuse them, each in 0..T-1.
        num_lambdas: mixtures from lambda = 0 to lambda = 1.
        **how: `mix` and `shared_noise`, see `Chains.interpolate`.

    Returns:
        uint8 [B, len(timesteps), num_lambdas + 2, H, W, C]: x1, the mixtures, x2.

    Raises:
        ValueError: see `check_num_lambdas`; no timestep, or one that the process does not have.
        NotFiniteError: some of the mixtures hold NaN or infinity.
    """
    num_lambdas = check_num_lambdas(num_lambdas)
    check_timesteps(timesteps, sampler.process.num_timesteps)
    lambdas = np.linspace(0, 1, num_lambdas, dtype=np.float32)
    rows = []
    drawn = sampler.mixtures(x1, x2, lambdas, timesteps, **how)
    for t, mixtures in zip(timesteps, drawn, strict=True):
        check_finite(mixtures.reshape(-1, *mixtures.shape[2:]), f"mixtures at t={t}")
        rows.append(np.stack([x1, *images.to_pixels(mixtures), x2], axis=1))
    return np.stack(rows, axis=1)


def check_timesteps(timesteps: Sequence[int], T: int) -> None:
    """Raises a ValueError unless images can be mixed at these times, one or more in 0..T-1."""
    if not len(timesteps):
        raise ValueError("timesteps is empty; give one number or more.")
    for t in timesteps:
        if not (is_whole(t) and 0 <= t < T):
            raise ValueError(f"timesteps has {shown(t)}; each must lie in 0..{T - 1}.")


def save_interpolations(path: str, rows: np.ndarray, labels: Sequence[str]) -> None:
    """Writes what `draw_interpolations` returned: a row for each pair and timestep, or label."""
    num_pairs, num_lambdas = rows.shape[0], rows.shape[2] - 2
    images.save_labelled_grid(
        path,
        rows.reshape(-1, *rows.shape[2:]),
        row_labels=[*labels] * num_pairs,
        column_labels=["source", *lambda_labels(num_lambdas), "source"],
        rows_together=len(labels),
    )


def lambda_labels(number: int) -> list[str]:
    """λ from 0 to 1, exact where four decimals are all it has, else with three."""
    lambdas = np.linspace(0, 1, number)
    return [f"λ={round(lam, 4 if abs(lam - round(lam, 4)) < 1e-9 else 3):g}" for lam in lambdas]
