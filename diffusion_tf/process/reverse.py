"""The reverse process p: what the network's output means, and one step of sampling."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from diffusion_tf.process.checks import as_float32, check_option, checked, checked_step, shape_of
from diffusion_tf.process.forward import ForwardProcess, reciprocal
from diffusion_tf.process.noise import NoiseFn, StepNoise, noise_source
from diffusion_tf.random_numbers import unseeded_normal

MODEL_MEAN_TYPES = ("xprev", "xstart", "eps")
MODEL_VAR_TYPES = ("learned", "fixedsmall", "fixedlarge")

DenoiseFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class PMeanVariance(NamedTuple):
    """p(x_{t-1} | x_t) and the x_0 that it assumes; every field is shaped like x_t.

    At t = 0 `variance` and `log_variance` differ for the fixed types, as in the original; only
    `log_variance` is ever used.
    """

    mean: tf.Tensor
    variance: tf.Tensor
    log_variance: tf.Tensor
    pred_xstart: tf.Tensor


class ReverseProcess(ForwardProcess):
    """p(x_{t-1} | x_t) for a network of the given mean and variance type."""

    def __init__(self, betas: np.ndarray, model_mean_type: str, model_var_type: str):
        check_option("model_mean_type", model_mean_type, MODEL_MEAN_TYPES)
        check_option("model_var_type", model_var_type, MODEL_VAR_TYPES)
        super().__init__(betas)
        self.model_mean_type = model_mean_type
        self.model_var_type = model_var_type
        # Section 3.2. fixedlarge starts from the small variance, too: a better decoder likelihood.
        first_log_variance = self.posterior_log_variance_clipped[0]
        self._fixed_variances = {
            "fixedlarge": (self.betas, np.append(first_log_variance, np.log(self.betas[1:]))),
            "fixedsmall": (self.posterior_variance, self.posterior_log_variance_clipped),
        }

    def p_mean_variance(
        self, denoise_fn: DenoiseFn, *, x: tf.Tensor, t: tf.Tensor, clip_denoised: bool = True
    ) -> PMeanVariance:
        """p(x_{t-1} | x_t) as the network sees it (eq. 1, 11 and section 3.2).

        Args:
            denoise_fn: the network.
            x: x_t, [B, ...].
            t: int32 or int64 [B], in 0..T-1.
            clip_denoised: clip the predicted x_0 to [-1, 1] before it enters the mean. With
                `xprev` the mean does not depend on x_0 and stays as it is.

        Raises:
            ValueError: t is not an integer [B], or the network's output has the wrong shape.
        """
        x, t = checked(x, t, self.num_timesteps)
        output, variance, log_variance = self._model_output(denoise_fn, x, t)
        clip = (lambda x_0: tf.clip_by_value(x_0, -1.0, 1.0)) if clip_denoised else tf.identity
        if self.model_mean_type == "xprev":
            pred_xstart = clip(self._predict_xstart_from_xprev(x, t, xprev=output))
            return PMeanVariance(output, variance, log_variance, pred_xstart)
        if self.model_mean_type == "eps":
            output = self._predict_xstart_from_eps(x, t, eps=output)
        pred_xstart = clip(output)
        mean, _, _ = self.q_posterior_mean_variance(x_start=pred_xstart, x_t=x, t=t)
        return PMeanVariance(mean, variance, log_variance, pred_xstart)

    def _model_output(
        self, denoise_fn: DenoiseFn, x: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The network's prediction, and the variance and log-variance that go with it."""
        output = denoise_fn(x, t)
        learned = self.model_var_type == "learned"
        expected = [*x.shape[:-1], x.shape[-1] * 2] if learned else x.shape
        if not output.shape.is_compatible_with(expected):
            raise ValueError(
                f"denoise_fn returned shape {output.shape} for x of shape {x.shape}; with"
                f" model_var_type {self.model_var_type!r} it must return {expected}."
            )
        if learned:
            output, log_variance = tf.split(output, 2, axis=-1)
            return output, tf.exp(log_variance), log_variance
        return output, *self._fixed_variance(x, t)

    def _fixed_variance(self, x: tf.Tensor, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Variance and log-variance of a fixed type, shaped like x (section 3.2)."""
        variance, log_variance = (
            self._extract(coefficients, t, x.shape) * tf.ones_like(x)
            for coefficients in self._fixed_variances[self.model_var_type]
        )
        return variance, log_variance

    def _predict_xstart_from_eps(self, x_t: tf.Tensor, t: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """Eq. 4 solved for x_0; 0 where x_t carries no trace of x_0 (alphas_cumprod = 0)."""
        return (
            self._extract(self.sqrt_recip_alphas_cumprod, t, x_t.shape) * x_t
            - self._extract(self.sqrt_recipm1_alphas_cumprod, t, x_t.shape) * eps
        )

    def _predict_xstart_from_xprev(
        self, x_t: tf.Tensor, t: tf.Tensor, xprev: tf.Tensor
    ) -> tf.Tensor:
        """Eq. 7 solved for x_0: (xprev - coef2 x_t) / coef1."""
        recip_coef1 = reciprocal(self.posterior_mean_coef1)
        return (
            self._extract(recip_coef1, t, x_t.shape) * xprev
            - self._extract(self.posterior_mean_coef2 * recip_coef1, t, x_t.shape) * x_t
        )

    def p_sample(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        t: tf.Tensor,
        noise_fn: NoiseFn | None = None,
        clip_denoised: bool = True,
        return_pred_xstart: bool = False,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Draws x_{t-1} from p(x_{t-1} | x_t) (Algorithm 2, lines 3-4).

        Args:
            denoise_fn: the network.
            x: x_t, [B, ...].
            t: int32 or int64 [B], in 0..T-1; no noise is added where t = 0.
            noise_fn: `noise_fn(shape=, dtype=)`; standard normal noise if not given.
            clip_denoised: see `p_mean_variance`.
            return_pred_xstart: return the predicted x_0 as well.

        Returns:
            x_{t-1}, or (x_{t-1}, pred_xstart), each shaped like x.
        """
        x, t = checked(x, t, self.num_timesteps)
        p = self.p_mean_variance(denoise_fn, x=x, t=t, clip_denoised=clip_denoised)
        noise = (noise_fn or unseeded_normal)(shape=shape_of(x), dtype=x.dtype)
        is_noisy = tf.reshape(tf.cast(t > 0, x.dtype), [-1] + [1] * (len(x.shape) - 1))
        sample = p.mean + is_noisy * tf.exp(0.5 * p.log_variance) * noise
        return (sample, p.pred_xstart) if return_pred_xstart else sample

    def p_sample_steps(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        first: int | tf.Tensor,
        last: int | tf.Tensor,
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> tf.Tensor:
        """Takes the steps first, first - 1, ..., last of the reverse process (Algorithm 2).

        With `seed`, a chain cut into pieces anywhere equals the chain run in one go.

        Args:
            denoise_fn: the network.
            x: x_t at t = `first`, [B, ...].
            first, last: T > first >= last >= 0, numbers or int32 scalars.
            noise_fn, seed, clip_denoised: see `p_sample_loop`.

        Returns:
            What comes out of step `last`, shaped like x.

        Raises:
            ValueError: the steps do not fall within T - 1..0 (checked where they are known).
        """
        step_noise = noise_source(noise_fn, seed)
        x = as_float32(x, "x")
        first = checked_step(first, "first", self.num_timesteps)
        last = checked_step(last, "last", self.num_timesteps)
        if isinstance(first, int) and isinstance(last, int) and first < last:
            raise ValueError(f"first is {first} and last is {last}; steps fall, so first >= last.")
        return self._denoise(denoise_fn, x, first, last, step_noise, clip_denoised)[0]

    def _denoise(
        self,
        denoise_fn: DenoiseFn,
        x: tf.Tensor,
        first: int | tf.Tensor,
        last: int | tf.Tensor,
        step_noise: StepNoise,
        clip_denoised: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(x, pred_xstart) after step `last`; x as it is, and zeros, if first < last."""

        def step(i, x, _):
            return i - 1, *self.p_sample(
                denoise_fn,
                x=x,
                t=tf.fill([shape_of(x)[0]], i),
                noise_fn=lambda shape, dtype: step_noise(i, shape=shape, dtype=dtype),
                clip_denoised=clip_denoised,
                return_pred_xstart=True,
            )

        # One iteration at a time: more would only draw noise ahead of its use, out of order.
        _, x, pred_xstart = tf.while_loop(
            lambda i, *_: i >= last,
            step,
            [tf.cast(first, tf.int32), x, tf.zeros_like(x)],
            parallel_iterations=1,
        )
        return x, pred_xstart
