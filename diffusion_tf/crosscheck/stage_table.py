"""The table of a cross-check: two values of each stage, how far they are apart, and a verdict."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

# An array, or several that belong together (a gradient: one for each weight).
Value: TypeAlias = np.ndarray | Mapping[str, np.ndarray]

AGREES, DIFFERS, NOT_COMPARED = "agrees", "DIFFERS", "not compared"


@dataclass(frozen=True)
class Row:
    """One stage of the comparison.

    `max_abs` is the largest difference, `max_rel` the largest relative one (see `differences`),
    which is held against `tolerance`. All three are None where nothing was compared.
    """

    stage: str
    verdict: str
    max_abs: float | None = None
    max_rel: float | None = None
    tolerance: float | None = None
    note: str = ""


def compare(
    stage: str,
    ours: Value,
    theirs: Value | None,
    *,
    tolerance: float,
    floor: float = 0.0,
    note: str = "",
) -> Row:
    """Holds two values of a stage against each other.

    Args:
        stage: its name.
        ours: numbers [T] or [B], images or features [B, ...], or several of these.
        theirs: the same of the other side; None if it has no such stage.
        tolerance: of the relative difference.
        floor: see `differences`.
        note: for the table.

    Raises:
        ValueError: their shapes differ.
    """
    if theirs is None:
        return Row(stage, NOT_COMPARED, note=note)
    max_abs, max_rel = differences(stage, ours, theirs, floor)
    verdict = AGREES if max_rel <= tolerance else DIFFERS  # for NaN, too
    return Row(stage, verdict, max_abs, max_rel, tolerance, note)


def differences(stage: str, ours: Value, theirs: Value, floor: float = 0.0) -> tuple[float, float]:
    """Largest absolute and relative difference.

    Numbers [T] or [B] are relative each to itself, or to `floor` if that is larger; images and
    features to the largest of them all, as next to zero a single pixel has no relative error to
    speak of. Of several arrays each counts by itself, but none as smaller than a thousandth of the
    largest: a bias in front of a softmax has the gradient 0, and rounding is all that two
    frameworks compute of it.

    Raises:
        ValueError: the shapes differ, or one of several arrays is missing.
    """
    our_arrays, their_arrays = _by_name(stage, ours), _by_name(stage, theirs)
    if our_arrays.keys() != their_arrays.keys():
        odd = ", ".join(sorted(our_arrays.keys() ^ their_arrays.keys())[:5])
        raise ValueError(f"Only one side has {odd} in its {stage}.")
    of_largest = 1e-3 * max(np.abs(array).max() for array in our_arrays.values())
    max_abs = max_rel = 0.0
    for name in our_arrays:
        expected, found = (np.asarray(a[name], np.float64) for a in (our_arrays, their_arrays))
        if expected.shape != found.shape:
            raise ValueError(
                f"{name} has shape {list(found.shape)} in the other implementation; here it is"
                f" {list(expected.shape)}."
            )
        difference, size = np.abs(found - expected), np.abs(expected)
        if len(our_arrays) > 1:
            scale = max(size.max(), of_largest)
        else:
            scale = np.maximum(size if size.ndim == 1 else size.max(), floor)
        scale = np.where(scale > 0, scale, 1.0)
        # np.maximum, other than max, keeps NaN.
        max_abs = np.maximum(max_abs, difference.max())
        max_rel = np.maximum(max_rel, (difference / scale).max())
    return float(max_abs), float(max_rel)


def _by_name(stage: str, value: Value) -> Mapping[str, np.ndarray]:
    """The arrays of a stage; one that stands alone under the name of the stage."""
    return value if isinstance(value, Mapping) else {stage: value}


def table(rows: Iterable[Row]) -> str:
    """The rows as text, one a line, under a header; below them the stages not compared."""
    lines = [f"{'stage':<34} {'max abs':>9} {'max rel':>9} {'tolerance':>9}  verdict"]
    left_out = []
    for row in rows:
        if row.verdict == NOT_COMPARED:
            left_out.append(row.stage)
            continue
        numbers = f"{row.max_abs:9.1e} {row.max_rel:9.1e} {row.tolerance:9.1e}"
        note = f" ({row.note})" if row.note else ""
        lines.append(f"{row.stage:<34} {numbers}  {row.verdict}{note}")
    if left_out:
        text = f"Not compared, as the other side does not have it: {', '.join(left_out)}."
        lines += ["", *textwrap.wrap(text, 100)]
    return "\n".join(lines) + "\n"
