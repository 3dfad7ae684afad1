"""Pictures: scaling to and from pixels, grids, PNG, GIF and plots."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.numbers import whole
from diffusion_tf.utils.output_names import kind_of

_LONGEST_TURNED = 6  # characters of a word beside a row that is turned; longer ones would overlap
_GRID_PIXELS = 64  # the least that the shorter side of an image has in a labelled grid
_GRID_DPI, _GAP, _SPACE = 150, 4, 20  # of such a grid; pixels between two rows, and two groups
_CAPTION_PIXELS = 28  # height of a line above a picture
MIN_TILE_PIXELS = 48  # smaller images are enlarged by a whole factor when shown to a person


def to_pixels(images: np.ndarray) -> np.ndarray:
    """[-1, 1] -> uint8 0..255, clipped and rounded to the nearest.

    The original truncates for its sample grids; rounding gives 8-bit data back unchanged.

    Raises:
        NotFiniteError: some of the images [N, ...] hold a NaN or an infinity.
    """
    images = np.asarray(images)
    check_finite(images, "images")
    scaled = (images.astype(np.float32) + 1.0) * 127.5
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def as_pixels(images: np.ndarray) -> np.ndarray:
    """uint8, whether the images are uint8 already or floats in [-1, 1]."""
    return images if images.dtype == np.uint8 else to_pixels(images)


def from_pixels(pixels: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 [-1, 1]."""
    return np.asarray(pixels).astype(np.float32) / 127.5 - 1.0


def tile(images: np.ndarray, *, columns: int = 0, padding: int = 1) -> np.ndarray:
    """Lays images out in a grid, row by row, on white (the original's `tile_imgs`).

    Args:
        images: uint8 [N, H, W, C], C of 1 or 3.
        columns: of the grid; as many as make it square if 0.
        padding: pixels between two images.

    Returns:
        uint8 [height, width, C].

    Raises:
        ValueError: other shape or dtype, no image, or a negative number.
    """
    good = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] in (1, 3)
    if not (good and images.size):
        raise ValueError(
            f"images have dtype {images.dtype} and shape {images.shape}; they must be uint8"
            " [N, H, W, 1 or 3], none of them 0."
        )
    columns, padding = whole(columns, "columns", 0), whole(padding, "padding", 0)
    number, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(number)))
    rows = -(-number // columns)
    grid = np.full((rows * columns, height + padding, width + padding, channels), 255, np.uint8)
    grid[:number, :height, :width] = images
    grid = grid.reshape(rows, columns, *grid.shape[1:]).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + padding), columns * (width + padding), channels)
    return grid[: grid.shape[0] - padding, : grid.shape[1] - padding]


def show_grid(images: np.ndarray) -> np.ndarray:
    """A square grid for a person to look at: small images are enlarged by a whole factor.

    Args:
        images: uint8 [N, H, W, 1 or 3].
    """
    factor = -(-MIN_TILE_PIXELS // min(images.shape[1:3]))
    return tile(images.repeat(factor, axis=1).repeat(factor, axis=2), padding=4)


def save_png(path: str | Path, pixels: np.ndarray) -> None:
    """Writes uint8 [H, W, C], C of 1 or 3, as PNG."""
    with replacing(path) as temporary:
        write_png(temporary, pixels)


def save_picture(path: str | Path, pixels: np.ndarray) -> None:
    """As `save_png`, but as JPEG, hardly with loss, where the name ends with .jpg or .jpeg."""
    with replacing(path) as temporary:
        is_jpeg = kind_of(path) == "jpg"
        how: dict[str, Any] = {"quality": 95, "subsampling": 0} if is_jpeg else {}
        _to_pillow(pixels).save(temporary, **how)


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """As `save_png`, but in its place, and not synced: for one of many in a temporary folder."""
    _to_pillow(pixels).save(path)


def save_gif(path: str, frames: Sequence[np.ndarray], *, frame_ms: int, hold_ms: int) -> None:
    """Writes uint8 [H, W, C] frames as an endless animation.

    Args:
        path: of the file.
        frames: all of one shape.
        frame_ms: milliseconds for each frame.
        hold_ms: milliseconds for the last.
    """
    save_film(path, frames, [frame_ms] * (len(frames) - 1) + [hold_ms])


def save_film(path: str, frames: Sequence[np.ndarray], durations: Sequence[int]) -> None:
    """Writes uint8 [H, W, C] frames as an endless animation, `*.gif` or `*.webp` without loss.

    Args:
        path: of the file.
        frames: all of one shape.
        durations: of each, in milliseconds.
    """
    first, *rest = [_to_pillow(frame) for frame in frames]
    how: dict[str, Any] = {"lossless": True} if kind_of(path) == "webp" else {}
    with replacing(path) as temporary:
        first.save(
            temporary, save_all=True, append_images=rest, duration=list(durations), loop=0, **how
        )


def save_labelled_grid(
    path: str,
    images: np.ndarray,
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    rows_together: int = 0,
) -> None:
    """Writes a grid of images with a word for each row and each column.

    Small images are enlarged by a whole factor, pixel by pixel; large ones become smaller.

    Args:
        path: of the PNG.
        images: uint8 [rows, columns, H, W, C].
        row_labels, column_labels: one for each; empty strings stay blank.
        rows_together: so many rows follow each other closely, then comes a space; all if 0.
    """
    rows, columns, height, width = images.shape[:4]
    scale = _scale_in_grid(min(height, width))
    high, wide = round(scale * height), round(scale * width)
    spaces = (np.arange(rows) // rows_together if rows_together else np.zeros(rows)) * _SPACE
    tops = (np.arange(rows) * (high + _GAP) + spaces).astype(int)
    size = columns * (wide + _GAP), int(tops[-1]) + high
    figure = Figure(figsize=(size[0] / _GRID_DPI, size[1] / _GRID_DPI), dpi=_GRID_DPI)
    are_long = max(map(len, row_labels), default=0) > _LONGEST_TURNED
    upright: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center"} if are_long else {}
    for row, column in itertools.product(range(rows), range(columns)):
        place = column * (wide + _GAP), size[1] - tops[row] - high, wide, high
        axis = figure.add_axes(tuple(np.divide(place, size * 2)))
        show_on(axis, images[row, column], column_labels[column] if row == 0 else "")
        axis.set_frame_on(False)  # it would hide pixels
        if column == 0:
            axis.set_ylabel(row_labels[row], fontsize=7, **upright)
    save_figure(path, figure)


def _scale_in_grid(side: int) -> float:
    """How many pixels of a labelled grid a pixel of an image becomes, by its shorter side."""
    return -(-_GRID_PIXELS // side) if side < 2 * _GRID_PIXELS else 1.5 * _GRID_PIXELS / side


def show_on(axis: Axes, pixels: np.ndarray, title: str = "") -> None:
    """Shows uint8 [H, W, C] on an axis of a figure, with a word above it."""
    smooth = min(pixels.shape[:2]) >= 2 * _GRID_PIXELS  # it becomes smaller
    axis.imshow(
        _drop_grey_axis(pixels),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="antialiased" if smooth else "nearest",
    )
    axis.set_xticks([])
    axis.set_yticks([])
    if title:
        axis.set_title(title, fontsize=6.5, pad=3)


def with_caption(pixels: np.ndarray, text: str) -> np.ndarray:
    """An image with a line of black text on white above it.

    Args:
        pixels: uint8 [H, W, 1 or 3].
        text: the line.

    Returns:
        uint8 [H + 28, W, C].
    """
    figure = Figure(figsize=(pixels.shape[1] / 100, _CAPTION_PIXELS / 100), dpi=100)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    line = np.asarray(canvas.buffer_rgba())[..., : pixels.shape[2]]  # black and white alone
    return np.concatenate([line, pixels])


def loss_curve(steps: np.ndarray, losses: np.ndarray) -> Figure:
    """Plots losses by step on a logarithmic axis, with their running mean over 5% of the run."""
    figure = Figure(figsize=(6, 4), dpi=120)
    axis = figure.subplots()
    axis.plot(steps, losses, linewidth=0.5, alpha=0.5, color="tab:blue", label="single steps")
    window = len(losses) // 20
    if window > 1:
        mean = np.convolve(losses, np.ones(window) / window, mode="valid")
        covered = round(window * float(np.median(np.diff(steps))))  # the last may be closer
        axis.plot(steps[window - 1 :], mean, color="tab:blue", label=f"mean of {covered} steps")
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.set_ylabel("training loss")
    axis.grid(which="both", alpha=0.3)
    axis.legend()
    return figure


def save_figure(path: str, figure: Figure) -> None:
    """Writes a figure, without the empty space around it; a file of that name is replaced."""
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")


def _drop_grey_axis(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _to_pillow(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(_drop_grey_axis(pixels))
