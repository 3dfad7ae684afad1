"""Pictures of small systems: points on their way between noise and data, samples by condition."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffusion_tf.utils import images

_REAL, _SAMPLE = "#c4c4c4", "#0072b2"  # told apart by people with any colour vision
_DOT: dict[str, Any] = {"linestyle": "none", "marker": ".", "markeredgewidth": 0}
_NEAR, _FAR = 1.3, 3.0  # how far a picture of samples, and one of noise, looks: real extents
_DEVIATIONS = 4.0  # of real points that are shown, where they are not about 0
_MARGIN = 1.1  # how far a picture looks that shows all points of some clouds: their extents
_DPI = 150
_FRAME_PIXELS = 420  # side of an animation's plot
_LINE = "#999999"  # frames and the numbers inside them

Interval = tuple[float, float]
Limits = Interval | tuple[Interval, Interval]  # of both axes, or of each
ManyLimits = Limits | list[Limits] | None  # for all panels or frames, or for each


def in_a_plane(vectors: np.ndarray, *, like: np.ndarray) -> np.ndarray:
    """Two numbers for each vector: itself, or its first two principal components.

    Args:
        vectors: [..., D].
        like: [N, D], whose components are taken.

    Returns:
        [..., 2].
    """
    dimensions = vectors.shape[-1]
    if dimensions == 2:
        return vectors
    if dimensions == 1:
        return np.concatenate([vectors, np.zeros_like(vectors)], axis=-1)
    from sklearn.decomposition import PCA  # a second of import that points in a plane do not need

    components = PCA(2, svd_solver="full").fit(like)
    return components.transform(vectors.reshape(-1, dimensions)).reshape(*vectors.shape[:-1], 2)


def names_of_axes(dimensions: int) -> tuple[str, str]:
    """What `in_a_plane` shows on both axes, of vectors of so many dimensions."""
    if dimensions == 1:
        return "x", ""
    if dimensions == 2:
        return "x₁", "x₂"
    return "1st principal component", "2nd principal component"


def limits_around(*clouds: np.ndarray, each_axis: bool) -> Limits:
    """Limits within which all points of some clouds lie, with a margin.

    Args:
        *clouds: [N, 2] each.
        each_axis: let each axis have its own scale; else one unit is as long on both.
    """
    points = np.concatenate(clouds)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, reach = (low + high) / 2, _MARGIN * (high - low) / 2
    reach = reach if each_axis else np.full(2, reach.max())
    reach = np.where(reach > 0, reach, 1.0)  # of points on a line
    (left, bottom), (right, top) = middle - reach, middle + reach
    return (float(left), float(right)), (float(bottom), float(top))


def limits_about(points: np.ndarray) -> Limits:
    """Limits of each axis for points of any middle and extents: four deviations each way.

    Args:
        points: [N, 2].
    """
    middle, reach = points.mean(axis=0), _DEVIATIONS * points.std(axis=0)
    reach = np.where(reach > 0, reach, 1.0)  # of points on a line
    (left, low), (right, high) = middle - reach, middle + reach
    return (float(left), float(right)), (float(low), float(high))


def save_points(path: str, points: np.ndarray, real: np.ndarray, **how: Any) -> None:
    """Writes a scatter plot of samples over real points.

    Args:
        path: of the PNG.
        points, real, **how: see `draw_points`.

    Raises:
        ValueError: as `draw_points`.
    """
    images.save_figure(path, _figure_of_points(points, real, **how))


def draw_points(points: np.ndarray, real: np.ndarray, **how: Any) -> np.ndarray:
    """Draws a scatter plot of samples over real points.

    Args:
        points: samples, [N, 2].
        real: [M, 2].
        **how: `limits`, lowest and highest value on both axes, or on each, wide enough for all if
            not given; `axis_names`, see `names_of_axes`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    canvas = FigureCanvasAgg(_figure_of_points(points, real, **how))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure_of_points(
    points: np.ndarray,
    real: np.ndarray,
    *,
    limits: Limits | None = None,
    axis_names: tuple[str, str] = ("", ""),
) -> Figure:
    points, real = _checked(points, "points", 2), _checked(real, "real", 2)
    figure = Figure(figsize=(4.4, 4.4), dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    _draw(axis, real, color=_REAL, label="real", scale=2)  # a rim is left where samples cover them
    limits = limits or _limits(np.concatenate([points, real]), _NEAR)
    outside = number_outside(points, limits)
    label = f"samples, {outside} outside" if outside else "samples"
    _draw(axis, points, color=_SAMPLE, label=label)
    _frame(axis, limits)
    axis.set(xlabel=axis_names[0], ylabel=axis_names[1])
    figure.legend(loc="outside upper center", ncols=2, frameon=False, markerscale=4)
    return figure


def save_panels(
    path: str,
    rows: Sequence[np.ndarray],
    titles: Sequence[str],
    row_labels: Sequence[str],
    *,
    limits: ManyLimits = None,
    real: np.ndarray | None = None,
    axis_names: tuple[str, str] = ("", ""),
) -> None:
    """Writes scatter plots side by side: a row for each process, a column for each timestep.

    A panel that does not show all of its points says how many lie outside.

    Args:
        path: of the PNG.
        rows: of [F, N, 2], such as the points of q and those of p at F timesteps. Of vectors of
            more dimensions, give two that matter, such as principal components.
        titles: one for each of the F columns.
        row_labels: one for each row.
        limits: of all panels, see `draw_points`; a list has those of each column. If not given,
            three times what real points extend to, which noise may leave; all points without any.
        real: points to show pale behind all panels, [M, 2]; a line above says so.
        axis_names: as in `draw_points`.

    Raises:
        ValueError: other shapes, values that are not finite, or not a word for each row and column.
    """
    rows = [_checked(row, "rows", 3) for row in rows]
    real = None if real is None else _checked(real, "real", 2)
    if len(rows) != len(row_labels) or any(len(row) != len(titles) for row in rows):
        raise ValueError(
            f"There are {len(rows)} rows of {[len(row) for row in rows]} panels, but"
            f" {len(row_labels)} row labels and {len(titles)} titles; give one for each."
        )
    if limits is None:
        limits = _limits(np.concatenate(rows), 1.05) if real is None else _limits(real, _FAR)
    size = (1.6 * len(titles) + 0.6, 1.6 * len(rows) + 0.8)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for i, j in itertools.product(range(len(rows)), range(len(titles))):
        _panel(axes[i, j], rows[i][j], real, limits[j] if isinstance(limits, list) else limits)
        axes[i, j].set_title(titles[j] if i == 0 else "", fontsize=9)
        axes[i, j].set_ylabel(row_labels[i] if j == 0 else "", fontsize=9)
        axes[i, j].tick_params(labelbottom=i == len(rows) - 1)
        axes[i, j].tick_params(labelleft=j == 0 or isinstance(limits, list))
    figure.supxlabel(axis_names[0], fontsize=9)
    figure.supylabel(axis_names[1], fontsize=9)
    if real is not None:
        handles = [Line2D([], [], color=c, markersize=12, **_DOT) for c in (_REAL, _SAMPLE)]
        words = ["real points, behind every panel", "points of the row at t"]
        if isinstance(limits, list):
            words[1] += "; each column has a scale of its own"
        figure.legend(handles, words, loc="outside upper center", ncols=2, frameon=False)
    images.save_figure(path, figure)


def _panel(axis: Axes, points: np.ndarray, real: np.ndarray | None, limits: Limits) -> None:
    """Draws points over real ones, small numbers beside them."""
    if real is not None:
        _draw(axis, real, color=_REAL)
    _draw(axis, points, color=_SAMPLE, scale=0.6)  # the others are seen between them
    _frame(axis, limits)
    axis.locator_params(nbins=3)
    axis.tick_params(labelsize=6, length=2, pad=2)
    if outside := number_outside(points, limits):
        axis.text(
            0.97, 0.03, f"{outside} outside", transform=axis.transAxes, fontsize=6, ha="right"
        )


def save_animation(
    path: str,
    frames: np.ndarray,
    labels: Sequence[str],
    *,
    real: np.ndarray,
    frame_ms: int,
    hold_ms: int,
    limits: ManyLimits = None,
) -> None:
    """Writes an animation of points that move from noise to data.

    Args:
        path: of the GIF.
        frames: [F, N, 2].
        labels: a title for each frame.
        real: points to show pale behind, [M, 2].
        frame_ms, hold_ms: milliseconds for each frame, and for the last.
        limits: see `save_panels`; a list has those of each frame.

    Raises:
        ValueError: other shapes, values that are not finite, or not a label for each frame.
    """
    frames, real = _checked(frames, "frames", 3), _checked(real, "real", 2)
    if len(labels) != len(frames):
        raise ValueError(
            f"There are {len(frames)} frames, but {len(labels)} labels; give one each."
        )
    limits = limits or _limits(real, _FAR)
    figure = Figure(figsize=(_FRAME_PIXELS / 100, _FRAME_PIXELS / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    _draw(axis, real, color=_REAL)
    dots = _draw(axis, frames[0], color=_SAMPLE)
    axis.locator_params(nbins=4)
    inside: dict[str, Any] = {"direction": "in", "labelsize": 7, "labelcolor": _LINE}
    axis.tick_params("x", pad=-12, **inside)  # inside, where there is room
    axis.tick_params("y", pad=-5, **inside)
    for text in axis.get_yticklabels():
        text.set_horizontalalignment("left")
    pictures = []
    for number, (points, label) in enumerate(zip(frames, labels, strict=True)):
        _frame(axis, limits[number] if isinstance(limits, list) else limits)
        dots.set_data(*points.T)
        axis.set_title(label, fontsize=11)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    images.save_gif(path, pictures, frame_ms=frame_ms, hold_ms=hold_ms)


def save_conditions_grid(
    path: str,
    pixels: np.ndarray,
    row_labels: Sequence[str],
    column_groups: Sequence[tuple[str, int]],
) -> None:
    """Writes a grid of images with a word for each row and a heading over each group of columns.

    Args:
        path: of the PNG.
        pixels: images, uint8 [rows, columns, H, W, 1 or 3], such as classes by samples.
        row_labels: one for each row.
        column_groups: headings, such as guidance scales, each with the number of its columns.

    Raises:
        ValueError: other shapes or dtype, or words and groups that do not cover the grid.
    """
    counts = [count for _, count in column_groups]
    if pixels.ndim != 5 or (len(row_labels), sum(counts)) != pixels.shape[:2]:
        raise ValueError(
            f"images have shape {pixels.shape}, but there are {len(row_labels)} row labels and"
            f" groups of {sum(counts)} columns; give [rows, columns, H, W, C] that fit."
        )
    factor = -(-images.MIN_TILE_PIXELS // min(pixels.shape[2:4]))
    gap = images.MIN_TILE_PIXELS // 2
    starts = np.cumsum([0, *counts[:-1]])
    parts = [
        _enlarged_grid(pixels[:, start : start + count], factor)
        for start, count in zip(starts, counts, strict=True)
    ]
    white = np.full((len(parts[0]), gap, parts[0].shape[2]), 255, np.uint8)
    mosaic = np.concatenate([p for part in parts for p in (part, white)][:-1], axis=1)
    height, width = mosaic.shape[:2]

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)  # one pixel is one pixel
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(np.broadcast_to(mosaic, (height, width, 3)), interpolation="none")
    axis.set_yticks((np.arange(len(row_labels)) + 0.5) * height / len(row_labels), row_labels)
    left = 0
    for (heading, _), part in zip(column_groups, parts, strict=True):
        axis.text(left + part.shape[1] / 2, -8, heading, ha="center", va="bottom")
        left += part.shape[1] + gap
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.set_frame_on(False)
    images.save_figure(path, figure)


def _enlarged_grid(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Images [rows, columns, H, W, C] -> one of them all, enlarged."""
    columns = pixels.shape[1]
    flat = pixels.reshape(-1, *pixels.shape[2:]).repeat(factor, axis=1).repeat(factor, axis=2)
    return images.tile(flat, columns=columns, padding=4)


def number_outside(points: np.ndarray, limits: Limits) -> int:
    """How many of some points [N, 2] lie beyond the limits of a picture."""
    low, high = np.broadcast_to(np.asarray(limits, np.float64), (2, 2)).T
    return int(np.sum(((points < low) | (points > high)).any(axis=-1)))


def _draw(axis: Axes, points: np.ndarray, *, scale: float = 1.0, **style: Any) -> Line2D:
    """Draws dots that are the smaller the more there are."""
    size = scale * float(np.clip(120 / np.sqrt(len(points)), 1.5, 5))
    return axis.plot(*points.T, markersize=size, **_DOT, **style)[0]


def _frame(axis: Axes, limits: Limits) -> None:
    x, y = limits
    if isinstance(x, tuple) and isinstance(y, tuple):
        axis.set(xlim=x, ylim=y, box_aspect=1)
    else:
        axis.set(xlim=limits, ylim=limits, aspect="equal")
    axis.spines[:].set_color(_LINE)


def _limits(points: np.ndarray, view: float) -> Limits:
    """A square about 0, the same for both axes, so many times as large as what it must show."""
    far = view * float(np.abs(points).max())
    return -far, far


def _checked(points: np.ndarray, what: str, ndim: int) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != ndim or points.shape[-1] != 2 or not points.size:
        wanted = "[N, 2]" if ndim == 2 else "[F, N, 2]"
        raise ValueError(
            f"{what} have shape {points.shape}; they must be {wanted}: of vectors of more"
            " dimensions, take two principal components."
        )
    if not np.isfinite(points).all():
        raise ValueError(f"{what} have values that are not finite; look at where they come from.")
    return points
