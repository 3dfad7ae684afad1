"""Data sets by name: CIFAR-10, CelebA-HQ, LSUN, one's own images and vectors, and small ones."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.datasets import small
from diffusion_tf.datasets.arrays import checked_conditions
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.folder import load_folder
from diffusion_tf.datasets.labels import AUTO, listing
from diffusion_tf.datasets.lsun import load_lsun
from diffusion_tf.datasets.own_arrays import load_arrays, load_vectors, splits_in
from diffusion_tf.datasets.prepared import load_celebahq256, load_cifar10
from diffusion_tf.utils.image_reading import fit_image
from diffusion_tf.utils.image_sizes import Size, as_size, shown_size
from diffusion_tf.utils.json_files import MAX_DIGITS
from diffusion_tf.utils.numbers import shown

__all__ = [
    "DATASETS", "SPLITS", "Dataset", "InMemory", "RandomAccess",
    "get_dataset", "get_fitted_dataset", "get_images", "get_test_split", "splits_of",
]  # fmt: skip


SPLITS = ("train", "test")
HAVE_TEST_SPLIT = ("digits", "cifar10", "s_curve", "swiss_roll", "embeddings")
OWN_ARRAYS = ("arrays", "vectors", "embeddings")
OWN = ("folder", *OWN_ARRAYS)  # have a test split on demand: `Config.test_fraction` and `test_dir`
MANY_CLASSES = 1000  # more than these and more than the examples do not follow from labels
FREE = ("data_dim", "cond_dim", "image_size", "channels")  # may follow from own arrays


DATASETS: dict[str, Callable[[Config, str | None, str], Dataset]] = {
    "digits": small.load_digits,
    "cifar10": load_cifar10,
    "celebahq256": load_celebahq256,
    "lsun": load_lsun,
    "folder": load_folder,
    "arrays": load_arrays,
    "vectors": load_vectors,
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
            (TFDS_DATA_DIR or its default if None) or CIFAR-10's own archive, for lsun a TFRecord
            file or its folder, for folder the folder with the images or a zip archive of them, for
            arrays, vectors and embeddings a file of arrays (see `own_arrays`), for sprites a
            folder of them (see `small`).
        split: `train`, of which a config may want only the first `max_images`; or `test`, see
            `splits_of`.

    Raises:
        ValueError: unknown data set or split, data that cannot be read, or images of another size
            than the config's.
        FileNotFoundError: the data are not there.
    """
    dataset = _load(config, data_dir, split)
    _check(config, dataset)
    return dataset.first(config.max_images) if config.max_images and split == "train" else dataset


def get_test_split(config: Config, data_dir: str | None = None) -> Dataset | None:
    """The examples that are kept for testing; None, and a warning, where they cannot be read.

    Args:
        config, data_dir: see `get_dataset`.

    Returns:
        None also where the data have no test split.
    """
    if "test" not in splits_of(config, data_dir):
        return None
    try:
        return get_dataset(config, data_dir, split="test")
    except (OSError, ValueError) as error:
        logging.warning("The test split cannot be read (%s); its loss is not measured.", error)
        return None


def get_fitted_dataset(
    config: Config, data_dir: str | None = None, free: Collection[str] = ()
) -> tuple[Config, Dataset]:
    """Loads the training data, and lets a config follow from them where it leaves that to them.

    Args:
        config: with `labels` but without num_classes and cond_dim, it gets these from the data.
        data_dir: see `get_dataset`.
        free: those of `FREE` that nobody has chosen, and that follow from own arrays.

    Returns:
        The config, and the data set as `get_dataset` returns it.

    Raises:
        ValueError, FileNotFoundError: see `get_dataset`.
    """
    dataset = _load(config, data_dir, "train")
    fields: dict[str, Any] = {}
    if config.dataset in OWN_ARRAYS and data_dir:
        fields |= _sizes_of(dataset)
    if config.labels and not config.conditional:
        fields |= _conditions_of(config, dataset)
        free = {*free, "num_classes", "cond_dim"}
    elif config.cond_dim and dataset.conditions is not None and dataset.conditions.ndim == 2:
        fields["cond_dim"] = dataset.conditions.shape[1]
    config = dataclasses.replace(config, **{k: v for k, v in fields.items() if k in free})
    _check(config, dataset)
    return config, dataset.first(config.max_images) if config.max_images else dataset


def _sizes_of(dataset: Dataset) -> dict[str, Size]:
    """The fields of a config that follow from the shape of arrays."""
    shape = dataset.example_shape
    if len(shape) == 1:
        return {"data_dim": shape[0]}
    height, width, channels = shape
    size = height if height == width else (height, width)
    return {"image_size": size, "channels": channels}


def _load(config: Config, data_dir: str | None, split: str) -> Dataset:
    if config.dataset not in DATASETS:
        raise ValueError(
            f"Unknown dataset {config.dataset!r}; choose one of {', '.join(DATASETS)}."
        )
    possible = splits_of(config, data_dir)
    if split == "test" and split not in possible and _is_own(config, data_dir):
        raise ValueError(
            f"{data_dir} has no test split; keep some for testing with test_fraction, or name data"
            " for testing with test_dir."
        )
    if split not in possible:
        raise ValueError(
            f"{config.dataset} has no split {split!r}; choose one of {', '.join(possible)}."
        )
    _check_choices(config, data_dir)
    dataset = DATASETS[config.dataset](config, data_dir, split)
    dataset.origin = (config.test_dir if split == "test" else "") or data_dir or ""
    return dataset


def _is_own(config: Config, data_dir: str | None) -> bool:
    """Whether the data are a person's own, of which some can be kept for testing."""
    return config.dataset in OWN and not (config.dataset in HAVE_TEST_SPLIT and data_dir is None)


def _check_choices(config: Config, data_dir: str | None) -> None:
    """Refuses choices for own data that the data set would pass over."""
    name = config.dataset
    if config.labels not in ("", AUTO) and name != "folder":
        raise ValueError(
            f"labels is {config.labels!r}, but {name} has its labels with it; set it to auto."
        )
    for field in ("test_fraction", "test_dir"):
        value = getattr(config, field)
        if value and not _is_own(config, data_dir):
            own = "a test split of its own" if name in HAVE_TEST_SPLIT else "no test split"
            raise ValueError(
                f"{field} is {value!r}, but {name} has {own}, and {field} is for own data"
                f" ({', '.join(OWN)}); leave it out."
            )


def _check(config: Config, dataset: Dataset) -> None:
    _check_shape(config, dataset)
    _check_conditions(config, dataset)


def _conditions_of(config: Config, dataset: Dataset) -> dict[str, int]:
    """The fields of a config that follow from labels or vectors of the data."""
    y = dataset.conditions
    if y is None:
        raise ValueError(
            f"labels is {config.labels!r}, but {dataset.origin or config.dataset} has no labels;"
            " leave it out."
        )
    if y.ndim == 2:
        return {"cond_dim": y.shape[1]}
    if dataset.class_names:
        return {"num_classes": len(dataset.class_names)}
    number = int(y.max()) + 1
    if number > max(MANY_CLASSES, len(y)):
        raise ValueError(
            f"{dataset.origin or config.dataset} has labels up to {number - 1:,} of {len(y)}"
            " examples; number the classes from 0 without gaps, or give num_classes."
        )
    return {"num_classes": number}


def _check_shape(config: Config, dataset: Dataset) -> None:
    there, wanted = dataset.example_shape, config.sample_shape
    if there == wanted:
        return
    if len(there) == len(wanted) == 3:
        height, width, channels = there
        raise ValueError(
            f"{config.dataset} has images of {height}x{width} with {channels} channels, but the"
            f" config says image_size {shown_size(config.image_size)} and channels"
            f" {config.channels}; set image_size to {shown_size(as_size(height, width))} and"
            f" channels to {channels}."
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
        _check_labels(config, dataset)
    if config.cond_dim:
        _check_vectors(config, y)


def _check_labels(config: Config, dataset: Dataset) -> None:
    y, names = dataset.conditions, dataset.class_names
    if y is not None and names and len(names) != config.num_classes:
        raise ValueError(
            f"num_classes is {config.num_classes}, but {dataset.origin or config.dataset} has"
            f" {len(names)} classes ({listing(names)}); set num_classes to {len(names)}, or leave"
            " it out, as it follows from the data."
        )
    if y is None or y.ndim != 1:
        raise ValueError(
            f"num_classes is {config.num_classes}, but {config.dataset} has no labels; set"
            f" num_classes to 0{_or_labels(config)}."
        )
    if y.min() < 0:
        raise ValueError(
            f"{dataset.origin or config.dataset} has a label {y.min()}; number the classes from 0."
        )
    if y.max() >= config.num_classes:
        raise ValueError(
            f"{config.dataset} has labels from {y.min()} to {y.max()}, but num_classes is"
            f" {config.num_classes}; set it to {y.max() + 1}."
        )


def _or_labels(config: Config) -> str:
    """What else could be meant where a folder is read without its labels."""
    if config.dataset != "folder" or config.labels:
        return ""
    return ", or say with --labels where they are"


def _check_vectors(config: Config, y: np.ndarray | None) -> None:
    length = 0 if y is None or y.ndim == 1 else y.shape[1]
    if length != config.cond_dim:
        there = "no vectors" if y is None or y.ndim == 1 else f"vectors of {length} numbers"
        raise ValueError(
            f"cond_dim is {config.cond_dim}, but {config.dataset} has {there} for conditions; set"
            f" cond_dim to {length}{_or_labels(config)}."
        )


def splits_of(dataset: str | Config, data_dir: str | None = None) -> tuple[str, ...]:
    """The splits that a data set has.

    Args:
        dataset: its name, or a config, which may keep some of one's own data for testing.
        data_dir: where own arrays are, which may have splits.
    """
    if isinstance(dataset, str):
        return SPLITS if dataset in HAVE_TEST_SPLIT else SPLITS[:1]
    if not _is_own(dataset, data_dir):
        return splits_of(dataset.dataset)
    has_test = dataset.test_fraction or dataset.test_dir
    if not has_test and dataset.dataset in OWN_ARRAYS:
        has_test = "test" in splits_in(data_dir)
    return SPLITS if has_test else SPLITS[:1]


def _index(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"There is no image {shown(digits)}; give the index of one, or a file.")
    return int(digits)


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
            else dataset.example(_index(name))
            for name in indices_or_paths
        ]
    )
