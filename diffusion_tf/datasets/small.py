"""Small data sets that need no download: digits, points, sprites and embeddings."""

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets import points
from diffusion_tf.datasets.base import InMemory
from diffusion_tf.datasets.embeddings import digit_embeddings
from diffusion_tf.datasets.own_arrays import load_vectors
from diffusion_tf.datasets.sprites import ATTRIBUTES, draw, load_arrays, random_attributes

NUM_POINTS, NUM_SPRITES = 10_000, 8_000
_SEEDS = {"train": 0, "test": 1}  # of what is drawn


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
    chosen = _every_sixth(len(pixels), split)
    return InMemory(pixels[chosen, ..., None], digits.target[chosen].astype(np.int32))


def load_s_curve(config: Config, data_dir: str | None, split: str) -> InMemory:
    """10,000 points of the S-curve, others for each split. See `points.s_curve`."""
    return InMemory(points.s_curve(NUM_POINTS, _SEEDS[split]))


def load_swiss_roll(config: Config, data_dir: str | None, split: str) -> InMemory:
    """10,000 points of the Swiss roll, others for each split. See `points.swiss_roll`."""
    return InMemory(points.swiss_roll(NUM_POINTS, _SEEDS[split]))


def load_sprites(config: Config, data_dir: str | None, split: str) -> InMemory:
    """Sprites with their five attributes: drawn, or read from a folder.

    Args:
        config: not used.
        data_dir: folder with .npy files of images and vectors, see `sprites.load_arrays`; drawn if
            None.
        split: train.

    Raises:
        FileNotFoundError, ValueError: see `sprites.load_arrays`.
    """
    if data_dir is not None:
        return InMemory(*load_arrays(data_dir))
    attributes = random_attributes(NUM_SPRITES, seed=0)
    sprites = InMemory(draw(attributes, seed=0), attributes)
    sprites.attribute_names = ATTRIBUTES
    return sprites


def load_embeddings(config: Config, data_dir: str | None, split: str) -> InMemory:
    """Vectors with vectors as conditions: one's own, or those of the digits.

    Args:
        config, data_dir: see `own_arrays.load_vectors`; without data_dir,
            `embeddings.digit_embeddings`, which are not standardized.
        split: train, or test: of the digits every sixth, as in `load_digits`.

    Raises:
        FileNotFoundError, ValueError: see `own_arrays.load_vectors`.
    """
    if data_dir is not None:
        return load_vectors(config, data_dir, split)
    x, y = digit_embeddings()
    chosen = _every_sixth(len(x), split)
    return InMemory(x[chosen], y[chosen])


def _every_sixth(number: int, split: str) -> np.ndarray:
    return (np.arange(number) % 6 == 5) == (split == "test")
