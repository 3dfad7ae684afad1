"""Noise schedules: the variances beta_1..beta_T of the forward process, in float64."""

from typing import get_args

import numpy as np

from diffusion_tf.utils.literals import BetaSchedule
from diffusion_tf.utils.numbers import MAX_TIMESTEPS, is_real, is_whole, shown, whole

BETA_SCHEDULES: tuple[BetaSchedule, ...] = get_args(BetaSchedule)


def get_beta_schedule(
    beta_schedule: BetaSchedule, *, beta_start: float, beta_end: float, num_diffusion_timesteps: int
) -> np.ndarray:
    """Returns the named variance schedule (the original's `get_beta_schedule`, and two more).

    Args:
        beta_schedule: one of `BETA_SCHEDULES`. The paper uses `linear` (section 4). `cosine` is
            Nichol & Dhariwal 2021, eq. 17; `sigmoid` rises from `beta_start` to `beta_end` along
            the logistic function on [-6, 6].
        beta_start: variance of the first step, in (0, 1]. Not used by const, jsd and cosine.
        beta_end: variance of the last step, in (0, 1]. Not used by jsd and cosine.
        num_diffusion_timesteps: T, at least 1.

    Returns:
        float64 array of shape [T]; entry t is the variance of step t, counting from 0.

    Raises:
        ValueError: unknown name, T < 1, or a variance outside (0, 1].
    """
    T = num_diffusion_timesteps
    if not is_whole(T) or T < 1:
        raise ValueError(f"num_diffusion_timesteps is {shown(T)}; it must be a whole number >= 1.")
    whole(T, "num_diffusion_timesteps", 1, MAX_TIMESTEPS)
    for name, beta in (("beta_start", beta_start), ("beta_end", beta_end)):
        if not (is_real(beta) and 0 < beta <= 1):
            raise ValueError(f"{name} is {beta!r}; a variance must lie in (0, 1].")

    if beta_schedule == "quad":
        return np.linspace(beta_start**0.5, beta_end**0.5, T, dtype=np.float64) ** 2
    if beta_schedule == "linear":
        return np.linspace(beta_start, beta_end, T, dtype=np.float64)
    if beta_schedule == "warmup10":
        return _warmup(beta_start, beta_end, T, warmup_fraction=0.1)
    if beta_schedule == "warmup50":
        return _warmup(beta_start, beta_end, T, warmup_fraction=0.5)
    if beta_schedule == "const":
        return np.full(T, beta_end, dtype=np.float64)
    if beta_schedule == "jsd":  # 1/T, 1/(T-1), ..., 1/2, 1
        return 1.0 / np.arange(T, 0, -1, dtype=np.float64)
    if beta_schedule == "cosine":
        return _cosine(T)
    if beta_schedule == "sigmoid":
        rise = 1.0 / (1.0 + np.exp(-np.linspace(-6, 6, T, dtype=np.float64)))
        return beta_start + (beta_end - beta_start) * rise
    raise ValueError(
        f"Unknown beta_schedule {beta_schedule!r}; choose one of {', '.join(BETA_SCHEDULES)}."
    )


def _warmup(beta_start: float, beta_end: float, T: int, warmup_fraction: float) -> np.ndarray:
    """Linear up to `beta_end` over the first steps, then constant."""
    num_warmup = int(T * warmup_fraction)
    return np.concatenate(
        [
            np.linspace(beta_start, beta_end, num_warmup, dtype=np.float64),
            np.full(T - num_warmup, beta_end, dtype=np.float64),
        ]
    )


def _cosine(T: int, offset: float = 0.008, max_beta: float = 0.999) -> np.ndarray:
    """Makes sqrt(alphas_cumprod) fall along a cosine; the last betas are capped below 1."""
    time = np.arange(T + 1, dtype=np.float64) / T
    alphas_cumprod = np.cos((time + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], max_beta)
