"""Vectors of any mean and scale, brought to a standard one for training and back for people."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusion_tf.utils.numbers import is_real

_ROWS = 65_536  # that are converted to float64 at once


@dataclass(frozen=True, eq=False)
class Scaling:
    """What was subtracted from each dimension of vectors, and what they were divided by then.

    Attributes:
        mean: float64 [D].
        scale: float64 [D]; 0 where all vectors are equal, whose value is given back as it was.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def to_deviation(cls, vectors: np.ndarray, deviation: float) -> "Scaling":
        """What gives each dimension mean 0 and a standard deviation.

        Args:
            vectors: finite numbers [N, D], N at least 1.
            deviation: the one that they are to have.
        """
        number, mean = len(vectors), np.zeros(vectors.shape[1])
        for part in _parts(vectors):
            mean += part.sum(axis=0) / number
        variance = np.zeros_like(mean)
        for part in _parts(vectors):
            variance += ((part - mean) ** 2).sum(axis=0) / number
        return cls(mean, np.sqrt(variance) / deviation)

    @classmethod
    def from_json(cls, values: Any) -> "Scaling":
        """The inverse of `to_json`.

        Raises:
            ValueError: values of another kind; a few words, to go into a sentence.
        """
        lists = [values.get(name) for name in ("mean", "scale")] if _is_scaling(values) else []
        if not lists or len(lists[0]) != len(lists[1]) or min(lists[1], default=-1) < 0:
            raise ValueError("scaling is not two lists of numbers, mean and scale")
        return cls(*(np.array(numbers, np.float64) for numbers in lists))

    def to_json(self) -> dict[str, list[float]]:
        """In values of JSON, exact."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    def digest(self) -> str:
        """Tells scalings apart, in 16 hexadecimal digits."""
        return hashlib.sha256(self.mean.tobytes() + self.scale.tobytes()).hexdigest()[:16]

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """From the data's numbers [N, D] to those of the network, float32 [N, D]."""
        divisor = np.where(self.scale > 0, self.scale, np.inf)
        result = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), _ROWS):
            part = vectors[start : start + _ROWS].astype(np.float64)
            result[start : start + _ROWS] = (part - self.mean) / divisor
        return result

    def undo(self, vectors: np.ndarray) -> np.ndarray:
        """From the network's numbers [..., D] to those of the data, float32 [..., D]."""
        return (vectors.astype(np.float64) * self.scale + self.mean).astype(np.float32)


def _parts(vectors: np.ndarray) -> Iterator[np.ndarray]:
    """float64 [n, D], one after the other."""
    return (
        vectors[start : start + _ROWS].astype(np.float64) for start in range(0, len(vectors), _ROWS)
    )


def _is_scaling(values: Any) -> bool:
    return isinstance(values, Mapping) and all(
        isinstance(values.get(name), list) and all(map(_is_finite, values[name]))
        for name in ("mean", "scale")
    )


def _is_finite(value: Any) -> bool:
    return is_real(value) and math.isfinite(value)
