"""Arrays in .npy and .npz files: read without pickle, and sealed where they are kept to be used.

A sealed file ends with the SHA-256 of all before it, in an .npz as the archive's comment, so that
NumPy and everything else reads it as before. What was damaged since, anywhere, is told by it.
"""

import contextlib
import hashlib
import io
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffusion_tf.utils.archives import open_zip
from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.memory import available_bytes
from diffusion_tf.utils.regular_files import open_regular

_MARK = b"sha256 "
SEAL_BYTES = len(_MARK) + 64 + 1  # the mark, hexadecimal digits, a newline
_CHUNK = 2**20  # bytes that are hashed at once
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # of a file, and of an empty archive


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
    _check(path, _digest(io.BytesIO(data), len(data), context), data[-SEAL_BYTES:])
    try:
        read_header(io.BytesIO(data), len(data), trailing=SEAL_BYTES)
    except ValueError as error:  # sealed, but not by `save_npy`
        raise Damaged(f"{path} is not an array ({error}).") from None
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
        # By name, ZipFile would begin an empty archive if the file could not be opened.
        with open(path, "r+b") as there, zipfile.ZipFile(there, "a") as archive:
            archive.comment = bytes(SEAL_BYTES)
    else:
        with open(path, "ab") as file:
            file.write(bytes(SEAL_BYTES))
    with open(path, "r+b") as file:
        digest = _digest(file, os.path.getsize(path), context)
        file.seek(-SEAL_BYTES, os.SEEK_END)
        file.write(digest)


def is_sealed(path: str | Path) -> bool:
    """Whether a file ends as a sealed one does, be the checksum right or wrong."""
    with open_regular(path) as file:
        file.seek(max(os.path.getsize(path) - SEAL_BYTES, 0))
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
        with open_regular(path) as file:
            size = os.path.getsize(path)
            digest = _digest(file, size, context)
            file.seek(max(size - SEAL_BYTES, 0))
            there = file.read()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror or error}).") from None
    _check(path, digest, there)


@contextlib.contextmanager
def open_npz(path: str | Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of an .npz, sealed or not, to be read within the block and nothing else done.

    Raises:
        ValueError: it is something else, or what is read of it is damaged, has Python objects, or
            would not fit into memory; a few words, to go into a sentence.
        OSError: it cannot be opened, or is not a regular file.
    """
    with open_archive(path) as archive, readable():
        there = available_bytes()
        for member in archive.infolist():
            with archive.open(member) as file:
                size = read_header(file, member.file_size).size
            if size > there:
                raise ValueError(
                    f"{member.filename} takes {size:,} bytes of memory, and {there:,} are free"
                )
        assert archive.fp is not None  # it is open
        archive.fp.seek(0)
        with np.load(archive.fp, allow_pickle=False) as arrays:
            yield arrays


@contextlib.contextmanager
def open_archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """An .npz as the archive that it is, its members not yet looked into.

    Raises:
        ValueError, OSError: see `open_npz`.
    """
    with open_regular(path) as file:
        magic = file.read(len(np.lib.format.MAGIC_PREFIX))
        if magic == np.lib.format.MAGIC_PREFIX:
            raise ValueError("it is an .npy")
        if not magic.startswith(_ZIP_MAGICS):
            raise ValueError("it is not an archive of arrays")
        with readable():
            archive = open_zip(file)
        with archive:
            yield archive


class Header(NamedTuple):
    """What an array in a file claims to be.

    Attributes:
        shape, dtype: of it.
        fortran_order: whether it is stored column by column.
        size: its bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    size: int


def read_header(file: IO[bytes], file_size: int, *, trailing: int = 0) -> Header:
    """Reads the header of an array, and holds what it claims against what is there.

    Args:
        file: at the beginning of an array in the format of .npy. Afterwards it is at its data.
        file_size: bytes from there to the end.
        trailing: bytes that may follow the data.

    Raises:
        ValueError: it is not an array, has Python objects, or claims more or fewer bytes than there
            are; a few words, to go into a sentence.
    """
    start = file.tell()
    with readable():
        shape, fortran_order, dtype = _header_reader(file)(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not unpickled")
    if not dtype.itemsize or any(length < 0 for length in shape):
        raise ValueError(f"its header claims {dtype} of shape {shape}, which is not an array")
    size, there = math.prod(shape) * dtype.itemsize, file_size - (file.tell() - start)
    if not 0 <= there - size <= trailing:
        raise ValueError(f"its header claims {size:,} bytes, and there are {there:,}")
    return Header(shape, dtype, fortran_order, size)


def _header_reader(file: IO[bytes]) -> Callable:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0
    if version in ((2, 0), (3, 0)):  # which differ in how names of fields are written
        return np.lib.format.read_array_header_2_0
    raise ValueError(f"its array has format {version}")


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Within it arrays are read: whatever is raised, NumPy knows many kinds, is a ValueError."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except MemoryError:  # also of a header that is nested too deeply
        raise ValueError("it takes more memory than there is") from None
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
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror or error}).") from None


def _digest(file: IO[bytes], size: int, context: str) -> bytes:
    """The seal that a file of a size is to have."""
    sha256 = hashlib.sha256(f"{context}\0".encode())
    left = size - SEAL_BYTES
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
