"""Data sets by name: the digits, CIFAR-10, CelebA-HQ, LSUN, and any folder of images."""

from collections.abc import Callable

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.folder import load_folder
from diffusion_tf.datasets.lsun import load_lsun
from diffusion_tf.datasets.prepared import load_celebahq256, load_cifar10
from diffusion_tf.images import load_image

__all__ = ["DATASETS", "Dataset", "InMemory", "RandomAccess", "get_dataset", "get_image"]


def load_digits(config: Config, data_dir: str | None) -> InMemory:
    """Scikit-learn's handwritten digits: 1,797 images of 8x8 pixels with 17 grey levels.

    Args:
        config, data_dir: not used; the digits are shipped with scikit-learn.
    """
    from sklearn import datasets  # a second of import that no other data set needs

    digits = datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return InMemory(pixels[..., None], digits.target.astype(np.int32))


DATASETS: dict[str, Callable[[Config, str | None], Dataset]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "celebahq256": load_celebahq256,
    "lsun": load_lsun,
    "folder": load_folder,
}


def get_dataset(config: Config, data_dir: str | None = None) -> Dataset:
    """Loads the training data of a config.

    Args:
        config: whose data set it is.
        data_dir: where the data are: for cifar10 and celebahq256 the folder of tensorflow_datasets
            (TFDS_DATA_DIR or its default if None), for lsun a TFRecord file or its folder, for
            folder the folder with the images.

    Raises:
        ValueError: unknown data set, data that cannot be read, or images of another size than the
            config's.
        FileNotFoundError: the data are not there.
    """
    if config.dataset not in DATASETS:
        raise ValueError(
            f"Unknown dataset {config.dataset!r}; choose one of {', '.join(DATASETS)}."
        )
    dataset = DATASETS[config.dataset](config, data_dir)
    if dataset.image_shape != config.image_shape:
        height, width, channels = dataset.image_shape
        raise ValueError(
            f"{config.dataset} has images of {height}x{width} with {channels} channels, but the"
            f" config says image_size {config.image_size} and channels {config.channels}; set"
            f" image_size to {height} and channels to {channels}."
        )
    return dataset


def get_image(config: Config, index_or_path: str, data_dir: str | None = None) -> np.ndarray:
    """An image of the training data by its index, or one from a file.

    Args:
        config: whose data set and image size count.
        index_or_path: a whole number, or the path of an image file.
        data_dir: see `get_dataset`.

    Returns:
        uint8 [H, W, C].

    Raises:
        ValueError, FileNotFoundError: no such index or file, no image, or one of another size.
    """
    if index_or_path.isdecimal():
        return get_dataset(config, data_dir).example(int(index_or_path))
    return load_image(index_or_path, config.image_shape)
