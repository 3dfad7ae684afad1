"""Steps and chains of sampling in NumPy, with what implementations do differently."""

import numpy as np

from diffusion_tf.crosscheck.recipe_process import Model, Moments, ProcessRecipe


class Steps(ProcessRecipe):
    """Sampling by the process of a config, with the choices."""

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
        mean = (
            self._ddim_mean(p, x, t, self.alphas_cumprod_prev[t]) if its.step == "ddim" else p.mean
        )
        if its.step == "x_start":
            mean = p.pred_xstart
        sample = mean + its.temperature * is_noisy * deviation * noise
        clips = its.step_clip == "each" or (its.step_clip == "last" and not t.any())
        return np.clip(sample, -1, 1) if clips else sample

    def chain(self, denoise_fn: Model, x: np.ndarray, noises: np.ndarray) -> np.ndarray:
        """x_0 from x_T by all steps (algorithm 2).

        Args:
            denoise_fn: the network.
            x: what is drawn first, [B, ...].
            noises: what is drawn in the steps, one after the other, [T, B, ...].
        """
        its, T = self._choices, self.num_timesteps
        x = {"noise": x, "zeros": 0 * x, "clipped": np.clip(x, -1, 1)}.get(its.chain_start, 0.5 * x)
        steps = range(T - 1 - its.chain_skips_first, -1 + its.chain_skips_last, -1)
        for i, t in enumerate(reversed(steps) if its.chain_rises else steps):
            drawn = T - 1 - t if its.chain_noise_of_t else i
            noise = noises[0 if its.chain_one_noise else drawn]
            x = self.p_sample(denoise_fn, x=x, t=np.full(len(x), t), noise=noise)
        if its.chain_end == "[0, 1]":
            return (x + 1) / 2
        return np.clip(x, -1, 1) if its.chain_end == "clipped" else x

    def ddim_sample(
        self,
        denoise_fn: Model,
        *,
        x: np.ndarray,
        t: np.ndarray,
        eta: float = 0.0,
        noise: np.ndarray | None = None,
    ) -> np.ndarray:
        """x_{t-1} by DDIM (Song, Meng & Ermon 2021, eq. 12)."""
        abar, previous = self.alphas_cumprod, self.alphas_cumprod_prev
        previous = {
            "t - 1": lambda: previous,
            "t - 2": lambda: np.concatenate([[1.0, 1.0], abar])[: len(abar)],
            "t + 1": lambda: np.append(abar[1:], abar[-1]),
            "t": lambda: abar,
            "as at the first": lambda: np.append(abar[0], abar[:-1]),
        }[self._choices.ddim_previous]()
        return self._ddim_step(denoise_fn, x, t, previous[np.asarray(t)], eta, noise)

    def _ddim_step(
        self,
        denoise_fn: Model,
        x: np.ndarray,
        t: np.ndarray,
        previous: np.ndarray,
        eta: float = 0.0,
        noise: np.ndarray | None = None,
    ) -> np.ndarray:
        p, eps = self.p_mean_variance(denoise_fn, x=x, t=t), None
        if self._choices.ddim_eps == "as predicted" and self.model_mean_type == "eps":
            eps, _ = self._halves(denoise_fn, x, t)
        sigma = eta * self._ddim_sigma(np.asarray(t), previous, eta)
        sample = self._ddim_mean(p, x, t, previous, eps, sigma)
        return sample if noise is None else sample + _images(sigma) * noise

    def _ddim_sigma(self, t: np.ndarray, previous: np.ndarray, eta: float) -> np.ndarray:
        """The deviation of their eq. 16 with eta = 1, [B]."""
        abar = self.alphas_cumprod[t]
        with np.errstate(all="ignore"):
            variance = (1 - previous) / (1 - abar) * (1 - abar / previous)
        return {
            "posterior": lambda: np.sqrt(variance),
            "beta": lambda: np.sqrt(1 - abar / previous) * (t > 0),
            "variance": lambda: variance,
            "eta squared": lambda: eta * np.sqrt(variance),
            "root of eta": lambda: np.sqrt(variance) / np.sqrt(eta or 1.0),
            "none": lambda: 0 * variance,
        }[self._choices.ddim_sigma]()

    def _ddim_mean(
        self,
        p: Moments,
        x: np.ndarray,
        t: np.ndarray,
        previous: np.ndarray,
        eps: np.ndarray | None = None,
        sigma: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """Eq. 12 without its noise; abar of the step before is `previous` [B]."""
        if eps is None:
            eps = (x - self._at(self.sqrt_alphas_cumprod, t) * p.pred_xstart) / self._at(
                self.sqrt_one_minus_alphas_cumprod, t
            )
        sigma = 0.0 if self._choices.ddim_sigma_stays else sigma
        direction = {
            "root": lambda: np.sqrt(np.maximum(1 - previous - np.square(sigma), 0)),
            "no root": lambda: 1 - previous - np.square(sigma),
            "1 - root": lambda: 1 - np.sqrt(previous),
        }[self._choices.ddim_direction]()
        return _images(np.sqrt(previous)) * p.pred_xstart + _images(direction) * eps


def _images(numbers: np.ndarray) -> np.ndarray:
    """Numbers [B] as float32 [B, 1, 1, 1]."""
    return np.asarray(numbers).astype(np.float32).reshape(-1, 1, 1, 1)
