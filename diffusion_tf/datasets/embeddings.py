"""Vectors conditioned on vectors: digits as conditions for their embeddings."""

import numpy as np

EMBEDDING_DIM = 16  # holds 85% of the digits' variance


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
