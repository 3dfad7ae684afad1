"""Whole chains of the reverse process: samples, progressive predictions, trajectories, mixtures."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.checks import (
    as_float32,
    check_range,
    checked_ends,
    checked_shape,
    checked_step,
    checked_times,
    shape_of,
    weight_of_x1,
)
from diffusion_tf.gaussian_diffusion.noise import NoiseFn, StepNoise, noise_source, repeat_noise
from diffusion_tf.utils.literals import Mix
from diffusion_tf.utils.numbers import whole

DenoiseFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


Memory = tuple[tf.Tensor, ...]


class State(NamedTuple):
    """Of a chain between two steps: x, the x_0 that the last step predicted, its memory."""

    x: tf.Tensor
    pred_xstart: tf.Tensor
    memory: Memory


class Chains:
    """Loops over the steps of p; each is a `tf.while_loop` and compiles with XLA or without.

    For a process that has `num_timesteps`, `q_sample` and `p_sample`.
    """

    num_timesteps: int

    def __repr__(self) -> str:
        """What a process is: its steps, its variances, what its network predicts."""
        betas = np.asarray(vars(self)["betas"])
        names = ("model_mean_type", "model_var_type", "loss_type", "eta")
        options = "".join(f", {n}={vars(self)[n]!r}" for n in names if n in vars(self))
        return (
            f"{type(self).__name__}(T={self.num_timesteps}, betas from {betas.min():.3g} to"
            f" {betas.max():.3g}{options})"
        )

    q_sample: Callable[..., tf.Tensor]
    p_sample: Callable[..., tf.Tensor | tuple[tf.Tensor, tf.Tensor]]

    def prior_sample(
        self,
        *,
        shape: Sequence[int],
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws x_T, where every chain starts: standard normal (eq. 1).

        Args:
            shape, noise_fn, seed: see `p_sample_loop`, which starts from the same x_T.

        Returns:
            float32 of the given shape.
        """
        return self._prior_sample(shape, noise_source(noise_fn, seed))

    def _prior_sample(self, shape: Sequence[int], step_noise: StepNoise) -> tf.Tensor:
        x = step_noise(self.num_timesteps, shape=checked_shape(shape), dtype=tf.float32)
        return tf.convert_to_tensor(x, tf.float32)

    def p_sample_steps(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        first: int | tf.Tensor,
        last: int | tf.Tensor,
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
        memory: Memory | None = None,
        return_pred_xstart: bool = False,
    ) -> tuple:
        """Takes the steps first, first - 1, ..., last of the reverse process (Algorithm 2).

        With `seed`, a chain cut into pieces anywhere equals the chain run in one go, if each piece
        is given the memory of the one before.

        Args:
            denoise_fn: the network.
            x: x_t at t = `first`, [B, ...].
            first, last: T > first >= last >= 0, numbers or int32 scalars.
            noise_fn, seed, clip_denoised: see `p_sample_loop`.
            memory: of a chain that goes on; see `p_sample_with_memory`.
            return_pred_xstart: return between the two the x_0 that step `last` predicted.

        Returns:
            What comes out of step `last`, shaped like x, and the memory, empty for most samplers.

        Raises:
            ValueError: the steps do not fall within T - 1..0 (checked where they are known).
        """
        step_noise = noise_source(noise_fn, seed)
        x = as_float32(x, "x")
        first = checked_step(first, "first", self.num_timesteps)
        last = checked_step(last, "last", self.num_timesteps)
        if isinstance(first, int) and isinstance(last, int) and first < last:
            raise ValueError(f"first is {first} and last is {last}; steps fall, so first >= last.")
        start = self._start(x, memory)
        state = self._denoise(denoise_fn, start, first, last, step_noise, clip_denoised)
        return tuple(state) if return_pred_xstart else (state.x, state.memory)

    def initial_memory(self, x: tf.Tensor) -> Memory:
        """What the first step of a chain gets for `memory`: nothing, if one step knows no other."""
        return ()

    def p_sample_with_memory(
        self,
        denoise_fn: DenoiseFn,
        *,
        x: tf.Tensor,
        t: tf.Tensor,
        memory: Memory,
        noise_fn: NoiseFn | None = None,
        clip_denoised: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        """One step, and what it leaves for the next one: a method of several steps overrides it.

        Args:
            denoise_fn, x, t, noise_fn, clip_denoised: see `GaussianDiffusion.p_sample`.
            memory: of the step before.

        Returns:
            x_{t-1}, the predicted x_0, and the memory for the next step.
        """
        return *self.p_sample(
            denoise_fn, x=x, t=t, noise_fn=noise_fn, clip_denoised=clip_denoised,
            return_pred_xstart=True,
        ), memory  # fmt: skip

    def _denoise(
        self,
        denoise_fn: DenoiseFn,
        state: State,
        first: int | tf.Tensor,
        last: int | tf.Tensor,
        step_noise: StepNoise,
        clip_denoised: bool,
    ) -> State:
        """The state after step `last`; as it is, if first < last."""

        def step(i: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            return i - 1, State(
                *self.p_sample_with_memory(
                    denoise_fn,
                    x=state.x,
                    t=tf.fill([shape_of(state.x)[0]], i),
                    memory=state.memory,
                    noise_fn=lambda shape, dtype: step_noise(i, shape=shape, dtype=dtype),
                    clip_denoised=clip_denoised,
                )
            )

        # One iteration at a time: more would only draw noise ahead of its use, out of order.
        return tf.while_loop(
            lambda i, _: i >= last, step, [tf.cast(first, tf.int32), state], parallel_iterations=1
        )[1]

    def _start(self, x: tf.Tensor, memory: Memory | None = None) -> State:
        return State(x, tf.zeros_like(x), self.initial_memory(x) if memory is None else memory)

    def _denoise_and_record(
        self,
        denoise_fn: DenoiseFn,
        x: tf.Tensor,
        stops: Sequence[int],
        step_noise: StepNoise,
        record: Callable[[State], tf.Tensor],
        clip_denoised: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Denoises x from T - 1 down to each stop in turn, keeping `record(state)` there.

        A stop is the step that x is about to take, -1 for the finished sample. Memory is that of
        the frames that are returned.

        Returns:
            x at the last stop [B, ...], and the records [len(stops), B, ...].
        """
        stop_at = tf.constant(stops, dtype=tf.int32)

        def to_next_stop(
            k: tf.Tensor, i: tf.Tensor, state: State, frames: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, State, tf.TensorArray]:
            state = self._denoise(denoise_fn, state, i, stop_at[k] + 1, step_noise, clip_denoised)
            return k + 1, stop_at[k], state, frames.write(k, record(state))

        frames = tf.TensorArray(x.dtype, size=len(stops), element_shape=x.shape)
        _, _, state, frames = tf.while_loop(
            lambda k, *_: k < len(stops),
            to_next_stop,
            [0, self.num_timesteps - 1, self._start(x), frames],
            parallel_iterations=1,
        )
        return state.x, tf.ensure_shape(frames.stack(), [len(stops), *x.shape])

    def p_sample_loop(
        self,
        denoise_fn: DenoiseFn,
        *,
        shape: Sequence[int],
        noise_fn: NoiseFn | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> tf.Tensor:
        """Generates samples (Algorithm 2).

        A `tf.while_loop`: wrap the call in `tf.function`, with `jit_compile=True` or without.

        Args:
            denoise_fn: the network.
            shape: [B, ...] of the samples.
            noise_fn: `noise_fn(shape=, dtype=)`; standard normal noise if not given.
            seed: instead of noise_fn: an int, or an integer tensor [2]. The noise then depends on
                the seed and the step alone.
            clip_denoised: clip the x_0 that is predicted at each step to [-1, 1], as the original
                does. Samples of `xstart` and `eps` then lie there, too: the last step adds no
                noise.

        Returns:
            float32 of the given shape.
        """
        step_noise = noise_source(noise_fn, seed)
        x = self._prior_sample(shape, step_noise)
        first = self.num_timesteps - 1
        return self._denoise(denoise_fn, self._start(x), first, 0, step_noise, clip_denoised).x

    def p_sample_loop_progressive(
        self,
        denoise_fn: DenoiseFn,
        *,
        shape: Sequence[int],
        noise_fn: NoiseFn | None = None,
        include_xstartpred_freq: int = 50,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Generates samples and keeps predictions of x_0 on the way (paper Figure 6).

        Args:
            denoise_fn, shape, noise_fn, seed, clip_denoised: see `p_sample_loop`.
            include_xstartpred_freq: distance in steps between the predictions kept.

        Returns:
            samples [B, ...] and predictions [B, T // freq, ...]; prediction k was made at step
            k * freq.
        """
        freq = whole(include_xstartpred_freq, "include_xstartpred_freq", 1)
        num_recorded = self.num_timesteps // freq
        stops = [k * freq - 1 for k in reversed(range(num_recorded))] or [-1]
        step_noise = noise_source(noise_fn, seed)
        x = self._prior_sample(shape, step_noise)
        x, predictions = self._denoise_and_record(
            denoise_fn, x, stops, step_noise, lambda state: state.pred_xstart, clip_denoised
        )
        predictions = tf.reverse(predictions, axis=[0])[:num_recorded]
        return x, swap_first_two_axes(predictions)

    def p_sample_loop_trajectory(
        self,
        denoise_fn: DenoiseFn,
        *,
        shape: Sequence[int],
        noise_fn: NoiseFn | None = None,
        repeat_noise_steps: int = -1,
        keep: Sequence[int] | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Generates samples and keeps the images on the way (paper Figures 7 and 10).

        Args:
            denoise_fn, shape, noise_fn, seed, clip_denoised: see `p_sample_loop`.
            repeat_noise_steps: from 0 on, x_T is the same for the whole batch, and so is the
                noise of that many first steps.
            keep: the times to keep, from T - 1 (the noise) to -1 (the sample), in any order. All
                T + 1 if not given. Steps after the last one kept are not taken.

        Returns:
            times int32 [T + 1] in falling order, the step that each image is about to take; and
            images [T + 1, B, ...]. With `keep`, len(keep) instead of T + 1.

        Raises:
            ValueError: a time to keep is not in -1..T-1, or there is none.
        """
        T = self.num_timesteps
        times = checked_times(range(-1, T) if keep is None else keep, T)
        repeat_noise_steps = whole(repeat_noise_steps, "repeat_noise_steps", -1)
        step_noise = noise_source(noise_fn, seed)
        if repeat_noise_steps >= 0:
            step_noise = repeat_noise(step_noise, while_step_from=T - repeat_noise_steps)
        x = self._prior_sample(shape, step_noise)
        _, images = self._denoise_and_record(
            denoise_fn, x, times, step_noise, lambda state: state.x, clip_denoised
        )
        return tf.constant(times, dtype=tf.int32), images

    def interpolate(
        self,
        denoise_fn: DenoiseFn,
        *,
        x1: tf.Tensor,
        x2: tf.Tensor,
        lam: float | Sequence[float] | tf.Tensor,
        t: int | tf.Tensor,
        noise_fn: NoiseFn | None = None,
        noise1: tf.Tensor | None = None,
        noise2: tf.Tensor | None = None,
        seed: int | tf.Tensor | None = None,
        clip_denoised: bool = True,
        mix: Mix = "linear",
        shared_noise: bool = False,
    ) -> tf.Tensor:
        """Mixes two diffused images and denoises the mixture (section 4.3, Figure 8).

        Args:
            denoise_fn: the network.
            x1, x2: the endpoints, [B, ...]; images lie in [-1, 1].
            lam: weight of x2, a number or [L]. Every lam sees the same two diffused endpoints.
            t: both are diffused by t + 1 steps, and t + 1 steps are taken back.
            noise_fn, seed: see `p_sample_loop`; they also give the endpoints' noises.
            clip_denoised: see `p_sample_loop`.
            noise1, noise2: the noises that diffuse x1 and x2, shaped like them.
            mix: `linear` weighs x_t of x1 by 1 - lam, `constant_variance` by sqrt(1 - lam^2), with
                which the mixture of two independent noises has as much variance as each of them.
            shared_noise: diffuse both ends by one noise, noise1. A linear mixture then has all of
                its variance.

        Returns:
            Shaped like x1; [L, B, ...] if lam is [L].

        Raises:
            ValueError: the shapes differ, images leave [-1, 1], a lam is not finite, or beyond 1
                with `constant_variance`, or t is not in 0..T-1 (checked where values are known,
                that is outside `tf.function`); noise2 with shared_noise; an unknown mix.
        """
        step_noise = noise_source(noise_fn, seed)
        x_t = self.diffused_mixture(
            x1=x1, x2=x2, lam=lam, t=t, step_noise=step_noise, noise1=noise1, noise2=noise2,
            mix=mix, shared_noise=shared_noise,
        )  # fmt: skip
        t = checked_step(t, "t", self.num_timesteps)
        x_0 = self._denoise(denoise_fn, self._start(x_t), t, 0, step_noise, clip_denoised).x
        return tf.reshape(x_0, [*np.shape(lam), -1, *x_t.shape[1:]])

    def diffused_mixture(
        self,
        *,
        x1: tf.Tensor,
        x2: tf.Tensor,
        lam: float | Sequence[float] | tf.Tensor,
        t: int | tf.Tensor,
        step_noise: StepNoise,
        noise1: tf.Tensor | None = None,
        noise2: tf.Tensor | None = None,
        mix: Mix = "linear",
        shared_noise: bool = False,
    ) -> tf.Tensor:
        """What `interpolate` denoises, [L * B, ...]; see there, and `noise.noise_source`."""
        x1, x2, weight = checked_ends(x1, x2, lam)  # of x2: [L, 1, 1, ...]
        if shared_noise and noise2 is not None:
            raise ValueError("shared_noise and noise2 were both given; give one of them.")
        t = checked_step(t, "t", self.num_timesteps)
        if x1.shape.rank > 2:  # images
            check_range(x1, "x1")
            check_range(x2, "x2")
        T = self.num_timesteps
        if noise1 is None:
            noise1 = step_noise(T, shape=shape_of(x1), dtype=x1.dtype)
        if shared_noise:
            noise2 = noise1
        elif noise2 is None:
            noise2 = step_noise(T + 1, shape=shape_of(x2), dtype=x2.dtype)
        t_batch = tf.fill([shape_of(x1)[0]], tf.cast(t, tf.int32))
        x_t1 = self.q_sample(x1, t_batch, noise=noise1)
        x_t2 = self.q_sample(x2, t_batch, noise=noise2)
        x_t = weight_of_x1(weight, mix) * x_t1 + weight * x_t2  # [L, B, ...]
        return tf.reshape(x_t, [-1, *x1.shape[1:]])


def swap_first_two_axes(x: tf.Tensor) -> tf.Tensor:
    """[T, B, ...] -> [B, T, ...]."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
