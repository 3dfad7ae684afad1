"""Sums over the images of a data set that outlive an interruption."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_tf.files import replacing


class PartialSums:
    """Sums of values that come for some images at a time, kept in a file until all are there.

    Attributes:
        number: of images so far, the first ones of the data set.
        sums: float64, by name.
    """

    def __init__(self, path: str | Path, shapes: Mapping[str, tuple[int, ...]], origin: Any):
        """Begins with zero, or with the sums that are there.

        Args:
            path: of the file, `*.npz`.
            shapes: of each sum.
            origin: what the sums depend on, in values of JSON.

        Raises:
            ValueError: the file is damaged, or holds sums of another origin.
        """
        self._path = Path(path)
        self._origin = json.dumps(origin, sort_keys=True)
        self.number = 0
        self.sums = {name: np.zeros(shape) for name, shape in shapes.items()}
        if self._path.exists():
            self._load()

    def add(self, **values: np.ndarray) -> None:
        """Adds the values of the next images, [n, ...] each."""
        (count,) = {len(array) for array in values.values()}
        for name, array in values.items():
            self.sums[name] += np.asarray(array, np.float64).sum(axis=0)
        self.number += count

    def save(self) -> None:
        """Keeps the sums so far.

        Raises:
            OSError: they cannot be written.
        """
        with replacing(self._path) as temporary:
            np.savez(temporary, number=self.number, origin=self._origin, **self.sums)

    def _load(self) -> None:
        try:
            with open(self._path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                there = dict(arrays)
            self.number, origin = int(there["number"]), str(there["origin"])
            self.sums = {name: there[name] for name in self.sums}
        except Exception as error:  # NumPy, zipfile and zlib each have their own kinds for damage
            raise ValueError(f"{self._path} is damaged ({error}); delete it.") from None
        if origin != self._origin:
            raise ValueError(
                f"{self._path} holds unfinished sums of another evaluation ({origin}, not"
                f" {self._origin}); delete it, or choose another --out."
            )
