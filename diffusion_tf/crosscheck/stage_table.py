"""The table of a cross-check: two values of each stage, how far they are apart, and a verdict.

A kit holds this file as check.py, which needs nothing but NumPy:

python check.py answers.npz

compares the answers with what the kit beside it expects and shows the table. It exits with 0 if
all agree, with 1 if something differs, and with 2 if the files do not fit together. With --json it
writes the rows as JSON.
"""

import argparse
import dataclasses
import json
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

# An array, or several that belong together (a gradient: one for each weight).
Value: TypeAlias = np.ndarray | Mapping[str, np.ndarray]

AGREES, DIFFERS, NOT_COMPARED = "agrees", "DIFFERS", "not compared"
# What many take for the log of the first variance, which is 0. The original takes the second one's.
# No sample depends on it, as the last step adds no noise; the first term of the bound does.
CLIPPED = math.log(1e-20)
LOG_VARIANCES = (
    "posterior_log_variance_clipped", "posterior log variance", "p_mean_variance: log variance",
    "respaced log variance",
)  # fmt: skip
_NO_VARIANCE = "t >= 1; at 0 it has no variance"


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


class Judge:
    """Makes rows of stages, in the order of the table."""

    def __init__(self, t: np.ndarray | None = None) -> None:
        """Begins a table; t: [B], of the examples, of which else the first alone is at 0."""
        self._t = t
        self._clips = False  # whether the other side's log-variance at t = 0 is CLIPPED

    def row(
        self,
        stage: str,
        ours: Value,
        theirs: Value | None,
        *,
        tolerance: float,
        floor: float = 0.0,
        note: str = "",
    ) -> Row:
        """As `compare`, but for a first variance that counts as none."""
        if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray) and theirs.ndim:
            if stage in LOG_VARIANCES and theirs.ndim == 1:
                self._clips = math.isclose(theirs[0], CLIPPED, abs_tol=1e-3)
            if self._clips and stage in (*LOG_VARIANCES, "bpd term"):
                later: Any = slice(1, None)
                if stage == "bpd term" and self._t is not None:
                    later = np.flatnonzero(self._t)
                ours, theirs = ours[later], theirs[later]
                note = "; ".join(filter(None, (_NO_VARIANCE, note)))
        return compare(stage, ours, theirs, tolerance=tolerance, floor=floor, note=note)


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
        difference[np.isnan(expected) & np.isnan(found)] = 0.0  # what both have lost
        size = np.nan_to_num(size)
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


# --- check.py


def read_arrays(path: Path) -> dict[str, Value]:
    """The stages in a file of arrays; `stage/name` is one of several arrays of a stage.

    With an array `layout` that says NCHW, images are turned to NHWC.

    Raises:
        OSError, ValueError: there is no such file, or it is not one of `numpy.savez`.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    turns = str(arrays.pop("layout", "NHWC")) == "NCHW"
    values: dict[str, Any] = {}
    for name, array in arrays.items():
        array = np.moveaxis(array, 1, -1) if turns and array.ndim == 4 else array
        head, slash, tail = name.partition(" weights/")
        if slash:
            values.setdefault(f"{head} weights", {})[tail] = array
        else:
            values[name] = array
    return values


def rows_of_files(kit: Path, answers: Path) -> list[Row]:
    """The rows of a kit's stages, in its order.

    Raises:
        OSError, ValueError, KeyError: the files do not fit together.
    """
    stages = json.loads((kit / "stages.json").read_text())["stages"]
    expected, found = read_arrays(kit / "expected.npz"), read_arrays(answers)
    unknown = sorted(found.keys() - {stage["name"] for stage in stages})
    if unknown:
        raise ValueError(f"{answers} has {unknown[0]!r}, which is not a stage of the kit.")
    with np.load(kit / "inputs.npz", allow_pickle=False) as inputs:
        judge = Judge(inputs["t"])
    return [
        judge.row(
            stage["name"], expected[stage["name"]], found.get(stage["name"]),
            tolerance=stage["tolerance"], floor=stage["floor"],
        )
        for stage in stages
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Compares, shows the table, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--kit", type=Path, default=Path(__file__).parent)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        rows = rows_of_files(given.kit, given.answers)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    as_json = json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n"
    sys.stdout.write(as_json if given.json else table(rows))
    return 1 if any(row.verdict == DIFFERS for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
