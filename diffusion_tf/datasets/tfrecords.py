"""TFRecord files by index: any record at any time, from any thread.

A record is its length (uint64, little-endian), a checksum of the length, the data, and a checksum
of the data. TensorFlow reads such files from front to back only; training batches that follow from
(seed, step) alone need the records in any order.
"""

import os
import struct
from collections.abc import Iterator, Sequence

import google_crc32c
import numpy as np

from diffusion_tf.utils.regular_files import open_regular

HEADER_BYTES = 12  # length and its checksum
FOOTER_BYTES = 4  # checksum of the data
PROBES = 1000  # headers that are looked at before a file counts as one of equal records


class TFRecordFile:
    """One file. Records are numbered from 0.

    Opening it finds where each record begins: by hopping from header to header, or, where all
    records are of one length, by looking at about a thousand headers that lie evenly in the file.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is empty, ends within a record, or has a damaged header.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        try:
            self._file = open_regular(self.path)  # open while this lives
        except FileNotFoundError:
            raise FileNotFoundError(
                f"There is no TFRecord file {self.path}; write it again or restore it."
            ) from None
        self._size = os.fstat(self._file.fileno()).st_size
        if self._size == 0:
            raise ValueError(f"{self.path} is empty; write the file again or restore it.")
        starts = self._equal_starts()
        self._starts = np.fromiter(self._hops(), np.int64) if starts is None else starts

    def __len__(self) -> int:
        return len(self._starts)

    def where(self, index: int) -> str:
        """File, number and place of a record, for messages."""
        return f"{self.path}, record {index} at byte {self._starts[index]}"

    def read(self, index: int) -> bytes:
        """The data of a record, after comparing both checksums.

        Raises:
            ValueError: no such record, or it is damaged.
        """
        if not 0 <= index < len(self):
            raise ValueError(f"{self.path} has no record {index}; it has 0..{len(self) - 1}.")
        start = int(self._starts[index])
        end = int(self._starts[index + 1]) if index + 1 < len(self) else self._size
        frame = os.pread(self._file.fileno(), end - start, start)
        data = memoryview(frame)[HEADER_BYTES:-FOOTER_BYTES]
        if (
            self._length(frame[:HEADER_BYTES], index, start) != len(data)
            or len(frame) < end - start
        ):
            raise self._damaged(
                index, start, "it is not as long as it was when the file was opened"
            )
        if _masked_checksum(bytes(data)) != struct.unpack("<I", frame[-FOOTER_BYTES:])[0]:
            raise self._damaged(index, start, "the checksum of its data is wrong")
        return bytes(data)

    def _hops(self) -> Iterator[int]:
        index = start = 0
        while start < self._size:
            header = os.pread(self._file.fileno(), HEADER_BYTES, start)
            yield start
            end = start + HEADER_BYTES + self._length(header, index, start) + FOOTER_BYTES
            if end > self._size:
                raise self._damaged(index, start, f"it needs {end - self._size} bytes more")
            index, start = index + 1, end

    def _equal_starts(self) -> np.ndarray | None:
        """Starts of records of one length; None if they are not."""
        first = os.pread(self._file.fileno(), HEADER_BYTES, 0)
        stride = HEADER_BYTES + self._length(first, 0, 0) + FOOTER_BYTES
        if self._size % stride:
            return None
        number = self._size // stride
        for index in np.unique(np.linspace(0, number - 1, PROBES).astype(np.int64)):
            # Equal to the first header, whose checksum is right, means: the same length.
            if os.pread(self._file.fileno(), HEADER_BYTES, int(index) * stride) != first:
                return None
        return np.arange(number, dtype=np.int64) * stride

    def _length(self, header: bytes, index: int, start: int) -> int:
        if len(header) < HEADER_BYTES:
            raise self._damaged(index, start, "the file ends within its header")
        length, checksum = struct.unpack("<QI", header)
        if _masked_checksum(header[:8]) != checksum:
            raise self._damaged(index, start, "the checksum of its length is wrong")
        return length

    def _damaged(self, index: int, start: int, what: str) -> ValueError:
        return ValueError(
            f"{self.path} is truncated, damaged or no TFRecord file: record {index} at byte"
            f" {start}: {what}; write the file again or restore it."
        )


class TFRecordFiles:
    """Several files as if they were one, in the order given; the interface is `TFRecordFile`'s.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]):
        self.paths = [os.fspath(path) for path in paths]
        self._files = [TFRecordFile(path) for path in self.paths]
        self._ends = np.cumsum([len(file) for file in self._files])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def where(self, index: int) -> str:
        """File, number and place of a record, for messages."""
        file, local = self._find(index)
        return file.where(local)

    def read(self, index: int) -> bytes:
        """The data of a record, after comparing both checksums.

        Raises:
            ValueError: no such record, or it is damaged.
        """
        file, local = self._find(index)
        return file.read(local)

    def _find(self, index: int) -> tuple[TFRecordFile, int]:
        if not 0 <= index < len(self):
            raise ValueError(f"There is no record {index}; there are 0..{len(self) - 1}.")
        number = int(np.searchsorted(self._ends, index, side="right"))
        file = self._files[number]
        return file, index - int(self._ends[number]) + len(file)


def _masked_checksum(data: bytes) -> int:
    """CRC-32C as TFRecord stores it: rotated, plus a constant."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
