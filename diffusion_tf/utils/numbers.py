"""Numbers from files, flags and callers: checked before they become narrower, so that none wraps.

NumPy is imported where an array comes, as flags and configs are read without it.
"""

import math
import operator
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
INT64_MIN = -(2**63)
MAX_TIMESTEPS = 10**6  # of a process; the paper has a thousand
MAX_RES_BLOCKS = 128  # of a resolution; each takes its time to build, and the paper has 2
_FLOAT32_MAX = 2.0**128 - 2.0**104
_SHOWN, _SHOWN_DIGITS = 100, 40  # characters of a value in a message, digits of a number


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, cut where that is long."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN_DIGITS:
        return f"a whole number of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except ValueError:  # a list of such numbers
        text = f"a {type(value).__name__} of whole numbers that are too long to show"
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deep to show"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def whole(value: Any, name: str, low: int, high: int = INT32_MAX) -> int:
    """A whole number as an int.

    Args:
        value: of Python, NumPy or TensorFlow; a bool or a float is not one.
        name: of the number, for the error.
        low, high: the smallest and the largest one that is allowed.

    Raises:
        ValueError: it is not a whole number, or lies outside.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {shown(value)}; it must be a whole number.") from None
    if not low <= number <= high:
        raise ValueError(f"{name} is {shown(number)}; it must {_within(number, low, high)}.")
    return number


def whole_numbers(values: Any, name: str, low: int) -> tuple[int, ...]:
    """A list of whole numbers as a tuple of ints.

    Raises:
        ValueError: it is not a list, or a number is not whole or less than `low`.
    """
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} is {shown(values)}; it must be a list of whole numbers.")
    return tuple(whole(value, f"a number of {name}", low) for value in values)


def finite(value: Any, name: str) -> float:
    """A real number as a float.

    Raises:
        ValueError: it is not a number, NaN, or infinite as a float32, which it becomes.
    """
    try:
        number = float(value) if is_real(value) else math.nan
    except OverflowError:  # a whole number beyond float64
        number = math.inf
    if not abs(number) <= _FLOAT32_MAX:
        raise ValueError(f"{name} is {shown(value)}; it must be a finite number of float32.")
    return number


def is_real(value: Any) -> bool:
    """Whether a value is a real number of Python or NumPy, which a bool is not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of Python or NumPy, which a bool is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_rate(rate: Any, name: str) -> None:
    """Raises a ValueError unless a value is a probability of dropping that keeps something."""
    if not (is_real(rate) and 0 <= rate < 1):
        raise ValueError(f"{name} is {shown(rate)}; it must be in [0, 1).")


def checked_seed(seed: Any, name: str = "seed") -> int:
    """A seed as an int. Every int64 is one, -2**63..2**63-1.

    Raises:
        ValueError: it is not a whole number, or beyond int64.
    """
    try:
        return whole(seed, name, INT64_MIN, INT64_MAX)
    except ValueError:
        raise ValueError(
            f"{name} is {shown(seed)}; a seed must be a whole number from -2**63 to 2**63 - 1."
        ) from None


def outside(array: "np.ndarray", low: int, high: int) -> int | None:
    """The first whole number of an array that lies outside low..high; None if there is none."""
    import numpy as np

    if array.size == 0 or (int(array.min()) >= low and int(array.max()) <= high):
        return None
    return next(int(value) for value in np.ravel(array) if not low <= int(value) <= high)


def whole_array(values: Any, name: str, low: int, high: int = INT32_MAX) -> "np.ndarray":
    """Whole numbers as an int32 array, of the shape that they come in.

    Args:
        values: an array of any integer type, or numbers.
        name: of the numbers, for the error.
        low, high: the smallest and the largest one that is allowed; int32 must hold them.

    Raises:
        ValueError: other types, or a number outside.
    """
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind == "O" and all(is_whole(value) for value in array.flat):
        pass  # beyond int64: compared as numbers of Python
    elif array.dtype.kind not in "iu" and array.size:
        raise ValueError(f"{name} has dtype {array.dtype}; it must hold whole numbers.")
    wrong = outside(array, low, high)
    if wrong is not None:
        raise ValueError(f"{name} has {shown(wrong)}; each must {_within(wrong, low, high)}.")
    return array.astype(np.int32)


def _within(number: int, low: int, high: int) -> str:
    if high not in (INT32_MAX, INT64_MAX):
        return f"lie in {low}..{high}"
    return f"be at least {low}" if number < low else f"be at most {high}"


def check_eta(eta: Any) -> None:
    """Raises a ValueError unless it is a share of noise that DDIM can add, in [0, 1]."""
    if not (is_real(eta) and 0 <= eta <= 1):
        raise ValueError(f"eta is {eta}; it must lie in [0, 1].")
