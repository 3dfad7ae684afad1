"""Terms of the losses: Gaussian KL, the discretized decoder, the mean over all but the batch."""

import numpy as np
import tensorflow as tf


def normal_kl(
    mean1: tf.Tensor, logvar1: tf.Tensor, mean2: tf.Tensor, logvar2: tf.Tensor
) -> tf.Tensor:
    """KL(N(mean1, exp(logvar1)) || N(mean2, exp(logvar2))), elementwise, in nats.

    Args:
        mean1, logvar1, mean2, logvar2: tensors or numbers whose shapes broadcast.

    Returns:
        Tensor of the broadcast shape (the original's `normal_kl`).
    """
    variance_ratio = tf.exp(logvar1 - logvar2)
    scaled_distance = tf.math.squared_difference(mean1, mean2) * tf.exp(-logvar2)
    return 0.5 * (-1.0 + logvar2 - logvar1 + variance_ratio + scaled_distance)


def approx_standard_normal_cdf(x: tf.Tensor) -> tf.Tensor:
    """The tanh approximation of the standard normal's CDF that the original's decoder uses."""
    return 0.5 * (1.0 + tf.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def discretized_gaussian_log_likelihood(
    x: tf.Tensor, *, means: tf.Tensor, log_scales: tf.Tensor
) -> tf.Tensor:
    """Log-probability of 8-bit pixels under a Gaussian cut into 256 bins (paper eq. 13).

    A bin is 2/255 wide; the outermost two reach to -infinity and +infinity. Probabilities are
    floored at 1e-12, as in the original's function of the same name.

    Args:
        x: pixels in [-1, 1] that were integers 0..255.
        means: of the Gaussian; same shape as `x`.
        log_scales: log of its standard deviation; same shape as `x`.

    Returns:
        Tensor shaped like `x`, in nats.

    Raises:
        ValueError: the three shapes differ.
    """
    if not (x.shape == means.shape == log_scales.shape):
        raise ValueError(
            f"x {x.shape}, means {means.shape} and log_scales {log_scales.shape} must have the"
            " same shape; broadcast them first."
        )
    half_bin = 1.0 / 255.0
    centered_x = x - means
    inv_stdv = tf.exp(-log_scales)
    cdf_plus = approx_standard_normal_cdf(inv_stdv * (centered_x + half_bin))
    cdf_min = approx_standard_normal_cdf(inv_stdv * (centered_x - half_bin))
    probability = tf.where(
        x < -0.999, cdf_plus, tf.where(x > 0.999, 1.0 - cdf_min, cdf_plus - cdf_min)
    )
    return tf.math.log(tf.maximum(probability, 1e-12))


def meanflat(x: tf.Tensor) -> tf.Tensor:
    """Mean over every axis but the first: [B, ...] -> [B]."""
    return tf.reduce_mean(x, axis=list(range(1, len(x.shape))))
