"""CIFAR-10 as its authors hand it out: cifar-10-python.tar.gz, or the folder that it unpacks to."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_tf.datasets.base import InMemory
from diffusion_tf.datasets.plain_pickle import NotPlain, read_plain
from diffusion_tf.utils.archives import TooLarge, gunzip
from diffusion_tf.utils.memory import check_memory
from diffusion_tf.utils.numbers import outside, shown
from diffusion_tf.utils.regular_files import read_regular

ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"  # of the authors
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
SHAPE = (32, 32, 3)
MAX_BATCH, MAX_ARCHIVE = 64 * 2**20, 256 * 2**20  # bytes; the real ones have 31 MB and 186 MB
_NUM_CLASSES = 10


def find(data_dir: str | None) -> Path | None:
    """The archive, or its folder, where a path leads to it; None where it does not.

    A folder of tensorflow_datasets comes first, should the archive lie in it.
    """
    if data_dir is None:
        return None
    path = Path(data_dir)
    if path.is_file() or path.name == FOLDER:
        return path
    if (path / "cifar10").is_dir():
        return None
    return next((path / n for n in (FOLDER, ARCHIVE) if (path / n).exists()), None)


def load(path: Path, split: str) -> InMemory:
    """The images of a split in the order of their batches, with their labels.

    Args:
        path: what `find` found.
        split: `train` or `test`.

    Raises:
        ValueError: another archive, one that is damaged or expands to too much, or batches that
            hold something else than images and labels.
        OSError: it cannot be read, or a batch is missing.
    """
    names = BATCHES[split]
    batches = _of_folder(path, names) if path.is_dir() else _of_archive(path, names)
    read = [_batch(batches[name], f"{name} in {path}") for name in names]
    images, labels = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
    return InMemory(images, labels)


def _of_folder(folder: Path, names: list[str]) -> dict[str, bytes]:
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; unpack {ARCHIVE} again, or name it itself with"
            " --data_dir."
        )
    return {name: read_regular(folder / name, MAX_BATCH) for name in names}


def _of_archive(path: Path, names: list[str]) -> dict[str, bytes]:
    check_memory(2 * MAX_ARCHIVE, f"{path}", f"unpack it, and name the folder {FOLDER}")
    try:
        data = gunzip(read_regular(path, MAX_ARCHIVE), MAX_ARCHIVE)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = {m.name.removeprefix("./"): m for m in archive.getmembers() if m.isreg()}
            found = {name: members.get(f"{FOLDER}/{name}") for name in names}
            missing = [name for name, member in found.items() if member is None]
            batches = {} if missing else {n: _content(archive, m) for n, m in found.items() if m}
    except (TooLarge, EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise ValueError(
            f"{path} cannot be read as {ARCHIVE} ({str(error).rstrip('.')}); download it again."
        ) from None
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)} in {FOLDER}; name {ARCHIVE}, the version for Python"
            " of CIFAR-10."
        )
    return batches


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BATCH:
        raise TooLarge(f"{shown(member.name)} has {member.size:,} bytes")
    file = archive.extractfile(member)
    assert file is not None  # it is a regular file
    return file.read()


def _batch(data: bytes, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels int32 [N] of a pickled batch."""
    try:
        values = read_plain(data)
    except NotPlain as error:
        raise ValueError(
            f"{what} cannot be read as a batch of CIFAR-10 ({error}); download {ARCHIVE} again."
        ) from None
    pixels: Any
    pixels, labels = (
        values.get(name, values.get(name.encode())) if isinstance(values, dict) else None
        for name in ("data", "labels")
    )
    height, width, channels = SHAPE
    is_good = isinstance(pixels, np.ndarray) and pixels.shape[1:] == (height * width * channels,)
    if not is_good or not isinstance(labels, list) or len(labels) != len(pixels):
        raise ValueError(
            f"{what} does not hold `data`, bytes [N, 3072], and `labels`, N numbers; download"
            f" {ARCHIVE} again."
        )
    array = np.array(labels) if all(type(label) is int for label in labels) else None
    if array is None or outside(array, 0, _NUM_CLASSES - 1) is not None:
        raise ValueError(
            f"{what} has labels other than 0..{_NUM_CLASSES - 1}; download {ARCHIVE} again."
        )
    images = pixels.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), array.astype(np.int32)
