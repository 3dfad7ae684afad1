"""Sums over the images of a data set that outlive an interruption."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.array_files import Damaged, check_seal, open_npz, save_npz


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
            ValueError: the file holds sums of another origin. One that is damaged is said in the
                log, and the sums begin with zero.
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
        save_npz(self._path, {"number": self.number, "origin": self._origin, **self.sums})

    def _load(self) -> None:
        try:
            check_seal(self._path)
        except Damaged as damage:
            logging.warning("%s The sums begin anew.", damage)
            return
        with open_npz(self._path) as arrays:
            there = dict(arrays)
        origin = str(there["origin"])
        if origin != self._origin:
            raise ValueError(
                f"{self._path} holds unfinished sums of another evaluation ({origin}, not"
                f" {self._origin}); delete it, or choose another --out."
            )
        self.number = int(there["number"])
        self.sums = {name: there[name] for name in self.sums}
