"""The diffusion process in NumPy, put together of the choices that implementations make.

With the original's choices it computes what `GaussianDiffusion` does; equations are those of Ho,
Jain & Abbeel 2020 where nothing else is said. Numbers are float64 where coefficients are made, and
float32 where images are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.choices import ORIGINAL, Choices
from diffusion_tf.crosscheck.decoder import log_probability
from diffusion_tf.crosscheck.distances import kl_of, reduced, weights
from diffusion_tf.gaussian_diffusion.process import reciprocal
from diffusion_tf.schedules import get_beta_schedule

Model = Callable[[np.ndarray, np.ndarray], Any]


def _clipped(variance: np.ndarray) -> np.ndarray:
    return np.log(np.append(variance[1:2] if len(variance) > 1 else variance, variance[1:]))


# The original's, in the order in which they are computed; `c` holds those before.
FORMULAS: dict[str, Callable[[Any], np.ndarray]] = {
    "alphas_cumprod": lambda c: np.cumprod(1.0 - c.betas),
    "alphas_cumprod_prev": lambda c: np.append(1.0, c.alphas_cumprod[:-1]),
    "sqrt_alphas_cumprod": lambda c: np.sqrt(c.alphas_cumprod),
    "sqrt_one_minus_alphas_cumprod": lambda c: np.sqrt(1.0 - c.alphas_cumprod),
    "log_one_minus_alphas_cumprod": lambda c: np.log(1.0 - c.alphas_cumprod),
    "sqrt_recip_alphas_cumprod": lambda c: np.sqrt(reciprocal(c.alphas_cumprod)),
    "sqrt_recipm1_alphas_cumprod": lambda c: np.sqrt(
        np.maximum(reciprocal(c.alphas_cumprod) - 1.0, 0.0)
    ),
    "posterior_variance": lambda c: (
        c.betas * (1.0 - c.alphas_cumprod_prev) / (1.0 - c.alphas_cumprod)
    ),
    "posterior_log_variance_clipped": lambda c: _clipped(
        c.posterior_variance if len(c.betas) > 1 else c.betas
    ),
    "posterior_mean_coef1": lambda c: (
        c.betas * np.sqrt(c.alphas_cumprod_prev) / (1.0 - c.alphas_cumprod)
    ),
    "posterior_mean_coef2": lambda c: (
        (1.0 - c.alphas_cumprod_prev) * np.sqrt(1.0 - c.betas) / (1.0 - c.alphas_cumprod)
    ),
}


def _varied(log_variance: np.ndarray, how: str) -> np.ndarray:
    """What is taken for the log-variance."""
    with np.errstate(all="ignore"):
        return {
            "log variance": lambda: log_variance,
            "log deviation": lambda: 0.5 * log_variance,
            "variance": lambda: np.exp(log_variance),
            "deviation": lambda: np.exp(0.5 * log_variance),
            "twice": lambda: 2 * log_variance,
            "-log variance": lambda: -log_variance,
        }[how]()


class Moments(NamedTuple):
    """p(x_{t-1} | x_t) and the x_0 that it assumes; arrays [B, ...]."""

    mean: np.ndarray
    log_variance: np.ndarray
    pred_xstart: np.ndarray


def betas_of(config: Config, choices: Choices = ORIGINAL) -> np.ndarray:
    """The betas [T] of a config, with the choices."""
    if isinstance(choices.betas, np.ndarray):
        return choices.betas
    scale = 1000 / config.num_diffusion_timesteps if choices.rescale_betas else 1
    betas = get_beta_schedule(
        choices.beta_schedule or config.beta_schedule,
        beta_start=min(scale * config.beta_start, 1.0),
        beta_end=min(scale * config.beta_end, 1.0),
        num_diffusion_timesteps=config.num_diffusion_timesteps,
    )
    if choices.betas is None:
        return betas
    T, start, end = config.num_diffusion_timesteps, config.beta_start, config.beta_end
    return choices.betas(SimpleNamespace(betas=betas, T=T, start=start, end=end))


class Recipe:
    """The process of a config, with the choices.

    Attributes:
        betas and the others: float64 [T], see `FORMULAS`.
    """

    alphas_cumprod: np.ndarray
    alphas_cumprod_prev: np.ndarray
    sqrt_alphas_cumprod: np.ndarray
    sqrt_one_minus_alphas_cumprod: np.ndarray
    log_one_minus_alphas_cumprod: np.ndarray
    sqrt_recip_alphas_cumprod: np.ndarray
    sqrt_recipm1_alphas_cumprod: np.ndarray
    posterior_variance: np.ndarray
    posterior_log_variance_clipped: np.ndarray
    posterior_mean_coef1: np.ndarray
    posterior_mean_coef2: np.ndarray

    def __init__(self, config: Config, choices: Choices = ORIGINAL):
        self._choices = choices
        self._loss_type = config.loss_type
        self.model_mean_type = config.model_mean_type
        self.model_var_type = choices.model_var_type or config.model_var_type
        self.betas = betas_of(config, choices)
        self.num_timesteps = len(self.betas)
        with np.errstate(all="ignore"):
            for name, formula in FORMULAS.items():
                its = getattr(choices, name)
                value = its if isinstance(its, np.ndarray) else (its or formula)(self)
                setattr(self, name, value)
            first = self.posterior_variance[1:2] if len(self.betas) > 1 else self.betas
            large = np.log(np.append(first, self.betas[1:]))
        small = self.posterior_log_variance_clipped
        self._log_variances = {"fixedlarge": large, "fixedsmall": small}

    def _at(self, coefficients: np.ndarray, t: np.ndarray, shift: int = 0) -> np.ndarray:
        """Coefficients at t [B], float32 [B, 1, 1, 1]."""
        t = np.clip(np.asarray(t) + shift, 0, self.num_timesteps - 1)
        return coefficients[t].astype(np.float32).reshape(-1, 1, 1, 1)

    # --- q

    def q_sample(self, x_start: np.ndarray, t: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """x_t (eq. 4)."""
        shift = self._choices.q_shift
        x_start = (x_start + 1) / 2 if self._choices.q_x_start == "01" else x_start
        noise = -noise if self._choices.q_noise == "-noise" else noise
        of_noise = self._at(self.sqrt_one_minus_alphas_cumprod, t, shift)
        return self._at(self.sqrt_alphas_cumprod, t, shift) * x_start + of_noise * noise

    def q_posterior_mean_variance(
        self, x_start: np.ndarray, x_t: np.ndarray, t: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, variance and log-variance of q(x_{t-1} | x_t, x_0) (eq. 6 and 7)."""
        shift = self._choices.posterior_shift
        if self._choices.posterior_swapped:
            x_start, x_t = x_t, x_start
        mean = self._at(self.posterior_mean_coef1, t, shift) * x_start
        mean = mean + self._at(self.posterior_mean_coef2, t, shift) * x_t
        log_variance = self._at(self.posterior_log_variance_clipped, t, shift)
        return mean, np.exp(log_variance), _varied(log_variance, self._choices.posterior_log)

    # --- p

    def _model_t(self, t: np.ndarray) -> np.ndarray:
        t, T = np.asarray(t), self.num_timesteps
        return {
            "t": lambda: t,
            "t + 1": lambda: t + 1,
            "t - 1": lambda: np.maximum(t - 1, 0),
            "t / T": lambda: (t / T).astype(np.float32),
            "1000 t / T": lambda: (1000 * t / T).astype(np.float32),
            "T - 1 - t": lambda: T - 1 - t,
        }[self._choices.model_t]()

    def _pred_xstart(self, output: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        shift = self._choices.reverse_shift
        kind = self._choices.model_mean_type or self.model_mean_type
        if kind in ("eps", "-eps"):
            output = self._bounded_eps(output if kind == "eps" else -output)
            of_eps = self._at(self.sqrt_recipm1_alphas_cumprod, t, shift)
            return self._at(self.sqrt_recip_alphas_cumprod, t, shift) * x - of_eps * output
        if kind == "score":  # -eps / sqrt(1 - abar)
            variance = self._at(1.0 - self.alphas_cumprod, t, shift)
            return (x + variance * output) / self._at(self.sqrt_alphas_cumprod, t, shift)
        if kind in ("v", "-v"):
            of_v = self._at(self.sqrt_one_minus_alphas_cumprod, t, shift)
            output = output if kind == "v" else -output
            return self._at(self.sqrt_alphas_cumprod, t, shift) * x - of_v * output
        if kind == "xprev":
            coef1, coef2 = self.posterior_mean_coef1, self.posterior_mean_coef2
            of_x = self._at(coef2 * reciprocal(coef1), t, shift)
            return self._at(reciprocal(coef1), t, shift) * output - of_x * x
        return output

    def _bounded_eps(self, eps: np.ndarray) -> np.ndarray:
        return np.clip(eps, -1, 1) if self._choices.clip == "eps" else eps

    def _clip(self, x_0: np.ndarray) -> np.ndarray:
        low, high = self._choices.clip_to
        if self._choices.clip == "x_start":
            return np.clip(x_0, low, high)
        if self._choices.clip == "tanh":
            return np.tanh(x_0)
        if self._choices.clip in ("dynamic", "dynamic 0.9"):  # Saharia et al. 2022, section 2.3
            share = 0.995 if self._choices.clip == "dynamic" else 0.9
            s = np.quantile(np.abs(x_0).reshape(len(x_0), -1), share, axis=1)
            s = np.maximum(s, 1).astype(np.float32).reshape(-1, 1, 1, 1)
            return np.clip(x_0, -s, s) / s
        return x_0

    def p_mean_variance(
        self, denoise_fn: Model, *, x: np.ndarray, t: np.ndarray, clip_denoised: bool = True
    ) -> Moments:
        """p(x_{t-1} | x_t) (eq. 11 and 15, section 3.2)."""
        output = np.asarray(denoise_fn(x, self._model_t(t)))
        x_0 = self._pred_xstart(output, x, t)
        x_0 = self._clip(x_0) if clip_denoised else x_0
        if self._choices.pred_xstart is not None:
            x_0 = self._choices.pred_xstart
        mean, kind = output, self._choices.model_mean_type or self.model_mean_type
        if kind != "xprev":
            mean, _, _ = self.q_posterior_mean_variance(x_0, x, t)
        if self._choices.clip == "mean" and clip_denoised:
            mean = np.clip(mean, -1, 1)
        shift = self._choices.variance_shift + self._choices.reverse_shift
        log_variance = self._at(self._log_variances[self.model_var_type], t, shift)
        return Moments(mean, _varied(log_variance, self._choices.log_variance) + 0 * x, x_0)

    def p_sample(
        self, denoise_fn: Model, *, x: np.ndarray, t: np.ndarray, noise: np.ndarray
    ) -> np.ndarray:
        """x_{t-1} (Algorithm 2)."""
        its, t = self._choices, np.asarray(t)
        p = self.p_mean_variance(denoise_fn, x=x, t=t)
        noisy = np.logical_or(t >= its.noise_from, its.noise_at_zero)
        is_noisy = noisy.astype(np.float32).reshape(-1, 1, 1, 1)
        with np.errstate(all="ignore"):
            deviation = {
                "exp(0.5 log variance)": lambda: np.exp(0.5 * p.log_variance),
                "exp(log variance)": lambda: np.exp(p.log_variance),
                "exp(0.25 log variance)": lambda: np.exp(0.25 * p.log_variance),
                "log variance": lambda: p.log_variance,
                "beta": lambda: self._at(self.betas, t),
                "one": lambda: 1.0,
                "sqrt(1 - abar)": lambda: self._at(self.sqrt_one_minus_alphas_cumprod, t),
            }[its.deviation]()
        mean = self._ddim_mean(p, x, t) if its.step == "ddim" else p.mean
        if its.step == "x_start":
            mean = p.pred_xstart
        sample = mean + its.temperature * is_noisy * deviation * noise
        clips = its.step_clip == "each" or (its.step_clip == "last" and not t.any())
        return np.clip(sample, -1, 1) if clips else sample

    def ddim_sample(self, denoise_fn: Model, *, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """x_{t-1} by DDIM without noise (Song, Meng & Ermon 2021, eq. 12 with sigma = 0)."""
        p = self.p_mean_variance(denoise_fn, x=x, t=t)
        if self._choices.ddim_eps == "as predicted" and self.model_mean_type == "eps":
            return self._ddim_mean(p, x, t, np.asarray(denoise_fn(x, self._model_t(t))))
        return self._ddim_mean(p, x, t)

    def _ddim_mean(
        self, p: Moments, x: np.ndarray, t: np.ndarray, eps: np.ndarray | None = None
    ) -> np.ndarray:
        abar, previous = self.alphas_cumprod, self.alphas_cumprod_prev
        previous = {
            "t - 1": lambda: previous,
            "t - 2": lambda: np.concatenate([[1.0, 1.0], abar])[: len(abar)],
            "t + 1": lambda: np.append(abar[1:], abar[-1]),
            "t": lambda: abar,
            "as at the first": lambda: np.append(abar[0], abar[:-1]),
        }[self._choices.ddim_previous]()
        if eps is None:
            eps = (x - self._at(self.sqrt_alphas_cumprod, t) * p.pred_xstart) / self._at(
                self.sqrt_one_minus_alphas_cumprod, t
            )
        direction = {
            "root": lambda: np.sqrt(1 - previous),
            "no root": lambda: 1 - previous,
            "1 - root": lambda: 1 - np.sqrt(previous),
        }[self._choices.ddim_direction]()
        return self._at(np.sqrt(previous), t) * p.pred_xstart + self._at(direction, t) * eps

    # --- Losses

    def p_losses(
        self, denoise_fn: Model, x_start: np.ndarray, t: np.ndarray, noise: np.ndarray
    ) -> np.ndarray:
        """The training loss of each example, [B] (eq. 14)."""
        x_t = self.q_sample(x_start, t, noise)
        if self._loss_type in ("kl", "rescaled_kl"):
            clip = bool(self._choices.bound_clip)
            times = float(self.num_timesteps) if self._loss_type == "rescaled_kl" else 1.0
            return times * self._vb_terms_bpd(denoise_fn, x_start, x_t, t, clip_denoised=clip)
        target = self._target(x_start, x_t, t, noise)
        error = np.asarray(denoise_fn(x_t, self._model_t(t))) - target
        kind = self._choices.distance or self._loss_type
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
        variance = np.exp(self._log_variances[self.model_var_type])
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


def with_theirs(choices: Choices, name: str, value: np.ndarray) -> Choices:
    """The choices with a coefficient of the other side as it is."""
    changes: dict[str, Any] = {name: np.asarray(value, np.float64)}
    return dataclasses.replace(choices, **changes)
