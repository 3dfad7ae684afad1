"""Sampling in fewer steps than training had: ancestrally, by DDIM, by DPM-Solver++(2M).

All are GaussianDiffusions on a subsequence of the timesteps, so that every loop, trajectory and
interpolation works with them; their t counts the steps that are left in the subsequence.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn, Memory
from diffusion_tf.gaussian_diffusion.checks import (
    as_float32,
    checked,
    checked_sampling_steps,
    shape_of,
)
from diffusion_tf.gaussian_diffusion.noise import NoiseFn
from diffusion_tf.gaussian_diffusion.process import GaussianDiffusion
from diffusion_tf.utils.numbers import check_eta
from diffusion_tf.utils.random_numbers import unseeded_normal


class RespacedDiffusion(GaussianDiffusion):
    """Ancestral sampling on a subsequence of the timesteps (Nichol & Dhariwal 2021, section 4).

    The network speaks of the steps of training, which are shorter. Its eps and x_0 are the same for
    both. Its mean of x_{t-1} is turned into the x_0 that follows from it (eq. 7 with the
    coefficients of training), so that `model_mean_type` is `xstart` here for `xprev`. Of a learned
    variance its place between the two bounds of section 3.2 is kept, on the logarithmic scale
    (Nichol & Dhariwal's eq. 15). This has no meaning for a variance beyond the bounds, which
    is taken for the nearer one unless a step is as long as in training.

    Attributes:
        timesteps: int [S], the timestep of training behind each step, from 0 to T - 1.
        training: the process of training.
    """

    def __init__(self, diffusion: GaussianDiffusion, sampling_steps: int | Sequence[int]):
        """Chooses the timesteps, and betas that give them the same noise levels.

        Args:
            diffusion: the process of training, with T steps.
            sampling_steps: S, from 1 to T, to be spread evenly from 0 to T - 1; or the timesteps
                themselves, rising.

        Raises:
            ValueError: S is not in 1..T, or timesteps do not rise or leave 0..T-1.
        """
        self.training = diffusion
        self.timesteps = self._choose(diffusion.num_timesteps, sampling_steps)
        alphas_cumprod = diffusion.alphas_cumprod[self.timesteps]
        mean_type = diffusion.model_mean_type
        super().__init__(
            betas=1.0 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1]),
            model_mean_type="xstart" if mean_type == "xprev" else mean_type,
            model_var_type=diffusion.model_var_type,
            loss_type=diffusion.loss_type,
        )

    def _choose(self, T: int, sampling_steps: int | Sequence[int]) -> np.ndarray:
        """The timesteps of training that are gone through, rising."""
        steps = checked_sampling_steps(sampling_steps, T)
        return self._spread(T, steps).astype(np.int32) if isinstance(steps, int) else steps

    @staticmethod
    def _spread(T: int, S: int) -> np.ndarray:
        # Upwards from 0, as diffusers' "linspace" goes: halves are rounded the same way.
        return np.rint(np.linspace(0, T - 1, S)) if S > 1 else np.array([T - 1])

    def _halves(
        self, denoise_fn: DenoiseFn, x: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        timesteps = tf.gather(tf.constant(self.timesteps), t)
        output, values = self.training._halves(denoise_fn, x, timesteps)
        if self.training.model_mean_type == "xprev":
            output = self.training._predict_xstart_from_xprev(x, timesteps, xprev=output)
        if self.model_var_type == "learned":  # `learned_range` says a place, which stays
            values = self._respaced_log_variance(values, t)
        return output, values

    def _respaced_log_variance(self, log_variance: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """A learned log-variance of training, carried over to the longer step t."""
        low, high = self.training.posterior_log_variance_clipped, np.log(self.training.betas)
        low, width = low[self.timesteps], (high - low)[self.timesteps]
        # The bounds meet where x_t carries no trace of x_0; then either will do.
        recip_width = np.divide(1.0, width, out=np.zeros_like(width), where=width != 0)
        new_low = self.posterior_log_variance_clipped
        new_width = np.log(self.betas) - new_low

        def at_t(coefficients: np.ndarray) -> tf.Tensor:
            return self._extract(coefficients, t, log_variance.shape)

        fraction = tf.clip_by_value((log_variance - at_t(low)) * at_t(recip_width), 0.0, 1.0)
        as_long_as_in_training = np.diff(self.timesteps, prepend=-1) == 1
        return tf.where(
            at_t(as_long_as_in_training) > 0,
            log_variance,
            at_t(new_low) + fraction * at_t(new_width),
        )


class DDIM(RespacedDiffusion):
    """Denoising diffusion implicit models (Song, Meng & Ermon 2021)."""

    def __init__(
        self, diffusion: GaussianDiffusion, sampling_steps: int | Sequence[int], *, eta: float = 0.0
    ):
        """Chooses the timesteps and the amount of noise.

        Args:
            diffusion, sampling_steps: see `RespacedDiffusion`; but S of them are spread from 0 by
                T / S, as their code does ("uniform") and diffusers' too ("leading"). The last is
                T - T / S, too low for x_T where S is small; give the timesteps then.
            eta: 0 adds no noise after x_T; 1, with S = T, is ancestral sampling with the small
                variance.

        Raises:
            ValueError: eta is not in [0, 1]; see also `RespacedDiffusion`.
        """
        check_eta(eta)
        super().__init__(diffusion, sampling_steps)
        self.eta = eta
        variance = eta**2 * self.posterior_variance
        self._ddim_stdv = np.sqrt(variance)
        self._ddim_direction = np.sqrt(np.maximum(1.0 - self.alphas_cumprod_prev - variance, 0.0))
        self._sqrt_alphas_cumprod_prev = np.sqrt(self.alphas_cumprod_prev)

    @staticmethod
    def _spread(T: int, S: int) -> np.ndarray:
        return np.arange(S) * T // S

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
        """One step (their eq. 12); the noise in x_t is that of the clipped x_0.

        Args and results are those of `GaussianDiffusion.p_sample`.
        """
        x, t = checked(x, t)
        x_0 = self.p_mean_variance(denoise_fn, x=x, t=t, clip_denoised=clip_denoised).pred_xstart
        eps = x - self._extract(self.sqrt_alphas_cumprod, t, x.shape) * x_0
        eps /= self._extract(self.sqrt_one_minus_alphas_cumprod, t, x.shape)
        noise = (noise_fn or unseeded_normal)(shape=shape_of(x), dtype=x.dtype)
        sample = (
            self._extract(self._sqrt_alphas_cumprod_prev, t, x.shape) * x_0
            + self._extract(self._ddim_direction, t, x.shape) * eps
            + self._extract(self._ddim_stdv, t, x.shape) * noise
        )
        return (sample, x_0) if return_pred_xstart else sample


class DPMSolver(RespacedDiffusion):
    """DPM-Solver++(2M): two steps at a time, of second order (Lu et al. 2022, Algorithm 2).

    With alpha = sqrt(abar), sigma = sqrt(1 - abar) and lambda = log(alpha / sigma), a step of
    h = lambda_prev - lambda is DDIM's with eta = 0, but for the x_0 that it assumes: that of the
    step before is drawn into it,

        D = x_0 + h / (2 h_before) (x_0 - x_0_before).

    The first step has none before it, and the last one, to the data, goes to lambda = infinity:
    both are DDIM's.
    """

    def __init__(self, diffusion: GaussianDiffusion, sampling_steps: int | Sequence[int]):
        """Chooses the timesteps.

        Args:
            diffusion, sampling_steps: see `RespacedDiffusion`; but S of them are spread from
                T / S to T - 1, as diffusers' "linspace" does for this method.

        Raises:
            ValueError: see `RespacedDiffusion`.
        """
        super().__init__(diffusion, sampling_steps)
        alpha, sigma = self.sqrt_alphas_cumprod, self.sqrt_one_minus_alphas_cumprod
        alpha_prev, sigma_prev = np.append(1.0, alpha[:-1]), np.append(0.0, sigma[:-1])
        self._of_x = sigma_prev / sigma
        self._of_x_0 = alpha_prev - self._of_x * alpha
        with np.errstate(divide="ignore"):
            h = -np.diff(np.log(alpha / sigma))  # of the steps 1, 2, ..., S - 1
        self._extrapolation = np.zeros(self.num_timesteps)
        self._extrapolation[1:-1] = h[:-1] / (2 * h[1:])

    @staticmethod
    def _spread(T: int, S: int) -> np.ndarray:
        # With all T, the distance is less than 1, and rounding would take a step twice.
        return np.rint(np.linspace(0, T - 1, S + 1))[1:] if S < T else np.arange(T)

    def initial_memory(self, x: tf.Tensor) -> Memory:
        """No x_0 yet, and that it is none."""
        return tf.zeros_like(x), tf.constant(0.0)

    def p_sample_with_memory(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        t: tf.Tensor,
        memory: Memory,
        noise_fn: NoiseFn | None = None,
        clip_denoised: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        """One step; the memory is the predicted x_0, and 1 if there is one. Draws no noise."""
        x, t = checked(x, t, self.num_timesteps)
        x_0 = self.p_mean_variance(denoise_fn, x=x, t=t, clip_denoised=clip_denoised).pred_xstart
        before, is_there = memory
        weight = is_there * self._extract(self._extrapolation, t, x.shape)
        sample = self._extract(self._of_x, t, x.shape) * x
        sample += self._extract(self._of_x_0, t, x.shape) * (x_0 + weight * (x_0 - before))
        return sample, x_0, (x_0, tf.ones_like(is_there))

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
        """One step that knows of no other.

        Args and results are those of `GaussianDiffusion.p_sample`.
        """
        x = as_float32(x, "x")
        sample, x_0, _ = self.p_sample_with_memory(
            denoise_fn, x=x, t=t, memory=self.initial_memory(x), clip_denoised=clip_denoised
        )
        return (sample, x_0) if return_pred_xstart else sample
