"""Regular files are opened, nothing else: for the writer of a pipe one could wait forever."""

import io
import os
import stat
from pathlib import Path

from diffusion_tf.utils.numbers import shown

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def checked_path(path: object) -> str:
    """A path as a text.

    Raises:
        ValueError: it is neither a text nor a `Path`.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{shown(path)} is not a path; give a text or a pathlib.Path.")
    return os.fsdecode(path)


def open_regular(path: str | Path) -> io.BufferedReader:
    """Opens a file to read its bytes, without ever waiting for somebody who writes it.

    Args:
        path: of the file; links are followed.

    Raises:
        OSError: there is none, it cannot be opened, or it is a pipe, a device or a socket.
    """
    return open(path, "rb", opener=_open)


def read_regular(path: str | Path, limit: int) -> bytes:
    """The bytes of a file.

    Args:
        path: of the file.
        limit: number of bytes from which on it cannot be what is asked for.

    Raises:
        ValueError: it has more bytes.
        OSError: see `open_regular`.
    """
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} has more than {limit:,} bytes; name another file.")
    return data


def _open(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind not in _KINDS:
        return descriptor
    os.close(descriptor)
    raise OSError(f"{path} is {_KINDS[kind]}; name a regular file.")
