"""FID and Inception score of images that come in batches, in memory that does not grow."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from absl import logging

from diffusion_tf.datasets import Dataset
from diffusion_tf.evaluation.features import Features
from diffusion_tf.evaluation.metrics.fid import InceptionScore, Moments, Statistics
from diffusion_tf.utils.array_files import Damaged, check_seal
from diffusion_tf.utils.progress import progress_bar

EXTRACT_BATCH = 256  # images that are read at once


def measure_images(
    batches: Iterable[np.ndarray], features: Features, *, total: int, what: str
) -> tuple[Statistics, InceptionScore | None]:
    """Moments of the features of images, and the Inception score where there are logits.

    Args:
        batches: uint8 or float [B, H, W, C].
        features: what to compare by.
        total: number of images, for the progress bar.
        what: the images are, for the progress bar.

    Raises:
        ValueError: fewer than 2 images, or one that cannot be read or is not finite.
    """
    moments, score = Moments(), None
    with progress_bar(f"{features.name} of {what}", "image", total=total) as progress:
        for batch in batches:
            vectors, logits = features.extract(batch)
            moments.update(vectors)
            if logits is not None:
                score = score or InceptionScore()
                score.update(logits)
            progress.update(len(batch))
    return moments.statistics(), score


def real_statistics(
    dataset: Dataset, name: str, features: Features, *, cache_dir: str | Path | None = None
) -> Statistics:
    """Moments of the features of all images of a data set, computed once and then cached.

    The name of the file in the cache holds a hash of the images' fingerprint and of all that the
    features depend on, so that other images or another network never meet old statistics. A file
    that is damaged is said in the log, and its statistics are computed again.

    Args:
        dataset: the real images.
        name: of data set and split, for the file and the progress bar.
        features: what to compare by.
        cache_dir: folder of the cache; `diffusion_tf` in $XDG_CACHE_HOME or ~/.cache if not given.

    Raises:
        ValueError: an image cannot be read.
        OSError: the cache cannot be written.
    """
    path = _cache_path(dataset, name, features, cache_dir)
    if path.exists():
        try:
            check_seal(path)
        except Damaged as damage:
            logging.warning("%s The statistics of %s are computed again.", damage, name)
        else:
            logging.info("Statistics of %s from %s.", name, path)
            return Statistics.load(path)
    batches = dataset.batches(EXTRACT_BATCH)
    statistics, _ = measure_images(batches, features, total=len(dataset), what=name)
    statistics.save(path)
    logging.info("Statistics of %s are kept in %s.", name, path)
    return statistics


def real_halves(
    dataset: Dataset, name: str, features: Features, *, cache_dir: str | Path | None = None
) -> tuple[Statistics, Statistics]:
    """Moments of every second image and of the others: how far apart real images are by chance.

    Where those of all images are not in the cache yet, they are made of both, so that each image is
    looked at once.

    Args:
        dataset: the real images, 4 or more.
        name, features, cache_dir: see `real_statistics`.

    Raises:
        ValueError, OSError: see `real_statistics`.
    """
    first, second = (
        real_statistics(
            dataset.subset(np.arange(k, len(dataset), 2)), f"{name}_half{k + 1}", features,
            cache_dir=cache_dir,
        )
        for k in (0, 1)
    )  # fmt: skip
    path = _cache_path(dataset, name, features, cache_dir)
    if not path.exists():
        moments = Moments.of(first)
        moments.merge(Moments.of(second))
        moments.statistics().save(path)
    return first, second


def _cache_path(
    dataset: Dataset, name: str, features: Features, cache_dir: str | Path | None
) -> Path:
    described = (
        dataset.fingerprint(),
        features.name,
        features.preprocessing,
        features.graph_sha256,
    )
    digest = hashlib.sha256(repr(described).encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(cache_dir or Path(home, "diffusion_tf"))
    return folder / f"{name}_{features.name}_{digest}.npz"
