"""Data that a program has already, as a data set: arrays, pairs of them, tf.data.Dataset."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.datasets.arrays import check_same_length, checked_conditions, checked_vectors
from diffusion_tf.datasets.base import Dataset, InMemory
from diffusion_tf.datasets.own_arrays import checked_images
from diffusion_tf.datasets.scaling import Scaling

_WHAT = "the data set"


def fitted(config: Config, data: Any, *, free: bool) -> tuple[Config, Dataset]:
    """A config and data that were given, made to go together.

    Args:
        config: of the run.
        data: a `Dataset`; an array, uint8 [N, H, W] or [N, H, W, C] of images, or numbers [N, D];
            a pair of one and its conditions, labels [N] or vectors [N, C]; or a finite
            `tf.data.Dataset` of examples or batches of them, or of pairs.
        free: whether sizes and number of conditions may follow from the data.

    Raises:
        ValueError: data of another kind, or of other sizes than those of the config.
    """
    dataset = data if isinstance(data, Dataset) else _in_memory(config, data)
    if not isinstance(data, Dataset):
        name = "vectors" if len(dataset.example_shape) == 1 else "arrays"
        config = dataclasses.replace(config, dataset=name)
    if free:
        config = dataclasses.replace(config, **_fields_of(config, dataset))
    if dataset.example_shape != config.sample_shape:
        raise ValueError(
            f"{_WHAT} has examples of shape {dataset.example_shape}, but the config says"
            f" {config.sample_shape}; change image_size and channels, or data_dim."
        )
    if config.conditional and dataset.conditions is None:
        raise ValueError(f"The network has conditions, and {_WHAT} has none; give pairs (x, y).")
    return config, dataset.first(config.max_images) if config.max_images else dataset


def _in_memory(config: Config, data: Any) -> InMemory:
    x, y = _arrays(data)
    if x.dtype == np.uint8:
        return InMemory(checked_images(x, _WHAT), _conditions(x, y))
    if x.ndim != 2:
        raise ValueError(
            f"{_WHAT} has dtype {x.dtype} and shape {x.shape}; give images as uint8 [N, H, W, C] of"
            " 0..255, or vectors as numbers [N, D]."
        )
    vectors = checked_vectors(x, _WHAT)
    scaling = Scaling.to_deviation(vectors, config.standardize) if config.standardize else None
    if scaling is None and float(np.abs(vectors).max()) > 1:
        raise ValueError(f"{_WHAT} leaves [-1, 1]; scale it, or set standardize to 1.")
    dataset = InMemory(scaling.apply(vectors) if scaling else vectors, _conditions(x, y))
    dataset.scaling = scaling
    return dataset


def _conditions(x: np.ndarray, y: np.ndarray | None) -> np.ndarray | None:
    if y is None:
        return None
    check_same_length(x, y, _WHAT, "the array of conditions")
    return checked_conditions(y, "the array of conditions")


def _arrays(data: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Examples, and conditions if there are any."""
    if isinstance(data, tf.data.Dataset):
        return _collected(data)
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    try:
        return np.asarray(x), None if y is None else np.asarray(y)
    except (TypeError, ValueError):
        raise ValueError(
            f"{_WHAT} is a {type(data).__name__}; give an array, a pair of arrays, a"
            " tf.data.Dataset, or one of diffusion_tf.datasets."
        ) from None


def _collected(data: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray | None]:
    """All elements of a pipeline, which are examples (rank 1 or 3) or batches (2 or 4)."""
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"{_WHAT} never ends; leave repeat() out: training shuffles and repeats by itself."
        )
    elements: Iterable[Any] = data.as_numpy_iterator()
    pairs = [element if isinstance(element, tuple) else (element,) for element in elements]
    if not pairs:
        raise ValueError(f"{_WHAT} is empty; give one that has examples.")
    if len(pairs[0]) > 2 or isinstance(pairs[0][0], dict):
        raise ValueError(
            f"{_WHAT} has elements that are {_kind(pairs[0])}; map it to examples, or to pairs of"
            " an example and its condition."
        )
    columns = [list(column) for column in zip(*pairs, strict=True)]
    join = np.concatenate if np.ndim(columns[0][0]) in (2, 4) else np.stack
    try:
        x, *y = [join(column) for column in columns]
    except ValueError:
        shapes = sorted({np.shape(example) for example in columns[0]})
        raise ValueError(
            f"{_WHAT} has elements of shapes {shapes[0]} and {shapes[-1]}; map it to elements of"
            " one shape."
        ) from None
    return x, y[0] if y else None


def _kind(element: tuple) -> str:
    if isinstance(element[0], dict):
        return f"dicts of {', '.join(map(str, element[0]))}"
    return f"tuples of {len(element)}"


def _fields_of(config: Config, dataset: Dataset) -> dict[str, Any]:
    """The fields of a config that follow from data."""
    shape, y = dataset.example_shape, dataset.conditions
    fields: dict[str, Any] = {}
    if len(shape) == 1:
        fields["data_dim"] = shape[0]
    else:
        height, width, fields["channels"] = shape
        fields["image_size"] = height if height == width else f"{height}x{width}"
    if y is not None and y.ndim == 1:
        fields |= {"num_classes": max(config.num_classes, int(y.max()) + 1), "cond_dim": 0}
    elif y is not None:
        fields |= {"num_classes": 0, "cond_dim": y.shape[1]}
    return fields
