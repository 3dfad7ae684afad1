"""The loss curve of a run, in a file of its own: a line `step,loss` for each logged step."""

import io
import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
from absl import logging

from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.regular_files import open_regular

_HEADER = "step,loss\n"
_LINE = re.compile(r"(\d{1,19}),([-+.\de]+)\n")


class LossFile:
    """Adds lines to a loss curve.

    Where that fails a warning says so, once, and the work goes on; what could not be written is
    kept, and written with what comes next.
    """

    def __init__(self, path: str, earlier: Mapping[int, float]):
        """Opens a file; a line at its end that was not finished goes.

        Args:
            path: of the file, which is made if it is not there.
            earlier: losses by step, for a new file to begin with.
        """
        self._path, self._earlier = path, earlier
        self._fd: int | None = None
        self._size, self._kept, self._warned = 0, b"", False
        self._write_kept()

    def write(self, steps: Iterable[int], losses: Iterable[float]) -> None:
        """Adds lines."""
        self._kept += _lines(zip(steps, losses, strict=True)).encode()
        self._write_kept()

    def _write_kept(self) -> None:
        try:
            if self._fd is None:
                self._fd, self._size = _open(self._path, self._earlier)
            os.ftruncate(self._fd, self._size)  # a line that was not finished
            written = os.write(self._fd, self._kept)
            if written < len(self._kept):
                raise OSError(f"{written} of {len(self._kept)} bytes were written")
            self._size, self._kept = self._size + written, b""
        except OSError as error:
            self._warn(error)

    def sync(self) -> None:
        """Waits until all lines are on the disk."""
        if self._kept:
            self._write_kept()
        if self._fd is None:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._warn(error)

    def close(self) -> None:
        """Closes the file."""
        if self._kept:
            self._write_kept()
        if self._kept:
            lines = self._kept.count(b"\n")
            logging.warning("The last %d losses could not be written to %s.", lines, self._path)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            logging.warning(
                "The losses cannot be written to %s (%s); the work goes on, and tries again.",
                self._path,
                error,
            )
        self._warned = True


def _open(path: str, earlier: Mapping[int, float]) -> tuple[int, int]:
    """The descriptor of a loss curve, which is made if it is not there; its whole lines' bytes."""
    if not os.path.exists(path):
        with replacing(path) as temporary:
            temporary.write_text(_HEADER + _lines(earlier.items()), encoding="utf-8")
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        return fd, _size_of_whole_lines(fd)
    except OSError:
        os.close(fd)
        raise


def read_losses(path: str) -> dict[int, float]:
    """The losses in a file by step; the last line of a step counts, and one that is none does not.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as raw, io.TextIOWrapper(raw, "utf-8", errors="replace") as file:
        matches = [_LINE.fullmatch(line) for line in file]
    losses = {}
    for match in filter(None, matches):
        try:
            losses[int(match[1])] = float(np.float32(match[2]))
        except ValueError:  # such as 1e-e
            continue
    return losses


def _lines(losses: Iterable[tuple[int, float]]) -> str:
    """9 digits tell all float32 apart."""
    return "".join(f"{step},{loss:.9g}\n" for step, loss in losses)


def _size_of_whole_lines(fd: int) -> int:
    size = os.fstat(fd).st_size
    tail = os.pread(fd, 4096, max(0, size - 4096))
    return size - len(tail) + tail.rfind(b"\n") + 1
