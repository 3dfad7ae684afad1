"""Labels of images: from the subfolders they lie in, or from a file beside them.

Classes are numbered in the order of their names, as torchvision's ImageFolder and Keras's
image_dataset_from_directory number them; names that are whole numbers in the order of these.
"""

import csv
import io
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from diffusion_tf.datasets.arrays import checked_vectors
from diffusion_tf.utils.json_files import NotJSON, parse_json
from diffusion_tf.utils.numbers import INT32_MAX, is_real, is_whole, shown

AUTO, SUBFOLDERS = "auto", "subfolders"
FILES = ("labels.csv", "metadata.csv", "labels.jsonl", "metadata.jsonl", "dataset.json")
_FILE_COLUMNS = ("file_name", "filename", "file", "image", "path", "name")
_LABEL_COLUMNS = ("label", "class", "category", "y", "vector")
MAX_VALUES = 2**23  # of a dataset.json; the labels of ImageNet's images are 4 million
_NAMED = 3  # images that a message names

Value = str | int | tuple[float, ...]


class Labels(NamedTuple):
    """What images are labelled with.

    Attributes:
        values: int32 [N], or float32 vectors [N, C].
        class_names: of labels 0, 1, ...; None for vectors.
    """

    values: np.ndarray
    class_names: tuple[str, ...] | None


def of_subfolders(
    names: Sequence[str], where: str, subfolders: Sequence[str], known: Sequence[str] | None = None
) -> Labels:
    """The classes of images that lie in a folder for each class.

    Args:
        names: of the images, below the folder of them all, with slashes.
        where: that folder, for the errors.
        subfolders: all that it has.
        known: the names of the classes, where others have settled them.

    Raises:
        ValueError: images beside the subfolders, a subfolder without an image, or one that is not
            among the known classes.
    """
    outside = [name for name in names if "/" not in name]
    if outside:
        raise ValueError(
            f"{where} holds {_some(outside)} beside its subfolders, and subfolders are the classes;"
            " move them into one, or take labels from a file (--labels=labels.csv)."
        )
    classes = [name.split("/")[0] for name in names]
    empty = sorted(set(subfolders) - set(classes))
    if empty and known is None:
        raise ValueError(
            f"{where} has a subfolder {empty[0]} without an image; put images there, or delete it."
        )
    return numbered(classes, where, known)


def of_file(
    data: bytes, path: str, names: Sequence[str], known: Sequence[str] | None = None
) -> Labels:
    """What a file says of images.

    Args:
        data: its content: CSV with a name and a label, or the numbers of a vector, in each row;
            JSON lines, objects with `file_name` and `label`; or the dataset.json of StyleGAN and
            EDM.
        path: of the file; its ending says which.
        names: of the images, below the folder of them all, with slashes.
        known: see `of_subfolders`.

    Raises:
        ValueError: another content, or images and rows that do not belong together.
    """
    if path.lower().endswith(".csv"):
        rows = _of_csv(_text(data, path), path, names)
    elif path.lower().endswith(".jsonl"):
        rows = _of_json_lines(_text(data, path), path)
    elif path.lower().endswith(".json"):
        rows = _of_dataset_json(_text(data, path), path)
    else:
        raise ValueError(f"{path} is not a file of labels; give one that ends with .csv or .jsonl.")
    return numbered(_matched(rows, path, names), path, known)


def numbered(values: Sequence[Value], where: str, known: Sequence[str] | None = None) -> Labels:
    """Labels as numbers, or vectors.

    Args:
        values: texts, whole numbers, or vectors: one for each image.
        where: they are from, for the errors.
        known: see `of_subfolders`.

    Raises:
        ValueError: vectors and labels, vectors of several lengths, or classes that are not known.
    """
    lengths = {len(value) if isinstance(value, tuple) else 0 for value in values}
    if len(lengths) > 1:
        listed = " and ".join("labels" if not n else f"vectors of {n}" for n in sorted(lengths))
        raise ValueError(f"{where} holds {listed}; give every image the same kind.")
    if lengths != {0}:
        return Labels(checked_vectors(np.array(values, np.float64), f"the labels of {where}"), None)
    texts = [str(value) for value in values]
    if "" in texts:
        raise ValueError(f"{where} holds an empty label, number {texts.index('')}; fill it in.")
    class_names = tuple(known) if known is not None else tuple(sorted(set(texts), key=_order))
    numbers = {name: number for number, name in enumerate(class_names)}
    unknown = sorted(set(texts) - set(numbers))
    if unknown:
        raise ValueError(
            f"{where} has a class {unknown[0]!r} that the training data lack; they have"
            f" {listing(class_names)}."
        )
    return Labels(np.array([numbers[text] for text in texts], np.int32), class_names)


def listing(class_names: Sequence[str], limit: int = 10) -> str:
    """Names of classes for a sentence."""
    more = f" and {len(class_names) - limit} more" if len(class_names) > limit else ""
    return ", ".join(class_names[:limit]) + more


def counts(labels: Labels) -> str:
    """How many images each class has, for a line of the log."""
    if labels.class_names is None:
        return f"vectors of {labels.values.shape[1]} numbers"
    found = Counter(labels.values.tolist())
    parts = [f"{name} ({found[i]})" for i, name in enumerate(labels.class_names)]
    return f"{len(parts)} classes: {listing(parts)}"


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if _is_number(name) else (1, 0, name)


def _is_number(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 10


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")  # also with the mark that Windows puts first
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}); save it as UTF-8.") from None


def _of_csv(text: str, path: str, names: Sequence[str]) -> Iterator[tuple[str, Value]]:
    rows = _rows(text, path)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path} is empty; give a name and a label in each row.")
    header = [cell.strip().lower() for cell in first[1]]
    has_header = not _finder(names)(first[1][0])
    if len(header) < 2:
        raise ValueError(f"{path} has a single column; give a name and a label in each row.")
    file, columns = _columns(header) if has_header else (0, [*range(1, len(header))])
    vectors = len(columns) > 1 or header[columns[0]] == "vector"
    for number, row in rows if has_header else itertools.chain([first], rows):
        if len(row) != len(header):
            raise ValueError(
                f"{path} has rows of different lengths, {len(row)} in line {number} and"
                f" {len(header)} in the first; give every row the same."
            )
        cells = [row[column].strip() for column in columns]
        if not all(cells):
            raise ValueError(f"{path} has an empty label in line {number}; fill it in.")
        yield row[file].strip(), _numbers(cells, path, number) if vectors else cells[0]


def _rows(text: str, path: str) -> Iterator[tuple[int, list[str]]]:
    """The numbers of lines and their cells, one after the other: a file may have millions."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as CSV ({error}); repair it.") from None


def _columns(header: Sequence[str]) -> tuple[int, list[int]]:
    """The column of the names, and those of the label or the vector."""
    file = next((header.index(name) for name in _FILE_COLUMNS if name in header), 0)
    for name in _LABEL_COLUMNS:
        if name in header and header.index(name) != file:
            return file, [header.index(name)]
    return file, [column for column in range(len(header)) if column != file]


def _numbers(cells: Sequence[str], path: str, line: int) -> tuple[float, ...]:
    try:
        return tuple(float(number) for cell in cells for number in cell.split())
    except ValueError:
        raise ValueError(
            f"{path} has {shown(cells)} in line {line}, which are not the numbers of a vector; call"
            " the column that is the label `label`."
        ) from None


def _of_json_lines(text: str, path: str) -> Iterator[tuple[str, Value]]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
        except NotJSON as error:
            raise ValueError(f"{path} is not JSON in line {number} ({error}).") from None
        keys = values if isinstance(values, Mapping) else {}
        file, label = (
            next((key for key in known if key in keys), None)
            for known in (_FILE_COLUMNS, _LABEL_COLUMNS)
        )
        if file is None or label is None or not isinstance(keys[file], str):
            raise ValueError(
                f"{path} holds {shown(values)} in line {number}; give an object such as"
                ' {"file_name": "a.png", "label": "cat"}.'
            )
        yield keys[file], _value(keys[label], f"{path}, line {number},")


def _of_dataset_json(text: str, path: str) -> Iterator[tuple[str, Value]]:
    try:
        values = parse_json(text, MAX_VALUES)
    except NotJSON as error:
        raise ValueError(f"{path} is not JSON ({error}).") from None
    rows = values.get("labels") if isinstance(values, Mapping) else None
    if not isinstance(rows, list):
        raise ValueError(
            f"{path} has no labels; train without them, or give it a list of [name, label] under"
            ' the key "labels".'
        )
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise ValueError(f"{path} holds {shown(row)}; its labels must be pairs [name, label].")
        yield row[0], _value(row[1], path)


def _value(value: Any, where: str) -> Value:
    """A label of JSON."""
    if isinstance(value, list) and value and all(is_real(number) for number in value):
        return tuple(map(float, value))
    if (isinstance(value, str) and value.strip()) or (is_whole(value) and abs(value) <= INT32_MAX):
        return value
    raise ValueError(
        f"{where} holds a label {shown(value)}; it must be a text, a whole number or a list of"
        " numbers."
    )


def _matched(rows: Iterator[tuple[str, Value]], path: str, names: Sequence[str]) -> Sequence[Value]:
    """The value of each image."""
    find = _finder(names)
    found: dict[str, Value] = {}
    for name, value in rows:
        image = find(name)
        if image is None:
            raise ValueError(
                f"{path} names {shown(name)}, which is not among the images; correct the name, or"
                " remove the row."
            )
        if found.setdefault(image, value) != value:
            raise ValueError(f"{path} gives {image} two labels; leave one.")
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} has no label for {_some(missing)}; add rows for them, or move the images away."
        )
    return _as_numbers([found[name] for name in names])


def _as_numbers(values: list[Value]) -> Sequence[Value]:
    """One number for each image that is not whole is a vector of one number, not a class."""
    if not all(isinstance(value, str) for value in values):
        return values
    try:
        numbers = [float(value) for value in values if isinstance(value, str)]
    except ValueError:
        return values
    are_whole = all(math.isfinite(n) and n % 1 == 0 for n in numbers)
    return values if are_whole else [(number,) for number in numbers]


def _finder(names: Sequence[str]) -> Any:
    """A function from a name in a file to that of an image, None where there is none.

    Names may be written with backslashes, or without their ending where that is enough.
    """
    whole = set(names)
    stems = Counter(os.path.splitext(name)[0] for name in names)
    by_stem = {os.path.splitext(name)[0]: name for name in names}

    def find(name: str) -> str | None:
        name = name.strip().replace("\\", "/").removeprefix("./")
        if name in whole:
            return name
        return by_stem[name] if stems.get(name) == 1 else None

    return find


def _some(names: Sequence[str]) -> str:
    """Some images by name, and how many there are."""
    more = f" and {len(names) - _NAMED} more images" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
