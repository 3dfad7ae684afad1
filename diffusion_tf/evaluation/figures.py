"""The paper's figures from a run: each draws what its number stands for and writes one picture.

Numbers are those of Ho, Jain & Abbeel 2020 (arXiv 2006.11239, version 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion_tf.evaluation.features import get_features
from diffusion_tf.evaluation.metrics.fid import Moments, Statistics, frechet_distance
from diffusion_tf.gaussian_diffusion.compression import Transmission
from diffusion_tf.sampling.pictures import draw_interpolations, save_interpolations
from diffusion_tf.sampling.room import check_batch
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils import images
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.numbers import finite, is_whole, shown
from diffusion_tf.utils.sentences import shown_text

NUM_COLUMNS = 11  # of figure 6
NUM_LAMBDAS = 11  # of figures 8 and 9: 0, 0.1, ..., 1
MAX_LISTED = 100  # rows or columns of a picture
BATCH = 256  # images whose features are taken at once


@dataclass(frozen=True, kw_only=True)
class Material:
    """What figures are drawn from.

    Attributes:
        sampler: the network and the process of training.
        images: uint8 [N, H, W, C], real ones, N of 2 or more.
        data: uint8 [M, H, W, C], what the quality of samples is measured against.
        number: of samples in a row of figure 7, and of rows of figure 6.
        share_from: times of figure 7.
        budgets: bits/dim of figure 5.
        quality_samples: of figure 10.
        features: of figure 10: `pixels` or `inception`.
    """

    sampler: Sampler
    images: np.ndarray
    data: Callable[[], np.ndarray]
    number: int
    share_from: Sequence[int]
    budgets: Sequence[float]
    quality_samples: int
    features: str

    @property
    def T(self) -> int:
        """Steps of the process."""
        return self.sampler.process.num_timesteps


def draw_rate_distortion(path: str, of: Material) -> None:
    """Figures 5 and 6 in one: images as they are after a number of bits, and what they cost."""
    logging.info("Sending %d images in %d steps ...", len(of.images), of.T)
    sent = of.sampler.transmit(of.images, of.budgets)
    check_finite(sent.reconstructions, "reconstructions")
    seen = images.to_pixels(sent.reconstructions)
    number, height, width = of.images.shape[:3]
    heights = [0.8 * number * height / width + 0.2, 3.2]
    size = (max(0.8 * (len(of.budgets) + 1), 5.0), sum(heights))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    titles = [*(f"{budget:g} bits/dim" for budget in of.budgets), "source"]
    axes = above.subplots(number, len(of.budgets) + 1, squeeze=False)
    for row in range(number):
        for column, pixels in enumerate([*seen[row], of.images[row]]):
            images.show_on(axes[row, column], pixels, "" if row else titles[column])
        axes[row, 0].set_ylabel(str(row + 1), fontsize=7, rotation=0, ha="right", va="center")
    _plot_distortion(below.subplots(), sent)
    images.save_figure(path, figure)


def _plot_distortion(axis: Axes, sent: Transmission) -> None:
    """Draws the distortion of each image over what has been spent on it."""
    for number, (rate, distortion) in enumerate(zip(sent.rate, sent.distortion, strict=True), 1):
        axis.plot(rate, 127.5 * np.sqrt(distortion), linewidth=0.8, label=str(number))
    axis.set_xlabel("rate (bits/dim)")
    axis.set_ylabel("distortion (RMSE, 0 to 255)")
    axis.grid(alpha=0.3)
    axis.legend(title="image", fontsize=7, title_fontsize=7, ncols=-(-len(sent.rate) // 10))


def draw_progressive(path: str, of: Material) -> None:
    """Figure 6: predictions of x_0 on the way, a row for each sample, time from left to right."""
    freq = max(1, of.T // (NUM_COLUMNS - 1))
    logging.info("Drawing predictions of x_0 on the way to %d samples ...", of.number)
    steps, predictions = of.sampler.progressive(of.number, freq)
    check_finite(predictions, "predictions of x_0")
    images.save_labelled_grid(
        path,
        images.to_pixels(predictions)[:, ::-1],
        row_labels=[""] * of.number,
        column_labels=[f"t={t}" for t in steps[::-1]],
    )


def draw_sharing(path: str, of: Material) -> None:
    """Figure 7: samples that share x_t, a row for each t, with x_t before them."""
    times = sorted(of.share_from, reverse=True)
    logging.info("Drawing %d samples that share x_t at each of t=%s ...", of.number, times)
    shared, samples = of.sampler.sharing(times, of.number)
    for t, drawn in zip(times, samples, strict=True):
        check_finite(drawn, f"samples that share x_t at t={t}")
    images.save_labelled_grid(
        path,
        images.to_pixels(np.concatenate([shared[:, None], samples], axis=1)),
        row_labels=[f"t={t}" for t in times],
        column_labels=["shared", *[""] * of.number],
    )


def draw_pairs(path: str, of: Material) -> None:
    """Figure 8: interpolations between pairs of images, diffused by half of the steps."""
    pairs = len(of.images) // 2
    _draw_mixtures(path, of, of.images[: 2 * pairs : 2], of.images[1 : 2 * pairs : 2], [of.T // 2])


def draw_coarse_to_fine(path: str, of: Material) -> None:
    """Figure 9: interpolations between two images, a row for each eighth of the steps."""
    timesteps = sorted({k * of.T // 8 - 1 for k in range(1, 9)} - {-1}, reverse=True)
    _draw_mixtures(path, of, of.images[:1], of.images[1:2], timesteps)


def _draw_mixtures(
    path: str, of: Material, x1: np.ndarray, x2: np.ndarray, timesteps: Sequence[int]
) -> None:
    logging.info("Interpolating between %d pairs at t=%s ...", len(x1), timesteps)
    rows = draw_interpolations(of.sampler, x1, x2, timesteps=timesteps, num_lambdas=NUM_LAMBDAS)
    save_interpolations(path, rows, [f"t={t}" for t in timesteps])


def draw_quality(path: str, of: Material) -> None:
    """Figure 10: the Frechet distance of the predictions of x_0 from the data, over time."""
    logging.info("Drawing predictions of x_0 on the way to %d samples ...", of.quality_samples)
    steps, predictions = of.sampler.progressive(of.quality_samples, max(1, of.T // 20))
    check_finite(predictions, "predictions of x_0")
    data = of.data()
    expected = _statistics(data, of.features)
    distances = [
        frechet_distance(_statistics(images.to_pixels(predictions[:, k]), of.features), expected)
        for k in range(len(steps))
    ]
    figure = Figure(figsize=(6, 4), dpi=120)
    axis = figure.subplots()
    axis.plot(of.T - steps, distances, marker=".", label="predictions of $x_0$")
    if len(data) >= 4:
        halves = [_statistics(data[k::2], of.features) for k in (0, 1)]
        real = frechet_distance(*halves)
        label = f"real against real, {len(data) // 2} images each"
        axis.axhline(real, color="black", linestyle=":", label=label)
        axis.legend()
    axis.set_yscale("log")
    axis.set_xlabel("reverse process steps (T - t)")
    axis.set_ylabel(f"Fréchet distance ({of.features}) of {of.quality_samples} samples")
    axis.grid(which="both", alpha=0.3)
    images.save_figure(path, figure)


def _statistics(pixels: np.ndarray, features: str) -> Statistics:
    extract, moments = get_features(features).extract, Moments()
    for start in range(0, len(pixels), BATCH):
        moments.update(extract(pixels[start : start + BATCH])[0])
    return moments.statistics()


FIGURES: dict[str, Callable[[str, Material], None]] = {
    "5": draw_rate_distortion,
    "6": draw_progressive,
    "7": draw_sharing,
    "8": draw_pairs,
    "9": draw_coarse_to_fine,
    "10": draw_quality,
}


@tf32(False)
def draw_figure(number: str, path: str, material: Material) -> None:
    """Draws and writes one of `FIGURES`.

    Raises:
        NotFiniteError: some of what was drawn holds NaN or infinity; nothing is written then.
        OSError: the picture cannot be written.
    """
    FIGURES[number](path, material)


def check_numbers(numbers: Sequence[str]) -> None:
    """Raises a ValueError if one of the figures is not one of `FIGURES`, or there is none."""
    for number in numbers or [""]:
        if number not in FIGURES:
            raise ValueError(
                f"--figures has {shown(number)}; choose from {','.join(FIGURES)}, comma-separated."
            )
        if numbers.count(number) > 1:
            raise ValueError(f"--figures names {number} twice; name each once.")


def check_share_from(times: Sequence[int], T: int) -> None:
    """Raises a ValueError unless samples can share x_t at these times."""
    if not len(times):
        raise ValueError("--share_from is empty; give one time or more, such as 750,500,250.")
    _check_listed("share_from", times)
    for t in times:
        if not (is_whole(t) and 0 <= t < T):
            raise ValueError(f"--share_from has {shown(t)}; each time must lie in 0..{T - 1}.")


def parse_budgets(texts: Sequence[str]) -> list[float]:
    """Rates in bits/dim from their texts; ValueError unless each is a number above 0."""
    try:
        budgets = [finite(float(text), "a budget") for text in texts]
    except ValueError:
        budgets = []
    if not budgets or min(budgets) <= 0:
        raise ValueError(
            f"--budgets={shown_text(','.join(texts))} is not a list of bits/dim; give numbers"
            " above 0, such as 0.1,1,2."
        )
    _check_listed("budgets", budgets)
    return budgets


def check_images(names: Sequence[str]) -> None:
    """Raises a ValueError unless pairs of images are named."""
    if len(names) < 2 or len(names) % 2:
        raise ValueError(
            f"--images={shown_text(','.join(names))} names {len(names)} images; give an even"
            " number of them, two or more."
        )
    _check_listed("images", names)


def check_memory_of(sampler: Sampler, number: int, quality_samples: int) -> None:
    """Raises a ValueError if samples of the figures need more memory than is free."""
    check_batch(sampler, number, "num_samples")
    check_batch(sampler, quality_samples, "quality_samples")


def _check_listed(flag: str, values: Sequence[Any]) -> None:
    if len(values) > MAX_LISTED:
        raise ValueError(
            f"--{flag} lists {len(values)}; give at most {MAX_LISTED}, as a picture has no room for"
            " more."
        )
