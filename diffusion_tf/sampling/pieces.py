"""Chains of many steps in pieces, so that progress can be shown between them."""

import itertools
from collections.abc import Callable, Sequence

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
    with progress_bar(doing, "step", total=number, first_compiles=True) as progress:
        for first, last in itertools.pairwise(bounds):
            x = move(x, tf.constant(first), tf.constant(last))
            progress.update(int(last - first))
    return x.numpy()


def run_down(
    move: Callable[..., tuple],
    state: tuple,
    stops: Sequence[int],
    done: Callable[[int], object],
    keep: int = 0,
) -> np.ndarray:
    """Takes x through the reverse process, and keeps it at some times.

    Args:
        move: `move(state, first, last)` takes the steps first, first - 1, ..., last, int32 scalars;
            returns the state after them.
        state: x and its memory before step `stops[0]`, and what else `move` returns.
        stops: times in falling order, each the step that x is about to take; -1 after the last.
        done: is told of every piece how many steps it took.
        keep: which part of the state is kept.

    Returns:
        x, or that part, at each of the stops, [len(stops), B, ...].
    """
    kept, longest = [state[keep].numpy()], max(1, (stops[0] + 1) // MAX_PIECES)
    for start, stop in itertools.pairwise(stops):
        for first in range(start, stop, -longest):
            last = max(first - longest, stop) + 1
            state = move(state, tf.constant(first), tf.constant(last))
            done(first - last + 1)
        kept.append(state[keep].numpy())
    return np.stack(kept)
