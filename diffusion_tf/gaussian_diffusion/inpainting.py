"""Filling in: the reverse process where a part of x_0 is known (RePaint, Lugmayr et al. 2022)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.checks import as_float32, check_range, shape_of
from diffusion_tf.gaussian_diffusion.noise import NoiseFn, StepNoise, noise_source
from diffusion_tf.utils.numbers import MAX_TIMESTEPS, whole


class Plan(NamedTuple):
    """Which steps are taken, and how far the chain jumps back up after each: int32 [N] both."""

    steps: np.ndarray
    jumps: np.ndarray


class Filling(NamedTuple):
    """What is filled in, and how.

    Attributes:
        x_start: float32 [B, ...]; what is unknown in it has no influence.
        known: bool, broadcasts to x_start.
        plan: of `plan_jumps`, for the process.
        step_noise: of each draw, by its number.
        clip_denoised: clip the predicted x_0 to [-1, 1] at every step.
    """

    x_start: tf.Tensor
    known: tf.Tensor
    plan: Plan
    step_noise: StepNoise
    clip_denoised: bool = True

    @classmethod
    def of(
        cls,
        x_start: tf.Tensor,
        known: tf.Tensor,
        plan: Plan,
        *,
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> "Filling":
        """Checks what is known; see `Inpainting.inpaint` for the arguments and errors."""
        x_start = as_float32(x_start, "x_start")
        known = checked_mask(known, x_start)
        return cls(x_start, known, plan, noise_source(noise_fn, seed), clip_denoised)

    def draw(self, number: int | tf.Tensor) -> tf.Tensor:
        """Noise shaped like x_start."""
        return self.step_noise(number, shape=shape_of(self.x_start), dtype=self.x_start.dtype)


class Inpainting:
    """Fills in unknown parts, for a process that has levels, `q_sample` and `p_sample`."""

    num_timesteps: int
    alphas_cumprod: np.ndarray
    q_sample: Callable[..., tf.Tensor]
    p_sample: Callable[..., Any]

    def inpaint(
        self,
        denoise_fn: DenoiseFn,
        *,
        x_start: tf.Tensor,
        known: tf.Tensor,
        jump_length: int = 10,
        num_resamples: int = 10,
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> tf.Tensor:
        """Samples what is unknown, given what is known (RePaint, Algorithm 1).

        After each step the known part is drawn anew from q(x_{t-1} | x_0). So that the unknown part
        comes to fit it, the chain goes through every stretch of `jump_length` steps `num_resamples`
        times: it jumps back by q(x_{t+j} | x_t), in one go, and denoises again. With more resamples
        what comes out tends to the conditional distribution; with 1 it is far from it.

        Args:
            denoise_fn: the network.
            x_start: [B, ...]; images in [-1, 1]. What is unknown in them has no influence.
            known: bool, or 0 and 1, broadcasts to x_start: where it is known.
            jump_length, num_resamples: j and r of their Figure 8; a process of T steps is stepped
                through about T num_resamples times, see `plan_jumps`.
            noise_fn, seed, clip_denoised: see `Chains.p_sample_loop`.

        Returns:
            Shaped like x_start; equal to it where it is known.

        Raises:
            ValueError: a mask of another shape, or with other numbers; images leave [-1, 1] (both
                checked outside `tf.function`); jump_length or num_resamples < 1.
        """
        plan = plan_jumps(self.num_timesteps, jump_length, num_resamples)
        filling = Filling.of(
            x_start, known, plan, noise_fn=noise_fn, seed=seed, clip_denoised=clip_denoised
        )
        if len(filling.x_start.shape) > 2:  # images
            zeros = tf.zeros_like(filling.x_start)
            check_range(tf.where(filling.known, filling.x_start, zeros), "x_start")
        x_T = self.inpaint_start(filling)
        return self.inpaint_moves(denoise_fn, filling, x_T, 0, len(plan.steps))

    def inpaint_start(self, filling: Filling) -> tf.Tensor:
        """x_T, where `inpaint_moves` starts: noise, and the known part diffused."""
        x_start, number = filling.x_start, len(filling.plan.steps)
        noise = filling.draw(4 * number)
        t = tf.fill([shape_of(x_start)[0]], self.num_timesteps - 1)
        known_part = self.q_sample(x_start, t, noise=filling.draw(4 * number + 1))
        return tf.where(filling.known, known_part, noise)

    def inpaint_moves(
        self,
        denoise_fn: DenoiseFn,
        filling: Filling,
        x: tf.Tensor,
        first: int | tf.Tensor,
        last: int | tf.Tensor,
    ) -> tf.Tensor:
        """A part of `inpaint`: what comes out of the moves first, ..., last - 1 of a plan.

        A move is a step, the known part drawn anew, and a jump back if there is one. With a seed, a
        chain cut into pieces anywhere equals the chain run in one go.

        Args:
            denoise_fn: the network.
            filling: what is filled in; with a seed, not a noise_fn, where there are pieces.
            x: of `inpaint_start`, or what came out of the moves before.
            first, last: numbers or int32 scalars.
        """
        steps, jumps = map(tf.constant, filling.plan)
        tables = [tf.constant(table, x.dtype) for table in self._jump_tables(filling.plan)]

        def move(k: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x = self.p_sample(
                denoise_fn,
                x=x,
                t=tf.fill([shape_of(x)[0]], steps[k]),
                noise_fn=lambda shape, dtype: filling.step_noise(
                    4 * k + 1, shape=shape, dtype=dtype
                ),
                clip_denoised=filling.clip_denoised,
            )
            x = self._with_known_part(filling, x, steps[k] - 1, noise=filling.draw(4 * k))
            of_x, of_noise = (table[k] for table in tables)
            return k + 1, tf.cond(
                jumps[k] > 0, lambda: of_x * x + of_noise * filling.draw(4 * k + 2), lambda: x
            )

        return tf.while_loop(
            lambda k, _: k < last, move, [tf.cast(first, tf.int32), x], parallel_iterations=1
        )[1]

    def _with_known_part(
        self, filling: Filling, x: tf.Tensor, t: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor:
        """x at level t, with the known part from q; at -1, the known part itself."""
        t_batch = tf.fill([shape_of(x)[0]], tf.maximum(t, 0))
        x_t = self.q_sample(filling.x_start, t_batch, noise=noise)
        return tf.where(filling.known, tf.where(t < 0, filling.x_start, x_t), x)

    def _jump_tables(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """Of x and of noise in q(x_{t+j} | x_t), where j is 0: 1 and 0."""
        abar = np.append(1.0, self.alphas_cumprod)
        ratio = abar[plan.steps + plan.jumps] / abar[plan.steps]
        return np.sqrt(ratio), np.sqrt(1.0 - ratio)


def plan_jumps(num_timesteps: int, jump_length: int, num_resamples: int) -> Plan:
    """The order of steps and jumps: RePaint's, `get_schedule_jump` in their code.

    From every `jump_length`-th level, the lowest included, from which there is room for it, the
    chain jumps back up num_resamples - 1 times.

    Args:
        num_timesteps: T.
        jump_length: steps that a jump undoes; where it is T or more, there is no jump.
        num_resamples: how often each stretch is gone through; 1: the plain chain.

    Raises:
        ValueError: jump_length or num_resamples < 1, or more than `MAX_TIMESTEPS` steps of them.
    """
    jump_length = whole(jump_length, "jump_length", 1)
    num_resamples = whole(num_resamples, "num_resamples", 1)
    left = dict.fromkeys(range(0, num_timesteps - jump_length, jump_length), num_resamples - 1)
    number = num_timesteps + len(left) * (num_resamples - 1) * jump_length
    if number > MAX_TIMESTEPS:
        raise ValueError(
            f"num_resamples is {num_resamples}: with a jump_length of {jump_length} that makes"
            f" {number:,} steps; it must be smaller, so that there are at most {MAX_TIMESTEPS:,}."
        )
    steps, jumps, t = [], [], num_timesteps - 1
    while t >= 0:
        steps.append(t)
        t -= 1
        jump = jump_length if left.get(t, 0) else 0
        if jump:
            left[t] -= 1
        jumps.append(jump)
        t += jump
    return Plan(np.array(steps, np.int32), np.array(jumps, np.int32))


def checked_mask(known: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Where x is known, as bool that broadcasts to x; ValueError on other shapes or numbers."""
    known = known if tf.is_tensor(known) else np.asarray(known)
    if known.dtype not in (bool, tf.bool):
        known = as_float32(known, "known")
        if hasattr(known, "numpy") and not np.isin(known.numpy(), [0, 1]).all():
            raise ValueError("known holds numbers other than 0 and 1; say of each pixel whether.")
        known = known > 0.5
    known = tf.convert_to_tensor(known)
    try:
        shape = tf.broadcast_static_shape(*(tf.TensorShape(a.shape) for a in (known, x)))
    except ValueError:
        shape = None
    if shape is None or not shape.is_compatible_with(x.shape):
        raise ValueError(
            f"known has shape {known.shape}; it must broadcast to that of the data, {x.shape}."
        )
    return known
