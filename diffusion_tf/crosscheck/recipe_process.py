"""q and p of the process in NumPy, put together of the choices that implementations make.

With the original's choices it computes what `GaussianDiffusion` does; steps of sampling are in
`recipe_steps`, losses and the whole in `recipe`; equations are those of Ho,
Jain & Abbeel 2020 where nothing else is said. Numbers are float64 where coefficients are made, and
float32 where images are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.choices import ORIGINAL, Choices
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


class ProcessRecipe:
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
        self._set_coefficients(betas_of(config, choices))

    def _set_coefficients(self, betas: np.ndarray) -> None:
        self.betas = betas
        self.num_timesteps = len(self.betas)
        with np.errstate(all="ignore"):
            for name, formula in FORMULAS.items():
                its = getattr(self._choices, name)
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

    def _halves(
        self, denoise_fn: Model, x: np.ndarray, t: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The network's output, and what it says of the variance if that is learned."""
        output, channels = np.asarray(denoise_fn(x, self._model_t(t))), x.shape[-1]
        if output.shape[-1] == channels:
            return output, None
        halves = output[..., :channels], output[..., channels:]
        return halves if self._choices.learned_half == "second" else halves[::-1]

    def _log_variance(self, values: np.ndarray | None, t: np.ndarray) -> np.ndarray:
        """Of p, where it is learned from what the network says of it."""
        shift = self._choices.variance_shift + self._choices.reverse_shift
        kind = self.model_var_type
        if values is None or kind in self._log_variances:
            return self._at(
                self._log_variances.get(kind, self._log_variances["fixedlarge"]), t, shift
            )
        if kind == "learned":
            return values
        low, high = self._bounds(t, shift)
        share = {
            "(v + 1) / 2": lambda v: (v + 1) / 2,
            "v": lambda v: v,
            "(1 - v) / 2": lambda v: (1 - v) / 2,
            "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
            "clipped": lambda v: np.clip((v + 1) / 2, 0, 1),
        }[self._choices.learned_share](values)
        if self._choices.learned_scale == "variances":
            return np.log(share * np.exp(high) + (1 - share) * np.exp(low))
        return share * high + (1 - share) * low

    def _bounds(self, t: np.ndarray, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Log-variances that a learned one lies between (Nichol & Dhariwal 2021, eq. 15)."""
        low = self.posterior_log_variance_clipped
        if self._choices.learned_low == "log(1e-20) first":
            low = np.log(np.maximum(self.posterior_variance, 1e-20))
        high = np.log(self.betas)
        if self._choices.learned_high == "fixedlarge":
            high = self._log_variances["fixedlarge"]
        return self._at(low, t, shift), self._at(high, t, shift)

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
        output, values = self._halves(denoise_fn, x, t)
        x_0 = self._pred_xstart(output, x, t)
        x_0 = self._clip(x_0) if clip_denoised else x_0
        if self._choices.pred_xstart is not None:
            x_0 = self._choices.pred_xstart
        mean, kind = output, self._choices.model_mean_type or self.model_mean_type
        if kind != "xprev":
            mean, _, _ = self.q_posterior_mean_variance(x_0, x, t)
        if self._choices.clip == "mean" and clip_denoised:
            mean = np.clip(mean, -1, 1)
        log_variance = self._log_variance(values, t)
        return Moments(mean, _varied(log_variance, self._choices.log_variance) + 0 * x, x_0)


def with_theirs(choices: Choices, name: str, value: np.ndarray) -> Choices:
    """The choices with a coefficient of the other side as it is."""
    changes: dict[str, Any] = {name: np.asarray(value, np.float64)}
    return dataclasses.replace(choices, **changes)
