"""The bound in float64, from means and variances."""

import numpy as np

from diffusion_tf.crosscheck.choices import ORIGINAL
from diffusion_tf.crosscheck.decoder import log_probability


def bound_of(
    x_start: np.ndarray,
    t: np.ndarray,
    true_mean: np.ndarray,
    true_log_variance: np.ndarray,
    mean: np.ndarray,
    log_variance: np.ndarray,
) -> np.ndarray:
    """The terms of the bound (eq. 8 and 13) in bits/dim, [B].

    A small KL is what is left of 1 - 1, for which float32 has few digits.

    Args:
        x_start: [B, ...], 8-bit pixels in [-1, 1].
        t: [B].
        true_mean, true_log_variance: of the posterior, [B, ...] and [B].
        mean, log_variance: of p, [B, ...], and [B] or [B, ...].
    """
    true_mean, mean = np.asarray(true_mean, np.float64), np.asarray(mean, np.float64)
    x_start = np.asarray(x_start, np.float64)
    true_log_variance, log_variance = (
        np.asarray(v, np.float64) if np.ndim(v) == mean.ndim else _images(v, mean.ndim)
        for v in (true_log_variance, log_variance)
    )
    ratio = true_log_variance - log_variance
    distance = np.square(true_mean - mean) * np.exp(-log_variance)
    kl = 0.5 * (-1.0 - ratio + np.exp(ratio) + distance)
    nll = -log_probability(x_start, mean, log_variance, ORIGINAL)
    terms = np.where(np.reshape(t, [-1, *[1] * (mean.ndim - 1)]) == 0, nll, kl)
    return terms.reshape(len(terms), -1).mean(axis=1) / np.log(2.0)


def _images(numbers: np.ndarray, rank: int) -> np.ndarray:
    """Numbers [B] as float64 [B, 1, ...]."""
    return np.asarray(numbers, np.float64).reshape(-1, *[1] * (rank - 1))
