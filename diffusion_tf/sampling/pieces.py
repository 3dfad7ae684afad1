"""Chains of many steps in pieces, so that progress can be shown between them."""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from diffusion_tf.utils.progress import progress_bar

MAX_PIECES = 50


def run_in_pieces(
    doing: str, move: Callable[..., tf.Tensor], x: tf.Tensor, number: int
) -> np.ndarray:
    """Takes x through a chain, showing progress.

    Args:
        doing: what is being done, in a word or two.
        move: `move(x, first, last)` takes x through steps first, ..., last - 1, int32 scalars.
        x: where the chain starts.
        number: of steps in all.

    Returns:
        Where it ends.
    """
    bounds = np.unique(np.linspace(0, number, min(number, MAX_PIECES) + 1, dtype=np.int32))
    with progress_bar(doing, "step", total=number) as progress:
        for first, last in itertools.pairwise(bounds):
            x = move(x, tf.constant(first), tf.constant(last))
            progress.update(int(last - first))
    return x.numpy()
