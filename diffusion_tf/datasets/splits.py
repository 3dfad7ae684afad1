"""Which examples are kept for testing: chosen by their names, so that the choice stays the same."""

import hashlib
from collections.abc import Sequence

import numpy as np

TRAIN, TEST = "train", "test"


def held_out(names: Sequence[str], fraction: float) -> np.ndarray:
    """Which examples are for testing.

    A name decides for itself: those that come later change nothing for those that are there, on
    every machine. So the share is `fraction` on average, and hardly ever exactly.

    Args:
        names: of the examples.
        fraction: the chance of each, in (0, 1).

    Returns:
        bool [N].
    """
    digests = (hashlib.sha256(name.encode("utf-8", "surrogateescape")) for name in names)
    chances = [int.from_bytes(digest.digest()[:8], "big") / 2**64 for digest in digests]
    return np.array(chances) < fraction


def of_split(names: Sequence[str], fraction: float, split: str, where: str) -> np.ndarray:
    """The indices of the examples in a split.

    Args:
        names: of all examples.
        fraction: that is for testing.
        split: `train` or `test`.
        where: they are from, for the error.

    Raises:
        ValueError: one of the splits would be empty.
    """
    for_test = held_out(names, fraction)
    if for_test.all() or not for_test.any():
        kept = "training" if for_test.all() else "testing"
        raise ValueError(
            f"test_fraction is {fraction:g}, which leaves none of {len(names)} examples of {where}"
            f" for {kept}; choose another, or name other data for testing with --test_dir."
        )
    return np.flatnonzero(for_test == (split == TEST))
