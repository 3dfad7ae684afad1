"""The process in NumPy on a part of its timesteps, with what implementations do differently."""

import dataclasses
from typing import Any

import numpy as np

from diffusion_tf.crosscheck.choices import COEFFICIENT_FIELDS
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.recipe_process import Model

# Coefficients that are what they are in training, at the same timesteps.
OF_ABAR = (
    "alphas_cumprod", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
)  # fmt: skip


class RespacedRecipe(Recipe):
    """A process on some of the timesteps of another one (Nichol & Dhariwal 2021, section 4).

    Attributes:
        timesteps: int [S], rising; t counts them.
    """

    def __init__(self, training: Recipe, timesteps: np.ndarray):
        its = training._choices
        arrays: dict[str, Any] = {
            name: getattr(its, name)[timesteps] if name in OF_ABAR else None
            for name in COEFFICIENT_FIELDS
            if isinstance(getattr(its, name), np.ndarray)
        }
        kind = its.model_mean_type or training.model_mean_type
        self._training = training
        self._choices = dataclasses.replace(its, model_mean_type=None, pred_xstart=None, **arrays)
        self._loss_type = training._loss_type
        self._turns_xprev = kind == "xprev" and its.respaced_mean == "of training"
        self.model_mean_type: Any = "xstart" if self._turns_xprev else kind
        self.model_var_type = training.model_var_type
        self.timesteps = np.asarray(timesteps)
        abar = training.alphas_cumprod[self.timesteps]
        betas = 1 - abar / np.append(1.0, abar[:-1])
        if its.respaced_betas == "as they are":
            betas = training.betas[self.timesteps]
        self._set_coefficients(betas)

    def _model_t(self, t: np.ndarray) -> np.ndarray:
        T, S = self._training.num_timesteps, self.num_timesteps
        asked = {
            "timesteps": lambda: self.timesteps[t],
            "t": lambda: np.asarray(t),
            "t T / S": lambda: np.asarray(t) * (T // S),
        }[self._choices.respaced_t]()
        return self._training._model_t(asked)

    def _halves(
        self, denoise_fn: Model, x: np.ndarray, t: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        output, values = super()._halves(denoise_fn, x, t)
        if self._turns_xprev:
            output = self._training._pred_xstart(output, x, self.timesteps[t])
        its = self._choices  # one that takes a place for a logarithm does not respace it either
        of_training = its.respaced_variance == "of training" and its.model_var_type is None
        if values is not None and self.model_var_type == "learned" and of_training:
            values = self._respaced(values, np.asarray(t))
        return output, values

    def _respaced(self, log_variance: np.ndarray, t: np.ndarray) -> np.ndarray:
        """A learned log-variance of training, at its place between the bounds of longer steps."""
        low, high = self._training._bounds(self.timesteps[t])
        width = np.where(high == low, 1, high - low)
        share = np.clip((log_variance - low) / width, 0, 1)
        new_low, new_high = self._bounds(t)
        as_long = (np.diff(self.timesteps, prepend=-1) == 1)[t].reshape(-1, 1, 1, 1)
        return np.where(as_long, log_variance, new_low + share * (new_high - new_low))

    def ddim_chain(self, denoise_fn: Model, x: np.ndarray) -> np.ndarray:
        """x_0 by DDIM without noise, from x [B, ...] at the last of the timesteps."""
        T, S, its = self._training.num_timesteps, self.num_timesteps, self._choices.ddim_previous
        abar = self._training.alphas_cumprod
        for k, t in reversed(list(enumerate(self.timesteps))):
            previous = self.timesteps[k - 1] if k else -1
            if self._choices.ddim_stride == "T // S":
                previous = t - T // S
            if its in ("t", "t - 2", "t + 1"):
                previous = t + {"t": 0, "t - 2": -2, "t + 1": 1}[its]
            last = abar[0] if its == "as at the first" else 1.0
            value = last if previous < 0 else abar[min(previous, T - 1)]
            x = self._ddim_step(denoise_fn, x, np.full(len(x), k), np.full(len(x), value))
        return x
