"""Data sets by name: the digits, CIFAR-10, CelebA-HQ, LSUN, and any folder of images."""

from collections.abc import Callable, Sequence

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.folder import load_folder
from diffusion_tf.datasets.lsun import load_lsun
from diffusion_tf.datasets.prepared import load_celebahq256, load_cifar10
from diffusion_tf.images import load_image

__all__ = [
    "DATASETS", "SPLITS", "Dataset", "InMemory", "RandomAccess",
    "get_dataset", "get_images", "splits_of",
]  # fmt: skip


SPLITS = ("train", "test")
HAVE_TEST_IMAGES = ("digits", "cifar10")


def load_digits(config: Config, data_dir: str | None, split: str) -> InMemory:
    """Scikit-learn's handwritten digits: 1,797 images of 8x8 pixels with 17 grey levels.

    They come sorted by writer, so every sixth is a test image: 299, and 1,498 for training.

    Args:
        config, data_dir: not used; the digits are shipped with scikit-learn.
        split: train or test.
    """
    from sklearn import datasets  # a second of import that no other data set needs

    digits = datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    chosen = (np.arange(len(pixels)) % 6 == 5) == (split == "test")
    return InMemory(pixels[chosen, ..., None], digits.target[chosen].astype(np.int32))


DATASETS: dict[str, Callable[[Config, str | None, str], Dataset]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "celebahq256": load_celebahq256,
    "lsun": load_lsun,
    "folder": load_folder,
}


def get_dataset(config: Config, data_dir: str | None = None, *, split: str = "train") -> Dataset:
    """Loads the images that a config trains on, or those that are kept for testing.

    Args:
        config: whose data set it is.
        data_dir: where the data are: for cifar10 and celebahq256 the folder of tensorflow_datasets
            (TFDS_DATA_DIR or its default if None), for lsun a TFRecord file or its folder, for
            folder the folder with the images.
        split: `train`, of which a config may want only the first `max_images`; or `test`, which
            digits and cifar10 have.

    Raises:
        ValueError: unknown data set or split, data that cannot be read, or images of another size
            than the config's.
        FileNotFoundError: the data are not there.
    """
    if config.dataset not in DATASETS:
        raise ValueError(
            f"Unknown dataset {config.dataset!r}; choose one of {', '.join(DATASETS)}."
        )
    if split not in splits_of(config.dataset):
        raise ValueError(
            f"{config.dataset} has no split {split!r}; choose one of"
            f" {', '.join(splits_of(config.dataset))}."
        )
    dataset = DATASETS[config.dataset](config, data_dir, split)
    if dataset.image_shape != config.image_shape:
        height, width, channels = dataset.image_shape
        raise ValueError(
            f"{config.dataset} has images of {height}x{width} with {channels} channels, but the"
            f" config says image_size {config.image_size} and channels {config.channels}; set"
            f" image_size to {height} and channels to {channels}."
        )
    return dataset.first(config.max_images) if config.max_images and split == "train" else dataset


def splits_of(dataset: str) -> tuple[str, ...]:
    """The splits that a data set of this name has."""
    return SPLITS if dataset in HAVE_TEST_IMAGES else SPLITS[:1]


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
