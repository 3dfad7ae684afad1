"""Our side of a cross-check: the inputs that both sides get, and what comes out of every stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.convert.maps import NameMap, variables_of, weights_of
from diffusion_tf.crosscheck.adam import adam_update
from diffusion_tf.crosscheck.choices import ORIGINAL, Choices, VariedDiffusion, unet_stages
from diffusion_tf.crosscheck.report import Value
from diffusion_tf.models.unet import UNet
from diffusion_tf.random_numbers import host_seed

COEFFICIENTS = (
    "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip
SAMPLING_STEPS = 10
BATCH_SIZE = 4


@dataclass(frozen=True)
class Inputs:
    """What both sides get; images are float32 [B, S, S, C].

    `x_start` is made of 8-bit pixels in [-1, 1]; `t` int64 [B] holds both ends of the chain, and
    `x_t` is x_start diffused that far. The sampling takes the timesteps `steps` from `x_first` on,
    with the noise `step_noise` [len(steps), B, S, S, C]. The optimizer gets the learning
    rate `lr` and the `gradients` [steps, weights], which are of every magnitude. `target` is what
    the network should predict.
    """

    x_start: np.ndarray
    noise: np.ndarray
    t: np.ndarray
    x_t: np.ndarray
    steps: tuple[int, ...]
    x_first: np.ndarray
    step_noise: np.ndarray
    gradients: np.ndarray
    lr: float
    target: np.ndarray

    def guess(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """What a good network would say, the same on both sides to the bit.

        It is close to the target, so that the x_0 that follows is clipped late in the chain and not
        early on, and the decoder's Gaussian at t = 0 is not far off the pixels, where all that
        float32 has is rounding.

        Args:
            x: [B', S, S, C].
            t: [B'], of those in `t`.

        Returns:
            float32 [B', S, S, C].
        """
        examples = [int(np.argmax(self.t == step)) for step in t]
        return np.float32(self.target[examples] + 0.1 * np.sin(3.0 * x))


def make_inputs(config: Config, draw_step_noise: Callable[[int, tuple], np.ndarray]) -> Inputs:
    """Inputs for a config, from its seed.

    Args:
        config: of the process and the size of the images.
        draw_step_noise: `(t, shape)` -> the noise [B, S, S, C] that the other side draws at step t.
    """
    random = np.random.default_rng(host_seed(config.seed))
    shape = (BATCH_SIZE, *config.image_shape)
    T = config.num_diffusion_timesteps
    x_start = np.float32(random.integers(0, 256, shape) / 127.5 - 1)
    noise = random.standard_normal(shape, dtype=np.float32)
    t = np.array([0, T // 10, T // 2, T - 1])
    diffusion = VariedDiffusion(config)
    x_t = diffusion.q_sample(x_start, t, noise=noise).numpy()
    steps = tuple(reversed(range(min(SAMPLING_STEPS, T))))
    x_first = diffusion.q_sample(x_start, np.full_like(t, steps[0]), noise=noise).numpy()
    step_noise = np.stack([draw_step_noise(step, shape) for step in steps])
    gradients = np.float32(random.choice([-1, 1], (3, 64)) * np.logspace(-9, 0, 64))
    target = noise if config.model_mean_type == "eps" else x_start
    return Inputs(x_start, noise, t, x_t, steps, x_first, step_noise, gradients, config.lr, target)


def wave(x: Any, t: Any, sin: Callable[[Any], Any]) -> Any:
    """A stand-in for a network that every framework computes alike: elementwise in x and t.

    Args:
        x: [B, ...], of any framework.
        t: [B, 1, ...], floating.
        sin: the framework's sine.
    """
    return 0.8 * x + 0.3 * sin(3.0 * x + 0.01 * t)


class Ours:
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
        self._original = tf.function(lambda x, t: unet([x, t]))

    def values(self, group: str, choices: Choices = ORIGINAL) -> dict[str, Value]:
        """The stages of one of `GROUPS`, in order."""
        values = GROUPS[group](self, VariedDiffusion(self._config, choices), choices)
        return {
            stage: value if isinstance(value, dict) else np.asarray(value)
            for stage, value in values.items()
        }

    def _schedule(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        return {"betas": diffusion.betas}

    def _coefficients(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        return {name: getattr(diffusion, name) for name in COEFFICIENTS}

    def _weights(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        if self._unet is None or self._names is None:
            return {}
        return {"weights": self._names.state_dict(weights_of(self._unet_of(choices)))}

    def _unet_of(self, choices: Choices) -> UNet:
        return (self._other_unet if choices.other_weights else None) or self._unet

    def _network(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        if self._unet is None:
            return {}
        i = self._inputs
        return unet_stages(self._unet_of(choices), tf.constant(i.x_t), tf.constant(i.t), choices)

    def _gradient(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        """Of the mean square error of the network's output, by every weight and by x_t."""
        if self._unet is None:
            return {}
        unet, x = self._unet_of(choices), tf.constant(self._inputs.x_t)
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
        for t, noise in zip(self._inputs.steps, self._inputs.step_noise, strict=True):
            x = diffusion.p_sample(
                denoise_fn,
                x=x,
                t=tf.fill([BATCH_SIZE], t),
                noise_fn=lambda shape, dtype, noise=noise: tf.constant(noise),
            )
        return {"last ten steps of sampling": x}

    def _loss(self, diffusion: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        i = self._inputs
        return {"loss": diffusion.p_losses(self._denoise_fn(choices), i.x_start, i.t, i.noise)}

    def _bpd(self, diffusion: VariedDiffusion, _: Choices) -> dict[str, Value]:
        i = self._inputs
        terms = diffusion._vb_terms_bpd(self._guess, i.x_start, i.x_t, i.t, clip_denoised=True)
        return {"bpd term": terms}

    def _optimizer(self, _: VariedDiffusion, choices: Choices) -> dict[str, Value]:
        i = self._inputs
        return {"three steps of Adam": adam_update(i.gradients, i.lr, choices)}

    def _guess(self, x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._inputs.guess(x.numpy(), t.numpy()))

    def _denoise_fn(self, choices: Choices) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """The network, or `wave` if there is none; compiled once for the original's choices."""
        if self._unet is None:
            return tf_wave
        if choices == ORIGINAL:
            return self._original
        unet = self._unet_of(choices)
        return tf.function(lambda x, t: unet_stages(unet, x, t, choices)["output"])


def tf_wave(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """`wave` in TensorFlow, as a network: x [B, S, S, C], t [B]."""
    return wave(x, tf.reshape(tf.cast(t, tf.float32), [-1, 1, 1, 1]), tf.sin)


# In the order of the table.
GROUPS = {
    "weights": Ours._weights,
    "schedule": Ours._schedule,
    "coefficients": Ours._coefficients,
    "network": Ours._network,
    "gradient": Ours._gradient,
    "forward process": Ours._forward,
    "reverse process": Ours._reverse,
    "sampling": Ours._sampling,
    "loss": Ours._loss,
    "bpd": Ours._bpd,
    "optimizer": Ours._optimizer,
}
