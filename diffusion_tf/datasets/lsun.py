"""LSUN, and any other images, in TFRecords as StyleGAN2's dataset_tool.py writes them."""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from diffusion_tf.config import Config
from diffusion_tf.datasets.base import RandomAccess
from diffusion_tf.datasets.tfrecords import TFRecordFile
from diffusion_tf.utils.image_sizes import Size, as_size, shown_size, sides


def load_lsun(config: Config, data_dir: str | None, split: str) -> RandomAccess:
    """The images of a TFRecord file of StyleGAN2.

    Args:
        config: whose image size and channels they have.
        data_dir: the file, or a folder with exactly one `*-r08.tfrecords` (for 256x256: 2 to the 8;
            dataset_tool writes one file for each resolution; the longer side counts).
        split: not used; all images are training images.

    Raises:
        ValueError: no data_dir, several files, a damaged file, or images of another size.
        FileNotFoundError: no such file or folder, or no such file in it.
    """
    if data_dir is None:
        raise ValueError(
            "lsun needs --data_dir: a .tfrecords file of StyleGAN2's dataset_tool.py, or the folder"
            " that holds it."
        )
    file = TFRecordFile(_find_file(Path(data_dir), config.image_size))
    shape = (config.channels, *sides(config.image_size))

    def read(index: int) -> np.ndarray:
        return _decode(file.read(index), shape, file.where(index)).transpose(1, 2, 0)

    read(0)  # a file of another resolution is refused before anything starts
    return RandomAccess(read, len(file), config.image_shape, files=[file.path])


def _find_file(path: Path, image_size: Size) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no file or folder {path}; pass the .tfrecords file with --data_dir."
        )
    pattern = f"*-r{round(math.log2(max(sides(image_size)))):02d}.tfrecords"
    found = sorted(path.glob(pattern))
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(p.name for p in path.glob("*.tfrecords"))) or "no .tfrecords file"
    message = (
        f"{path} holds {len(found) or 'no'} files {pattern} for images of"
        f" {shown_size(sides(image_size))} (there: {there}); pass one file with --data_dir."
    )
    raise ValueError(message) if found else FileNotFoundError(message)


def _decode(record: bytes, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """From a serialized example to uint8 [C, H, W] of the shape that must be."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        raise ValueError(
            f"{where}, holds no tf.train.Example; pass a file that dataset_tool.py wrote."
        ) from None
    there = tuple(features["shape"].int64_list.value)
    data = b"".join(features["data"].bytes_list.value)
    if len(there) != 3 or math.prod(there) != len(data):
        raise ValueError(
            f"{where}, has a shape of {list(there)} and {len(data)} bytes of data, not those of an"
            " image; pass a file that dataset_tool.py wrote."
        )
    if there != shape:
        size = shown_size(as_size(*shape[1:]))
        raise ValueError(
            f"{where}, has an image of {there[1]}x{there[2]} with {there[0]} channels, but the"
            f" config says image_size {size} and channels {shape[0]}; pass the file of that"
            " resolution, or change the config."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
