"""Sampler: the network and all that decides what is drawn from it, as one object."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.gaussian_diffusion.checks import checked_times
from diffusion_tf.gaussian_diffusion.compression import Transmission
from diffusion_tf.gaussian_diffusion.noise import noise_source
from diffusion_tf.sampling.guidance import Conditions, denoise_fn
from diffusion_tf.sampling.pieces import run_down, run_in_pieces
from diffusion_tf.utils import images
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.literals import Solver
from diffusion_tf.utils.numbers import checked_seed
from diffusion_tf.utils.progress import progress_bar
from diffusion_tf.utils.random_numbers import StreamName, fold_in, stream
from diffusion_tf.utils.replicas import compiled

_OF_CONFIG = ("sample_shape", "seed", "clip_denoised")  # attributes that a run's config says


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampler:
    """Draws from a network.

    Attributes:
        model: the network, built in the scope of the strategy.
        process: whose steps are taken; see `registry.get_sampling_process`.
        sample_shape: of one sample.
        seed: of all noise.
        seeds: of the samples, one for each, instead; what is drawn does then not depend on what it
            is drawn together with, but for rounding.
        jit_compile: compile with XLA.
        conditions: of a conditional network, with their guidance scale.
        strategy: of this machine's devices, for shards and likelihoods; one device if not given.
        scaling: of a run on standardized vectors, with which samples are brought back.
        clip_denoised: clip the predicted x_0 to [-1, 1] at every step, as the original does.

    Raises:
        ValueError: a seed beyond int64, or conditions that the network does not take.
    """

    model: keras.Model
    process: GaussianDiffusion
    sample_shape: tuple[int, ...]
    seed: int = 0
    seeds: tuple[int, ...] = ()
    jit_compile: bool = False
    conditions: Conditions | None = None
    strategy: tf.distribute.Strategy | None = None
    scaling: Scaling | None = None
    clip_denoised: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))
        object.__setattr__(self, "seeds", tuple(map(checked_seed, self.seeds)))
        object.__setattr__(self, "sample_shape", tuple(map(int, self.sample_shape)))
        if self.conditions is not None:
            self.conditions.check(self.model)

    @classmethod
    def of_run(cls, config: Config, model: keras.Model, **choices: Any) -> "Sampler":
        """With the process and the seed of a run, unless the choices say otherwise.

        Args:
            config: of the run. It also says whether to clip, see `Config.clip_denoised`.
            model: its network.
            **choices: other attributes; None where nothing is chosen.
        """
        chosen = {name: value for name, value in choices.items() if value is not None}
        defaults = {name: getattr(config, name) for name in _OF_CONFIG}
        if "process" not in chosen:
            defaults["process"] = get_diffusion(config)
        return cls(model=model, **{**defaults, **chosen})

    @property
    def guidance_scale(self) -> float:
        """1, the conditional model itself, where nothing else was asked for."""
        return self.conditions.guidance_scale if self.conditions else 1.0

    def describe(self) -> dict[str, Any]:
        """JSON-serializable identity of what is drawn."""
        return {
            "network_sha256": digest(self.model, self.process),
            "sampling_steps": self.process.num_timesteps,
            "seed": self.seed,
            **({"seeds": list(self.seeds)} if self.seeds else {}),
            "sample_shape": list(self.sample_shape),
            "jit_compile": self.jit_compile,
            "clip_denoised": self.clip_denoised,
            **({"scaling_sha256": self.scaling.digest()} if self.scaling else {}),
            **(self.conditions.describe() if self.conditions else {}),
        }

    def to_data(self, x: np.ndarray) -> np.ndarray:
        """From the network's numbers to those of the data, other ones where there is a scaling."""
        return self.scaling.undo(x) if self.scaling else x

    def rows(self, start: int, number: int) -> tf.Tensor | None:
        """The conditions of samples start, start + 1, ...; None for an unconditional network."""
        return self.conditions and tf.constant(self.conditions.rows(start, number))

    def on_replicas(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles `function(denoise_fn, *tensors)` for every replica of the strategy.

        Returns:
            `f(y, *tensors)`: y are conditions or None; all are one for each replica, see
            `utils.devices.distribute`.
        """

        def run(model: keras.Model, y: tf.Tensor | None, *tensors: tf.Tensor) -> Any:
            return function(denoise_fn(model, y, self.guidance_scale), *tensors)

        return compiled(run, self.model, jit_compile=self.jit_compile, strategy=self.strategy)

    def chain(self, number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles `function(denoise_fn, *tensors)` of samples 0 .. number - 1 for one device."""

        def run(model: keras.Model, *tensors: tf.Tensor) -> Any:
            y = self.rows(0, number)
            return function(denoise_fn(model, y, self.guidance_scale), *tensors)

        return compiled(run, self.model, jit_compile=self.jit_compile)

    def grid(self, number: int) -> Callable[[], tf.Tensor]:
        """A function that draws samples from what the weights are then, always from one noise."""
        return self.chain(
            number,
            lambda network: self.process.p_sample_loop(network, **self._how(number, "pictures")),
        )

    def trajectory(
        self, number: int, keep: Sequence[int], *, noise: StreamName = "pictures"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws samples and keeps x on the way, showing progress.

        Args:
            number: of samples.
            keep: times, see `p_sample_loop_trajectory`.
            noise: `pictures`, or `sample` for the samples of shard 0.

        Returns:
            times int32 [F] in falling order, and float32 [F, B, ...].
        """
        how, T = self._how(number, noise), self.process.num_timesteps
        times = checked_times(keep, T)
        x = self.process.prior_sample(shape=how.pop("shape"), seed=how["seed"])
        move, stops = self._mover(number, **how), sorted({T - 1, *times}, reverse=True)
        total = T - 1 - stops[-1]
        with progress_bar("drawing", "step", total=total, first_compiles=True) as progress:
            state = (x, self.process.initial_memory(x))
            frames = run_down(move, state, stops, progress.update)[-len(times) :]
        return np.array(times, np.int32), self.to_data(frames)

    def _mover(self, number: int, **how: Any) -> Callable[..., tuple]:
        """Compiles `move(state, first, last)` of `number` samples, see `pieces.run_down`."""
        return self.chain(
            number,
            lambda network, state, first, last: self.process.p_sample_steps(
                network, x=state[0], memory=state[-1], first=first, last=last, **how
            ),
        )

    def progressive(self, number: int, freq: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws shard 0 and keeps the predictions of x_0 every `freq` steps, showing progress.

        Returns:
            steps int32 [K], rising, and float32 [B, K, ...].
        """
        how, T = self._how(number, "sample"), self.process.num_timesteps
        x = self.process.prior_sample(shape=how.pop("shape"), seed=how["seed"])
        steps = freq * np.arange(T // freq, dtype=np.int32)
        move = self._mover(number, return_pred_xstart=True, **how)
        # What step t predicted is there when step t - 1 is next; the loop ends after step 0.
        stops = [T - 1, *(int(t) - 1 for t in steps[::-1])]
        with progress_bar("drawing", "step", total=T, first_compiles=True) as progress:
            state = (x, tf.zeros_like(x), self.process.initial_memory(x))
            predictions = run_down(move, state, stops, progress.update, keep=1)[:0:-1]
        return steps, self.to_data(predictions.swapaxes(0, 1))

    def mixtures(
        self,
        x1: np.ndarray,
        x2: np.ndarray,
        lambdas: np.ndarray,
        timesteps: Sequence[int],
        **how: Any,
    ) -> list[np.ndarray]:
        """Interpolates between images (section 4.3, Figure 8), showing progress.

        Args:
            x1, x2: uint8 [B, H, W, C].
            lambdas: float32 [L], weights of x2.
            timesteps: how far to diffuse the images.
            **how: `mix` and `shared_noise`, see `Chains.interpolate`.

        Returns:
            float32 [L, B, H, W, C] for each of the timesteps.
        """
        seed, number = stream(self.seed, "pictures"), len(x1) * len(lambdas)
        ends: dict[str, Any] = {"x1": images.from_pixels(x1), "x2": images.from_pixels(x2)}
        move = self._mover(number, seed=seed, clip_denoised=self.clip_denoised)
        mixtures = []
        total = sum(int(t) + 1 for t in timesteps)
        with progress_bar("interpolating", "step", total=total, first_compiles=True) as progress:
            for t in map(int, timesteps):
                x = self.process.diffused_mixture(
                    **ends, lam=lambdas, t=t, step_noise=noise_source(None, seed), **how
                )
                state = (x, self.process.initial_memory(x))
                drawn = run_down(move, state, [t, -1], progress.update)[-1]
                mixtures.append(drawn.reshape(len(lambdas), *x1.shape))
        return mixtures

    def encode(
        self, x: np.ndarray, *, sampling_steps: int | None = None, solver: Solver = "ddim"
    ) -> np.ndarray:
        """The latents of images, without clipping, which has no way back; shows progress.

        Args:
            x: uint8 [B, H, W, C]; image i has condition i.
            sampling_steps, solver: see `Encoding.encode`.

        Returns:
            float32 [B, H, W, C].
        """
        path = self.process.flow_path(sampling_steps)
        return self._follow("encoding", images.from_pixels(x), path, solver)

    def decode(
        self, latents: np.ndarray, *, sampling_steps: int | None = None, solver: Solver = "ddim"
    ) -> np.ndarray:
        """The images of latents float32 [B, H, W, C]; see `encode`."""
        path = self.process.flow_path(sampling_steps)[::-1]
        return self._follow("decoding", latents, path, solver)

    def _follow(self, doing: str, x: np.ndarray, path: np.ndarray, solver: Solver) -> np.ndarray:
        move = self.chain(
            len(x),
            lambda network, x, first, last: self.process.flow_steps(
                network, x=x, path=path, first=first, last=last, solver=solver
            ),
        )
        return run_in_pieces(doing, move, tf.constant(x), len(path) - 1)

    def sharing(self, times: Sequence[int], number: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples that share x_t and part there (Figure 7), showing progress.

        Args:
            times: t, each from 0 to T - 1, in falling order. All are of one chain.
            number: of samples for each t.

        Returns:
            float32 x_t [F, H, W, C], of condition 0, and samples [F, number, H, W, C].
        """
        how, T = self._how(1, "pictures"), self.process.num_timesteps
        x = self.process.prior_sample(shape=how.pop("shape"), seed=how["seed"])
        move_one, move_all = (self._mover(n, **how) for n in (1, number))
        total = T - 1 - times[-1] + sum(t + 1 for t in times)
        samples = []
        with progress_bar("drawing", "step", total=total, first_compiles=True) as progress:
            state = (x, self.process.initial_memory(x))
            shared = run_down(move_one, state, [T - 1, *times], progress.update)[1:, 0]
            for t, x_t in zip(times, shared, strict=True):
                x = tf.repeat(x_t[None], number, axis=0)
                state = (x, self.process.initial_memory(x))
                samples.append(run_down(move_all, state, [t, -1], progress.update)[-1])
        return shared, np.stack(samples)

    def transmit(self, x: np.ndarray, budgets: Sequence[float]) -> Transmission:
        """What images uint8 [B, H, W, C] cost and look like; see `Compression.transmit`."""
        send = self.chain(
            len(x),
            lambda network, x: self.process.transmit(
                network,
                x,
                budgets=budgets,
                seed=stream(self.seed, "pictures"),
                clip_denoised=self.clip_denoised,
            ),
        )
        return Transmission(*(a.numpy() for a in send(tf.constant(images.from_pixels(x)))))

    def shard_seed(self, shard: int, batch_size: int) -> tf.Tensor:
        """The seed [2] of all noise of a shard; with `seeds` those of its samples, [batch_size, 2].

        The last shard may hold more samples than there are seeds; these begin again for them.
        """
        if not self.seeds:
            return fold_in(stream(self.seed, "sample"), shard)
        numbers = range(shard * batch_size, (shard + 1) * batch_size)
        of_each = (self.seeds[i % len(self.seeds)] for i in numbers)
        return tf.stack([stream(seed, "sample") for seed in of_each])

    def _how(self, number: int, noise: StreamName) -> dict[str, Any]:
        return {
            "shape": (number, *self.sample_shape),
            "seed": self.shard_seed(0, number) if noise == "sample" else stream(self.seed, noise),
            "clip_denoised": self.clip_denoised,
        }


def digest(model: keras.Model, diffusion: GaussianDiffusion) -> str:
    """Tells networks and processes apart that have the same names, in 16 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for array in [*model.get_weights(), diffusion.betas, diffusion.alphas_cumprod]:
        sha256.update(array.tobytes())
    return sha256.hexdigest()[:16]
