"""The forward process q: float64 coefficients, q(x_t | x_0) and q(x_{t-1} | x_t, x_0)."""

import numpy as np
import tensorflow as tf

from diffusion_tf.process.checks import as_float32, checked, checked_betas, checked_noise


class ForwardProcess:
    """Diffusion over T = len(betas) steps.

    All coefficients are NumPy float64 attributes of shape [T], under the original's names. They
    become float32 where they are gathered.
    """

    def __init__(self, betas: np.ndarray):
        self.betas = betas = checked_betas(betas)
        self.num_timesteps = len(betas)
        alphas = 1.0 - betas
        self.alphas_cumprod = np.cumprod(alphas)
        self.alphas_cumprod_prev = np.append(1.0, self.alphas_cumprod[:-1])

        # q(x_t | x_0), eq. 4
        self.sqrt_alphas_cumprod = np.sqrt(self.alphas_cumprod)
        self.sqrt_one_minus_alphas_cumprod = np.sqrt(1.0 - self.alphas_cumprod)
        self.log_one_minus_alphas_cumprod = np.log(1.0 - self.alphas_cumprod)
        recip_alphas_cumprod = reciprocal(self.alphas_cumprod)
        self.sqrt_recip_alphas_cumprod = np.sqrt(recip_alphas_cumprod)
        self.sqrt_recipm1_alphas_cumprod = np.sqrt(np.maximum(recip_alphas_cumprod - 1.0, 0.0))

        # q(x_{t-1} | x_t, x_0), eq. 6 and 7
        one_minus_alphas_cumprod_prev = 1.0 - self.alphas_cumprod_prev
        one_minus_alphas_cumprod = 1.0 - self.alphas_cumprod
        self.posterior_variance = betas * one_minus_alphas_cumprod_prev / one_minus_alphas_cumprod
        # The true variance of the first step is 0, which has no logarithm: the next one stands in.
        first_variance = self.posterior_variance[1] if self.num_timesteps > 1 else betas[0]
        self.posterior_log_variance_clipped = np.log(
            np.append(first_variance, self.posterior_variance[1:])
        )
        self.posterior_mean_coef1 = (
            betas * np.sqrt(self.alphas_cumprod_prev) / one_minus_alphas_cumprod
        )
        self.posterior_mean_coef2 = (
            one_minus_alphas_cumprod_prev * np.sqrt(alphas) / one_minus_alphas_cumprod
        )

    @staticmethod
    def _extract(coefficients: np.ndarray, t: tf.Tensor, x_shape: tf.TensorShape) -> tf.Tensor:
        """Coefficients at t, float32, [B, 1, 1, ...] so that they broadcast over x."""
        gathered = tf.gather(tf.constant(coefficients, dtype=tf.float32), t)
        return tf.reshape(gathered, [-1] + [1] * (len(x_shape) - 1))

    def q_mean_variance(
        self, x_start: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mean, variance and log-variance of q(x_t | x_0) (eq. 4).

        Args:
            x_start: [B, ...].
            t: int32 or int64 [B], in 0..T-1.

        Returns:
            mean [B, ...]; variance and log-variance [B, 1, ...].
        """
        x_start, t = checked(x_start, t, self.num_timesteps)
        mean = self._extract(self.sqrt_alphas_cumprod, t, x_start.shape) * x_start
        variance = self._extract(1.0 - self.alphas_cumprod, t, x_start.shape)
        log_variance = self._extract(self.log_one_minus_alphas_cumprod, t, x_start.shape)
        return mean, variance, log_variance

    def q_sample(
        self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Diffuses x_0 by t + 1 steps: sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (eq. 4).

        Args:
            x_start: [B, ...].
            t: int32 or int64 [B], in 0..T-1.
            noise: shaped like x_start; standard normal if not given.

        Returns:
            x_t, shaped like x_start.
        """
        x_start, t = checked(x_start, t, self.num_timesteps)
        noise = checked_noise(noise, x_start)
        return (
            self._extract(self.sqrt_alphas_cumprod, t, x_start.shape) * x_start
            + self._extract(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) * noise
        )

    def q_posterior_mean_variance(
        self, x_start: tf.Tensor, x_t: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mean, variance and clipped log-variance of q(x_{t-1} | x_t, x_0) (eq. 6 and 7).

        Args:
            x_start, x_t: [B, ...].
            t: int32 or int64 [B], in 0..T-1.

        Returns:
            mean [B, ...]; variance and log-variance [B, 1, ...]. The variance at t = 0 is 0; its
            logarithm is that of t = 1 instead.
        """
        x_start = as_float32(x_start, "x_start")
        x_t, t = checked(x_t, t, self.num_timesteps)
        mean = (
            self._extract(self.posterior_mean_coef1, t, x_t.shape) * x_start
            + self._extract(self.posterior_mean_coef2, t, x_t.shape) * x_t
        )
        variance = self._extract(self.posterior_variance, t, x_t.shape)
        log_variance_clipped = self._extract(self.posterior_log_variance_clipped, t, x_t.shape)
        return mean, variance, log_variance_clipped


def reciprocal(x: np.ndarray) -> np.ndarray:
    """1 / x, and 0 where float32 could not hold its square root.

    Such entries stand where x_t carries no trace of x_0 (a beta of 1, as `jsd` ends with); the
    x_0 predicted there is then 0 rather than infinity minus infinity.
    """
    enough = x > float(np.finfo(np.float32).max) ** -2
    return np.divide(1.0, x, out=np.zeros_like(x), where=enough)
