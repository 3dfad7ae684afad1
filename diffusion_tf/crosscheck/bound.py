"""The bound in float64, from means and variances."""

import numpy as np
import tensorflow as tf

from diffusion_tf.losses import discretized_gaussian_log_likelihood, meanflat, normal_kl


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
        mean, log_variance: of p, [B, ...] and [B].
    """
    true_mean, mean = np.asarray(true_mean, np.float64), np.asarray(mean, np.float64)
    true_log_variance, log_variance = (
        np.asarray(v, np.float64).reshape(-1, *[1] * (mean.ndim - 1))
        for v in (true_log_variance, log_variance)
    )
    kl = normal_kl(true_mean, true_log_variance, mean, log_variance)
    nll = -discretized_gaussian_log_likelihood(
        tf.constant(x_start, tf.float64),
        means=tf.constant(mean),
        log_scales=tf.constant(np.broadcast_to(0.5 * log_variance, mean.shape)),
    )
    return np.where(t == 0, meanflat(nll), meanflat(kl)) / np.log(2.0)
