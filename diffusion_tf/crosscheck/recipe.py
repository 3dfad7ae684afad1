"""The process in NumPy, put together of the choices that implementations make, and its losses."""

import math

import numpy as np

from diffusion_tf.crosscheck.decoder import log_probability
from diffusion_tf.crosscheck.distances import kl_of, reduced, weights
from diffusion_tf.crosscheck.recipe_process import Model
from diffusion_tf.crosscheck.recipe_steps import Steps


class Recipe(Steps):
    """The process of a config, with the choices: sampling, the losses and the bound."""

    def p_losses(
        self, denoise_fn: Model, x_start: np.ndarray, t: np.ndarray, noise: np.ndarray
    ) -> np.ndarray:
        """The training loss of each example, [B] (eq. 14)."""
        x_t = self.q_sample(x_start, t, noise)
        if self._loss_type == "hybrid":
            return self._hybrid(denoise_fn, x_start, x_t, t, noise)
        if self._loss_type in ("kl", "rescaled_kl"):
            clip = bool(self._choices.bound_clip)
            times = float(self.num_timesteps) if self._loss_type == "rescaled_kl" else 1.0
            return times * self._vb_terms_bpd(denoise_fn, x_start, x_t, t, clip_denoised=clip)
        return self._distance(denoise_fn, x_start, x_t, t, noise, self._loss_type)

    def _hybrid(
        self,
        denoise_fn: Model,
        x_start: np.ndarray,
        x_t: np.ndarray,
        t: np.ndarray,
        noise: np.ndarray,
    ) -> np.ndarray:
        """L_simple + T / 1000 of the bound's term (Nichol & Dhariwal 2021, eq. 16)."""
        clip, T = bool(self._choices.bound_clip), self.num_timesteps
        terms = self._vb_terms_bpd(denoise_fn, x_start, x_t, t, clip_denoised=clip)
        weight = {"T / 1000": T / 1000, "T": T, "1 / 1000": 1 / 1000, "1": 1, "0": 0}
        simple = self._distance(denoise_fn, x_start, x_t, t, noise, "mse")
        return simple + weight[self._choices.hybrid_weight] * terms

    def _distance(
        self,
        denoise_fn: Model,
        x_start: np.ndarray,
        x_t: np.ndarray,
        t: np.ndarray,
        noise: np.ndarray,
        kind: str,
    ) -> np.ndarray:
        """Between what the network predicts and its target, [B]."""
        error = self._halves(denoise_fn, x_t, t)[0] - self._target(x_start, x_t, t, noise)
        kind = self._choices.distance or kind
        return self._weight(t) * reduced(error, kind, self._choices.reduction)

    def _target(
        self, x_start: np.ndarray, x_t: np.ndarray, t: np.ndarray, noise: np.ndarray
    ) -> np.ndarray:
        signal = self._at(self.sqrt_alphas_cumprod, t)
        rest = self._at(self.sqrt_one_minus_alphas_cumprod, t)
        targets = {
            "eps": lambda: noise,
            "-eps": lambda: -noise,
            "xstart": lambda: x_start,
            "xstart in [0, 1]": lambda: (x_start + 1) / 2,
            "xprev": lambda: self.q_posterior_mean_variance(x_start, x_t, t)[0],
            "v": lambda: signal * noise - rest * x_start,
            "-v": lambda: rest * x_start - signal * noise,
            "x_t": lambda: x_t,
            "score": lambda: -noise / rest,
            "noise - x_0": lambda: noise - x_start,
        }
        return targets[self._choices.target or self.model_mean_type]()

    def _weight(self, t: np.ndarray) -> np.ndarray:
        """Of the squared error at t, float32 [B]."""
        kind = self.model_var_type if self.model_var_type in self._log_variances else "fixedlarge"
        variance = np.exp(self._log_variances[kind])
        how = self._choices.loss_weight
        return weights(how, self.betas, self.alphas_cumprod, variance)[t].astype(np.float32)

    def _vb_terms_bpd(
        self,
        denoise_fn: Model,
        x_start: np.ndarray,
        x_t: np.ndarray,
        t: np.ndarray,
        *,
        clip_denoised: bool,
    ) -> np.ndarray:
        """The terms of the bound (eq. 8 and 13) in bits/dim, [B]."""
        clip = clip_denoised if self._choices.bound_clip is None else self._choices.bound_clip
        mean, _, log_variance = self.q_posterior_mean_variance(x_start, x_t, t)
        p = self.p_mean_variance(denoise_fn, x=x_t, t=t, clip_denoised=clip)
        kl = kl_of(mean, log_variance, p.mean, p.log_variance, self._choices.kl)
        decoder = -log_probability(x_start, p.mean, p.log_variance, self._choices)
        terms = np.where(np.reshape(t, [-1, 1, 1, 1]) == 0, decoder, kl)
        terms = terms.reshape(len(terms), -1)
        terms = terms.sum(axis=1) if self._choices.bound_reduction == "sum" else terms.mean(axis=1)
        return terms if self._choices.bound_unit == "nats" else terms / math.log(2.0)
