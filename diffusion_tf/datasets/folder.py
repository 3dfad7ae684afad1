"""Any folder of images: cropped to squares, resized, converted."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.datasets.base import Dataset, InMemory, RandomAccess
from diffusion_tf.datasets.identity import digest_of_files
from diffusion_tf.utils.image_reading import UnreadableImageError, find_images, read_image
from diffusion_tf.utils.progress import progress_bar

MEMORY_LIMIT = 4 * 2**30  # bytes of decoded pixels that are kept; more are decoded when needed
NAMED_WHEN_REFUSED, NAMED_WHEN_SKIPPED = 5, 20  # unreadable files that a message names


def load_folder(config: Config, data_dir: str | None, split: str) -> Dataset:
    """All images of a folder and the folders in it, in the order of their names.

    Every file is decoded once before training starts, so that one that cannot be read is found now
    and not after days. The images stay in memory if there is room for all (`MEMORY_LIMIT`).

    Args:
        config: says image size, channels, and whether unreadable files are refused or skipped.
        data_dir: the folder. Hidden files, and those whose ending is not that of an image, are
            ignored.
        split: not used; all images are training images.

    Raises:
        ValueError: no data_dir, no folder, no image, or images that cannot be read.
        FileNotFoundError: no such folder.
    """
    if data_dir is None:
        raise ValueError("folder needs --data_dir: the folder with the images.")
    paths, num_ignored = find_images(data_dir)
    if not paths:
        raise ValueError(
            f"{data_dir} holds no image, only {num_ignored} files of other kinds; name a folder"
            " with images with --data_dir."
        )
    shape = (len(paths), *config.image_shape)
    images = np.empty(shape, np.uint8) if np.prod(shape) <= MEMORY_LIMIT else None
    reasons = _read_all(paths, config.image_shape, images)
    good = [i for i in range(len(paths)) if not reasons[i]]
    if len(good) < len(paths):
        bad = [f"{path} ({why})" for path, why in zip(paths, reasons, strict=True) if why]
        _report_unreadable(bad, data_dir, config.unreadable, num_good=len(good))
        paths = [paths[i] for i in good]
        images = images if images is None else images[good]
    logging.info(
        "%d images in %s, %s; %d other files ignored.", len(paths), data_dir,
        "decoded when needed" if images is None else "in memory", num_ignored,
    )  # fmt: skip
    if images is not None:
        dataset = InMemory(images)
        dataset.identify = lambda: digest_of_files(paths)  # JPEG is decoded in more than one way
        return dataset
    return RandomAccess(
        _reader(paths, config.image_shape), len(paths), config.image_shape, files=paths
    )


def _read_all(
    paths: Sequence[str], shape: tuple[int, int, int], images: np.ndarray | None
) -> list[str]:
    """Decodes every file, into `images` if given; returns for each why it cannot be read, or ""."""

    def read(index: int) -> str:
        try:
            pixels = read_image(paths[index], shape)
        except UnreadableImageError as error:
            return str(error)
        if images is not None:
            images[index] = pixels
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(read, range(len(paths)))
        return list(progress_bar("reading images", "image", total=len(paths), iterable=reasons))


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


def _reader(paths: Sequence[str], shape: tuple[int, int, int]) -> Callable[[int], np.ndarray]:
    def read(index: int) -> np.ndarray:
        try:
            return read_image(paths[index], shape)
        except UnreadableImageError as error:
            raise ValueError(
                f"{paths[index]} could be read when training started, and no longer can"
                f" ({error}); restore it, and go on."
            ) from None

    return read
