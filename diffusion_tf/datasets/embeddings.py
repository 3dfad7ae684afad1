"""Vectors conditioned on vectors: from an .npz, or digits as conditions for their embeddings."""

import math
from pathlib import Path

import numpy as np

from diffusion_tf.datasets.arrays import check_same_length, checked_vectors, read_npz

EMBEDDING_DIM = 16  # holds 85% of the digits' variance


def load_npz(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors `x` to learn and their conditions `y`, from an .npz.

    Args:
        path: the file, or a folder that holds one .npz.

    Returns:
        x float32 [N, D] in [-1, 1], and y float32 [N, C].

    Raises:
        FileNotFoundError: no such file, or none in the folder.
        ValueError: several files in the folder; no .npz, damaged, or with Python objects; x or y
            missing, not two axes, of unequal length or not finite; x outside [-1, 1].
    """
    path = _find(Path(path))
    arrays = read_npz(path, ("x", "y"))
    what_x, what_y = f"x in {path}", f"y in {path}"
    x, y = checked_vectors(arrays[0], what_x), checked_vectors(arrays[1], what_y)
    check_same_length(x, y, what_x, what_y)
    largest = float(np.abs(x).max())
    if largest > 1:
        raise ValueError(
            f"{what_x} reaches {largest:.6g}, but must lie in [-1, 1]; divide by"
            f" {_round_up(largest):g}."
        )
    return x, y


def digit_embeddings() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits as conditions for their principal components.

    The components keep their proportions: all are divided by one number, the largest of them all.
    Scikit-learn fixes the signs of the axes, so that the same numbers come out each time.

    Returns:
        x float32 [1797, 16] in [-1, 1]: the embeddings, in the order of
        `sklearn.datasets.load_digits`; and y float32 [1797, 64]: the pixels in [-1, 1].
    """
    from sklearn import datasets, decomposition  # a second of import that most runs do not need

    y = datasets.load_digits().data / 8.0 - 1.0
    x = decomposition.PCA(EMBEDDING_DIM, svd_solver="full").fit_transform(y)
    return (x / np.abs(x).max()).astype(np.float32), y.astype(np.float32)


def _find(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; check the path of the vectors.")
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.npz"))
    if not found:
        raise FileNotFoundError(f"{path} holds no .npz; name a folder with one, or the file.")
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise ValueError(f"{path} holds several .npz ({names}); name the file that is meant.")
    return found[0]


def _round_up(value: float) -> float:
    """To two significant digits, for a person to type."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit
