"""What images are compared by: the features of the Inception network, or the pixels themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusion_tf.evaluation.metrics.inception import INPUT_DESCRIPTION, load_inception
from diffusion_tf.evaluation.schema import FEATURES
from diffusion_tf.utils.images import from_pixels


@dataclass(frozen=True)
class Features:
    """A function from images to feature vectors, and what a reader must know of it.

    Attributes:
        name: one of `FEATURES`.
        preprocessing: what happens to the images first, in words.
        graph_sha256: of the network's file, None if there is no network.
        extract: from uint8 or float [B, H, W, C] to features [B, D] and logits [B, K] or None.
    """

    name: str
    preprocessing: str
    graph_sha256: str | None
    extract: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def get_features(
    name: str,
    *,
    inception_path: str | Path | None = None,
    inception_sha256: str | None = None,
) -> Features:
    """Returns features by name.

    Args:
        name: `inception`: 2,048 features and 1,008 logits of the network that the paper used.
            `pixels`: H * W * C pixels in [-1, 1], for images that the network knows nothing of.
        inception_path, inception_sha256: see `metrics.inception.load_inception`.

    Raises:
        ValueError: unknown name; see also `load_inception`.
        OSError: see `load_inception`.
    """
    if name == "pixels":
        return Features(name, "pixels scaled to [-1, 1], floats clipped to it", None, _pixels)
    if name != "inception":
        raise ValueError(f"Unknown features {name!r}; choose one of {', '.join(FEATURES)}.")
    inception = load_inception(inception_path, sha256=inception_sha256)
    return Features(name, INPUT_DESCRIPTION, inception.sha256, inception)


def _pixels(images: np.ndarray) -> tuple[np.ndarray, None]:
    scaled = from_pixels(images) if images.dtype == np.uint8 else np.clip(images, -1.0, 1.0)
    return scaled.reshape(len(images), -1), None
