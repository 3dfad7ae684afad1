"""Timesteps of fewer steps, by the names that diffusers gives their spacings."""

import numpy as np

from diffusion_tf.crosscheck.choices import ORIGINAL, Choices

SPACINGS = ("leading", "trailing", "linspace")
MOST = 10


def number_of_steps(T: int) -> int:
    """The largest S up to `MOST` that divides T, so that ports that round T / S do as others."""
    return max(S for S in range(1, MOST + 1) if T % S == 0)


def timesteps_of(spacing: str, T: int, choices: Choices = ORIGINAL) -> np.ndarray:
    """The timesteps, rising, int64 [S].

    Args:
        spacing: leading, from 0 on by T / S; trailing, down from T - 1 by T / S; linspace, evenly
            from 0 to T - 1, to the nearest ones (Lin et al. 2023, table 2).
        T: steps of training.
        choices: what to do differently.
    """
    S = number_of_steps(T)
    even = np.linspace(0, T - 1, S) if S > 1 else np.zeros(1)
    timesteps = {
        "leading": lambda: np.arange(S) * (T // S) + choices.spacing_offset,
        "trailing": lambda: T - 1 - np.arange(S)[::-1] * (T // S),
        "linspace": lambda: np.rint(even) if choices.spacing_rounds else np.floor(even),
    }[choices.spacing or spacing]()
    return np.minimum(timesteps.astype(np.int64), T - 1)


def respaced_timesteps(T: int, t: np.ndarray) -> np.ndarray:
    """Those of `leading` and some others, rising, int64.

    Args:
        T: steps of training.
        t: the others, int [B].
    """
    return np.union1d(timesteps_of("leading", T), t)
