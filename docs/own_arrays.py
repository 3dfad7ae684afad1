"""Examples for `scripts/crosscheck.py --module` that deal in arrays: NumPy and JAX.

python scripts/crosscheck.py --module=docs/own_arrays.py:InNumPy
python scripts/crosscheck.py --module=docs/own_arrays.py:InJAX
"""

import numpy as np


class InNumPy:
    """A process: whichever methods of `crosscheck.counterpart.Process` it has, of arrays.

    Images come and go in the `layout`; t is int64 [B]. A step of sampling is given its noise.
    """

    layout = "NHWC"

    def __init__(self, config):
        self.betas = np.linspace(config.beta_start, config.beta_end, config.num_diffusion_timesteps)
        self.alphas_cumprod = np.cumprod(1 - self.betas)

    def q_sample(self, x_start, t, noise):
        abar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return np.sqrt(abar) * x_start + np.sqrt(1 - abar) * noise

    def p_sample(self, model, x, t, noise):
        abar, beta = self.alphas_cumprod[t], self.betas[t]
        before = np.where(t > 0, self.alphas_cumprod[t - 1], 1.0)
        abar, beta, before = (a.reshape(-1, 1, 1, 1) for a in (abar, beta, before))
        x_start = np.clip((x - np.sqrt(1 - abar) * model(x, t)) / np.sqrt(abar), -1, 1)
        mean = beta * np.sqrt(before) / (1 - abar) * x_start
        mean = mean + (1 - before) * np.sqrt(1 - beta) / (1 - abar) * x
        return mean + (t > 0).reshape(-1, 1, 1, 1) * np.sqrt(beta) * noise

    def from_pixels(self, pixels):
        return pixels / 127.5 - 1


class InJAX:
    """A process, a loss and an optimizer in JAX, NCHW; only what is defined is compared."""

    layout = "NCHW"

    def __init__(self, config):
        import jax.numpy as jnp

        self._np = jnp
        betas = np.linspace(config.beta_start, config.beta_end, config.num_diffusion_timesteps)
        self.betas = betas
        self.alphas_cumprod = np.cumprod(1 - betas)

    def q_sample(self, x_start, t, noise):
        abar = self._np.asarray(self.alphas_cumprod)[t].reshape(-1, 1, 1, 1)
        return self._np.sqrt(abar) * x_start + self._np.sqrt(1 - abar) * noise

    def training_losses(self, model, x_start, t, *, noise):
        x_t = np.asarray(self.q_sample(x_start, t, noise))
        return self._np.square(model(x_t, t) - noise).mean(axis=(1, 2, 3))
