"""Mean and variance along every chain whose network is affine in x_t, as that of a Gaussian is."""

from typing import NamedTuple

import numpy as np

from diffusion_tf.gaussian_diffusion.exact.mixtures import Moments
from diffusion_tf.utils.literals import Mix


class Affine(NamedTuple):
    """A network by the x_0 that it predicts, slope x_t + offset at each level: [S, ...] each."""

    slope: np.ndarray
    offset: np.ndarray


def guided(unconditional: Affine, conditional: Affine, guidance_scale: float) -> Affine:
    """Classifier-free guidance: eps is linear in x_0 (eq. 4), so x_0 is mixed as eps is."""
    return Affine(
        *(u + guidance_scale * (c - u) for u, c in zip(unconditional, conditional, strict=True))
    )


def interpolation_start(
    x1: np.ndarray,
    x2: np.ndarray,
    lam: float,
    alphas_cumprod: float,
    mix: Mix = "linear",
    shared_noise: bool = False,
) -> Moments:
    """Of the mixture of two diffused images (section 4.3), where `interpolate` starts.

    With a the weight of x1, two independent noises have the variance a^2 + lam^2: less than that of
    one where a = 1 - lam, as much where a = sqrt(1 - lam^2). A shared noise has (a + lam)^2.
    """
    a = 1 - lam if mix == "linear" else np.sqrt(1 - lam**2)
    mean = np.sqrt(alphas_cumprod) * (a * np.asarray(x1) + lam * np.asarray(x2))
    noise = (a + lam) ** 2 if shared_noise else a**2 + lam**2
    return Moments(mean, np.full_like(mean, (1 - alphas_cumprod) * noise))


def ancestral_chain(
    alphas_cumprod: np.ndarray,
    denoiser: Affine,
    variance: np.ndarray | str = "fixedlarge",
    start: Moments | None = None,
) -> Moments:
    """Mean and variance along Algorithm 2 without clipping.

    x_{t-1} = coef1 x_0 + coef2 x_t + sigma z (eq. 7) is affine in x_t and z, as x_0 is in x_t.

    Args:
        alphas_cumprod: [S], rising in time; levels of a subsequence give the respaced sampler.
        denoiser: at these levels, [S, ...].
        variance: `fixedlarge` or `fixedsmall` (section 3.2), or sigma^2 at each step, [S, ...].
        start: where the chain starts, before step S - 1; N(0, 1) if not given.

    Returns:
        [S + 1, ...] each: before every step, and at last after it.
    """
    steps = Steps(np.reshape(alphas_cumprod, [-1] + [1] * (denoiser.slope.ndim - 1)))
    return _chain(steps.coef1, steps.coef2, steps.variance(variance), denoiser, start)


def ddim_chain(
    alphas_cumprod: np.ndarray, denoiser: Affine, eta: float = 0.0, start: Moments | None = None
) -> Moments:
    """Mean and variance along DDIM (Song, Meng & Ermon 2021, eq. 12) without clipping.

    x_{t-1} = sqrt(abar_prev) x_0 + sqrt(1 - abar_prev - sigma^2) eps + sigma z, where
    eps = (x_t - sqrt(abar) x_0) / sqrt(1 - abar) and sigma^2 = eta^2 times the small variance.

    Args:
        alphas_cumprod, denoiser, start: see `ancestral_chain`.
        eta: from 0 to 1.

    Returns:
        See `ancestral_chain`.
    """
    steps = Steps(np.reshape(alphas_cumprod, [-1] + [1] * (denoiser.slope.ndim - 1)))
    variance = eta**2 * steps.small
    of_x = np.sqrt(np.maximum(1 - steps.prev - variance, 0) / (1 - steps.abar))
    of_x_0 = np.sqrt(steps.prev) - of_x * np.sqrt(steps.abar)
    return _chain(of_x_0, of_x, variance, denoiser, start)


class Steps:
    """Coefficients of the steps between levels [S, 1, ...]: eq. 7 with beta = 1 - abar / prev."""

    def __init__(self, abar: np.ndarray):
        self.abar, self.prev = abar, np.append(np.ones_like(abar[:1]), abar[:-1], axis=0)
        self.beta = 1 - self.abar / self.prev
        self.coef1 = self.beta * np.sqrt(self.prev) / (1 - self.abar)
        self.coef2 = (1 - self.prev) * np.sqrt(self.abar / self.prev) / (1 - self.abar)
        self.small = self.beta * (1 - self.prev) / (1 - self.abar)

    def variance(self, variance: np.ndarray | str) -> np.ndarray:
        """Of p at each step: by its name, with that of t = 1 at t = 0; or as it is given."""
        if not isinstance(variance, str):
            return np.asarray(variance, np.float64)
        named = {"fixedsmall": self.small, "fixedlarge": self.beta}[variance]
        first = self.small[1:2] if len(self.abar) > 1 else self.beta
        return np.append(first, named[1:], axis=0)


def _chain(
    of_x_0: np.ndarray,
    of_x: np.ndarray,
    variance: np.ndarray,
    denoiser: Affine,
    start: Moments | None,
) -> Moments:
    """Of x <- of_x_0 (slope x + offset) + of_x x + sqrt(variance) z, without noise at the end."""
    shape = denoiser.slope.shape[1:]
    mean, spread = start or Moments(np.zeros(shape), np.ones(shape))
    means, spreads = [mean], [spread]
    for t in reversed(range(len(of_x))):
        factor = of_x_0[t] * denoiser.slope[t] + of_x[t]
        mean = factor * mean + of_x_0[t] * denoiser.offset[t]
        spread = factor**2 * spread + (variance[t] if t else 0.0)
        means.append(mean)
        spreads.append(spread)
    return Moments(np.stack(means), np.stack(spreads))
