"""Data from one Gaussian: its network, its flow, its bound and its likelihood in closed form."""

import numpy as np

from diffusion_tf.gaussian_diffusion.exact.chains import Affine, Steps
from diffusion_tf.gaussian_diffusion.exact.mixtures import Mixture, Moments, log_of_bin


class Gaussian(Mixture):
    """Data from one Gaussian with diagonal covariance: all of its chains have closed forms.

    Attributes:
        mean, variance: float64, shaped like one example.
    """

    def __init__(self, mean: np.ndarray, variance: np.ndarray | float):
        """Takes the mean [...] and the variance, a number or [...].

        Raises:
            ValueError: see `Mixture`.
        """
        super().__init__(np.asarray(mean)[None], np.asarray(variance, np.float64)[None])
        self.mean, self.variance = self.means[0], self.variances[0]

    def marginal(self, alphas_cumprod: np.ndarray | float) -> Moments:
        """Of x_t at levels [S] or one: eq. 4 with x_0 ~ N(mean, variance); [S, ...] each."""
        abar = self._levels(alphas_cumprod)
        return Moments(np.sqrt(abar) * self.mean, abar * self.variance + 1 - abar)

    def denoiser(self, alphas_cumprod: np.ndarray) -> Affine:
        """E[x_0 | x_t] = slope x_t + offset at levels [S]."""
        root = np.sqrt(self._levels(alphas_cumprod))
        slope = root * self.variance / self.marginal(alphas_cumprod).variance
        return Affine(slope, (1 - slope * root) * self.mean)

    def flow(self, x: np.ndarray, start: float, end: float) -> np.ndarray:
        """The flow that DDIM with eta = 0 discretizes, from one level alphas_cumprod to another.

        With r = sqrt(1 / abar - 1) and z = x / sqrt(abar), their eq. 14 is dz/dr = eps(z, r). For a
        Gaussian eps = r (z - mean) / (variance + r^2), so z - mean grows like the deviation of z,
        sqrt(variance + r^2): x keeps its distance from the mean in standard deviations.

        Args:
            x: [B, ...] at the level `start`.
            start, end: in [0, 1]; 1 is the data.
        """
        (mean, variance), (new_mean, new_variance) = self.marginal(start), self.marginal(end)
        return new_mean + np.sqrt(new_variance / variance) * (x - mean)

    def bound(
        self,
        alphas_cumprod: np.ndarray,
        x_start: np.ndarray,
        variance: np.ndarray | str = "fixedsmall",
    ) -> tuple[np.ndarray, np.ndarray]:
        """The variational bound of data under the optimal network, on average over the noise.

        Term t > 0 (eq. 8) compares two Gaussians whose means differ by coef1 (x_0 - E[x_0 | x_t]),
        and on average over x_t given x_0

            E (x_0 - E[x_0 | x_t])^2 = (1 - g sqrt(abar))^2 (x_0 - mean)^2 + g^2 (1 - abar).

        The decoder's term (eq. 13, with the exact distribution function) is integrated numerically.

        Args:
            alphas_cumprod: [T].
            x_start: [B, ...], 8-bit pixels in [-1, 1].
            variance: see `ancestral_chain`; its first entry is the decoder's.

        Returns:
            terms float64 [B, T] and the prior [B] (eq. 5), in bits/dim.
        """
        steps, x_0 = Steps(self._levels(alphas_cumprod)), np.asarray(x_start, np.float64)[:, None]
        slope, offset = self.denoiser(alphas_cumprod)
        distance = (1 - slope * np.sqrt(steps.abar)) ** 2 * (x_0 - self.mean) ** 2
        distance = distance + slope**2 * (1 - steps.abar)  # [B, T, ...]
        p_variance = steps.variance(variance)
        small = np.append(p_variance[:1], steps.small[1:], axis=0)  # no variance at t = 0
        ratio = (small + steps.coef1**2 * distance) / p_variance
        terms = 0.5 * (ratio - 1 - np.log(small / p_variance))

        x_0, abar_T = x_0[:, 0], steps.abar[-1]
        first = Affine(slope[0], offset[0])
        terms[:, 0] = _decoder(x_0, steps.abar[0], first, np.sqrt(p_variance[0]))
        prior = 0.5 * (abar_T * x_0**2 - abar_T - np.log(1 - abar_T))
        size = np.prod(self.mean.shape)
        terms, prior = terms.reshape(*terms.shape[:2], size), prior.reshape(len(prior), size)
        return terms.mean(axis=2) / np.log(2), prior.mean(axis=1) / np.log(2)

    def _levels(self, alphas_cumprod: np.ndarray | float) -> np.ndarray:
        abar = np.asarray(alphas_cumprod, np.float64)
        return abar.reshape(*abar.shape, *[1] * self.mean.ndim) if abar.ndim else abar


def _decoder(x_0: np.ndarray, abar: np.ndarray, denoiser: Affine, stdv: np.ndarray) -> np.ndarray:
    """-log of the pixel's probability, on average over the noise in x_1 (eq. 13); in nats."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    nats = np.zeros_like(x_0)
    for noise, weight in zip(nodes, weights / weights.sum(), strict=True):
        x_1 = np.sqrt(abar) * x_0 + np.sqrt(1 - abar) * noise
        nats -= weight * log_of_bin(x_0, denoiser.slope * x_1 + denoiser.offset, stdv)
    return nats
