"""Data from one Gaussian with any covariance: its network, and what a part tells of the rest."""

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.exact.chains import Steps
from diffusion_tf.gaussian_diffusion.exact.mixtures import Moments
from diffusion_tf.gaussian_diffusion.inpainting import Plan
from diffusion_tf.gaussian_diffusion.process import GaussianDiffusion


class CorrelatedGaussian:
    """Vectors from one Gaussian.

    Attributes:
        mean: float64 [D].
        covariance: float64 [D, D].
    """

    def __init__(self, mean: np.ndarray, covariance: np.ndarray):
        """Takes the mean [D] and the covariance [D, D].

        Raises:
            ValueError: shapes that do not fit, or a covariance that is not one.
        """
        self.mean, self.covariance = (np.asarray(a, np.float64) for a in (mean, covariance))
        D = len(self.mean)
        if self.mean.ndim != 1 or self.covariance.shape != (D, D):
            raise ValueError(
                f"mean has shape {self.mean.shape} and covariance {self.covariance.shape}; they"
                " must be [D] and [D, D]."
            )
        symmetric = np.allclose(self.covariance, self.covariance.T)
        if not (symmetric and np.linalg.eigvalsh(self.covariance).min() > 0):
            raise ValueError("covariance must be symmetric and positive definite.")

    def denoiser(self, alphas_cumprod: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[x_0 | x_t] = slope x_t + offset at levels [S]: [S, D, D] and [S, D]."""
        abar = np.asarray(alphas_cumprod, np.float64)[:, None, None]
        marginal = abar * self.covariance + (1 - abar) * np.eye(len(self.mean))
        slope = np.sqrt(abar) * self.covariance @ np.linalg.inv(marginal)
        return slope, self.mean - np.sqrt(abar[:, 0]) * (slope @ self.mean)

    def denoise_fn(self, diffusion: GaussianDiffusion) -> DenoiseFn:
        """The optimal network of a process whose model_mean_type is `xstart`.

        Raises:
            ValueError: the process asks for something else than x_0.
        """
        if diffusion.model_mean_type != "xstart":
            raise ValueError(
                f"model_mean_type is {diffusion.model_mean_type!r}; this network predicts x_0, so"
                " it must be 'xstart'."
            )
        slopes, offsets = (tf.constant(a) for a in self.denoiser(diffusion.alphas_cumprod))

        def denoise(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            x_0 = tf.linalg.matvec(tf.gather(slopes, t), tf.cast(x, tf.float64))
            return tf.cast(x_0 + tf.gather(offsets, t), tf.float32)

        return denoise

    def filled_in(
        self,
        alphas_cumprod: np.ndarray,
        known: np.ndarray,
        x: np.ndarray,
        plan: Plan,
        variance: np.ndarray | str = "fixedlarge",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of what `inpaint` fills in with the optimal network, unclipped.

        Every move of RePaint is affine in x and in its noise: a step takes x to
        (coef1 slope + coef2) x + coef1 offset + sigma z (eq. 7), the known numbers are then drawn
        from q, and a jump scales x and adds noise. So both moments follow from move to move. They
        tend to those of `conditional` as steps become shorter and resamples more.

        Args:
            alphas_cumprod: [T].
            known, x: see `conditional`.
            plan: of `plan_jumps`.
            variance: see `ancestral_chain`.

        Returns:
            [U] and [U, U], where U numbers are unknown.
        """
        known, x = np.asarray(known, bool), np.where(known, x, 0.0)
        steps = Steps(np.asarray(alphas_cumprod, np.float64))
        slopes, offsets = self.denoiser(alphas_cumprod)
        one, unknown = np.eye(len(known)), np.outer(~known, ~known)
        factors = steps.coef1[:, None, None] * slopes + steps.coef2[:, None, None] * one
        shifts, noise = steps.coef1[:, None] * offsets, steps.variance(variance)

        def with_known(mean: np.ndarray, spread: np.ndarray, level: float) -> Moments:
            mean = np.where(known, np.sqrt(level) * x, mean)
            return Moments(mean, spread * unknown + (1 - level) * np.diag(1.0 * known))

        mean, spread = with_known(0 * x, one, steps.abar[-1])
        for t, jump in zip(*plan, strict=True):
            spread = factors[t] @ spread @ factors[t].T + (noise[t] if t else 0.0) * one
            mean, spread = with_known(factors[t] @ mean + shifts[t], spread, steps.prev[t])
            ratio = steps.abar[t - 1 + jump] / steps.prev[t] if jump else 1.0
            mean, spread = np.sqrt(ratio) * mean, ratio * spread + (1 - ratio) * one
        return mean[~known], spread[np.ix_(~known, ~known)]

    def conditional(self, known: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the unknown numbers, given the others.

        Args:
            known: bool [D].
            x: [D]; only the known numbers count.

        Returns:
            [U] and [U, U], where U numbers are unknown.
        """
        known, x = np.asarray(known, bool), np.asarray(x, np.float64)
        of_unknown, of_known = self.covariance[~known], self.covariance[known]
        gain = of_unknown[:, known] @ np.linalg.inv(of_known[:, known])
        mean = self.mean[~known] + gain @ (x - self.mean)[known]
        return mean, of_unknown[:, ~known] - gain @ of_known[:, ~known]
