"""Any folder or zip archive of images: cropped to the config's shape, resized, labelled."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.datasets import labels, splits
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.image_sources import Folder, Zip, open_source
from diffusion_tf.datasets.labels import Labels
from diffusion_tf.utils.image_reading import Shape, UnreadableImageError
from diffusion_tf.utils.progress import progress_bar

MEMORY_LIMIT = 4 * 2**30  # bytes of decoded pixels that are kept; more are decoded when needed
NAMED_WHEN_REFUSED, NAMED_WHEN_SKIPPED = 5, 20  # unreadable files that a message names


def load_folder(config: Config, data_dir: str | None, split: str) -> Dataset:
    """All images of a folder and the folders in it, or of a zip archive, in the order of names.

    Every file is decoded once before training starts, so that one that cannot be read is found now
    and not after days. The images stay in memory if there is room for all (`MEMORY_LIMIT`).

    Args:
        config: says image size, channels, whether unreadable files are refused or skipped, where
            labels are, and which images are kept for testing.
        data_dir: the folder or archive. Hidden files, and those whose ending is not that of an
            image, are ignored.
        split: train or test: the `test_fraction` of the images, or those of `test_dir`.

    Raises:
        ValueError: no data_dir, no folder, no image, images that cannot be read, or labels that do
            not belong to them.
        FileNotFoundError: no such folder.
    """
    if data_dir is None:
        raise ValueError("folder needs --data_dir: the folder with the images.")
    source, labelled = _opened(data_dir), None
    if config.labels:
        labelled = _labels(source, config.labels, None)
        logging.info("%s: %s.", data_dir, labels.counts(labelled))
    if config.test_dir and split == splits.TEST:
        known = labelled.class_names if labelled else None
        source = _opened(config.test_dir)
        labelled = _labels(source, config.labels, known) if labelled else None
    elif config.test_fraction:
        chosen = splits.of_split(source.names, config.test_fraction, split, data_dir)
        labelled = _keep(source, labelled, chosen.tolist())
    return _load(config, source, labelled)


def _opened(where: str) -> Folder | Zip:
    source = open_source(where)
    if not source.names:
        raise ValueError(
            f"{where} holds no image, only {source.num_ignored} files of other kinds; name a folder"
            " with images with --data_dir."
        )
    return source


def _labels(source: Folder | Zip, asked: str, known: Sequence[str] | None) -> Labels:
    """The labels of all images of a source; see `Config.labels`."""
    if asked == labels.AUTO:
        found = [name for name in labels.FILES if source.has(name)]
        if len(found) > 1:
            raise ValueError(
                f"{source.where} holds {' and '.join(found)}; say with --labels which one counts."
            )
        asked = found[0] if found else labels.SUBFOLDERS
    if asked == labels.SUBFOLDERS:
        return labels.of_subfolders(source.names, source.where, source.subfolders, known)
    path = os.path.join(source.where, asked)
    try:
        content = source.content(asked)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no {path}; --labels takes subfolders, or the name of a file in the folder of"
            " the images."
        ) from None
    return labels.of_file(content, path, source.names, known)


def _keep(source: Folder | Zip, labelled: Labels | None, index: Sequence[int]) -> Labels | None:
    """Forgets all images but some; returns their labels."""
    source.keep(index)
    return labelled and labelled._replace(values=labelled.values[index])


def _load(config: Config, source: Folder | Zip, labelled: Labels | None) -> Dataset:
    """Decodes all images; keeps them if there is room."""
    shape = (len(source.names), *config.image_shape)
    images = np.empty(shape, np.uint8) if np.prod(shape) <= MEMORY_LIMIT else None
    reasons = _read_all(source, config.image_shape, images)
    good = [i for i, reason in enumerate(reasons) if not reason]
    if len(good) < len(reasons):
        bad = [f"{source.path(i)} ({why})" for i, why in enumerate(reasons) if why]
        _report_unreadable(bad, source.where, config.unreadable, num_good=len(good))
        labelled = _keep(source, labelled, good)
        images = images if images is None else images[good]
    logging.info(
        "%d images in %s, %s; %d other files ignored.", len(good), source.where,
        "decoded when needed" if images is None else "in memory", source.num_ignored,
    )  # fmt: skip
    dataset: Dataset
    if images is not None:
        dataset = InMemory(images)
    else:
        read = _reader(source, config.image_shape)
        names = source.names if isinstance(source, Zip) else ()
        dataset = RandomAccess(read, len(good), config.image_shape, files=source.files, names=names)
    dataset.identify = source.digest  # not by pixels: JPEG is decoded in more than one way
    if labelled:
        dataset.conditions, dataset.class_names = labelled
    return dataset


def _read_all(source: Folder | Zip, shape: Shape, images: np.ndarray | None) -> list[str]:
    """Decodes every file, into `images` if given; returns for each why it cannot be read, or ""."""

    def read(index: int) -> str:
        try:
            pixels = source.read(index, shape)
        except UnreadableImageError as error:
            return str(error)
        if images is not None:
            images[index] = pixels
        return ""

    number = len(source.names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(read, range(number))
        return list(progress_bar("reading images", "image", total=number, iterable=reasons))


def _report_unreadable(bad: Sequence[str], folder: str, unreadable: str, *, num_good: int) -> None:
    """Refuses, or warns, as the config says."""
    count = f"{len(bad)} of {len(bad) + num_good} images in {folder} cannot be read"
    if unreadable == "refuse":
        raise ValueError(
            f"{count}: {_list(bad, NAMED_WHEN_REFUSED)}; repair or remove them, or pass"
            " --unreadable=skip to train without them."
        )
    if not num_good:
        raise ValueError(f"{count}: {_list(bad, NAMED_WHEN_REFUSED)}; repair or replace them.")
    logging.warning("%s and are skipped: %s.", count, _list(bad, NAMED_WHEN_SKIPPED))


def _list(items: Sequence[str], limit: int) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def _reader(source: Folder | Zip, shape: Shape) -> Callable[[int], np.ndarray]:
    def read(index: int) -> np.ndarray:
        try:
            return source.read(index, shape)
        except UnreadableImageError as error:
            raise ValueError(
                f"{source.path(index)} could be read when training started, and no longer can"
                f" ({error}); restore it, and go on."
            ) from None

    return read
