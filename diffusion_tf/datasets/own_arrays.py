"""Arrays of one's own: images in .npz and .npy, vectors in these and .csv, with labels and splits.

An .npz may hold one set of examples (`arr_0`, `x`, `images`; labels `arr_1`, `y`, `labels`), as
guided-diffusion and others write them, or one for each split (`train_images`, `train_labels`,
`test_images`, ... or `x_train`, `y_train`, ...), as MedMNIST and Keras do.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets import splits
from diffusion_tf.datasets.arrays import (
    check_same_length,
    checked_conditions,
    checked_vectors,
    read_npy,
    read_npz,
)
from diffusion_tf.datasets.base import InMemory
from diffusion_tf.datasets.csv_vectors import read_csv
from diffusion_tf.datasets.labels import numbered
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.utils.array_files import open_archive

IMAGES, VECTORS = ("images", "x", "arr_0"), ("vectors", "x", "arr_0")
LABELS = ("labels", "y", "arr_1")
_ARRAY_FILES = (".npz", ".npy")


class Arrays(NamedTuple):
    """What a file holds of a split.

    Attributes:
        x: the examples as they are stored.
        y: labels or vectors as they are stored; None if nobody asked, or there are none.
        what_x, what_y: name them in messages.
    """

    x: np.ndarray
    y: np.ndarray | None
    what_x: str
    what_y: str


def load_arrays(config: Config, data_dir: str | None, split: str) -> InMemory:
    """Images of an .npz or .npy file.

    Args:
        config: says whether labels are wanted, and which examples are for testing.
        data_dir: the file, or a folder that holds one.
        split: `train` or `test`: what the file has under this name, else see `Config`.

    Raises:
        ValueError: no data_dir, a file that cannot be read, or arrays that are not images, or not
            as many labels.
        OSError: it is not there.
    """
    path = _find(data_dir, _ARRAY_FILES, "arrays", "images")
    arrays, chosen, names = _of_split(config, path, split, IMAGES)
    images = checked_images(arrays.x, arrays.what_x)
    y, names = _conditions(arrays, names)
    return _dataset(images, y, names, chosen)


def load_vectors(config: Config, data_dir: str | None, split: str) -> InMemory:
    """Vectors of an .npz, .npy or .csv file, standardized if the config wants it.

    Args:
        config: as for `load_arrays`; and `standardize`.
        data_dir, split: as for `load_arrays`.

    Raises:
        ValueError, OSError: as `load_arrays`; or vectors outside [-1, 1] that are not standardized.
    """
    path = _find(data_dir, (*_ARRAY_FILES, ".csv"), "vectors", "vectors")
    arrays, chosen, names = _of_split(config, path, split, VECTORS)
    x = checked_vectors(arrays.x, arrays.what_x)
    scaling = None
    if config.standardize:
        scaling, x = _standardized(config, path, split, arrays, chosen)
    else:
        _check_range(x, arrays.what_x)
    y, names = _conditions(arrays, names)
    dataset = _dataset(x, y, names, chosen)
    digest = hashlib.sha256(np.ascontiguousarray(arrays.x).data)  # before any rounding
    dataset.scaling, dataset.identify = scaling, digest.hexdigest
    return dataset


def splits_in(path: str | None) -> tuple[str, ...]:
    """The splits that a file has of its own; none where it holds one set of examples, or none."""
    if path is None or not (Path(path).is_file() or Path(path).is_dir()):
        return ()
    try:
        names = _names_in(_find(path, (*_ARRAY_FILES, ".csv"), "arrays", "arrays"))
    except (ValueError, OSError):  # said where it is read
        return ()
    keys = {*IMAGES, *VECTORS}
    return tuple(s for s in (splits.TRAIN, splits.TEST) if _of_split_named(keys, s) & names)


def checked_images(array: np.ndarray, what: str) -> np.ndarray:
    """Images as uint8 [N, H, W, C].

    Args:
        array: uint8 [N, H, W], or [N, H, W, C] with C of 1 or 3.
        what: names it in the errors.

    Raises:
        ValueError: another dtype or shape; channels first, for example.
    """
    if array.dtype != np.uint8:
        raise ValueError(
            f"{what} has dtype {array.dtype}; images must be uint8, 0..255: scale, round and"
            " convert them first."
        )
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or not array.size:
        is_turned = array.ndim == 4 and array.shape[1] in (1, 3)
        remedy = "; transpose it with (0, 2, 3, 1)" if is_turned else ""
        raise ValueError(
            f"{what} has shape {array.shape}; images must be [N, H, W], or [N, H, W, C] with 1 or 3"
            f" channels{remedy}."
        )
    return array


def _of_split(
    config: Config, path: Path, split: str, keys: Sequence[str]
) -> tuple[Arrays, np.ndarray | None, tuple[str, ...] | None]:
    """The arrays that a split is in, which of their rows are in it, and names of known classes."""
    wanted = bool(config.labels) or config.conditional
    own, known = splits_in(str(path)), None
    if splits.TEST in own and (config.test_fraction or config.test_dir):
        raise ValueError(
            f"{path} has a test split of its own; leave test_fraction and test_dir out."
        )
    if split == splits.TEST and (splits.TEST in own or config.test_dir):
        known = _conditions(_read(path, splits.TRAIN, keys, wanted), None)[1]
        if config.test_dir:
            path = _find(config.test_dir, (*_ARRAY_FILES, ".csv"), "arrays", "data for testing")
    arrays, chosen = _read(path, split, keys, wanted), None
    if config.test_fraction:
        names = [str(i) for i in range(len(arrays.x))]
        chosen = splits.of_split(names, config.test_fraction, split, str(path))
    return arrays, chosen, known


def _standardized(
    config: Config, path: Path, split: str, arrays: Arrays, chosen: np.ndarray | None
) -> tuple[Scaling, np.ndarray]:
    """The scaling of the training vectors, and all vectors of a file on that scale."""
    train = arrays.x
    if split == splits.TEST:
        of_train, chosen, _ = _of_split(config, path, splits.TRAIN, VECTORS)
        train = of_train.x
        checked_vectors(train, of_train.what_x)
    if train.shape[1] != arrays.x.shape[1]:
        raise ValueError(
            f"{arrays.what_x} has vectors of {arrays.x.shape[1]} numbers, and those for training"
            f" have {train.shape[1]}; give both the same length."
        )
    scaling = Scaling.to_deviation(train if chosen is None else train[chosen], config.standardize)
    return scaling, scaling.apply(arrays.x)


def _check_range(x: np.ndarray, what: str) -> None:
    largest = float(np.abs(x).max())
    if largest > 1:
        raise ValueError(
            f"{what} reaches {largest:.6g}, but must lie in [-1, 1] unless vectors are"
            " standardized; add --standardize=1."
        )


def _conditions(
    arrays: Arrays, known: Sequence[str] | None
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Labels or vectors for a network, and the names of classes if they are texts."""
    y = arrays.y
    if y is None:
        return None, None
    check_same_length(arrays.x, y, arrays.what_x, arrays.what_y)
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "biuSU":
        y = y[:, 0]  # as MedMNIST has its labels
    if y.ndim == 1 and y.dtype.kind in "SU":
        texts = np.char.decode(y, "utf-8", "replace") if y.dtype.kind == "S" else y
        labels = numbered([str(text) for text in texts], arrays.what_y, known)
        return labels.values, labels.class_names
    if y.ndim == 1 and y.dtype.kind == "b":
        y = y.astype(np.uint8)
    if y.ndim == 1 and y.dtype.kind == "f":
        y = y[:, None]
    return checked_conditions(y, arrays.what_y), None


def _dataset(
    x: np.ndarray,
    y: np.ndarray | None,
    names: tuple[str, ...] | None,
    chosen: np.ndarray | None,
) -> InMemory:
    dataset = InMemory(x, y)
    dataset.class_names = names
    return dataset if chosen is None else dataset.subset(chosen)


def _find(where: str | None, endings: Sequence[str], dataset: str, what: str) -> Path:
    """A file, or the only one of its kind in a folder."""
    kinds = f"{', '.join(endings[:-1])} or {endings[-1]}"
    if where is None:
        raise ValueError(f"{dataset} needs --data_dir: a file of {what}, {kinds}.")
    path = Path(where)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; check the path of the {what}.")
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in endings)
        if not found:
            raise FileNotFoundError(
                f"{path} holds no {kinds}; name a folder with one, or the file. A folder of images"
                " is read by --config=folder."
            )
        if len(found) > 1:
            names = ", ".join(p.name for p in found[:10])
            raise ValueError(f"{path} holds several files ({names}); name the one that is meant.")
        path = found[0]
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path} is not a file of {what}; give one that ends with {kinds}.")
    return path


def _read(path: Path, split: str, keys: Sequence[str], wants_labels: bool) -> Arrays:
    """The examples of a split in a file, or all where it has no splits; labels if asked for."""
    if path.suffix.lower() == ".csv":
        x, texts = read_csv(path)
        return Arrays(x, texts if wants_labels else None, str(path), f"the labels of {path}")
    if path.suffix.lower() == ".npy":
        if wants_labels:
            raise ValueError(
                f"{path} holds one array, and labels are asked for; save both with"
                " numpy.savez(path, x=x, y=y), or train without labels."
            )
        return Arrays(read_npy(path), None, str(path), "")
    names = _names_in(path)
    chosen = [_only(path, names, split, keys)]
    if wants_labels:
        chosen.append(_only(path, names, split, LABELS))
    found = read_npz(path, chosen)
    what = [f"{name} in {path}" for name in chosen]
    return Arrays(found[0], found[1] if wants_labels else None, what[0], what[-1])


def _names_in(path: Path) -> set[str]:
    """The names of the arrays in an .npz."""
    if path.suffix.lower() != ".npz":
        return set()
    try:
        with open_archive(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as .npz ({error}); write arrays to it with numpy.savez."
        ) from None


def _of_split_named(keys: Sequence[str] | set[str], split: str) -> set[str]:
    return {name for key in keys for name in (f"{split}_{key}", f"{key}_{split}")}


def _only(path: Path, names: set[str], split: str, keys: Sequence[str]) -> str:
    """The name of the array that is meant by some keys."""
    found = sorted(_of_split_named(keys, split) & names) or [key for key in keys if key in names]
    if len(found) == 1:
        return found[0]
    listed = f"{', '.join(keys[:-1])} or {keys[-1]}"
    there = ", ".join(sorted(names)[:10]) or "nothing"
    if not found:
        raise ValueError(
            f"{path} lacks {listed} (it has {there}); save it with numpy.savez(path,"
            f" x=examples, y=labels)."
        )
    raise ValueError(f"{path} holds {' and '.join(found)}; keep one of them.")
