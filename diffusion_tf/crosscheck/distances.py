"""Distances of the losses in NumPy, with what implementations do differently."""

import numpy as np


def reduced(error: np.ndarray, kind: str, reduction: str) -> np.ndarray:
    """What becomes of the errors [B, H, W, C] of a network: [B].

    Args:
        error: prediction minus target.
        kind, reduction: `Choices.distance` and `Choices.reduction`.
    """
    size, flat = np.abs(error), (len(error), -1)
    if kind == "rmse":
        return np.sqrt(np.square(error).reshape(flat).mean(axis=1))
    distances = {
        "mse": lambda: np.square(error),
        "half": lambda: 0.5 * np.square(error),
        "l1": lambda: size,
        "huber": lambda: np.where(size < 1, 0.5 * np.square(error), size - 0.5),
        "charbonnier": lambda: np.sqrt(np.square(error) + 1e-6),
    }
    values = distances[kind]()
    if reduction == "sum of squares over channels":
        return values.sum(axis=-1).reshape(flat).mean(axis=1)
    if reduction == "batch":
        return np.full(len(error), values.mean())
    if reduction == "sum":
        return values.reshape(flat).sum(axis=1)
    return values.reshape(flat).mean(axis=1)


def kl_of(
    mean: np.ndarray,
    log_variance: np.ndarray,
    p_mean: np.ndarray,
    p_log_variance: np.ndarray,
    how: str,
) -> np.ndarray:
    """KL(q || p) of two Gaussians, elementwise, in nats.

    Args:
        mean, log_variance: of q.
        p_mean, p_log_variance: of p.
        how: `Choices.kl`.
    """
    first, second = (mean, log_variance), (p_mean, p_log_variance)
    if how == "p || q":
        first, second = second, first
    ratio = first[1] - second[1]
    distance = np.square(first[0] - second[0]) * np.exp(-second[1])
    if how == "means alone":
        return 0.5 * distance
    if how == "without the distance's precision":
        distance = np.square(first[0] - second[0])
    factor = 1.0 if how == "without 1/2" else 0.5
    minus_one = 0.0 if how == "without -1" else -1.0
    return factor * (minus_one - ratio + np.exp(ratio) + distance)


def weights(how: str, betas: np.ndarray, abar: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """What the loss of each step is multiplied by, [T].

    Args:
        how: `Choices.loss_weight`.
        betas, abar: [T].
        variance: of p, [T].
    """
    with np.errstate(all="ignore"):
        snr = abar / (1 - abar)
        return {
            "1": lambda: np.ones_like(snr),
            "snr": lambda: snr,
            "1 / snr": lambda: 1 / snr,
            "snr + 1": lambda: snr + 1,
            "truncated snr": lambda: np.maximum(snr, 1),
            "min snr of eps": lambda: np.minimum(snr, 5) / snr,
            "min snr of v": lambda: np.minimum(snr, 5) / (snr + 1),
            "snr of v": lambda: snr / (snr + 1),
            "min snr of x_0": lambda: np.minimum(snr, 5),
            "p2": lambda: 1 / (1 + snr),
            "sqrt": lambda: np.sqrt(snr),
            "eq. 12": lambda: betas**2 / (2 * variance * (1 - betas) * (1 - abar)),
        }[how]()
