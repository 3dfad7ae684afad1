"""Ancestral sampling as many tutorials have it: with noise after the last step, too."""

import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.checks import checked, shape_of
from diffusion_tf.gaussian_diffusion.fewer_steps import RespacedDiffusion
from diffusion_tf.gaussian_diffusion.noise import NoiseFn
from diffusion_tf.utils.random_numbers import unseeded_normal


class NoisyEnd(RespacedDiffusion):
    """The noise of every step has the variance that the process names, that of t = 0 included.

    The paper's last step adds none (Algorithm 2, line 3). With `fixedlarge` a sample here ends with
    noise of variance beta_1, the smallest of the schedule; with `fixedsmall`, whose variance is
    0 at the end, nothing changes. It is here to measure what the difference is.
    """

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
        """One step; args and results are those of `GaussianDiffusion.p_sample`."""
        x, t = checked(x, t, self.num_timesteps)
        p = self.p_mean_variance(denoise_fn, x=x, t=t, clip_denoised=clip_denoised)
        noise = (noise_fn or unseeded_normal)(shape=shape_of(x), dtype=x.dtype)
        sample = p.mean + tf.sqrt(p.variance) * noise
        return (sample, p.pred_xstart) if return_pred_xstart else sample
