"""Arrays that people bring in .npy and .npz files: read without pickle, refused in one sentence."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusion_tf.utils.array_files import SEAL_BYTES, open_npz, read_header, readable
from diffusion_tf.utils.numbers import whole_array
from diffusion_tf.utils.regular_files import open_regular


def read_npy(path: str | Path) -> np.ndarray:
    """An array of a .npy file, mapped into memory: what is not looked at is not read.

    Raises:
        ValueError: no .npy, damaged, or an array of Python objects.
        OSError: it cannot be opened.
    """
    try:
        with open_regular(path) as file:
            if file.peek(2)[:2] == b"PK":
                raise ValueError("it is an .npz")
            read_header(file, os.path.getsize(path), trailing=SEAL_BYTES)
        with readable():
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(_unreadable(path, ".npy", error)) from None


def read_npz(path: str | Path, names: Sequence[str]) -> list[np.ndarray]:
    """The named arrays of an .npz file.

    Raises:
        ValueError: no .npz, damaged, without one of the names, or with arrays of Python objects.
        OSError: it cannot be opened.
    """
    try:
        with open_npz(path) as arrays:
            there = list(arrays)
            missing = sorted(set(names) - set(there))
            found = [] if missing else [arrays[name] for name in names]
    except ValueError as error:
        raise ValueError(_unreadable(path, ".npz", error)) from None
    if missing:
        raise ValueError(
            f"{path} lacks {' and '.join(missing)} (it has {', '.join(there) or 'nothing'}); save"
            f" it with numpy.savez(path, {', '.join(f'{name}={name}' for name in names)})."
        )
    return found


def checked_vectors(array: np.ndarray, what: str) -> np.ndarray:
    """Vectors as float32 [N, D].

    Args:
        array: what a file holds.
        what: names it in the errors.

    Raises:
        ValueError: no real numbers, not two axes, empty, or values that are not finite.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} has dtype {array.dtype}; it must hold real numbers.")
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{what} has shape {array.shape}; it must be [N, D], one vector in each row."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
        vectors = array.astype(np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{what} has values that are not finite in {np.sum(~finite)} of {len(vectors)} rows,"
            f" the first at index {np.argmin(finite)}; repair or remove these rows."
        )
    return vectors


def checked_conditions(conditions: np.ndarray, what: str) -> np.ndarray:
    """Labels as int32 [N], or vectors as float32 [N, C].

    Args:
        conditions: labels of any integer type, or vectors of real numbers.
        what: names them in the errors.

    Raises:
        ValueError: another shape or type, labels beyond int32, vectors that are not finite.
    """
    conditions = np.asarray(conditions)
    if conditions.ndim != 1:
        return checked_vectors(conditions, what)
    if conditions.dtype.kind not in "iu":
        raise ValueError(
            f"{what} has dtype {conditions.dtype} and shape {conditions.shape}; it must hold"
            " labels: integers [N]."
        )
    return whole_array(conditions, what, -1)


def check_same_length(a: np.ndarray, b: np.ndarray, what_a: str, what_b: str) -> None:
    """Refuses two arrays that do not belong together row by row.

    Raises:
        ValueError: they have not the same length.
    """
    if len(a) != len(b):
        raise ValueError(
            f"{what_a} has {len(a)} rows and {what_b} has {len(b)}; row i of one belongs to row i"
            " of the other, so give both the same number."
        )


def _unreadable(path: str | Path, kind: str, reason: Exception | str) -> str:
    save = "numpy.save" if kind == ".npy" else "numpy.savez"
    return f"{path} cannot be read as {kind} ({reason}); write numbers to it with {save}."
