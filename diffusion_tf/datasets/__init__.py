"""Data sets by name: the digits, CIFAR-10, CelebA-HQ, LSUN, and any folder of images."""

from collections.abc import Callable, Sequence

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.folder import load_folder
from diffusion_tf.datasets.lsun import load_lsun
from diffusion_tf.datasets.prepared import load_celebahq256, load_cifar10
from diffusion_tf.images import load_image

__all__ = ["DATASETS", "Dataset", "InMemory", "RandomAccess", "get_dataset", "get_images"]


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
    return dataset.first(config.max_images) if config.max_images else dataset


def get_images(
    config: Config, indices_or_paths: Sequence[str], data_dir: str | None = None
) -> np.ndarray:
    """Images of the training data by their index, or from files.

    Args:
        config: whose data set and image size count.
        indices_or_paths: whole numbers, or paths of image files.
        data_dir: see `get_dataset`.

    Returns:
        uint8 [n, H, W, C].

    Raises:
        ValueError, FileNotFoundError: no such index or file, no image, or one of another size.
    """
    dataset = None
    if any(name.isdecimal() for name in indices_or_paths):
        dataset = get_dataset(config, data_dir)
    return np.stack(
        [
            dataset.example(int(name)) if name.isdecimal() else load_image(name, config.image_shape)
            for name in indices_or_paths
        ]
    )
