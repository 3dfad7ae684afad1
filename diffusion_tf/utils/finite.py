"""What is not finite is refused, before it becomes a picture or a weight."""

import numpy as np


class NotFiniteError(ValueError):
    """Numbers that are NaN or infinite, where no picture or network can have them."""


def check_finite(values: np.ndarray, what: str) -> None:
    """Makes sure that samples can become pictures or points.

    Args:
        values: [N, ...].
        what: they are, in the plural.

    Raises:
        NotFiniteError: some of the N hold a NaN or an infinity; says how many.
    """
    values = np.atleast_1d(values)
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not finite.all():
        raise NotFiniteError(
            f"{np.sum(~finite)} of {len(values)} {what} are not finite: they hold NaN or infinity;"
            " the network overflows, so choose other weights."
        )


def as_float32(value: np.ndarray, name: str) -> np.ndarray:
    """A tensor of weights as float32.

    Args:
        value: of any type.
        name: of the tensor.

    Raises:
        ValueError: complex numbers, or no numbers.
        NotFiniteError: a NaN or infinity, or a number that float32 does not have.
    """
    if value.dtype.kind in "cOSUmM":
        raise ValueError(f"{name} has dtype {value.dtype}; weights are real numbers.")
    with np.errstate(over="ignore"):  # what float32 does not have becomes infinite
        result = np.asarray(value, np.float32)
    bad = np.sum(~np.isfinite(result))
    if bad:
        first = value[~np.isfinite(result)].flat[0]
        raise NotFiniteError(
            f"{name} holds {bad} of {result.size} values that are not finite in float32, the first"
            f" {first}; the weights are damaged or of a failed run, so choose others."
        )
    return result
