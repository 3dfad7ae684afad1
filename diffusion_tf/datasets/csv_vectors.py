"""Vectors in the rows of a .csv file, under a header or none, with a column of labels or none."""

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from diffusion_tf.utils.memory import check_memory
from diffusion_tf.utils.numbers import shown
from diffusion_tf.utils.regular_files import open_regular

LABEL_COLUMNS = ("label", "class", "category", "y")
_MEMORY = 8  # bytes for each byte of a file: a number takes 8, held twice, of two bytes at least


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of a file, and its labels.

    Args:
        path: of the file. If a cell of the first row is not a number, that row is a header; the
            column that it calls label, class, category or y holds labels.

    Returns:
        float64 [N, D], and texts [N] or None.

    Raises:
        ValueError: rows of several lengths, or with something else than numbers; or a file that
            would not fit into memory.
        OSError: it cannot be opened.
    """
    check_memory(_MEMORY * path.stat().st_size, str(path), "save the numbers with numpy.save")
    numbers, length, labels = array("d"), 0, []
    with open_regular(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        lines = _lines(file, path)
        first = next(lines, (1, []))
        has_header = not _are_numbers(first[1])
        names = [cell.strip().lower() for cell in first[1]] if has_header else []
        label = next((i for i, name in enumerate(names) if name in LABEL_COLUMNS), None)
        for number, row in lines if has_header or not first[1] else _with(first, lines):
            if len(row) != len(first[1]):
                raise ValueError(
                    f"{path} has rows of different lengths, {len(row)} in line {number} and"
                    f" {len(first[1])} in the first; give every row the same."
                )
            if label is not None:
                labels.append(row.pop(label).strip())
            if not _are_numbers(row):
                raise ValueError(
                    f"{path} holds {shown(row)} in line {number}; give numbers, and call the column"
                    " of labels `label`."
                )
            numbers.extend(map(float, row))
            length += 1
    if not len(numbers):
        raise ValueError(f"{path} has no row of numbers; give one for each vector.")
    return np.array(numbers).reshape(length, -1), None if label is None else np.array(labels)


def _with(first: tuple[int, list[str]], rest: Iterator) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _lines(file: io.TextIOWrapper, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The numbers of lines, and their cells."""
    reader = csv.reader(file)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read as CSV ({error}); give numbers with commas between them."
        ) from None


def _are_numbers(cells: Sequence[str]) -> bool:
    try:
        return all(float(cell) is not None for cell in cells)
    except ValueError:
        return False
