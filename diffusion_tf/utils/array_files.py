"""Arrays in .npy and .npz files: read without pickle, and sealed where they are kept to be used.

A sealed file ends with the SHA-256 of all before it, in an .npz as the archive's comment, so that
NumPy and everything else reads it as before. What was damaged since, anywhere, is told by it.
"""

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffusion_tf.utils.files import replacing

_MARK = b"sha256 "
_SEAL_BYTES = len(_MARK) + 64 + 1  # the mark, hexadecimal digits, a newline
_CHUNK = 2**20  # bytes that are hashed at once


class Damaged(ValueError):
    """A sealed file is not what was written, or was never sealed; the message says which."""


def save_npy(path: str | Path, array: np.ndarray, *, context: str = "") -> None:
    """Writes a sealed .npy; see `seal`."""
    with replacing(path) as temporary:
        np.save(temporary, array, allow_pickle=False)
        seal(temporary, context=context)


def save_npz(path: str | Path, arrays: Mapping[str, npt.ArrayLike], *, context: str = "") -> None:
    """Writes a sealed .npz; see `seal`."""
    with replacing(path) as temporary:
        by_name: dict[str, Any] = dict(arrays)
        np.savez(temporary, **by_name)
        seal(temporary, context=context)


def load_npy(path: str | Path, *, context: str = "") -> np.ndarray:
    """The array of a sealed .npy.

    Raises:
        Damaged: see `check_seal`.
    """
    data = _read(path)
    _check(path, _digest(io.BytesIO(data), len(data), context), data[-_SEAL_BYTES:])
    return np.load(io.BytesIO(data), allow_pickle=False)


def seal(path: str | Path, *, context: str = "") -> None:
    """Ends a file with a checksum.

    Args:
        path: of the file; `*.npz` are archives.
        context: what the file is of. It goes into the checksum, so that a file of something else
            counts as damaged.

    Raises:
        OSError: it cannot be written.
    """
    if Path(path).suffix == ".npz":
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = bytes(_SEAL_BYTES)
    else:
        with open(path, "ab") as file:
            file.write(bytes(_SEAL_BYTES))
    with open(path, "r+b") as file:
        digest = _digest(file, os.path.getsize(path), context)
        file.seek(-_SEAL_BYTES, os.SEEK_END)
        file.write(digest)


def is_sealed(path: str | Path) -> bool:
    """Whether a file ends as a sealed one does, be the checksum right or wrong."""
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - _SEAL_BYTES, 0))
        return file.read().startswith(_MARK)


def check_seal(path: str | Path, *, context: str = "") -> None:
    """Makes sure that a file is what was written.

    Args:
        path: of the file. It is read as a whole, but need not fit into memory.
        context: see `seal`.

    Raises:
        Damaged: it cannot be read, has no checksum, or a wrong one.
    """
    try:
        with open(path, "rb") as file:
            size = os.path.getsize(path)
            digest = _digest(file, size, context)
            file.seek(max(size - _SEAL_BYTES, 0))
            there = file.read()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror or error}).") from None
    _check(path, digest, there)


@contextlib.contextmanager
def open_npz(path: str | Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of an .npz, sealed or not, to be read within the block and nothing else done.

    Raises:
        ValueError: it is something else, or what is read of it is damaged or has Python objects;
            a few words, to go into a sentence.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file, readable():
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it is an .npy")
        yield arrays


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Within it arrays are read: whatever is raised, NumPy knows many kinds, is a ValueError."""
    try:
        yield
    except (MemoryError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # also of zipfile, zlib, tokenize, struct and a seek too far
        raise ValueError(" ".join(str(error).split()).rstrip(".")) from None


def is_intact(path: str | Path, *, context: str = "") -> bool:
    """Whether `check_seal` passes."""
    try:
        check_seal(path, context=context)
    except Damaged:
        return False
    return True


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror or error}).") from None


def _digest(file: io.BufferedIOBase, size: int, context: str) -> bytes:
    """The seal that a file of a size is to have."""
    sha256 = hashlib.sha256(f"{context}\0".encode())
    left = size - _SEAL_BYTES
    file.seek(0)
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        sha256.update(chunk)
        left -= len(chunk)
    return _MARK + sha256.hexdigest().encode() + b"\n"


def _check(path: str | Path, digest: bytes, there: bytes) -> None:
    if not there.startswith(_MARK):
        raise Damaged(f"{path} is damaged, or of an earlier version: it has no checksum.")
    if there != digest:
        raise Damaged(f"{path} is damaged: its checksum is wrong.")
