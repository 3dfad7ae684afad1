"""What an export holds: a network and the process that samples from it, as functions to trace."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.gaussian_diffusion.noise import noise_source
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.random_numbers import fold_in, stream

Outputs = dict[str, tf.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Serving:
    """A network with its weights, and how to sample from it.

    Attributes:
        model: the network; t counts the timesteps of training.
        process: whose steps are taken; None if it is not known.
        clip_denoised: see `Sampler`.
        guidance_scale: of a conditional network, see `Conditions`; the network itself is the
            conditional one.
        scaling: with which samples of a run on standardized vectors are brought back.
        call: what a step calls instead of the model, with the same arguments, if it is given.
    """

    model: keras.Model
    process: GaussianDiffusion | None = None
    clip_denoised: bool = True
    guidance_scale: float = 1.0
    scaling: Scaling | None = None
    call: Callable[..., tf.Tensor] | None = None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one image, or one vector."""
        return tuple(self.model.get_build_config()["input_shape"][0][1:])

    @property
    def steps_of(self) -> GaussianDiffusion:
        """The process, where there has to be one."""
        if self.process is None:
            raise ValueError("The process of the network is not known; give a config.")
        return self.process

    def network(self, x: tf.Tensor, t: tf.Tensor, *y: tf.Tensor) -> tf.Tensor:
        """The network's output, float32, without dropout."""
        return self.model([x, t, *y], training=False)

    def step(self, x: tf.Tensor, t: tf.Tensor, *y: tf.Tensor) -> Outputs:
        """One step of sampling, as far as it goes without noise.

        Args:
            x: [B, ...].
            t: int [B], counts the steps of the process.
            *y: the conditions of a conditional network.

        Returns:
            `output` of the network, with guidance, for the timestep of training that t means;
            `mean` and `std`, of which x_{t-1} = mean + std * noise; `pred_xstart`.

        Raises:
            ValueError: a sampler whose steps need what the one before has left.
        """
        if self.steps_of.initial_memory(tf.zeros([1, *self.sample_shape])):
            raise ValueError(
                f"{type(self.process).__name__} remembers the step before, and this export holds"
                " one step; choose another --sampler, such as ddim."
            )
        denoise = self._denoise_fn(*y)
        outputs: list[tf.Tensor] = []

        def once(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            if not outputs:
                outputs.append(denoise(x, t))
            return outputs[0]

        (mean, pred_xstart), (above, _) = (
            self.steps_of.p_sample(
                once,
                x=x,
                t=t,
                noise_fn=lambda shape, dtype, value=value: tf.fill(shape, tf.cast(value, dtype)),
                clip_denoised=self.clip_denoised,
                return_pred_xstart=True,
            )
            for value in (0.0, 1.0)
        )
        return {
            "output": outputs[0], "mean": mean, "std": above - mean, "pred_xstart": pred_xstart
        }  # fmt: skip

    def _denoise_fn(self, y: tf.Tensor | None = None) -> DenoiseFn:
        return denoise_fn(self.call or self.model, y, self.guidance_scale)

    def steps(
        self, x: tf.Tensor, seed: tf.Tensor, first: tf.Tensor, last: tf.Tensor, *y: tf.Tensor
    ) -> tf.Tensor:
        """The steps first, first - 1, ..., last of a chain; see `Chains.p_sample_steps`.

        Args:
            x: x_t at t = first, [B, ...].
            seed: integers [2], of the chain.
            first, last: int32 scalars.
            *y: the conditions of a conditional network, one for each example.
        """
        return self.steps_of.p_sample_steps(
            self._denoise_fn(*y),
            x=x,
            first=first,
            last=last,
            seed=seed,
            clip_denoised=self.clip_denoised,
        )[0]

    def sample(self, seed: tf.Tensor, number: tf.Tensor, *y: tf.Tensor) -> Outputs:
        """Whole chains: what `Run.sample` draws of this seed in one batch.

        Args:
            seed: int64 scalar.
            number: of samples, int32 scalar.
            *y: the conditions of a conditional network; sample i has number i, modulo their number.

        Returns:
            `samples` float32, images in [-1, 1] or vectors on the scale of the data; `images`,
            where they are, as uint8.
        """
        noise_seed = fold_in(stream(seed, "sample"), 0)
        shape = tf.concat([[number], self.sample_shape], axis=0)
        x = noise_source(None, noise_seed)(
            self.steps_of.num_timesteps, shape=shape, dtype=tf.float32
        )
        x = tf.ensure_shape(x, [None, *self.sample_shape])
        rows = [tf.gather(values, tf.range(number) % tf.shape(values)[0]) for values in y]
        x = self.steps(x, noise_seed, tf.constant(self.steps_of.num_timesteps - 1), 0, *rows)
        if self.scaling:
            x = tf.cast(tf.cast(x, tf.float64) * self.scaling.scale + self.scaling.mean, tf.float32)
        if len(self.sample_shape) < 3:
            return {"samples": x}
        pixels = tf.clip_by_value(tf.round((x + 1.0) * 127.5), 0.0, 255.0)
        return {"samples": x, "images": tf.cast(pixels, tf.uint8)}

    def inputs(self, t_dtype: tf.DType = tf.int32) -> dict[str, np.ndarray]:
        """Inputs on which an export is tried, always the same: x, t and perhaps y, three of each.

        Args:
            t_dtype: of t, and of labels.
        """
        random, dtype = np.random.RandomState(0), t_dtype.as_numpy_dtype
        T = self.process.num_timesteps if self.process else getattr(self.model, "num_timesteps", 0)
        last = (T or 1000) - 1
        inputs = {
            "x": random.randn(3, *self.sample_shape).astype(np.float32),
            "t": np.array([0, last // 2, last], dtype),
        }
        num_classes, cond_dim = (getattr(self.model, n, 0) for n in ("num_classes", "cond_dim"))
        if num_classes:
            inputs["y"] = np.array([0, num_classes - 1, -1], dtype)
        if cond_dim:
            inputs["y"] = random.randn(3, cond_dim).astype(np.float32)
        return inputs

    def tolerance(self, t: np.ndarray) -> np.ndarray:
        """How much what differs in the network's output is multiplied in one step, at least 1.

        Args:
            t: steps of the process, [B].
        """
        return 1.0 + self.steps_of.sqrt_recipm1_alphas_cumprod[t]


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """The largest difference, in parts of the largest number or of 1; infinite if not comparable.

    Args:
        found, expected: arrays by the same names.
    """
    largest = 0.0
    for name, values in expected.items():
        a, b = np.asarray(found[name]), np.asarray(values)
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("inf")
        largest = max(largest, float(np.abs(a - b).max() / max(1.0, np.abs(b).max())))
    return largest
