"""The decoder of the last step in NumPy, with what implementations do differently."""

import math

import numpy as np

from diffusion_tf.crosscheck.choices import Choices

_ERF = np.vectorize(math.erf, otypes=[np.float64])


def log_probability(
    x: np.ndarray, mean: np.ndarray, log_variance: np.ndarray, choices: Choices
) -> np.ndarray:
    """Of 8-bit pixels x under N(mean, exp(log_variance)) cut into bins (eq. 13), in nats.

    Args:
        x, mean, log_variance: [B, ...].
        choices: `decoder` density stands for the Gaussian's density instead of a bin's share.
    """
    share = {"deviation": 0.5, "variance": 1.0, "log variance": 2.0}[choices.decoder_scale]
    log_scale = share * log_variance
    centered = x - mean
    if choices.decoder == "density":
        return -0.5 * (np.square(centered) * np.exp(-2 * log_scale) + math.log(2 * math.pi)) - (
            log_scale
        )
    if choices.decoder == "density without constant":
        return -0.5 * np.square(centered) * np.exp(-2 * log_scale) - log_scale
    if choices.decoder == "squared error":
        return -np.square(centered)
    inverse = np.exp(-log_scale)
    upper = _cdf(inverse * (centered + choices.half_bin), choices)
    lower = _cdf(inverse * (centered - choices.half_bin), choices)
    upper = np.where(x > choices.upper_end, 1.0, upper)
    lower = np.where(x < choices.lower_end, 0.0, lower)
    return np.log(np.maximum(upper - lower, choices.probability_floor))


def _cdf(x: np.ndarray, choices: Choices) -> np.ndarray:
    """Of the standard normal."""
    if choices.cdf == "exact":
        return 0.5 * (1 + _ERF(x / math.sqrt(2)).astype(x.dtype))
    if choices.cdf == "logistic":
        return 0.5 * (1 + np.tanh(x / 2))
    return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
