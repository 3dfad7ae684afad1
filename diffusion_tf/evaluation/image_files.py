"""Images that were made by anything: an npz file or a folder, read a batch at a time."""

import dataclasses
import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.utils.array_files import open_archive, read_header
from diffusion_tf.utils.image_reading import (
    channels_of,
    find_images,
    fit_image,
    load_image,
    size_of,
)
from diffusion_tf.utils.regular_files import checked_path

_Values = TypeVar("_Values", np.ndarray, float)
Range = tuple[float, float]  # the numbers of black and of white
FLOATS, PIXELS = (-1.0, 1.0), (0.0, 255.0)
_DARK = -0.5  # a whole set in [-1, 1] has a number below this, unless it is bright all over
_SCAN_BATCH = 256


@dataclass(frozen=True)
class _Seen:
    """What one look at all numbers of an array tells."""

    low: float
    high: float
    sha256: str


@dataclass(frozen=True)
class ImageFiles:
    """Images in an npz file or in a folder, all of one size.

    Attributes:
        path: of the file or folder.
        shape: (N, height, width, channels).
        dtype: uint8, or a float type.
    """

    path: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    _names: tuple[str, ...]  # of the files; of the array in an npz file
    _asked: Range | None = None
    _bounded: bool = True  # whether numbers far beyond the range are refused
    _resized: bool = False  # whether files of other sizes are cropped and resized

    def check_shape(self, config: Config) -> None:
        """Makes sure that the images can be compared with those of a config.

        Raises:
            ValueError: they are of another size.
        """
        if self.shape[1:] != config.image_shape:
            height, width, channels = config.image_shape
            raise ValueError(
                f"{self.path} holds images of {self.shape[1]}x{self.shape[2]} with {self.shape[3]}"
                f" channels, but {config.dataset} has {height}x{width} with {channels}; give the"
                " images in that size (--resize does it for a folder), or another --config."
            )

    @cached_property
    def range(self) -> Range:
        """The numbers that mean black and white, judged by the whole set if nobody says them.

        Raises:
            ValueError: the set as a whole may mean two ranges, or none; a number is not finite; or
                the file is damaged.
        """
        if self.dtype == np.uint8:
            if self._asked not in (None, PIXELS):
                low, high = self._asked
                raise ValueError(
                    f"{self.path} holds 8 bits, from 0 to 255, not --range={low:g},{high:g}; leave"
                    " --range out."
                )
            if self._asked is None and not Path(self.path).is_dir() and self._seen.high == 1:
                raise ValueError(
                    f"{self.path} holds 8 bits that are 0 and 1 alone, both of them black; multiply"
                    " them by 255, or say --range=0,255 if they are black."
                )
            return PIXELS
        low, high = self._seen.low, self._seen.high
        if self._asked is not None:
            _check_range(self.path, low, high, self._asked, self._bounded)
            return self._asked
        _check_range(self.path, low, high, FLOATS)
        if low >= _DARK:
            raise ValueError(
                f"{self.path} holds floats from {low:.4g} to {high:.4g}: images in [0, 1], or"
                " images in [-1, 1] that are bright all over; say which it is with --range=0,1 or"
                " --range=-1,1 (the numbers of black and white)."
            )
        return FLOATS

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of the array, or of the bytes of all files.

        Raises:
            ValueError, OSError: the file is damaged, or one cannot be read.
        """
        if not Path(self.path).is_dir():
            return self._seen.sha256
        digest = hashlib.sha256()
        for name in self._names:
            digest.update(hashlib.sha256(Path(name).read_bytes()).digest())
        return digest.hexdigest()

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """All images once, in order.

        Args:
            batch_size: of every batch but the last, which holds what is left.

        Yields:
            [batch_size or fewer, H, W, C]: uint8 as it is, floats scaled from their range to
            [-1, 1].

        Raises:
            ValueError: an image is damaged or of another size, or as for `range`.
        """
        black, white = self.range
        read = _read_folder if Path(self.path).is_dir() else _read_array
        for batch in read(self, batch_size):
            if self.dtype == np.uint8 or self.range == FLOATS:
                yield batch
            else:
                yield _scaled(batch.astype(np.float64), black, white).astype(np.float32)

    @cached_property
    def _seen(self) -> _Seen:
        """All numbers of an array, seen once."""
        low, high, digest = np.inf, -np.inf, hashlib.sha256()
        for batch in _read_array(self, _SCAN_BATCH):
            low, high = np.minimum(low, batch.min()), np.maximum(high, batch.max())  # NaN stays
            digest.update(np.ascontiguousarray(batch).data)
        return _Seen(float(low), float(high), digest.hexdigest())


def open_images(
    path: str | Path,
    *,
    channels: int | None = None,
    value_range: Range | None = None,
    bounded: bool = True,
    size: tuple[int, int] | None = None,
) -> ImageFiles:
    """Finds out what images a file or folder holds.

    Args:
        path: an npz file with one array [N, H, W, 1 or 3], or one that is called `arr_0`, as
            sample.py and the evaluators of guided-diffusion and EDM have it: uint8, or floats. Or a
            folder of image files, all of one size, in the order of their names.
        channels: that the images of a folder are converted to. If not given, 3 as soon as one of
            them is not grey.
        value_range: the numbers of black and white in an array of floats; see `ImageFiles.range`.
        bounded: refuse floats that leave `value_range` by more than half of it. Those of a sampler
            that does not clip, or whose network knows little, may.
        size: height and width that the files of a folder are cropped and resized to, as training
            does. If not given, they must be of one size.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no images there, an array of objects or of another shape or dtype, a damaged
            file, or a size for an array.
    """
    path = Path(checked_path(path))
    if path.is_dir():
        return _open_folder(path, channels, value_range, size)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}; check --images.")
    if size is not None:
        raise ValueError(
            f"--resize is for a folder of image files, and {path} is a file; leave --resize out."
        )
    return dataclasses.replace(_open_npz(path, value_range), _bounded=bounded)


def _open_folder(
    path: Path, channels: int | None, value_range: Range | None, size: tuple[int, int] | None
) -> ImageFiles:
    names, _ = find_images(str(path))
    if not names:
        raise ValueError(f"{path} holds no image; give a folder of images, or an npz file.")
    channels = channels or max(map(channels_of, names))
    shape = (len(names), *(size or size_of(names[0])), channels)
    return ImageFiles(
        str(path), shape, np.dtype(np.uint8), tuple(names), value_range, _resized=size is not None
    )


def _open_npz(path: Path, value_range: Range | None) -> ImageFiles:
    """Reads the header alone."""
    try:
        with open_archive(path) as archive:
            chosen = _choose([name for name in archive.namelist() if name.endswith(".npy")])
            with archive.open(chosen) as file:
                header = read_header(file, archive.getinfo(chosen).file_size)
        if header.fortran_order:
            raise ValueError("its array is stored column by column")
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as images ({error}); write it again.") from None
    shape, dtype = header.shape, header.dtype
    if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape or not _is_pixel(dtype):
        raise ValueError(
            f"{path} holds {dtype} of shape {shape}; images are uint8 or floats, [N, H, W, 1 or 3]."
        )
    return ImageFiles(str(path), shape, dtype, (chosen,), value_range)


def _choose(arrays: list[str]) -> str:
    """The name of the array that holds the images."""
    chosen = "arr_0.npy" if "arr_0.npy" in arrays else arrays[0] if arrays else ""
    if not chosen or (len(arrays) > 1 and chosen != "arr_0.npy"):
        there = ", ".join(name.removesuffix(".npy") for name in arrays) or "none"
        raise ValueError(f"its arrays are {there}, and it must hold one, arr_0")
    return chosen


def _is_pixel(dtype: np.dtype) -> bool:
    return dtype == np.uint8 or dtype.kind == "f"


def _read_array(images: ImageFiles, batch_size: int) -> Iterator[np.ndarray]:
    number, *image_shape = images.shape
    bytes_per_image = math.prod(image_shape) * images.dtype.itemsize
    name = images._names[0]
    try:
        with open_archive(images.path) as archive, archive.open(name) as file:
            read_header(file, archive.getinfo(name).file_size)
            for start in range(0, number, batch_size):
                count = min(batch_size, number - start)
                data = file.read(count * bytes_per_image)
                yield np.frombuffer(data, images.dtype).reshape(count, *image_shape)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise ValueError(f"{images.path} is damaged ({error}); write it again.") from None


def _read_folder(images: ImageFiles, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images._names), batch_size):
        names = images._names[start : start + batch_size]
        read = fit_image if images._resized else load_image
        yield np.stack([read(name, images.shape[1:]) for name in names])


def _check_range(
    path: str, low: float, high: float, value_range: Range, bounded: bool = True
) -> None:
    """Samples that were not clipped may leave their range, by half of it at most if bounded."""
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{path} holds pixels that are not finite; look at what drew them.")
    black, white = value_range
    if bounded and min(_scaled(low, black, white), -_scaled(high, black, white)) < -2:
        raise ValueError(
            f"{path} holds floats from {low:.4g} to {high:.4g}; images are uint8, or floats in"
            f" [{black:g}, {white:g}], unless --range says the numbers of black and white."
        )


def _scaled(values: _Values, black: float, white: float) -> _Values:
    """From the numbers of black and white to -1 and 1."""
    return (values - black) * (2 / (white - black)) - 1
