"""Progressive coding: what data cost, step by step, and what is seen of them (section 4.3).

Algorithm 3 sends x_T, x_{T-1}, ..., x_0 in turn, each by the noise that tells q from p, for which
minimal random coding needs about KL(q || p) bits; Algorithm 4 receives them and estimates x_0 after
each. Nothing is coded here: the terms of the bound say what it would cost (eq. 5).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn, swap_first_two_axes
from diffusion_tf.gaussian_diffusion.checks import as_float32, check_range, shape_of
from diffusion_tf.gaussian_diffusion.noise import NoiseFn, StepNoise, noise_source
from diffusion_tf.losses import meanflat


class Transmission(NamedTuple):
    """What is sent and seen; column k is after x_t of t = T - 1 - k, column T after x_0 itself.

    Attributes:
        rate: [B, T + 1], bits/dim spent so far.
        distortion: [B, T + 1], mean square of x_0 minus its estimate, in the units of [-1, 1].
        spent: [B, K], the rate that each budget was spent on: the most that lies within it.
        reconstructions: [B, K, ...], the estimates at these rates; 0, grey, where not even x_T lies
            within the budget.
    """

    rate: tf.Tensor
    distortion: tf.Tensor
    spent: tf.Tensor
    reconstructions: tf.Tensor


class _State(NamedTuple):
    """Before a step: x_t, the rate so far [B], and what is kept for each budget."""

    x: tf.Tensor
    rate: tf.Tensor
    spent: tf.Tensor  # [B, K]
    kept: tf.Tensor  # [B, K, ...]


class Compression:
    """Rate and distortion, for a process with q, p and the terms of the bound."""

    num_timesteps: int
    q_sample: Callable[..., tf.Tensor]
    q_posterior_mean_variance: Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
    prior_bpd: Callable[..., tf.Tensor]
    _vb_terms_bpd: Callable[..., Any]

    def transmit(
        self,
        denoise_fn: DenoiseFn,
        x_start: tf.Tensor,
        *,
        budgets: Sequence[float] = (),
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> Transmission:
        """Sends data along one chain of q, as Algorithms 3 and 4 do (Figure 5).

        On average over the noise the rates are sums of the terms that `calc_bpd_loop` returns: the
        prior first, then those of T - 1, ..., 0.

        Args:
            denoise_fn: the network.
            x_start: [B, ...] in [-1, 1], 8-bit pixels.
            budgets: K rates in bits/dim, at which estimates are kept.
            noise_fn, seed, clip_denoised: see `calc_bpd_loop`.

        Raises:
            ValueError: a budget is not a number of 0 or more; data leave [-1, 1] (checked outside
                `tf.function`).
        """
        x_start = as_float32(x_start, "x_start")
        check_range(x_start, "x_start")
        within = checked_budgets(budgets)
        step_noise = noise_source(noise_fn, seed)
        state = self._first_state(x_start, within, step_noise)
        columns = [
            tf.TensorArray(tf.float32, self.num_timesteps, element_shape=x_start.shape[:1])
            for _ in range(2)
        ]

        def step(k: tf.Tensor, state: _State, rates: Any, errors: Any) -> tuple:
            rates = rates.write(k, state.rate)
            state, error = self._send(
                denoise_fn, x_start, self.num_timesteps - 1 - k, state, within, step_noise,
                clip_denoised,
            )  # fmt: skip
            return k + 1, state, rates, errors.write(k, error)

        _, state, *columns = tf.while_loop(
            lambda k, *_: k < self.num_timesteps, step, [0, state, *columns], parallel_iterations=1
        )
        state = keep(state, x_start, within)  # all that there is
        rate, distortion = (swap_first_two_axes(column.stack()) for column in columns)
        rate = tf.concat([rate, state.rate[:, None]], axis=1)
        distortion = tf.concat([distortion, tf.zeros_like(state.rate)[:, None]], axis=1)
        return Transmission(rate, distortion, state.spent, state.kept)

    def _first_state(
        self, x_start: tf.Tensor, budgets: np.ndarray, step_noise: StepNoise
    ) -> _State:
        T, shape = self.num_timesteps, shape_of(x_start)
        noise = step_noise(T, shape=shape, dtype=x_start.dtype)
        x_T = self.q_sample(x_start, tf.fill([shape[0]], T - 1), noise=noise)
        nothing = tf.zeros([shape[0], len(budgets), *x_start.shape[1:]])
        return _State(x_T, self.prior_bpd(x_start), tf.zeros([shape[0], len(budgets)]), nothing)

    def _send(
        self,
        denoise_fn: DenoiseFn,
        x_start: tf.Tensor,
        t: tf.Tensor,
        state: _State,
        budgets: np.ndarray,
        step_noise: StepNoise,
        clip_denoised: bool,
    ) -> tuple[_State, tf.Tensor]:
        """Estimates x_0 from x_t, then sends x_{t-1}; the new state and the estimate's error."""
        t_batch = tf.fill([shape_of(x_start)[0]], t)
        bits, estimate = self._vb_terms_bpd(
            denoise_fn, x_start, state.x, t_batch, clip_denoised=clip_denoised,
            return_pred_xstart=True,
        )  # fmt: skip
        state = keep(state, estimate, budgets)
        mean, variance, _ = self.q_posterior_mean_variance(x_start, state.x, t_batch)
        noise = step_noise(t, shape=shape_of(x_start), dtype=x_start.dtype)
        error = meanflat(tf.math.squared_difference(estimate, x_start))
        return state._replace(x=mean + tf.sqrt(variance) * noise, rate=state.rate + bits), error


def keep(state: _State, estimate: tf.Tensor, budgets: np.ndarray) -> _State:
    """Takes an estimate for every budget that the rate so far lies within."""
    within = state.rate[:, None] <= budgets  # [B, K]
    spent = tf.where(within, state.rate[:, None], state.spent)
    within = tf.reshape(within, [-1, len(budgets)] + [1] * (estimate.shape.rank - 1))
    return state._replace(spent=spent, kept=tf.where(within, estimate[:, None], state.kept))


def checked_budgets(budgets: Sequence[float]) -> np.ndarray:
    """Rates as float32 [K]; ValueError unless each is a number of 0 or more."""
    array = np.asarray(budgets)
    array = array.astype(np.float32) if array.size else np.zeros([0], np.float32)
    if array.ndim != 1 or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"budgets is {budgets}; give bits/dim, each a number of 0 or more.")
    return array
