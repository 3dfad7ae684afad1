"""The size of images: one number for a square, else height and width."""

import re
from typing import Any

from diffusion_tf.utils.numbers import is_whole

Size = int | tuple[int, int]  # in pixels; that of a square is always one number

_TEXT = re.compile(r"(-?\d{1,10})(?:[xX](-?\d{1,10}))?")


def as_size(height: int, width: int) -> Size:
    """The size of images of some height and width."""
    return int(height) if height == width else (int(height), int(width))


def parse_size(value: Any) -> Size | None:
    """A size from what a person or a file says; None if it is not one.

    Args:
        value: a whole number; height and width; or a text, `32`, or `48x64` for height 48.
    """
    if isinstance(value, str):
        text = _TEXT.fullmatch(value)
        value = [int(side) for side in text.groups() if side] if text else None
    elif is_whole(value):
        value = [value]
    if not (isinstance(value, list | tuple) and len(value) in (1, 2) and all(map(is_whole, value))):
        return None
    return as_size(value[0], value[-1])


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return size if isinstance(size, tuple) else (size, size)


def shown_size(size: Size) -> str:
    """A size as a flag says it: `32`, or `48x64`."""
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
