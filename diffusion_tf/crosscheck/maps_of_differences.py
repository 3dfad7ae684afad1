"""Where in an array two sides differ: the largest place, and a drawing of all."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.stage_table import Value

CELLS = 32  # of a drawing, along each side
SIDE = 256  # pixels


def largest(ours: Value, theirs: Value) -> dict[str, Any]:
    """The place of the largest difference.

    Returns:
        `array`, its name if there are several, `index` in it, NHWC, and what both sides have there.
    """
    name = ""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        name = max(ours, key=lambda key: _difference(ours[key], theirs[key]).max())
        ours, theirs = ours[name], theirs[name]
    off = _difference(ours, theirs)
    index = np.unravel_index(int(np.argmax(off)), off.shape)
    return {
        "array": name,
        "index": [int(i) for i in index],
        "ours": _number(np.asarray(ours)[index]),
        "theirs": _number(np.asarray(theirs)[index]),
    }


def _number(value: Any) -> float:
    """A float that JSON can hold; the largest one stands for infinity and NaN."""
    return float(np.nan_to_num(np.float64(value), nan=np.finfo(np.float64).max))


def _difference(ours: Any, theirs: Any) -> np.ndarray:
    off = np.abs(np.asarray(theirs, np.float64) - np.asarray(ours, np.float64))
    return np.nan_to_num(off, nan=np.inf, posinf=np.finfo(np.float64).max)


def drawing(ours: Value, theirs: Value) -> str:
    """An SVG of the difference: a map of images and features, a curve of numbers.

    Of images the largest over examples and channels is drawn, by height and width.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        sizes = [_difference(ours[name], theirs[name]).max() for name in ours]
        return _curve(np.array(sizes))
    off = _difference(ours, theirs)
    if off.ndim == 1:
        return _curve(off)
    return _map(off.max(axis=(0, 3)) if off.ndim == 4 else off.reshape(len(off), -1))


def _map(off: np.ndarray) -> str:
    """[H, W] in at most `CELLS` by `CELLS` cells, darker where it is larger."""
    rows, columns = (min(size, CELLS) for size in off.shape)
    cells = [
        [block.max() for block in np.array_split(strip, columns, axis=1)]
        for strip in np.array_split(off, rows, axis=0)
    ]
    shades = _shades(np.array(cells))
    height, width = SIDE / rows, SIDE / columns
    if off.shape[0] <= 8 < off.shape[1]:  # a few examples of many features
        height = 24.0
    squares = "".join(
        f'<rect x="{j * width:.1f}" y="{i * height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' fill="rgb({255 - int(63 * s)},{255 - int(198 * s)},{255 - int(212 * s)})"/>'
        for i, strip in enumerate(shades)
        for j, s in enumerate(strip)
    )
    total = height * rows
    return f'<svg viewBox="0 0 {SIDE} {total:.0f}" width="{SIDE}">{squares}{_frame(total)}</svg>'


def _shades(cells: np.ndarray) -> np.ndarray:
    """From 0 to 1 over four orders of magnitude below the largest."""
    most = max(float(cells.max()), 1e-300)
    return np.clip(1 + np.log10(np.maximum(cells / most, 1e-4)) / 4, 0, 1)


def _curve(off: np.ndarray) -> str:
    """Numbers one after the other, on a logarithmic axis of six orders of magnitude."""
    parts = np.array_split(off, min(len(off), SIDE // 2))
    tops = np.array([part.max() for part in parts])
    shares = 1 + np.log10(np.maximum(tops / max(float(tops.max()), 1e-300), 1e-6)) / 6
    step = SIDE / max(len(tops) - 1, 1)
    points = " ".join(f"{i * step:.1f},{120 - 112 * s:.1f}" for i, s in enumerate(shares))
    line = f'<polyline points="{points}" fill="none" stroke="#c0392b"/>'
    return f'<svg viewBox="0 0 {SIDE} 124" width="{SIDE}">{line}{_frame(124)}</svg>'


def _frame(height: float) -> str:
    return f'<rect width="{SIDE}" height="{height:.0f}" fill="none" stroke="#9aa7b4"/>'
