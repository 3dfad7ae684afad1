"""GaussianDiffusion: the whole process, with the training losses and the likelihood bound.

It is built in layers, each in a module of `process`: `forward` (q and the coefficients), `reverse`
(p, one step of sampling), `loops` (whole chains), and here the losses.

Equation numbers are those of Ho, Jain & Abbeel 2020 (arXiv 2006.11239). Timesteps count from 0:
`t == 0` means one step of diffusion, so t here is the paper's t - 1. Data have shape [B, ...] of
any rank, in [-1, 1].
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.losses import discretized_gaussian_log_likelihood, meanflat, normal_kl
from diffusion_tf.numbers import whole_array
from diffusion_tf.process.checks import (
    as_float32,
    check_option,
    check_range,
    checked,
    checked_noise,
    checked_timesteps,
    shape_of,
)
from diffusion_tf.process.loops import SampleLoops, swap_first_two_axes
from diffusion_tf.process.noise import NoiseFn, noise_source
from diffusion_tf.process.reverse import DenoiseFn
from diffusion_tf.schedules import get_beta_schedule

# Between target and prediction; Keras's own average over the last axis.
DISTANCES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "mse": tf.math.squared_difference,
    "l1": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
}
LOSS_TYPES = ("kl", *DISTANCES)


class GaussianDiffusion(SampleLoops):
    """The diffusion process over T = len(betas) steps, independent of any network.

    A network comes in as `denoise_fn(x_t [B, ...], t int32 [B])`. It returns what
    `model_mean_type` says, shaped like x_t; for `learned` the last axis is twice as long and its
    second half is the log-variance.
    """

    def __init__(
        self,
        *,
        betas: np.ndarray,
        model_mean_type: str = "eps",
        model_var_type: str = "fixedlarge",
        loss_type: str = "mse",
    ):
        """Precomputes the coefficients (the original's `GaussianDiffusion2.__init__`).

        The original's first class, `diffusion_utils.GaussianDiffusion`, is
        `eps` / `fixedsmall` / `mse`.

        Args:
            betas: variances of the T steps, each in (0, 1]; see `get_beta_schedule`.
            model_mean_type: what the network predicts: `xprev` the mean of x_{t-1}, `xstart` x_0,
                `eps` the noise.
            model_var_type: variance of p(x_{t-1} | x_t): `fixedlarge` beta_t, `fixedsmall` the
                posterior's, `learned` the network's.
            loss_type: `kl` the variational bound in bits/dim, `mse` the simple loss (eq. 14); `l1`
                and `huber` (with a threshold of 1) take another distance than its square.

        Raises:
            ValueError: betas of wrong rank, empty, not finite or outside (0, 1]; an unknown
                option; `learned` without `kl`.
        """
        super().__init__(betas, model_mean_type, model_var_type)
        check_option("loss_type", loss_type, LOSS_TYPES)
        if model_var_type == "learned" and loss_type != "kl":
            raise ValueError(
                f"model_var_type 'learned' cannot be trained with loss_type {loss_type!r}, which"
                " does not see the variance; use loss_type 'kl' or a fixed variance."
            )
        self.loss_type = loss_type

    def p_losses(
        self,
        denoise_fn: DenoiseFn,
        x_start: tf.Tensor,
        t: tf.Tensor,
        noise: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The training loss of each example (Algorithm 1; the original's `training_losses`).

        Args:
            denoise_fn: the network.
            x_start: [B, ...] in [-1, 1].
            t: int32 or int64 [B], in 0..T-1.
            noise: shaped like x_start; standard normal if not given.

        Returns:
            float32 [B]. `mse`: the mean square error (eq. 14); `l1` and `huber` likewise. `kl`: the
            term of the variational bound at t in bits/dim (eq. 5), not multiplied by T.

        Raises:
            ValueError: t is not an integer [B], or images leave [-1, 1] (checked where values
                are known, that is outside `tf.function`).
        """
        x_start, t = checked(x_start, t, self.num_timesteps)
        if len(x_start.shape) > 2:  # images
            check_range(x_start, "x_start")
        noise = checked_noise(noise, x_start)
        x_t = self.q_sample(x_start, t, noise=noise)
        if self.loss_type == "kl":
            return self._vb_terms_bpd(denoise_fn, x_start, x_t, t, clip_denoised=False)
        target = {
            "xprev": lambda: self.q_posterior_mean_variance(x_start, x_t, t)[0],
            "xstart": lambda: x_start,
            "eps": lambda: noise,
        }[self.model_mean_type]()
        output, _, _ = self._model_output(denoise_fn, x_t, t)
        return meanflat(DISTANCES[self.loss_type](target, output))

    def _vb_terms_bpd(
        self,
        denoise_fn: DenoiseFn,
        x_start: tf.Tensor,
        x_t: tf.Tensor,
        t: tf.Tensor,
        *,
        clip_denoised: bool,
        return_pred_xstart: bool = False,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """L_{t-1} for t > 0 (eq. 8), the decoder's L_0 at t = 0 (eq. 13); bits/dim, [B]."""
        true_mean, _, true_log_variance = self.q_posterior_mean_variance(x_start, x_t, t)
        p = self.p_mean_variance(denoise_fn, x=x_t, t=t, clip_denoised=clip_denoised)
        kl = normal_kl(true_mean, true_log_variance, p.mean, p.log_variance)
        decoder_nll = -discretized_gaussian_log_likelihood(
            x_start, means=p.mean, log_scales=0.5 * p.log_variance
        )
        terms = tf.where(tf.equal(t, 0), meanflat(decoder_nll), meanflat(kl)) / np.log(2.0)
        return (terms, p.pred_xstart) if return_pred_xstart else terms

    def prior_bpd(self, x_start: tf.Tensor) -> tf.Tensor:
        """L_T: KL(q(x_T | x_0) || N(0, I)) in bits/dim (eq. 5; the original's `_prior_bpd`).

        Args:
            x_start: [B, ...] in [-1, 1].

        Returns:
            float32 [B].
        """
        x_start = as_float32(x_start, "x_start")
        t = tf.fill([shape_of(x_start)[0]], self.num_timesteps - 1)
        mean, _, log_variance = self.q_mean_variance(x_start, t)
        return meanflat(normal_kl(mean, log_variance, 0.0, 0.0)) / np.log(2.0)

    _prior_bpd = prior_bpd

    def bpd_terms(
        self,
        denoise_fn: DenoiseFn,
        x_start: tf.Tensor,
        timesteps: Sequence[int] | tf.Tensor,
        *,
        clip_denoised: bool = True,
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        first_example: int | tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Terms of the variational bound at some timesteps: a part of `calc_bpd_loop`.

        Args:
            denoise_fn, x_start, clip_denoised, noise_fn, seed, first_example: see `calc_bpd_loop`.
            timesteps: int32 [n], each in 0..T-1; noise is drawn in this order.

        Returns:
            terms [B, n] in bits/dim, and mse [B, n] of the x_0 predicted from x_t.

        Raises:
            ValueError: data leave [-1, 1], or timesteps 0..T-1 (checked outside `tf.function`).
        """
        x_start = as_float32(x_start, "x_start")
        check_range(x_start, "x_start")
        timesteps = self._checked_list(timesteps)
        step_noise = noise_source(noise_fn, seed, first_example)

        def term(k, terms, mse):
            t = tf.fill([shape_of(x_start)[0]], timesteps[k])
            noise = step_noise(timesteps[k], shape=shape_of(x_start), dtype=x_start.dtype)
            x_t = self.q_sample(x_start, t, noise=noise)
            term, pred_xstart = self._vb_terms_bpd(
                denoise_fn, x_start, x_t, t, clip_denoised=clip_denoised, return_pred_xstart=True
            )
            error = meanflat(tf.math.squared_difference(pred_xstart, x_start))
            return k + 1, terms.write(k, term), mse.write(k, error)

        number = shape_of(timesteps)[0]
        columns = [
            tf.TensorArray(tf.float32, size=number, element_shape=x_start.shape[:1])
            for _ in range(2)
        ]
        _, *columns = tf.while_loop(
            lambda k, *_: k < number, term, [0, *columns], parallel_iterations=1
        )
        terms, mse = (swap_first_two_axes(column.stack()) for column in columns)
        return terms, mse

    def _checked_list(self, timesteps: Sequence[int] | tf.Tensor) -> tf.Tensor:
        """Timesteps as int32 [n]; ValueError if they are not in 0..T-1."""
        if not tf.is_tensor(timesteps):
            timesteps = whole_array(timesteps, "timesteps", 0, self.num_timesteps - 1)
        timesteps = checked_timesteps(timesteps, timesteps.shape, self.num_timesteps)
        return tf.cast(timesteps, tf.int32)

    def calc_bpd_loop(
        self,
        denoise_fn: DenoiseFn,
        x_start: tf.Tensor,
        *,
        clip_denoised: bool = True,
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        first_example: int | tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The whole variational bound, one noise per timestep (eq. 5; Tables 1 and 2).

        Args:
            denoise_fn: the network.
            x_start: [B, ...] in [-1, 1], 8-bit pixels.
            clip_denoised: see `p_mean_variance`.
            noise_fn, seed: see `p_sample_loop`; noise is drawn at T - 1 first and 0 last.
            first_example: with a seed: number of the first of these examples in the data set. The
                noise of an example then does not depend on the batch that it comes in.

        Returns:
            total [B], terms [B, T] (column t), prior [B], all in bits/dim, total being the sum of
            the others; and mse [B, T], of the x_0 predicted from x_t.

        Raises:
            ValueError: data leave [-1, 1] (checked outside `tf.function`).
        """
        falling = np.arange(self.num_timesteps, dtype=np.int32)[::-1]
        columns = self.bpd_terms(
            denoise_fn, x_start, falling, clip_denoised=clip_denoised, noise_fn=noise_fn, seed=seed,
            first_example=first_example,
        )  # fmt: skip
        terms, mse = (tf.reverse(column, axis=[1]) for column in columns)
        prior = self.prior_bpd(x_start)
        return tf.reduce_sum(terms, axis=1) + prior, terms, prior, mse


def get_diffusion(config: Config) -> GaussianDiffusion:
    """Builds the diffusion process that a config describes."""
    return GaussianDiffusion(
        betas=get_beta_schedule(
            config.beta_schedule,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            num_diffusion_timesteps=config.num_diffusion_timesteps,
        ),
        model_mean_type=config.model_mean_type,
        model_var_type=config.model_var_type,
        loss_type=config.loss_type,
    )
