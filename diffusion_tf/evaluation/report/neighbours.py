"""The training images that samples resemble most, pixel by pixel (the paper's Figure 15)."""

import numpy as np

from diffusion_tf.datasets import Dataset
from diffusion_tf.utils.images import save_labelled_grid


def nearest(
    images: np.ndarray, dataset: Dataset, *, k: int = 5, batch_size: int = 128
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Looks for the nearest images of a data set, in one pass over it.

    Memory is that of two batches in float64 and of what is returned, however large the data set.
    Distances are exact up to their last step, the root: sums of squared integers fit in float64.

    Args:
        images: uint8 [n, H, W, C].
        dataset: of images of the same shape.
        k: how many neighbours of each.
        batch_size: images of the data set that are compared at once.

    Returns:
        distances float64 [n, k], rising: root mean square differences on the scale 0..255;
        neighbours uint8 [n, k, H, W, C]; and their indices int64 [n, k]. Of two at the same
        distance, the one of lower index comes first.

    Raises:
        ValueError: images of another dtype or shape, more neighbours than there are images, fewer
            than one, or an image of the data set that cannot be read.
    """
    if images.dtype != np.uint8 or images.shape[1:] != dataset.example_shape:
        raise ValueError(
            f"images have dtype {images.dtype} and shape {images.shape}; they must be uint8"
            f" {['n', *dataset.example_shape]} to be compared with this data set."
        )
    if not 1 <= k <= len(dataset):
        raise ValueError(f"k is {k}; it must lie in 1..{len(dataset)}, the size of the data set.")

    queries = images.reshape(len(images), -1).astype(np.float64)
    rows = np.arange(len(images))[:, None]
    squares = np.full((len(images), k), np.inf)
    neighbours = np.zeros((len(images), k, *dataset.example_shape), np.uint8)
    indices = np.full((len(images), k), -1, np.int64)
    start = 0
    for batch in dataset.batches(batch_size):
        candidates = np.concatenate([squares, _squared_distances(queries, batch)], axis=1)
        chosen = np.argsort(candidates, axis=1, kind="stable")[:, :k]  # stable: low indices first
        squares = candidates[rows, chosen]
        kept, new = np.minimum(chosen, k - 1), np.maximum(chosen - k, 0)
        is_new = chosen >= k
        indices = np.where(is_new, start + new, indices[rows, kept])
        neighbours = np.where(is_new[:, :, None, None, None], batch[new], neighbours[rows, kept])
        start += len(batch)
    return np.sqrt(squares / queries.shape[1]), neighbours, indices


def save_neighbours(path: str, images: np.ndarray, neighbours: np.ndarray) -> None:
    """Writes a row for each image: itself, then its neighbours, nearest first.

    Args:
        path: of the PNG.
        images: uint8 [n, H, W, C].
        neighbours: uint8 [n, k, H, W, C].
    """
    save_labelled_grid(
        path,
        np.concatenate([images[:, None], neighbours], axis=1),
        row_labels=[""] * len(images),
        column_labels=["sample", "nearest", *map(str, range(2, neighbours.shape[1] + 1))],
    )


def _squared_distances(queries: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """|a - b|^2 = |a|^2 - 2 a b + |b|^2 of float64 [n, D] and uint8 [B, H, W, C]; [n, B]."""
    others = batch.reshape(len(batch), -1).astype(np.float64)
    own = np.einsum("nd,nd->n", queries, queries)[:, None]
    return own - 2.0 * (queries @ others.T) + np.einsum("bd,bd->b", others, others)
