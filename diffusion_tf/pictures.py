"""The pictures that a run ends with: samples, how they came about, mixtures, the loss."""

import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf import images, scatter
from diffusion_tf.conditions import Conditions, denoise_fn_for, get_conditions
from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset
from diffusion_tf.finite import check_finite
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.numbers import INT32_MAX, is_whole, whole
from diffusion_tf.point_pictures import write_point_pictures
from diffusion_tf.random_numbers import stream
from diffusion_tf.run_log import load_losses
from diffusion_tf.sampling import get_sampler, sample

NUM_SAMPLES = 64
NUM_FRAMES = 60  # of trajectory.gif
NUM_CHAINS, NUM_TIMES = 8, 11  # rows and columns of trajectory.png
NUM_GRID = 16  # samples of a grid in TensorBoard
NUM_PAIRS, NUM_LAMBDAS = 3, 9  # of interpolation.png
GUIDANCE_SCALES, NUM_GUIDED = (0, 1, 2, 4), 6  # of guidance.png, and samples of each
MAX_CONDITIONS = 20  # rows of guidance.png
GUIDANCE_STEPS = 250  # at most: more would take longer than the rest of the pictures


def write_pictures(
    workdir: str, config: Config, model: keras.Model, dataset: Dataset, *, jit_compile: bool
) -> list[str]:
    """Writes the pictures of a finished run.

    Args:
        workdir: of the run.
        config: of the run.
        model: the network, with the averaged weights.
        dataset: whose first images are mixed in pairs.
        jit_compile: compile sampling with XLA.

    Returns:
        Paths: samples.png, trajectory.gif, loss.png; of images trajectory.png and
        interpolation.png, too, and guidance.png if they have conditions; of vectors panels.png.
    """
    write = write_point_pictures if config.data_dim else _write_image_pictures
    paths = write(workdir, config, model, dataset, jit_compile=jit_compile)
    steps, losses = load_losses(workdir)
    loss = os.path.join(workdir, "loss.png")
    images.save_curve(loss, steps, losses, xlabel="step", ylabel="training loss")
    return [*paths, loss]


def _write_image_pictures(
    workdir: str, config: Config, model: keras.Model, dataset: Dataset, *, jit_compile: bool
) -> list[str]:
    diffusion = get_diffusion(config)
    names = ("samples.png", "trajectory.gif", "trajectory.png", "interpolation.png")
    samples, animation, trajectory, interpolation = paths = [
        os.path.join(workdir, name) for name in names
    ]
    how = {"seed": config.seed, "jit_compile": jit_compile}
    frames = write_trajectory(
        trajectory, model, diffusion, shape=(NUM_SAMPLES, *config.image_shape),
        conditions=conditions_to_show(config, dataset), **how,
    )  # fmt: skip
    images.save_png(samples, images.show_grid(frames[-1]))
    grids = [images.show_grid(frame) for frame in frames]
    images.save_gif(animation, grids, frame_ms=80, hold_ms=3000)
    write_interpolations(interpolation, model, diffusion, dataset, config=config, **how)
    if config.conditional:
        paths.append(os.path.join(workdir, "guidance.png"))
        write_guidance(paths[-1], model, config, jit_compile=jit_compile)
    return paths


def conditions_to_show(config: Config, dataset: Dataset) -> Conditions | None:
    """What samples in pictures are conditioned on: all labels in turn, or vectors of the data."""
    if config.num_classes:
        return Conditions(np.arange(config.num_classes, dtype=np.int32))
    return Conditions(dataset.conditions[:NUM_SAMPLES]) if config.conditional else None


def write_guidance(path: str, model: keras.Model, config: Config, *, jit_compile: bool) -> None:
    """Writes a picture with a row for each condition and columns for each guidance scale.

    Conditions are the labels; or vectors, each number alone at 1, then neighbours at 1/2 together.
    The noise of a column is the same at every scale.

    Args:
        path: of the picture.
        model, config: of the run.
        jit_compile: compile with XLA.
    """
    diffusion = get_sampler(
        config, sampling_steps=min(config.num_diffusion_timesteps, GUIDANCE_STEPS)
    )
    values, labels = _conditions_alone_and_mixed(config)
    scales = GUIDANCE_SCALES if config.cond_drop_prob else (1,)
    drawn = [
        sample(
            model, diffusion, num_samples=len(values) * NUM_GUIDED,
            batch_size=len(values) * NUM_GUIDED, sample_shape=config.image_shape,
            seed=config.seed, jit_compile=jit_compile,
            conditions=Conditions(values.repeat(NUM_GUIDED, axis=0), scale),
        )
        for scale in scales
    ]  # fmt: skip
    shape = (len(values), NUM_GUIDED, *config.image_shape)
    columns = [_pixels(np.concatenate(list(d)), "samples").reshape(shape) for d in drawn]
    scatter.save_conditions_grid(
        path,
        np.concatenate(columns, axis=1),
        labels,
        [(f"guidance {scale}", NUM_GUIDED) for scale in scales],
    )


def _conditions_alone_and_mixed(config: Config) -> tuple[np.ndarray, list[str]]:
    if config.num_classes:
        values = np.arange(min(config.num_classes, MAX_CONDITIONS), dtype=np.int32)
        return values, [str(value) for value in values]
    alone = np.eye(config.cond_dim, dtype=np.float32)
    values = np.concatenate([alone, (alone + np.roll(alone, -1, axis=0)) / 2])[:MAX_CONDITIONS]
    return values, [" ".join(f"{number:.2g}" for number in value) for value in values]


def write_trajectory(
    path: str,
    model: keras.Model,
    diffusion: GaussianDiffusion,
    *,
    shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    conditions: Conditions | None = None,
) -> np.ndarray:
    """Draws samples, and writes a picture of how the first of them came about.

    Args:
        path: of the picture.
        model, diffusion, shape, seed, jit_compile, conditions: see `draw_trajectory`.

    Returns:
        All frames of `draw_trajectory`; the last is the samples.
    """
    logging.info("Drawing %d samples in %d steps ...", shape[0], diffusion.num_timesteps)
    times, frames = draw_trajectory(
        model, diffusion, shape=shape, seed=seed, jit_compile=jit_compile, conditions=conditions
    )
    chosen = np.unique(np.rint(np.linspace(0, len(times) - 1, NUM_TIMES)).astype(int))
    rows = frames[chosen, :NUM_CHAINS].swapaxes(0, 1)
    images.save_labelled_grid(
        path,
        rows,
        row_labels=[""] * len(rows),
        column_labels=[f"t={t}" if t >= 0 else "sample" for t in times[chosen]],
    )
    return frames


def write_interpolations(
    path: str,
    model: keras.Model,
    diffusion: GaussianDiffusion,
    dataset: Dataset,
    *,
    config: Config,
    seed: int,
    jit_compile: bool,
) -> None:
    """Writes a picture of mixtures of the first images of a data set, in pairs.

    A network that has learned to do without conditions gets none, so that both ends count alike;
    another gets that of the first of a pair.

    Args:
        path: of the picture.
        dataset: of at least 2 images.
        config: of the run.
        model, diffusion, seed, jit_compile: see `draw_interpolations`.
    """
    num_pairs, T = min(NUM_PAIRS, len(dataset) // 2), diffusion.num_timesteps
    logging.info("Interpolating between %d pairs of real images ...", num_pairs)
    x1, x2 = (np.stack([dataset.example(2 * i + k) for i in range(num_pairs)]) for k in (0, 1))
    timesteps = sorted({T // 8, T // 4, T // 2})
    y = get_conditions(config, "none") if config.cond_drop_prob else None
    if config.conditional and y is None:
        y = Conditions(dataset.conditions[: 2 * num_pairs : 2])
    rows = draw_interpolations(
        model, diffusion, x1, x2, timesteps=timesteps, num_lambdas=NUM_LAMBDAS, seed=seed,
        jit_compile=jit_compile, conditions=y,
    )  # fmt: skip
    save_interpolations(path, rows, timesteps)


def grid_drawer(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    *,
    sample_shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    conditions: Conditions | None = None,
) -> Callable[[], np.ndarray]:
    """A function that draws a grid of samples from what the model's weights are at that moment.

    The noise is the same each time, so that grids of different steps can be compared.

    Args:
        model: the network.
        diffusion: the process.
        sample_shape: of one sample.
        seed: of the noise.
        jit_compile: compile with XLA.
        conditions: of a conditional network.

    Returns:
        Function without arguments; its result is uint8 [H, W, C]. It raises a NotFiniteError if
        samples hold NaN or infinity.
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def draw() -> tf.Tensor:
        return diffusion.p_sample_loop(
            denoise_fn_for(model, conditions, NUM_GRID), shape=(NUM_GRID, *sample_shape),
            seed=stream(seed, "pictures"),
        )  # fmt: skip

    return lambda: images.show_grid(_pixels(draw().numpy(), "samples of the grid"))


def draw_trajectory(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    *,
    shape: tuple[int, ...],
    seed: int,
    jit_compile: bool,
    conditions: Conditions | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws samples and keeps images on their way from noise.

    Returns:
        times [F] in falling order, denser towards the end where the image takes shape, and uint8
        frames [F, B, H, W, C]. The last is the sample, at time -1.

    Raises:
        NotFiniteError: some of the samples hold NaN or infinity, at the end or before.
    """
    T = diffusion.num_timesteps
    keep = np.unique(np.rint(T * np.linspace(0, 1, NUM_FRAMES) ** 1.5).astype(int) - 1)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def draw() -> tuple[tf.Tensor, tf.Tensor]:
        return diffusion.p_sample_loop_trajectory(
            denoise_fn_for(model, conditions, shape[0]), shape=shape, keep=keep.tolist(),
            seed=stream(seed, "pictures"),
        )  # fmt: skip

    times, frames = draw()
    frames = frames.numpy()
    check_finite(frames.swapaxes(0, 1), "samples")
    return times.numpy(), images.to_pixels(frames)


def draw_interpolations(
    model: keras.Model,
    diffusion: GaussianDiffusion,
    x1: np.ndarray,
    x2: np.ndarray,
    *,
    timesteps: Sequence[int],
    num_lambdas: int,
    seed: int,
    jit_compile: bool,
    conditions: Conditions | None = None,
) -> np.ndarray:
    """Mixes pairs of real images after diffusing them by different numbers of steps.

    Args:
        model: the network.
        diffusion: the process.
        x1, x2: uint8 [B, H, W, C], the ends.
        timesteps: how far to diffuse them, each in 0..T-1.
        num_lambdas: mixtures from lambda = 0 to lambda = 1.
        seed: of the noise.
        jit_compile: compile with XLA.
        conditions: of a conditional network, B or one.

    Returns:
        uint8 [B, len(timesteps), num_lambdas + 2, H, W, C]: x1, the mixtures, x2.

    Raises:
        ValueError: num_lambdas < 2, or a timestep that the process does not have.
        NotFiniteError: some of the mixtures hold NaN or infinity.
    """
    num_lambdas = whole(num_lambdas, "num_lambdas", -INT32_MAX)
    if num_lambdas < 2:
        raise ValueError(f"num_lambdas is {num_lambdas}; it must be at least 2, for the two ends.")
    for t in timesteps:
        if not (is_whole(t) and 0 <= t < diffusion.num_timesteps):
            raise ValueError(
                f"timesteps has {t}; each must lie in 0..{diffusion.num_timesteps - 1}."
            )

    @tf.function(jit_compile=jit_compile, autograph=False)
    def mix(t: tf.Tensor) -> tf.Tensor:
        return diffusion.interpolate(
            denoise_fn_for(model, conditions, len(x1) * num_lambdas),
            x1=images.from_pixels(x1),
            x2=images.from_pixels(x2),
            lam=np.linspace(0, 1, num_lambdas, dtype=np.float32),
            t=t,
            seed=stream(seed, "pictures"),
        )

    rows = []
    for t in timesteps:
        mixtures = mix(tf.constant(int(t))).numpy()
        check_finite(mixtures.reshape(-1, *mixtures.shape[2:]), f"mixtures at t={t}")
        mixtures = images.to_pixels(mixtures)
        rows.append(np.stack([x1, *mixtures, x2], axis=1))
    return np.stack(rows, axis=1)


def save_interpolations(path: str, rows: np.ndarray, timesteps: Sequence[int]) -> None:
    """Writes what `draw_interpolations` returned: a row for each pair and timestep."""
    num_pairs, num_lambdas = rows.shape[0], rows.shape[2] - 2
    lambdas = [f"{lam:.2g}" for lam in np.linspace(0, 1, num_lambdas)]
    images.save_labelled_grid(
        path,
        rows.reshape(-1, *rows.shape[2:]),
        row_labels=[f"t={t}" for t in timesteps] * num_pairs,
        column_labels=["source", *(f"λ={lam}" for lam in lambdas), "source"],
    )


def _pixels(samples: np.ndarray, what: str) -> np.ndarray:
    """uint8 of what was drawn, [N, ...]; raises a NotFiniteError that says what it was."""
    check_finite(samples, what)
    return images.to_pixels(samples)
