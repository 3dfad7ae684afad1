"""JSON from files, flags and the environment: size, depth and numbers are checked before use."""

import codecs
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffusion_tf.utils.numbers import shown
from diffusion_tf.utils.regular_files import read_regular

MAX_BYTES = 16 * 2**20  # a metrics.json, the largest file of JSON here, has some 100 KB
MAX_DEPTH = 50  # lists and objects in each other
MAX_VALUES = 2**20  # each takes 60 bytes and more; a metrics.json has some thousand
MAX_DIGITS = 40  # of a whole number; no field takes as many
# Byte order marks that editors and shells of Windows write, the longer ones first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object, in UTF-8 or as its byte order mark says.

    Raises:
        ValueError: the file is not JSON, holds something other than an object, or what
            `parse_json` refuses.
        OSError: it cannot be read, or is not a regular file.
    """
    try:
        values = parse_json(_decoded(read_regular(path, MAX_BYTES)))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); restore or delete it.") from None
    except NotJSON as error:
        raise ValueError(f"{path} is not valid JSON ({error}); restore or delete it.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold a JSON object; restore or delete it.")
    return values


class NotJSON(ValueError):
    """A text is not JSON that can be used; the message says why in a few words."""


def parse_json(text: str, max_values: int = MAX_VALUES) -> Any:
    """The value that a text of JSON means.

    Args:
        text: of JSON.
        max_values: how many values it may hold, those in lists and objects included.

    Raises:
        NotJSON: it is not JSON, is nested more than `MAX_DEPTH` deep, holds too many values,
            a field twice, a whole number of more than `MAX_DIGITS` digits, or a text that
            cannot be the name of a file.
    """
    if sum(map(text.count, "[{,")) > max_values:
        raise NotJSON(f"it holds more than {max_values:,} values")
    try:
        value = json.loads(
            text.removeprefix("\ufeff"), parse_int=_parse_int, object_pairs_hook=_object
        )
    except RecursionError:
        raise NotJSON(f"it is nested more than {MAX_DEPTH} deep") from None
    except json.JSONDecodeError as error:
        raise NotJSON(str(error)) from None
    _check(value)
    return value


def is_usable_text(text: str) -> bool:
    """Whether a text can be part of a file's name, bytes that are not UTF-8 included."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a character
        return False


def _decoded(data: bytes) -> str:
    """Bytes as text, without a byte order mark."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.removeprefix(mark).decode(encoding)
    return data.decode()


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotJSON(f"it holds a whole number of {len(digits.lstrip('-'))} digits")
    return int(digits)


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object; of one that stands there twice, nobody knows which is meant."""
    values = dict(fields)
    if len(values) < len(fields):
        twice = next(name for name, count in Counter(n for n, _ in fields).items() if count > 1)
        raise NotJSON(f"it has the field {shown(twice)} twice")
    return values


def _check(value: Any) -> None:
    """Goes through a value without recursion, with one iterator for each level."""
    levels = [iter([("it", value)])]
    while levels:
        where, value = next(levels[-1], (None, None))
        if where is None:
            levels.pop()
        elif not is_usable_text(where):
            raise NotJSON(f"it has a field {shown(where)}, which cannot be a name")
        elif isinstance(value, str) and not is_usable_text(value):
            raise NotJSON(f"{where} is {shown(value)}, with a character that no text can have")
        elif isinstance(value, dict | list):
            if len(levels) > MAX_DEPTH:
                raise NotJSON(f"it is nested more than {MAX_DEPTH} deep")
            levels.append(_items(value, where))


def _items(value: dict[str, Any] | list[Any], where: str) -> Iterator[tuple[str, Any]]:
    """What stands in a value, each with the name of the field it stands in."""
    return iter(value.items()) if isinstance(value, dict) else zip(itertools.repeat(where), value)
