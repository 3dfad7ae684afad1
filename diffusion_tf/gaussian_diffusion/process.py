"""GaussianDiffusion: q, its posterior, p, one step of sampling, the losses and the bound.

Beside it are whole chains in `chains`, the flow without noise in `encoding`, filling in in
`inpainting`, rates in `compression`, noise in `noise`, what callers may give in `checks`.

Equation numbers are those of Ho, Jain & Abbeel 2020 (arXiv 2006.11239). Timesteps count from 0:
`t == 0` means one step of diffusion, so t here is the paper's t - 1. Data have shape [B, ...] of
any rank, in [-1, 1].
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.gaussian_diffusion.chains import Chains, DenoiseFn, swap_first_two_axes
from diffusion_tf.gaussian_diffusion.checks import (
    as_float32,
    check_option,
    check_range,
    checked,
    checked_betas,
    checked_noise,
    checked_timesteps,
    network_output,
    shape_of,
)
from diffusion_tf.gaussian_diffusion.compression import Compression
from diffusion_tf.gaussian_diffusion.encoding import Encoding
from diffusion_tf.gaussian_diffusion.inpainting import Inpainting
from diffusion_tf.gaussian_diffusion.noise import NoiseFn, noise_source
from diffusion_tf.losses import discretized_gaussian_log_likelihood, meanflat, normal_kl
from diffusion_tf.schedules import get_beta_schedule
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.literals import LEARNED, LossType, ModelMeanType, ModelVarType
from diffusion_tf.utils.numbers import whole_array
from diffusion_tf.utils.random_numbers import unseeded_normal

MODEL_MEAN_TYPES: tuple[ModelMeanType, ...] = get_args(ModelMeanType)
MODEL_VAR_TYPES: tuple[ModelVarType, ...] = get_args(ModelVarType)
# Between target and prediction; Keras's own average over the last axis.
DISTANCES: dict[LossType, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "mse": tf.math.squared_difference,
    "l1": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
}
LOSS_TYPES: tuple[LossType, ...] = get_args(LossType)
SEE_THE_VARIANCE: tuple[LossType, ...] = ("kl", "rescaled_kl", "hybrid")


class PMeanVariance(NamedTuple):
    """p(x_{t-1} | x_t) and the x_0 that it assumes; every field is shaped like x_t.

    At t = 0 `variance` and `log_variance` differ for the fixed types, as in the original; only
    `log_variance` is ever used.
    """

    mean: tf.Tensor
    variance: tf.Tensor
    log_variance: tf.Tensor
    pred_xstart: tf.Tensor


class GaussianDiffusion(Chains, Encoding, Inpainting, Compression):
    """The diffusion process over T = len(betas) steps, independent of any network.

    A network comes in as `denoise_fn(x_t [B, ...], t int32 [B])`. It returns what
    `model_mean_type` says, shaped like x_t; for a learned variance the last axis is twice as long,
    and its second half is the log-variance or, with `learned_range`, where that lies.

    All coefficients are NumPy float64 attributes of shape [T], under the original's names. They
    become float32 where they are gathered.
    """

    def __init__(
        self,
        *,
        betas: np.ndarray,
        model_mean_type: ModelMeanType = "eps",
        model_var_type: ModelVarType = "fixedlarge",
        loss_type: LossType = "mse",
    ):
        """Precomputes the coefficients (the original's `GaussianDiffusion2.__init__`).

        The original's first class, `diffusion_utils.GaussianDiffusion`, is
        `eps` / `fixedsmall` / `mse`.

        Args:
            betas: variances of the T steps, each in (0, 1]; see `get_beta_schedule`.
            model_mean_type: what the network predicts: `xprev` the mean of x_{t-1}, `xstart` x_0,
                `eps` the noise, `v` sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans & Ho
                2022, appendix D).
            model_var_type: variance of p(x_{t-1} | x_t): `fixedlarge` beta_t, `fixedsmall` the
                posterior's, `learned` the network's; `learned_range` lies between the two fixed
                ones on the logarithmic scale, at -1 the small and at 1 the large one (Nichol &
                Dhariwal 2021, eq. 15).
            loss_type: `kl` the variational bound in bits/dim, `mse` the simple loss (eq. 14); `l1`
                and `huber` (with a threshold of 1) take another distance than its square;
                `rescaled_kl` is T times `kl`; `hybrid` is `mse` + 0.001 `rescaled_kl`, of which
                only the variance learns from the second (Nichol & Dhariwal 2021, eq. 16).

        Raises:
            ValueError: betas of wrong rank, empty, not finite or outside (0, 1]; an unknown
                option; a learned variance with a loss that does not see it; `hybrid` without one.
        """
        check_option("model_mean_type", model_mean_type, MODEL_MEAN_TYPES)
        check_option("model_var_type", model_var_type, MODEL_VAR_TYPES)
        check_option("loss_type", loss_type, LOSS_TYPES)
        if model_var_type in LEARNED and loss_type not in SEE_THE_VARIANCE:
            raise ValueError(
                f"model_var_type {model_var_type!r} cannot be trained with loss_type"
                f" {loss_type!r}, which does not see the variance; use loss_type"
                f" {', '.join(map(repr, SEE_THE_VARIANCE))}, or a fixed variance."
            )
        if loss_type == "hybrid" and model_var_type not in LEARNED:
            raise ValueError(
                f"loss_type 'hybrid' trains a variance, and model_var_type is {model_var_type!r};"
                f" use {' or '.join(map(repr, LEARNED))}, or loss_type 'mse'."
            )
        self.model_mean_type = model_mean_type
        self.model_var_type = model_var_type
        self.loss_type = loss_type
        self._set_coefficients(checked_betas(betas))

    def _set_coefficients(self, betas: np.ndarray) -> None:
        self.betas = betas
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
        # Section 3.2. fixedlarge starts from the small variance, too: a better decoder likelihood.
        first_log_variance = self.posterior_log_variance_clipped[0]
        self._fixed_variances = {
            "fixedlarge": (self.betas, np.append(first_log_variance, np.log(self.betas[1:]))),
            "fixedsmall": (self.posterior_variance, self.posterior_log_variance_clipped),
        }

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
        elif self.model_mean_type == "v":
            output = self._predict_xstart_from_v(x, t, v=output)
        pred_xstart = clip(output)
        mean, _, _ = self.q_posterior_mean_variance(x_start=pred_xstart, x_t=x, t=t)
        return PMeanVariance(mean, variance, log_variance, pred_xstart)

    def _model_output(
        self, denoise_fn: DenoiseFn, x: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The network's prediction, and the variance and log-variance that go with it."""
        output, values = self._halves(denoise_fn, x, t)
        return output, *self._variance(values, x, t)

    def _halves(
        self, denoise_fn: DenoiseFn, x: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The network's output, and what it says of the variance if that is learned."""
        output = network_output(denoise_fn, x, t)
        learned = self.model_var_type in LEARNED
        expected = [*x.shape[:-1], x.shape[-1] * 2] if learned else x.shape
        if not output.shape.is_compatible_with(expected):
            raise ValueError(
                f"denoise_fn returned shape {output.shape} for x of shape {x.shape}; with"
                f" model_var_type {self.model_var_type!r} it must return {expected}."
            )
        return tuple(tf.split(output, 2, axis=-1)) if learned else (output, None)

    def _variance(
        self, values: tf.Tensor | None, x: tf.Tensor, t: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Variance and log-variance, shaped like x (section 3.2)."""
        if self.model_var_type == "learned":
            return tf.exp(values), values
        if values is not None:  # learned_range
            fraction = (values + 1.0) / 2.0
            low = self._extract(self.posterior_log_variance_clipped, t, x.shape)
            high = self._extract(np.log(self.betas), t, x.shape)
            log_variance = fraction * high + (1.0 - fraction) * low
            return tf.exp(log_variance), log_variance
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

    def _predict_xstart_from_v(self, x_t: tf.Tensor, t: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """x_t and v are x_0 and eps, turned by an angle of cosine sqrt(abar_t); this turns back."""
        return (
            self._extract(self.sqrt_alphas_cumprod, t, x_t.shape) * x_t
            - self._extract(self.sqrt_one_minus_alphas_cumprod, t, x_t.shape) * v
        )

    def _v(self, x_start: tf.Tensor, noise: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        return (
            self._extract(self.sqrt_alphas_cumprod, t, x_start.shape) * noise
            - self._extract(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) * x_start
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
            term of the variational bound at t in bits/dim (eq. 5); `rescaled_kl`: T times that.
            `hybrid`: see `__init__`.

        Raises:
            ValueError: t is not an integer [B], or images leave [-1, 1] (checked where values
                are known, that is outside `tf.function`).
        """
        x_start, t = checked(x_start, t, self.num_timesteps)
        if len(x_start.shape) > 2:  # images
            check_range(x_start, "x_start")
        noise = checked_noise(noise, x_start)
        x_t = self.q_sample(x_start, t, noise=noise)
        if self.loss_type in ("kl", "rescaled_kl"):
            terms: Any = self._vb_terms_bpd(denoise_fn, x_start, x_t, t, clip_denoised=False)
            return terms * float(self.num_timesteps) if self.loss_type == "rescaled_kl" else terms
        target = {
            "xprev": lambda: self.q_posterior_mean_variance(x_start, x_t, t)[0],
            "xstart": lambda: x_start,
            "eps": lambda: noise,
            "v": lambda: self._v(x_start, noise, t),
        }[self.model_mean_type]()
        output, values = self._halves(denoise_fn, x_t, t)
        if self.loss_type != "hybrid":
            return meanflat(DISTANCES[self.loss_type](target, output))
        frozen = tf.concat([tf.stop_gradient(output), values], axis=-1)
        terms = self._vb_terms_bpd(lambda *_: frozen, x_start, x_t, t, clip_denoised=False)
        return meanflat(DISTANCES["mse"](target, output)) + self.num_timesteps / 1000 * terms

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

        def term(
            k: tf.Tensor, terms: tf.TensorArray, mse: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
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
        values: Any = timesteps
        if not tf.is_tensor(values):
            values = whole_array(values, "timesteps", 0, self.num_timesteps - 1)
        return tf.cast(checked_timesteps(values, values.shape, self.num_timesteps), tf.int32)

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


def reciprocal(x: np.ndarray) -> np.ndarray:
    """1 / x, and 0 where float32 could not hold its square root.

    Such entries stand where x_t carries no trace of x_0 (a beta of 1, as `jsd` ends with); the
    x_0 predicted there is then 0 rather than infinity minus infinity.
    """
    enough = x > float(np.finfo(np.float32).max) ** -2
    return np.divide(1.0, x, out=np.zeros_like(x), where=enough)
