"""Decays of averaged weights: one number, or several for as many averages."""

import math
from typing import Any

from diffusion_tf.utils.numbers import is_real

Decays = float | tuple[float, ...]  # a single one is always a number


def parse_decays(value: Any) -> Decays | None:
    """Decays from what a person or a file says; None if it is not one.

    Args:
        value: a number, several, or a text, `0.9999` or `0.999,0.9999`.
    """
    if isinstance(value, str):
        value = [_number(text) for text in value.split(",")]
    elif is_real(value):
        value = [value]
    if not (isinstance(value, list | tuple) and value and all(map(_is_finite, value))):
        return None
    return float(value[0]) if len(value) == 1 else tuple(map(float, value))


def as_tuple(decays: Decays) -> tuple[float, ...]:
    """One or several decays as several."""
    return decays if isinstance(decays, tuple) else (decays,)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_finite(value: Any) -> bool:
    return is_real(value) and math.isfinite(value)
