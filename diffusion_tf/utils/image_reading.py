"""Image files: the one reader of the package, and every rule for how a file becomes pixels.

* A file is an image by its ending, wherever it lies below a folder, unless it is hidden.
* It is turned as its EXIF says, before its size counts.
* It becomes grey or RGB as the caller's channels say, from grey, palettes, CMYK and others alike.
* Transparency is dropped. Of 16 bits the upper 8 are kept; 32 bits are refused.
* Of an animation the first frame counts.
* It has at most `MAX_PIXELS`. Measurements (FITS) and what Pillow recognizes but
  does not draw by itself, such as EPS, WMF, HDF5, GRIB and MPEG, are not images.
* `read_image` and `fit_image` crop the middle out and resize it; `load_image` wants the exact size.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, ImageOps

from diffusion_tf.utils.regular_files import checked_path, open_regular

Shape = tuple[int, int, int]  # height, width, channels
# Of an image: decoded, converted and turned it takes 1.6 GB and, in most formats, some 5 seconds.
# Pillow's own limit, 178,956,970, would take more than 2 GB.
MAX_PIXELS = 2**27
MAX_SCANNED = 2**32  # pixels of all scans of a progressive JPEG: they may be many and a few bytes
_GREY = ("1", "L", "LA", "La")  # and I;16 in all its byte orders
# Formats that Pillow starts another program for (Ghostscript), of measurements, and of films; those
# that it recognizes and leaves to others (stubs) are found.
_NOT_IMAGES = ("EPS", "FITS", "MPEG")
_LARGE = 2**24  # pixels; of images with more, one is decoded at a time
_large = threading.Lock()


class UnreadableImageError(ValueError):
    """An image file that cannot be read; the message says why, and does not name the file."""


def find_images(folder: str) -> tuple[list[str], int]:
    """Files below a folder whose endings are those of images, and the number of other files.

    Returns:
        sorted paths; the number does not count hidden files.

    Raises:
        ValueError: not a folder, or one that cannot be listed.
        FileNotFoundError: no such folder.
    """
    folder = checked_path(folder)
    if not os.path.exists(folder):
        raise FileNotFoundError(f"There is no folder {folder}; pass another with --data_dir.")
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder; pass the one that holds it with --data_dir.")
    endings = {e for e, kind in Image.registered_extensions().items() if kind in _formats()}
    files = _walk(folder)
    paths = [path for path in files if os.path.splitext(path)[1].lower() in endings]
    return sorted(paths), len(files) - len(paths)


def read_image(path: str | BinaryIO, shape: Shape) -> np.ndarray:
    """Reads an image; the middle of it is cropped out and resized.

    Args:
        path: anything that Pillow reads, or a file of it that is open.
        shape: (height, width, channels) of the result.

    Returns:
        uint8 array of that shape.

    Raises:
        UnreadableImageError: no such file, not an image, damaged, or with 32 bits per pixel and
            channel.
    """
    height, width, channels = shape
    image = ImageOps.fit(_open(path, channels), (width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(shape)


def fit_image(path: str, shape: Shape) -> np.ndarray:
    """As `read_image`, with errors that name the file and say what to do.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, damaged, or with 32 bits per pixel and channel.
    """
    with _named(path):
        return read_image(path, shape)


def load_image(path: str, shape: Shape) -> np.ndarray:
    """Reads an image file of exactly the given size.

    Args:
        path: anything that Pillow reads.
        shape: (height, width, channels) that it must have; colours are converted, sizes are not.

    Returns:
        uint8 array of that shape.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, damaged, or of another size.
    """
    with _named(path):
        with _decoder(path) as image:
            width, height = image.size  # by the header, before it is decoded and perhaps turned
        if sorted((height, width)) == sorted(shape[:2]):
            pixels = np.asarray(_open(path, shape[2]))
            if pixels.shape[:2] == shape[:2]:
                return pixels.reshape(shape)
            height, width = pixels.shape[:2]
    raise ValueError(
        f"{path} has {width}x{height} pixels, not {shape[1]}x{shape[0]}; crop and resize it first,"
        " or let --resize do it as training does."
    )


def size_of(path: str) -> tuple[int, int]:
    """The height and width of an image file, upright.

    Raises:
        FileNotFoundError, ValueError: as for `load_image`.
    """
    with _named(path):
        width, height = _open(path, 3).size
    return height, width


def channels_of(path: str) -> int:
    """The channels that an image file has by its header: 1 if it is grey, 3 if it is not.

    Raises:
        ValueError: not an image.
    """
    with _named(path), _decoder(path) as image:
        return 1 if image.mode in _GREY or image.mode.startswith("I;16") else 3


def to_mode(image: Image.Image, channels: int) -> Image.Image:
    """Converts to 8 bits of grey (1 channel) or RGB (3); transparency is dropped.

    Raises:
        ValueError: 32 bits per pixel and channel, whose black and white nobody knows.
    """
    if image.mode.startswith("I;16"):  # Pillow would cut off all that is above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"it has 32-bit pixels (mode {image.mode}); convert it to 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


def _open(path: str | BinaryIO, channels: int) -> Image.Image:
    """The image of a file, upright, in 8 bits of grey or RGB.

    Raises:
        UnreadableImageError: see `read_image`.
    """
    with _decoder(path) as image, _one_at_a_time(image):
        return to_mode(ImageOps.exif_transpose(image), channels)


@contextlib.contextmanager
def _decoder(path: str | BinaryIO) -> Iterator[Image.Image]:
    """An image whose header is read; its pixels are when they are asked for, within the block.

    Raises:
        UnreadableImageError: see `read_image`.
    """
    try:
        # Given a path, Pillow maps TIFF files into memory and mistakes the sides of turned ones.
        with _opened(path) as file, Image.open(file, "r", _formats()) as image:
            _check_work(image, file)
            yield image
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise many kinds for a damaged file
        raise UnreadableImageError(_reason(error, path)) from None


def _check_work(image: Image.Image, file: BinaryIO) -> None:
    """Raises a ValueError if an image would take too long to decode, or too much memory."""
    pixels, size = image.width * image.height, f"{image.width}x{image.height} pixels"
    if pixels > MAX_PIXELS:
        raise ValueError(f"it has {size}, and at most {MAX_PIXELS:,} are read: make it smaller")
    if "progressive" not in image.info:
        return
    position = file.tell()
    file.seek(0)
    scans = file.read().count(b"\xff\xda")  # each begins so, and nothing else in them does
    file.seek(position)
    if scans * pixels > MAX_SCANNED:
        raise ValueError(
            f"it has {size} in {scans} scans, and at most {MAX_SCANNED:,} are read: save it anew"
        )


def _opened(path: str | BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    return open_regular(path) if isinstance(path, str) else contextlib.nullcontext(path)


@functools.cache
def _formats() -> list[str]:
    """The formats of images that Pillow reads by itself."""
    Image.init()
    return [name for name in Image.ID if name not in _NOT_IMAGES and not _is_stub(name)]


def _is_stub(name: str) -> bool:
    """Whether Pillow recognizes a format, but needs somebody else to read it."""
    factory = Image.OPEN[name][0]
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


def _one_at_a_time(image: Image.Image) -> contextlib.AbstractContextManager:
    """Lets threads that read large images wait for each other: two take the memory of both."""
    return _large if image.width * image.height > _LARGE else contextlib.nullcontext()


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Lets errors of reading a file name it and say what to do."""
    if not os.path.exists(checked_path(path)):
        raise FileNotFoundError(f"There is no image {path!r}; check the path.")
    try:
        yield
    except UnreadableImageError as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}); give a PNG or JPEG file."
        ) from None


def _reason(error: Exception, path: str | BinaryIO) -> str:
    """What Pillow says, without the path, which is named anyway."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    text = f"{error}".replace(path, "it") if isinstance(path, str) else f"{error}"
    return text.rstrip(".") or type(error).__name__


def _walk(folder: str) -> list[str]:
    """Files below a folder that are not hidden; links are followed, but not in circles."""

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"{error.filename} cannot be listed ({error.strerror}); allow it or move it away."
        ) from None

    files, seen = [], set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else [f for f in folders if not f.startswith(".")]
        if real not in seen:
            files += [os.path.join(parent, name) for name in names if not name.startswith(".")]
        seen.add(real)
    return files
