"""Data sets by name: CIFAR-10, CelebA-HQ, LSUN, any folder of images, and small ones."""

from collections.abc import Callable, Sequence

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets import small
from diffusion_tf.datasets.arrays import checked_conditions
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.folder import load_folder
from diffusion_tf.datasets.lsun import load_lsun
from diffusion_tf.datasets.prepared import load_celebahq256, load_cifar10
from diffusion_tf.utils.image_reading import fit_image

__all__ = [
    "DATASETS", "SPLITS", "Dataset", "InMemory", "RandomAccess",
    "get_dataset", "get_images", "splits_of",
]  # fmt: skip


SPLITS = ("train", "test")
HAVE_TEST_SPLIT = ("digits", "cifar10", "s_curve", "swiss_roll", "embeddings")


DATASETS: dict[str, Callable[[Config, str | None, str], Dataset]] = {
    "digits": small.load_digits,
    "cifar10": load_cifar10,
    "celebahq256": load_celebahq256,
    "lsun": load_lsun,
    "folder": load_folder,
    "s_curve": small.load_s_curve,
    "swiss_roll": small.load_swiss_roll,
    "sprites": small.load_sprites,
    "embeddings": small.load_embeddings,
}


def get_dataset(config: Config, data_dir: str | None = None, *, split: str = "train") -> Dataset:
    """Loads the images that a config trains on, or those that are kept for testing.

    Args:
        config: whose data set it is.
        data_dir: where the data are: for cifar10 and celebahq256 the folder of tensorflow_datasets
            (TFDS_DATA_DIR or its default if None), for lsun a TFRecord file or its folder, for
            folder the folder with the images, for sprites and embeddings arrays (see `small`).
        split: `train`, of which a config may want only the first `max_images`; or `test`, see
            `splits_of`.

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
    dataset.origin = data_dir or ""
    _check_shape(config, dataset)
    _check_conditions(config, dataset)
    return dataset.first(config.max_images) if config.max_images and split == "train" else dataset


def _check_shape(config: Config, dataset: Dataset) -> None:
    there, wanted = dataset.example_shape, config.sample_shape
    if there == wanted:
        return
    if len(there) == len(wanted) == 3:
        height, width, channels = there
        raise ValueError(
            f"{config.dataset} has images of {height}x{width} with {channels} channels, but the"
            f" config says image_size {config.image_size} and channels {config.channels}; set"
            f" image_size to {height} and channels to {channels}."
        )
    remedy = f"data_dim to {there[0]}" if len(there) == 1 else "data_dim to 0 and model to unet"
    raise ValueError(
        f"{config.dataset} has examples of shape {there}, but the config says {wanted}; set"
        f" {remedy}."
    )


def _check_conditions(config: Config, dataset: Dataset) -> None:
    """Makes sure that the data come with what the network is to be conditioned on."""
    y = dataset.conditions
    if y is not None:
        y = dataset.conditions = checked_conditions(y, f"{config.dataset}'s array of conditions")
    if config.num_classes:
        _check_labels(config, y)
    if config.cond_dim:
        _check_vectors(config, y)


def _check_labels(config: Config, y: np.ndarray | None) -> None:
    if y is None or y.ndim != 1:
        raise ValueError(
            f"num_classes is {config.num_classes}, but {config.dataset} has no labels; set"
            " num_classes to 0."
        )
    if not 0 <= y.min() <= y.max() < config.num_classes:
        raise ValueError(
            f"{config.dataset} has labels from {y.min()} to {y.max()}, but num_classes is"
            f" {config.num_classes}; set it to {y.max() + 1}."
        )


def _check_vectors(config: Config, y: np.ndarray | None) -> None:
    length = 0 if y is None or y.ndim == 1 else y.shape[1]
    if length != config.cond_dim:
        there = "no vectors" if y is None or y.ndim == 1 else f"vectors of {length} numbers"
        raise ValueError(
            f"cond_dim is {config.cond_dim}, but {config.dataset} has {there} for conditions; set"
            f" cond_dim to {length}."
        )


def splits_of(dataset: str) -> tuple[str, ...]:
    """The splits that a data set of this name has."""
    return SPLITS if dataset in HAVE_TEST_SPLIT else SPLITS[:1]


def get_images(
    config: Config, indices_or_paths: Sequence[str], data_dir: str | None = None
) -> np.ndarray:
    """Images of the training data by their index, or from files.

    Args:
        config: whose data set and image size count.
        indices_or_paths: whole numbers, or paths of image files, which are cropped and resized as
            those of a folder are for training.
        data_dir: see `get_dataset`.

    Returns:
        uint8 [n, H, W, C].

    Raises:
        ValueError, FileNotFoundError: no such index or file, or no image.
    """
    dataset = None
    if any(name.isdecimal() for name in indices_or_paths):
        dataset = get_dataset(config, data_dir)
    return np.stack(
        [
            fit_image(name, config.image_shape)
            if dataset is None or not name.isdecimal()
            else dataset.example(int(name))
            for name in indices_or_paths
        ]
    )
