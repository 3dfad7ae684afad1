"""Optimal networks for mixtures of Gaussians and for data sets."""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.process import GaussianDiffusion
from diffusion_tf.utils.literals import LEARNED


class Moments(NamedTuple):
    """Mean and variance, elementwise."""

    mean: np.ndarray
    variance: np.ndarray


class Mixture:
    """Data from a finite mixture of Gaussians with diagonal covariances.

    Attributes:
        means: float64 [K, ...].
        variances: float64 [K, ...]; [1, ...] where all components share them.
        weights: float64 [K], with sum 1.
    """

    def __init__(
        self,
        means: np.ndarray,
        variances: np.ndarray | float = 0.0,
        weights: np.ndarray | None = None,
    ):
        """Takes the parameters of the components.

        Args:
            means: [K, ...], each shaped like one example.
            variances: a number, or an array that broadcasts to the means. 0 is allowed.
            weights: [K], positive; equal if not given.

        Raises:
            ValueError: shapes do not fit, or a variance is negative or a weight not positive.
        """
        self.means = np.asarray(means, np.float64)
        if self.means.ndim < 2 or 0 in self.means.shape:
            raise ValueError(f"means has shape {self.means.shape}; it must be [K, ...].")
        variances = np.asarray(variances, np.float64)
        shared = variances.ndim < self.means.ndim or len(variances) == 1
        shape = (1 if shared else len(self.means), *self.means.shape[1:])
        self.variances = np.broadcast_to(variances, shape)
        if not (np.isfinite(self.means).all() and (self.variances >= 0).all()):
            raise ValueError("means must be finite, and variances 0 or more.")
        weights = np.ones(len(self.means)) if weights is None else np.asarray(weights, np.float64)
        if weights.shape != self.means.shape[:1] or not (weights > 0).all():
            raise ValueError(f"weights is {weights}; it must hold {len(self.means)} numbers > 0.")
        self.weights = weights / weights.sum()

    def posterior(
        self, x_t: np.ndarray, alphas_cumprod: np.ndarray | float, y: np.ndarray | None = None
    ) -> Moments:
        """Mean and variance of x_0 given x_t.

        Args:
            x_t: [B, ...].
            alphas_cumprod: in [0, 1), of all examples or of each, [B].
            y: labels [B]: the component that an example is known to be from; -1 if it is not.

        Returns:
            float64 [B, ...] each.
        """
        x = np.asarray(x_t, np.float64)
        abar = np.broadcast_to(np.asarray(alphas_cumprod, np.float64), x.shape[:1])
        mean, variance = self._posterior(np, x.reshape(len(x), -1), abar[:, None], y)
        return Moments(mean.reshape(x.shape), variance.reshape(x.shape))

    def predict(
        self,
        diffusion: GaussianDiffusion,
        x_t: np.ndarray,
        t: np.ndarray,
        y: np.ndarray | None = None,
    ) -> np.ndarray:
        """What the optimal network of a process returns, computed in NumPy.

        Args:
            diffusion: its coefficients, mean type and variance type. For `learned` the last axis is
                twice as long: log-variances of x_{t-1} given x_t follow.
            x_t: [B, ...].
            t: integers [B], in 0..T-1.
            y: see `posterior`.

        Returns:
            float64 [B, ...].
        """
        return self._predict(np, diffusion, np.asarray(x_t, np.float64), np.asarray(t), y)

    def denoise_fn(self, diffusion: GaussianDiffusion, y: np.ndarray | None = None) -> DenoiseFn:
        """The optimal network of a process in TensorFlow: float64 inside, float32 outside.

        A process with fewer steps takes the network of the process that it was made from.

        Args:
            diffusion, y: see `predict`.
        """

        def denoise(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            return tf.cast(self._predict(tnp, diffusion, tf.cast(x, tf.float64), t, y), tf.float32)

        return denoise

    def bits_per_dim(self, x_start: np.ndarray, *, pixels: bool = False) -> np.ndarray:
        """The exact negative log-likelihood of data, in bits/dim.

        Args:
            x_start: [B, ...].
            pixels: of the 8-bit pixel that x_start is (bins of eq. 13), instead of the density.

        Returns:
            float64 [B].
        """
        x = np.asarray(x_start, np.float64)[:, None]
        means, stdv = self.means[None], np.sqrt(self.variances)[None]
        log_p = log_of_bin(x, means, stdv) if pixels else log_density(x, means, stdv**2)
        log_p = log_p.reshape(*log_p.shape[:2], -1).sum(axis=-1)
        total = scipy.special.logsumexp(log_p, axis=1, b=self.weights)
        return -total / np.log(2) / np.prod(self.means.shape[1:])

    def _posterior(self, xp: ModuleType, x: Any, abar: Any, y: Any) -> tuple[Any, Any]:
        """Mean and variance of x_0 given x_t [B, D] at abar [B, 1], by NumPy or its kin `xp`."""
        m = xp.asarray(self.means.reshape(len(self.means), -1))
        v = xp.asarray(self.variances.reshape(len(self.variances), -1))
        root, abar, x = (xp.expand_dims(a, 1) for a in (xp.sqrt(abar), abar, x))  # [B, 1, D or 1]
        V = abar * v + 1 - abar
        gain = root * v / V
        log_p = xp.asarray(np.log(self.weights))
        if self.variances.shape[0] == 1:  # products of matrices alone: [B, K, D] may be too large
            V, gain, x, root = V[:, 0], gain[:, 0], x[:, 0], root[:, 0]
            columns = xp.transpose(m)
            distance = root**2 * ((1 / V) @ columns**2) - 2 * root * ((x / V) @ columns)
            p = _softmax(xp, _known(xp, log_p - distance / 2, y))
            mean, square = p @ m, p @ m**2
            spread = xp.maximum(square - mean**2, 0)
            keep = 1 - gain * root
            return keep * mean + gain * x, (1 - abar[:, 0]) * v / V + keep**2 * spread
        distance = xp.sum((x - root * m) ** 2 / V + xp.log(V), axis=2)
        p = xp.expand_dims(_softmax(xp, _known(xp, log_p - distance / 2, y)), 2)
        means = m + gain * (x - root * m)  # E[x_0 | x_t, k]
        mean = xp.sum(p * means, axis=1)
        spread = xp.sum(p * (means - xp.expand_dims(mean, 1)) ** 2, axis=1)
        return mean, xp.sum(p * (1 - abar) * v / V, axis=1) + spread

    def _predict(self, xp: ModuleType, diffusion: GaussianDiffusion, x: Any, t: Any, y: Any) -> Any:
        def at_t(coefficients: np.ndarray) -> Any:
            return xp.reshape(xp.take(xp.asarray(coefficients), t), (-1, 1))

        flat = xp.reshape(x, (-1, int(np.prod(x.shape[1:]))))
        x_0, variance = self._posterior(xp, flat, at_t(diffusion.alphas_cumprod), y)
        if diffusion.model_mean_type == "eps":  # eq. 4, solved for eps
            output = flat - at_t(diffusion.sqrt_alphas_cumprod) * x_0
            output = output / at_t(diffusion.sqrt_one_minus_alphas_cumprod)
        elif diffusion.model_mean_type == "xprev":  # eq. 7, whose mean is linear in x_0
            output = at_t(diffusion.posterior_mean_coef1) * x_0
            output = output + at_t(diffusion.posterior_mean_coef2) * flat
        elif diffusion.model_mean_type == "v":  # linear in x_0 as well, with eps from eq. 4
            output = at_t(diffusion.sqrt_alphas_cumprod) * flat - x_0
            output = output / at_t(diffusion.sqrt_one_minus_alphas_cumprod)
        else:
            output = x_0
        output = xp.reshape(output, x.shape)
        if diffusion.model_var_type not in LEARNED:
            return output
        # Of x_{t-1} given x_t: that of eq. 7, and its mean varies with x_0.
        variance = at_t(diffusion.posterior_mean_coef1) ** 2 * variance
        variance = xp.maximum(variance + at_t(diffusion.posterior_variance), 1e-20)
        values = xp.log(variance)
        if diffusion.model_var_type == "learned_range":
            low, high = diffusion.posterior_log_variance_clipped, np.log(diffusion.betas)
            width = np.where(high > low, high - low, 1.0)  # where they meet any value will do
            values = 2 * (values - at_t(low)) / at_t(width) - 1
        return xp.concatenate([output, xp.reshape(values, x.shape)], axis=-1)


def empirical(examples: np.ndarray) -> Mixture:
    """A data set as a distribution: each example [N, ...] with the same probability."""
    return Mixture(examples)


def _known(xp: ModuleType, log_p: Any, y: Any) -> Any:
    """Log-probabilities of the components [B, K], where examples with a label have but one."""
    if y is None:
        return log_p
    y = xp.expand_dims(xp.asarray(y), 1)
    others = xp.logical_and(y >= 0, y != xp.arange(log_p.shape[1], dtype=y.dtype))
    return xp.where(others, xp.asarray(-np.inf), log_p)


def _softmax(xp: ModuleType, log_p: Any) -> Any:
    p = xp.exp(log_p - xp.max(log_p, axis=1, keepdims=True))
    return p / xp.sum(p, axis=1, keepdims=True)


def log_density(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Of a Gaussian, elementwise, in nats."""
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))


def log_of_bin(x: np.ndarray, mean: np.ndarray, stdv: np.ndarray) -> np.ndarray:
    """Log-probability of an 8-bit pixel in [-1, 1] (eq. 13); the outermost bins have no end."""
    above = np.where(x > 0.999, np.inf, (x + 1 / 255 - mean) / stdv)
    below = np.where(x < -0.999, -np.inf, (x - 1 / 255 - mean) / stdv)
    # Of two tails the smaller one: a difference of numbers near 1 has no digits left.
    flip = below > 0
    low, high = np.where(flip, -above, below), np.where(flip, -below, above)
    log_high, log_low = scipy.special.log_ndtr(high), scipy.special.log_ndtr(low)
    return log_high + np.log1p(-np.exp(log_low - log_high))
