"""The flow between data and x_T without noise, in both directions, and the arc between latents.

With r = sqrt(1 / abar - 1) and z = x / sqrt(abar), DDIM without noise follows dz/dr = eps(z, r)
(Song, Meng & Ermon 2021, eq. 14), the probability-flow ODE. It goes upwards as well as downwards.
"""

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.checks import (
    as_float32,
    check_option,
    check_range,
    checked_ends,
    checked_sampling_steps,
    shape_of,
)
from diffusion_tf.utils.literals import Solver

SOLVERS: tuple[Solver, ...] = get_args(Solver)
DATA = -1  # the level of data, one step below timestep 0
MAX_R = 20.0  # where the flow ends: next to the noise there, data count one in 20


class Encoding:
    """Encodes data as x_T and decodes them, for a process that has levels and `p_mean_variance`."""

    num_timesteps: int
    alphas_cumprod: np.ndarray
    p_mean_variance: Callable

    def encode(
        self,
        denoise_fn: DenoiseFn,
        *,
        x_start: tf.Tensor,
        sampling_steps: int | Sequence[int] | None = None,
        solver: Solver = "ddim",
        clip_denoised: bool = False,
    ) -> tf.Tensor:
        """Follows the flow from data up to x_T, the latent that `decode` turns back into them.

        A step asks the network at the x and the timestep where it begins; data have no timestep of
        their own, and are taken to it as those of the first one.

        Args:
            denoise_fn: the network.
            x_start: [B, ...]; images in [-1, 1].
            sampling_steps: S, from 1 to T, spread from timestep 0 to the last one with r <= MAX_R,
                as `spread` does; or the timesteps themselves, rising; all up to there if not given.
                The latent stands at the last of them.
            solver: `ddim` takes steps of first order, each with one call of the network; `heun` of
                second order, with two (Karras et al. 2022, Algorithm 1, without noise). At the data
                it takes eps to be 0, its limit where the density is smooth.
            clip_denoised: clip the predicted x_0 to [-1, 1] at every step, as samplers do. Clipped
                steps lead to other latents, from which there is no exact way back.

        Returns:
            x_T, shaped like x_start. Over the data it is about standard normal.

        Raises:
            ValueError: images leave [-1, 1] (checked outside `tf.function`), an unknown solver, or
                steps that are not there.
        """
        x = as_float32(x_start, "x_start")
        if len(x.shape) > 2:  # images
            check_range(x, "x_start")
        path = self.flow_path(sampling_steps)
        return self.flow_steps(
            denoise_fn, x=x, path=path, solver=solver, clip_denoised=clip_denoised
        )

    def decode(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        sampling_steps: int | Sequence[int] | None = None,
        solver: Solver = "ddim",
        clip_denoised: bool = False,
    ) -> tf.Tensor:
        """Follows the flow from x_T down to data: the inverse of `encode`, up to its error.

        With `ddim` and the same timesteps this is the sampler DDIM with eta = 0.

        Args:
            denoise_fn, sampling_steps, solver, clip_denoised: see `encode`, whose choices these
                must be.
            x: x_T, [B, ...].

        Returns:
            x_0, shaped like x; pixels may leave [-1, 1] a little unless clip_denoised is set.

        Raises:
            ValueError: an unknown solver, or steps that are not there.
        """
        path = self.flow_path(sampling_steps)[::-1]
        return self.flow_steps(
            denoise_fn, x=x, path=path, solver=solver, clip_denoised=clip_denoised
        )

    @staticmethod
    def slerp(x1: tf.Tensor, x2: tf.Tensor, lam: float | Sequence[float] | tf.Tensor) -> tf.Tensor:
        """See the function `slerp`."""
        return slerp(x1, x2, lam)

    def flow_path(self, sampling_steps: int | Sequence[int] | None = None) -> np.ndarray:
        """The levels that the flow goes through, int32 [S + 1], rising from the data's, -1.

        Args:
            sampling_steps: see `encode`.
        """
        T = self.num_timesteps
        steps = checked_sampling_steps(T if sampling_steps is None else sampling_steps, T)
        if isinstance(steps, int):
            steps = spread(self.alphas_cumprod, steps)
        return np.append(DATA, steps).astype(np.int32)

    def flow_steps(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        path: np.ndarray,
        first: int | tf.Tensor = 0,
        last: int | tf.Tensor | None = None,
        solver: Solver = "ddim",
        clip_denoised: bool = False,
    ) -> tf.Tensor:
        """Takes x along a path, one step from each level to the next: all of it, or a part.

        A path cut into pieces anywhere leads where the path leads in one go.

        Args:
            denoise_fn, solver, clip_denoised: see `encode`.
            x: at the level path[first], [B, ...].
            path: of `flow_path`, or its reverse.
            first, last: from path[first] to path[last], the end if not given; numbers or int32
                scalars.

        Returns:
            Shaped like x.
        """
        check_option("solver", solver, SOLVERS)
        x, last = as_float32(x, "x"), len(path) - 1 if last is None else last
        levels, tables = tf.constant(path), [tf.constant(a, x.dtype) for a in self._tables(path)]
        asked = tf.constant(np.where(path == DATA, path[path != DATA].min(), path))

        def eps_at(x: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x_0, eps = self._x_0_and_eps(denoise_fn, x, asked[k], clip_denoised)
            return tf.where(levels[k] == DATA, x, x_0), eps

        def step(k: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            alpha, sigma, correction = (table[k] for table in tables)
            x_0, eps = eps_at(x, k)
            if solver == "ddim":
                return k + 1, alpha * x_0 + sigma * eps
            eps = zero_at_data(eps, levels[k])
            x = alpha * x_0 + sigma * eps
            eps_there = zero_at_data(eps_at(x, k + 1)[1], levels[k + 1])
            return k + 1, x + correction * (eps_there - eps)

        return tf.while_loop(
            lambda k, _: k < last, step, [tf.cast(first, tf.int32), x], parallel_iterations=1
        )[1]

    def _tables(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each step: alpha and sigma where it ends, and by how much the slope there counts.

        The trapezoidal rule, z + (r_there - r) (eps + eps_there) / 2, is the step of first order
        and (sigma_there - alpha_there r) / 2 times (eps_there - eps). Where there is no trace of
        x_0, alpha = 0, r is infinite, and the step stays of first order.
        """
        alpha = np.sqrt(np.append(1.0, self.alphas_cumprod))[path + 1]
        sigma = np.sqrt(np.append(0.0, 1.0 - self.alphas_cumprod))[path + 1]
        finite = np.minimum(alpha[:-1], alpha[1:]) > 0
        r = np.divide(sigma, alpha, out=np.zeros_like(alpha), where=alpha > 0)
        correction = np.where(finite, (sigma[1:] - alpha[1:] * r[:-1]) / 2, 0.0)
        return alpha[1:], sigma[1:], correction

    def _x_0_and_eps(
        self, denoise_fn: DenoiseFn, x: tf.Tensor, t: tf.Tensor, clip_denoised: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What x_t consists of in the eyes of the network, alpha x_0 + sigma eps."""
        p = self.p_mean_variance(
            denoise_fn, x=x, t=tf.fill([shape_of(x)[0]], t), clip_denoised=clip_denoised
        )
        alpha, sigma = (
            tf.constant(np.sqrt(abar), x.dtype)[t]
            for abar in (self.alphas_cumprod, 1.0 - self.alphas_cumprod)
        )
        return p.pred_xstart, (x - alpha * p.pred_xstart) / sigma


def slerp(x1: tf.Tensor, x2: tf.Tensor, lam: float | Sequence[float] | tf.Tensor) -> tf.Tensor:
    """Walks between latents along the arc that they span (Shoemake 1985).

    sin((1 - lam) theta) / sin theta x1 + sin(lam theta) / sin theta x2, where theta is the angle
    between the two as vectors. Of independent standard normal numbers all points of the arc have
    variance 1, while the straight line falls to 1/2 in its middle.

    Args:
        x1, x2: [B, ...]; each example is one vector.
        lam: weight of x2, a number or [L]; 0 gives x1, 1 gives x2.

    Returns:
        Shaped like x1; [L, B, ...] if lam is [L]. Two that have the same direction, or opposite
        ones, span no arc; they are mixed on a straight line.

    Raises:
        ValueError: the shapes differ, or a lam is not finite (checked outside `tf.function`).
    """
    x1, x2, weight = checked_ends(x1, x2, lam)
    flat1, flat2 = (tf.reshape(x, [shape_of(x)[0], -1]) for x in (x1, x2))
    unit1, unit2 = (tf.math.l2_normalize(x, axis=1, epsilon=1e-30) for x in (flat1, flat2))
    # Twice the angle of a half: exact for small angles, too, whose cosine has no digits left.
    theta = 2.0 * tf.atan2(tf.norm(unit1 - unit2, axis=1), tf.norm(unit1 + unit2, axis=1))
    theta = tf.reshape(theta, [-1] + [1] * (x1.shape.rank - 1))  # [B, 1, ...]
    sine = tf.sin(theta)
    no_arc = tf.abs(sine) < 1e-4
    safe = tf.where(no_arc, 1.0, sine)
    of_x1 = tf.where(no_arc, 1.0 - weight, tf.sin((1.0 - weight) * theta) / safe)
    of_x2 = tf.where(no_arc, weight, tf.sin(weight * theta) / safe)
    mixture = of_x1 * x1 + of_x2 * x2  # [L, B, ...]
    return tf.reshape(mixture, [*np.shape(lam), -1, *x1.shape[1:]])


def spread(alphas_cumprod: np.ndarray, S: int) -> np.ndarray:
    """S timesteps by equal strides from 0, or all there are, among those with r <= MAX_R.

    A step multiplies errors in eps by the ratio of its ends' sqrt(abar). Where a schedule goes on
    to sqrt(abar) = 0, as `cosine` does, this ratio is 2 at the top however many steps there are,
    and the way back does not become better with more of them.
    """
    number = max(1, int(np.sum(1.0 - alphas_cumprod <= MAX_R**2 * alphas_cumprod)))
    S = min(S, number)
    return np.arange(S) * number // S


def zero_at_data(eps: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """eps, or 0 at the level of data."""
    return tf.where(level == DATA, tf.zeros_like(eps), eps)
