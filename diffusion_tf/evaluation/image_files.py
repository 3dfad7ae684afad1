"""Images that were made by anything: an npz file or a folder, read a batch at a time."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from diffusion_tf.datasets.folder import find_images
from diffusion_tf.images import load_image


@dataclass(frozen=True)
class ImageFiles:
    """Images in an npz file or in a folder, all of one size.

    Attributes:
        path: of the file or folder.
        shape: (N, height, width, channels).
        dtype: uint8, or a float type for images in [-1, 1].
    """

    path: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    _names: tuple[str, ...]  # of the files; of the array in an npz file

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """All images once, in order.

        Args:
            batch_size: of every batch but the last, which holds what is left.

        Yields:
            [batch_size or fewer, H, W, C] of the dtype.

        Raises:
            ValueError: an image is damaged or of another size, or floats leave [-1, 1] so far that
                they must be meant in another way.
        """
        read = _read_folder if Path(self.path).is_dir() else _read_array
        for batch in read(self, batch_size):
            if self.dtype != np.uint8:
                _check_floats(batch, self.path)
            yield batch


def open_images(path: str | Path) -> ImageFiles:
    """Finds out what images a file or folder holds.

    Args:
        path: an npz file with one array [N, H, W, 1 or 3], or one that is called `arr_0`, as
            sample.py and the evaluators of guided-diffusion and EDM have it: uint8, or floats in
            [-1, 1]. Or a folder of image files, all of one size, in the order of their names.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no images there, an array of objects or of another shape or dtype, or a damaged
            file.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}; check --images.")
    return _open_npz(path)


def _open_folder(path: Path) -> ImageFiles:
    names, _ = find_images(str(path))
    if not names:
        raise ValueError(f"{path} holds no image; give a folder of images, or an npz file.")
    try:
        with Image.open(names[0]) as image:
            channels = 1 if image.mode in ("1", "L", "I;16") else 3
            width, height = image.size
    except OSError as error:
        raise ValueError(f"{names[0]} cannot be read as an image ({error}); remove it.") from None
    shape = (len(names), height, width, channels)
    return ImageFiles(str(path), shape, np.dtype(np.uint8), tuple(names))


def _open_npz(path: Path) -> ImageFiles:
    """Reads the header alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [name for name in archive.namelist() if name.endswith(".npy")]
            chosen = "arr_0.npy" if "arr_0.npy" in arrays else arrays[0] if arrays else ""
            if not chosen or (len(arrays) > 1 and chosen != "arr_0.npy"):
                there = ", ".join(name.removesuffix(".npy") for name in arrays) or "none"
                raise ValueError(f"its arrays are {there}, and it must hold one, arr_0")
            with archive.open(chosen) as file:
                shape, dtype = _read_header(file)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as images ({error}); write it again.") from None
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds Python objects, which are not unpickled; save the images as uint8"
            " [N, H, W, C]."
        )
    if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape or not _is_pixel(dtype):
        raise ValueError(
            f"{path} holds {dtype} of shape {shape}; images are uint8, or floats in [-1, 1],"
            " [N, H, W, 1 or 3]."
        )
    return ImageFiles(str(path), shape, dtype, (chosen,))


def _is_pixel(dtype: np.dtype) -> bool:
    return dtype == np.uint8 or dtype.kind == "f"


def _read_header(file: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"its array has format {version}")
    shape, is_fortran, dtype = read(file)
    if is_fortran:
        raise ValueError("its array is stored column by column")
    return shape, dtype


def _read_array(images: ImageFiles, batch_size: int) -> Iterator[np.ndarray]:
    number, *image_shape = images.shape
    bytes_per_image = int(np.prod(image_shape)) * images.dtype.itemsize
    try:
        with zipfile.ZipFile(images.path) as archive, archive.open(images._names[0]) as file:
            _read_header(file)
            for start in range(0, number, batch_size):
                count = min(batch_size, number - start)
                data = file.read(count * bytes_per_image)
                yield np.frombuffer(data, images.dtype).reshape(count, *image_shape)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise ValueError(f"{images.path} is damaged ({error}); write it again.") from None


def _read_folder(images: ImageFiles, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images._names), batch_size):
        names = images._names[start : start + batch_size]
        yield np.stack([load_image(name, images.shape[1:]) for name in names])


def _check_floats(batch: np.ndarray, path: str) -> None:
    """Samples that were not clipped may leave [-1, 1] by a little."""
    low, high = batch.min(), batch.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{path} holds pixels that are not finite; look at what drew them.")
    if low < -2 or high > 2:
        raise ValueError(
            f"{path} holds floats from {low:.4g} to {high:.4g}; images are uint8, or floats in"
            " [-1, 1]."
        )
