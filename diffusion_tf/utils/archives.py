"""Zip and gzip files: how much they may expand to is settled before anything is expanded."""

import gzip
import io
import os
import zipfile
from typing import BinaryIO

ALWAYS_ALLOWED = 256 * 2**20  # bytes that every file may expand to
MAX_RATIO = 100  # bytes for each byte of a larger file; real images come to 20 at most
_ENCRYPTED, _PATCH = 0x41, 0x20  # flags of a member


class TooLarge(ValueError):
    """An archive expands to more than is allowed; the message says so in a few words."""


def may_expand_to(compressed: int) -> int:
    """Bytes that so many compressed ones may become."""
    return max(ALWAYS_ALLOWED, MAX_RATIO * compressed)


def check_zip(archive: zipfile.ZipFile) -> None:
    """Refuses an archive that is not of the kind that NumPy and PyTorch write.

    What is stored as it is may have any size, what is compressed `may_expand_to` so much.

    Raises:
        ValueError: members in another compression, encrypted, patches or over each other; or all of
            them expand to more than is allowed. A few words, to go into a sentence.
    """
    size, members = _size_of(archive), archive.infolist()
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise ValueError(f"its member {member.filename!r} is encrypted")
        if member.flag_bits & _PATCH:
            raise ValueError(f"its member {member.filename!r} is a patch of another file")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"its member {member.filename!r} is compressed by method {member.compress_type},"
                " and only stored (0) and deflated (8) ones are read"
            )
        if member.compress_type == zipfile.ZIP_STORED and member.file_size > member.compress_size:
            raise ValueError(f"its member {member.filename!r} claims more bytes than it has")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("its members lie over each other, or beyond its end")
    deflated = [m for m in members if m.compress_type == zipfile.ZIP_DEFLATED]
    packed, unpacked = (
        sum(getattr(m, n) for m in deflated) for n in ("compress_size", "file_size")
    )
    if unpacked > may_expand_to(packed):
        raise TooLarge(f"its {packed:,} compressed bytes expand to {unpacked:,}, like a zip bomb")


def gunzip(data: bytes, limit: int) -> bytes:
    """What a gzip file holds, decompressed to its last byte, so that its checksum is compared.

    Raises:
        TooLarge: it expands to more than `limit` bytes.
        EOFError, gzip.BadGzipFile, zlib.error: it is damaged.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        expanded = file.read(limit + 1)
    if len(expanded) > limit:
        raise TooLarge(f"it expands to more than {limit:,} bytes, like a zip bomb")
    return expanded


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """A zip archive that has passed `check_zip`.

    Raises:
        ValueError: see `check_zip`; or a version that Python does not know. A few words, to go
            into a sentence.
        zipfile.BadZipFile: it is not a zip archive, or damaged.
    """
    try:
        archive = zipfile.ZipFile(file)
    except NotImplementedError as error:
        raise ValueError(f"it is a {error}, which is not known") from None
    check_zip(archive)
    return archive


def _size_of(archive: zipfile.ZipFile) -> int:
    assert archive.fp is not None  # it is open
    archive.fp.seek(0, os.SEEK_END)
    return archive.fp.tell()
