"""Our side of a cross-check: the inputs that both sides get, and what comes out of every stage."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.convert.maps import NameMap, variables_of, weights_of
from diffusion_tf.crosscheck.adam import adam_update, make_gradients
from diffusion_tf.crosscheck.bound import bound_of
from diffusion_tf.crosscheck.choices import (
    NETWORK_FIELDS,
    ORIGINAL,
    PROCESS_FIELDS,
    Choices,
    VariedDiffusion,
    unet_stages,
)
from diffusion_tf.crosscheck.guesses import good_outputs, timesteps
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.random_numbers import host_seed

COEFFICIENTS = (
    "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip
SAMPLING_STEPS = 10
LAST_STEP = "last ten steps of sampling"
FIRST_STEP = "first of the last ten steps"  # no stage of its own; it sorts out what cannot be
BATCH_SIZE = 4
# The decoder has its own rule for the values at the ends; one in five is there or next to it.
PIXELS = (*range(256), *[0, 1, 254, 255] * 16)


@dataclass(frozen=True)
class Inputs:
    """What both sides get; images are float32 [B, S, S, C].

    `x_start` is made of 8-bit pixels in [-1, 1], many of them at the ends; `t` int64 [B] holds both
    ends of the chain, and `x_t` is x_start diffused that far. `outputs` are what a good network
    says about them, which is `off` [B] the truth on average. The sampling takes the timesteps
    `steps` from `x_first` on, with the noise `step_noise` [len(steps), B, S, S, C]. The optimizer
    gets the learning rate `lr`, the float64 `weights` and the `gradients` [steps, weights], which
    are of every magnitude and rise and fall. A loss that `loss_is_bound` is that of the good
    network, as of another one's decoder float32 tells nothing.
    """

    x_start: np.ndarray
    noise: np.ndarray
    t: np.ndarray
    x_t: np.ndarray
    steps: tuple[int, ...]
    x_first: np.ndarray
    step_noise: np.ndarray
    weights: np.ndarray
    gradients: np.ndarray
    lr: float
    outputs: np.ndarray
    off: np.ndarray
    loss_is_bound: bool

    def guess(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """What a good network says, the same on both sides to the bit; see `guesses`.

        Args:
            x: [B', S, S, C], of those in `x_t`; another x gives another output.
            t: [B'], of those in `t`.

        Returns:
            float32 [B', S, S, C].
        """
        examples = [self._example(*pair) for pair in zip(x, t, strict=True)]
        off = self.off[examples].reshape(-1, 1, 1, 1)
        return (self.outputs[examples] + off * np.sin(3.0 * (x - self.x_t[examples]))).astype(
            np.float32
        )

    def _example(self, x: np.ndarray, t: int) -> int:
        """The example with this t that x is closest to; the first if none has it."""
        distances = np.abs(self.x_t - x).sum(axis=(1, 2, 3))
        return int(np.argmin(np.where(self.t == t, distances, np.inf)))


def make_inputs(config: Config, draw_step_noise: Callable[[int, tuple], np.ndarray]) -> Inputs:
    """Inputs for a config, from its seed.

    Args:
        config: of the process and the size of the images.
        draw_step_noise: `(t, shape)` -> the noise [B, S, S, C] that the other side draws at step t.
    """
    random = np.random.default_rng(host_seed(config.seed))
    shape = (BATCH_SIZE, *config.image_shape)
    x_start = (random.choice(PIXELS, shape) / 127.5 - 1).astype(np.float32)
    noise = random.standard_normal(shape, dtype=np.float32)
    diffusion = VariedDiffusion(config)
    t = timesteps(diffusion)
    x_t = diffusion.q_sample(x_start, t, noise=noise).numpy()
    steps = tuple(reversed(range(min(SAMPLING_STEPS, config.num_diffusion_timesteps))))
    x_first = diffusion.q_sample(x_start, np.full_like(t, steps[0]), noise=noise).numpy()
    step_noise = np.stack([draw_step_noise(step, shape) for step in steps])
    outputs, off = good_outputs(diffusion, x_start, x_t, t, random)
    weights = random.standard_normal(64)
    gradients = make_gradients(len(weights), random)
    return Inputs(
        x_start, noise, t, x_t, steps, x_first, step_noise, weights, gradients, config.lr,
        outputs, off, config.loss_type == "kl",
    )  # fmt: skip


def wave(x: Any, t: Any, sin: Callable[[Any], Any]) -> Any:
    """A stand-in for a network that every framework computes alike: elementwise in x and t.

    Args:
        x: [B, ...], of any framework.
        t: [B, 1, ...], floating.
        sin: the framework's sine.
    """
    return 0.8 * x + 0.3 * sin(3.0 * x + 0.01 * t)


class Reference:
    """Computes the stages, group by group, with the original's choices or others.

    Args:
        config: of the process.
        inputs: what both sides get.
        unet: the network, or None if none is compared.
        other_unet: the same with the other weights, averaged or raw, if there are such.
        names: of the weights on the other side; if None, neither they nor their gradients are
            compared.
    """

    def __init__(
        self,
        config: Config,
        inputs: Inputs,
        unet: UNet | None = None,
        other_unet: UNet | None = None,
        names: NameMap | None = None,
    ):
        self._config = config
        self._inputs = inputs
        self._unet = unet
        self._other_unet = other_unet
        self._names = names
        self._networks: dict[tuple, DenoiseFn] = {}
        if unet is not None:
            self._networks[_of_network(ORIGINAL)] = tf.function(lambda x, t: unet([x, t]))
        self._first_outputs: dict[tuple, tf.Tensor] = {}
        self._processes: dict[tuple, VariedDiffusion] = {}

    @property
    def loss_is_bound(self) -> bool:
        """Whether the loss is the variational bound."""
        return self._inputs.loss_is_bound

    def values(self, group: str, choices: Choices = ORIGINAL) -> dict[str, Value]:
        """The stages of one of `GROUPS`, in order."""
        values = GROUPS[group](self, self._process_of(choices), choices)
        return {
            stage: value if isinstance(value, dict) else np.asarray(value)
            for stage, value in values.items()
        }

    def _process_of(self, choices: Choices) -> VariedDiffusion:
        key = tuple(getattr(choices, field) for field in sorted(PROCESS_FIELDS))
        if key not in self._processes:
            self._processes[key] = VariedDiffusion(self._config, choices)
        return self._processes[key]

    def _schedule(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        return {"betas": diffusion.betas}

    def _coefficients(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        return {name: getattr(diffusion, name) for name in COEFFICIENTS}

    def _weights(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        unet = self._unet_of(choices)
        if unet is None or self._names is None:
            return {}
        return {"weights": self._names.state_dict(weights_of(unet))}

    def _unet_of(self, choices: Choices) -> UNet | None:
        return (self._other_unet if choices.other_weights else None) or self._unet

    def _network(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        unet, i = self._unet_of(choices), self._inputs
        if unet is None:
            return {}
        return unet_stages(unet, tf.constant(i.x_t), tf.constant(i.t), choices)

    def _gradient(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        """Of the mean square error of the network's output, by every weight and by x_t."""
        unet, x = self._unet_of(choices), tf.constant(self._inputs.x_t)
        if unet is None:
            return {}
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = unet_stages(unet, x, tf.constant(self._inputs.t), choices)["output"]
            loss = tf.reduce_mean(tf.square(output - self._inputs.noise))
        by_weights, by_x = tape.gradient(
            loss, ({path: v.value for path, v in variables_of(unet).items()}, x)
        )
        values = {"gradient of the loss by x": by_x}
        if self._names is not None:
            gradients = {path: gradient.numpy() for path, gradient in by_weights.items()}
            values["gradient of the loss by weights"] = self._names.state_dict(gradients)
        return values

    def _forward(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        i = self._inputs
        mean, _, log_variance = diffusion.q_posterior_mean_variance(i.x_start, i.x_t, i.t)
        return {
            "q_sample": diffusion.q_sample(i.x_start, i.t, noise=i.noise),
            "posterior mean": mean,
            "posterior log variance": tf.reshape(log_variance, [-1]),
        }

    def _reverse(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        p = diffusion.p_mean_variance(self._guess, x=self._inputs.x_t, t=self._inputs.t)
        return {
            "p_mean_variance: pred_xstart": p.pred_xstart,
            "p_mean_variance: mean": p.mean,
            "p_mean_variance: log variance": p.log_variance[:, 0, 0, 0],
        }

    def _sampling(self, diffusion: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        x, denoise_fn = self._inputs.x_first, self._denoise_fn(choices)
        for i in range(len(self._inputs.steps)):
            x = self._step(diffusion, denoise_fn, x, i)
        return {LAST_STEP: x}

    def _step(
        self, diffusion: VariedDiffusion, denoise_fn: DenoiseFn, x: np.ndarray, i: int
    ) -> tf.Tensor:
        """The i-th of the steps of sampling."""
        return diffusion.p_sample(
            denoise_fn,
            x=x,
            t=tf.fill([BATCH_SIZE], self._inputs.steps[i]),
            noise_fn=lambda shape, dtype: tf.constant(self._inputs.step_noise[i]),
        )

    def rounded(self, group: str, choices: Choices) -> dict[str, Value]:
        """The stages of a group without network, rounded differently.

        x_t and the noise are off by a last digit, and the bound is in float64.
        """
        i = self._inputs
        up = np.float32(1 + np.finfo(np.float32).eps)
        off = dataclasses.replace(i, x_t=i.x_t * up, noise=i.noise * up)
        other = Reference(self._config, off)
        if group == "reverse process":
            return other.values(group, choices)
        stage, clip = ("bpd term", True) if group == "bpd" else ("loss", False)
        return {stage: other._bound(choices, clip)}

    def _bound(self, choices: Choices, clip: bool) -> np.ndarray:
        i, diffusion = self._inputs, self._process_of(choices)
        true_mean, _, true_log_variance = diffusion.q_posterior_mean_variance(i.x_start, i.x_t, i.t)
        p = diffusion.p_mean_variance(self._guess, x=i.x_t, t=i.t, clip_denoised=clip)
        return bound_of(
            i.x_start, i.t, true_mean, true_log_variance, p.mean, p.log_variance[:, 0, 0, 0]
        )

    def effect(self, choices: Choices) -> tuple:
        """What choices come to; those with the same effect compute the same."""
        diffusion = self._process_of(choices)
        as_it_is = dataclasses.replace(
            choices,
            beta_schedule=None,
            rescale_betas=False,
            model_var_type=diffusion.model_var_type,
            other_weights=choices.other_weights and self._other_unet is not None,
        )
        return diffusion.betas.tobytes(), as_it_is

    def first_step(self, choices: Choices) -> np.ndarray:
        """What the first step of the sampling gives; the network runs once for all processes."""

        def denoise_fn(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            key = _of_network(choices)
            if key not in self._first_outputs:
                self._first_outputs[key] = self._denoise_fn(choices)(x, t)
            return self._first_outputs[key]

        diffusion = self._process_of(choices)
        return self._step(diffusion, denoise_fn, self._inputs.x_first, 0).numpy()

    def _loss(self, diffusion: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        i = self._inputs
        denoise_fn = self._guess if i.loss_is_bound else self._denoise_fn(choices)
        return {"loss": diffusion.p_losses(denoise_fn, i.x_start, i.t, i.noise)}

    def _bpd(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Any]:
        i = self._inputs
        terms = diffusion._vb_terms_bpd(self._guess, i.x_start, i.x_t, i.t, clip_denoised=True)
        return {"bpd term": terms}

    def _optimizer(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        i = self._inputs
        moved = adam_update(i.gradients, i.lr, choices, i.weights)
        return {"three steps of Adam": np.diff(moved, axis=0, prepend=0).ravel()}

    def _guess(self, x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._inputs.guess(x.numpy(), t.numpy()))

    def _denoise_fn(self, choices: Choices) -> DenoiseFn:
        """The network, or `wave` if there is none; compiled once for each network."""
        key, unet = _of_network(choices), self._unet_of(choices)
        if unet is None:
            return tf_wave
        if key not in self._networks:
            self._networks[key] = tf.function(
                lambda x, t: unet_stages(unet, x, t, choices)["output"]
            )
        return self._networks[key]


def _of_network(choices: Choices) -> tuple:
    """Those of the choices that change what the network computes."""
    return tuple(getattr(choices, field) for field in sorted(NETWORK_FIELDS))


def tf_wave(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """`wave` in TensorFlow, as a network: x [B, S, S, C], t [B]."""
    return wave(x, tf.reshape(tf.cast(t, tf.float32), [-1, 1, 1, 1]), tf.sin)


# In the order of the table.
GROUPS = {
    "weights": Reference._weights,
    "schedule": Reference._schedule,
    "coefficients": Reference._coefficients,
    "network": Reference._network,
    "gradient": Reference._gradient,
    "forward process": Reference._forward,
    "reverse process": Reference._reverse,
    "sampling": Reference._sampling,
    "loss": Reference._loss,
    "bpd": Reference._bpd,
    "optimizer": Reference._optimizer,
}
