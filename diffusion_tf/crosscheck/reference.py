"""Our side of a cross-check: what comes out of every stage, done as the original or otherwise."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.convert.maps import NameMap, variables_of, weights_of
from diffusion_tf.crosscheck import training_stages as training
from diffusion_tf.crosscheck.adam import adam_update
from diffusion_tf.crosscheck.bound import bound_of
from diffusion_tf.crosscheck.choices import (
    ORIGINAL,
    PROCESS_FIELDS,
    Choices,
    are_original,
)
from diffusion_tf.crosscheck.inputs import BATCH_SIZE, Inputs, wave
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.crosscheck.stages import COEFFICIENTS, LAST_STEP
from diffusion_tf.crosscheck.varied_network import Walk
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM
from diffusion_tf.gaussian_diffusion.process import get_diffusion
from diffusion_tf.models.unet import UNet

FIRST_STEP = "first of the last ten steps"  # no stage of its own; it sorts out what cannot be
Process = GaussianDiffusion | Recipe


class Reference:
    """Computes the stages, group by group, with the original's choices or others.

    With the original's it is the project itself that is asked, with others what is written out in
    `recipe`, `varied_layers` and so on.

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
        self.config = config
        self.inputs = inputs
        self._unet = unet
        self._other_unet = other_unet
        self._names = names
        self._original = get_diffusion(config)
        self._last: tuple[Choices, Recipe] | None = None

    @property
    def loss_is_bound(self) -> bool:
        """Whether the loss is the variational bound."""
        return self.inputs.loss_is_bound

    @property
    def number_of_weights(self) -> int:
        """Of the network."""
        return self._unet.count_params() if self._unet is not None else 0

    def values(self, group: str, choices: Choices = ORIGINAL) -> dict[str, Value]:
        """The stages of one of `stages.GROUPS`, in order."""
        values = GROUPS[group](self, self._process_of(choices), choices)
        return {
            stage: value if isinstance(value, dict) else np.asarray(value)
            for stage, value in values.items()
        }

    def _process_of(self, choices: Choices) -> Process:
        if are_original(choices, PROCESS_FIELDS):
            return self._original
        return self._recipe(choices)

    def _recipe(self, choices: Choices) -> Recipe:
        if self._last is None or self._last[0] is not choices:
            self._last = choices, Recipe(self.config, choices)
        return self._last[1]

    def _schedule(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        return {"betas": diffusion.betas}

    def _coefficients(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        return {name: getattr(diffusion, name) for name in COEFFICIENTS}

    def _weights(self, _: Process, choices: Choices) -> dict[str, Value]:
        unet = self._unet_of(choices)
        if unet is None or self._names is None:
            return {}
        return {"weights": self._names.state_dict(weights_of(unet))}

    def _unet_of(self, choices: Choices) -> UNet | None:
        return (self._other_unet if choices.other_weights else None) or self._unet

    def network(
        self,
        choices: Choices = ORIGINAL,
        theirs: Mapping[str, tf.Tensor] | None = None,
        until: str | None = None,
    ) -> dict[str, Any]:
        """The stages of the network, each from what goes into it on the other side if that is seen.

        Args:
            choices: what to do differently.
            theirs: their values; see `Walk`.
            until: the last stage that is needed.
        """
        unet, i = self._unet_of(choices), self.inputs
        if unet is None:
            return {}
        walk = Walk(unet, self.config.num_diffusion_timesteps, choices, theirs or {}, until)
        return walk.stages(tf.constant(i.x_t), tf.constant(i.t))

    def _network(self, _: Process, choices: Choices) -> dict[str, Value]:
        return self.network(choices)

    def _gradient(self, _: Process, choices: Choices) -> dict[str, Value]:
        """Of the mean square error of the network's output, by every weight and by x_t."""
        unet, x = self._unet_of(choices), tf.constant(self.inputs.x_t)
        if unet is None:
            return {}
        with tf.GradientTape() as tape:
            tape.watch(x)
            walk = Walk(unet, self.config.num_diffusion_timesteps, choices)
            output = walk.stages(x, tf.constant(self.inputs.t))["output"]
            loss = tf.reduce_mean(tf.square(output - self.inputs.noise))
        by_weights, by_x = tape.gradient(
            loss,
            ({path: v.value for path, v in variables_of(unet).items()}, x),
            unconnected_gradients="zero",
        )
        values = {"gradient of the loss by x": by_x}
        if self._names is not None:
            gradients = {path: gradient.numpy() for path, gradient in by_weights.items()}
            values["gradient of the loss by weights"] = self._names.state_dict(gradients)
        return values

    def _forward(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        i = self.inputs
        posterior: Any = diffusion.q_posterior_mean_variance(i.x_start, i.x_t, i.t)
        mean, _, log_variance = posterior
        return {
            "q_sample": diffusion.q_sample(i.x_start, i.t, noise=i.noise),
            "posterior mean": mean,
            "posterior log variance": np.ravel(log_variance),
        }

    def _reverse(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        p = diffusion.p_mean_variance(self._guess, x=self.inputs.x_t, t=self.inputs.t)
        return {
            "p_mean_variance: pred_xstart": p.pred_xstart,
            "p_mean_variance: mean": p.mean,
            "p_mean_variance: log variance": p.log_variance[:, 0, 0, 0],
        }

    def _sampling(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        x = self.inputs.x_first
        for i in range(len(self.inputs.steps)):
            x = self._step(diffusion, x, i)
        return {LAST_STEP: x}

    def _ddim(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        i = self.inputs
        if isinstance(diffusion, Recipe):
            return {"a step of DDIM": diffusion.ddim_sample(self._guess, x=i.x_t, t=i.t)}
        ddim = DDIM(diffusion, diffusion.num_timesteps)
        x, t = tf.constant(i.x_t), tf.constant(i.t)
        sample: Any = ddim.p_sample(self._guess, x=x, t=t)
        return {"a step of DDIM": sample}

    def first_step(self, choices: Choices) -> np.ndarray:
        """What the first step of the sampling gives."""
        return self._step(self._process_of(choices), self.inputs.x_first, 0)

    def _step(self, diffusion: Process, x: np.ndarray, i: int) -> np.ndarray:
        """The i-th of the steps of sampling."""
        t, noise = np.full(BATCH_SIZE, self.inputs.steps[i]), self.inputs.step_noise[i]
        if isinstance(diffusion, Recipe):
            return diffusion.p_sample(numpy_wave, x=x, t=t, noise=noise)
        sample: Any = diffusion.p_sample(
            tf_wave, x=x, t=tf.constant(t), noise_fn=lambda shape, dtype: tf.constant(noise)
        )
        return sample.numpy()

    def rounded(self, group: str, choices: Choices) -> dict[str, Value]:
        """The stages of a group without network, rounded differently.

        x_t and the noise are off by a last digit, and the bound is in float64.
        """
        i = self.inputs
        up = np.float32(1 + np.finfo(np.float32).eps)
        off = dataclasses.replace(i, x_t=i.x_t * up, noise=i.noise * up)
        other = Reference(self.config, off)
        if group in ("reverse process", "ddim"):
            return other.values(group, choices)
        stage, clip = ("bpd term", True) if group == "bpd" else ("loss", False)
        return {stage: other._bound(choices, clip)}

    def _bound(self, choices: Choices, clip: bool) -> np.ndarray:
        i, diffusion = self.inputs, self._process_of(choices)
        true_mean, _, true_log_variance = diffusion.q_posterior_mean_variance(i.x_start, i.x_t, i.t)
        p = diffusion.p_mean_variance(self._guess, x=i.x_t, t=i.t, clip_denoised=clip)
        return bound_of(
            i.x_start, i.t, true_mean, true_log_variance, p.mean, p.log_variance[:, 0, 0, 0]
        )

    def _loss(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        i = self.inputs
        model = numpy_wave if isinstance(diffusion, Recipe) else tf_wave
        model = self._guess if i.loss_is_bound else model
        return {"loss": diffusion.p_losses(model, i.x_start, i.t, i.noise)}

    def _bpd(self, diffusion: Process, _: Choices) -> dict[str, Any]:
        i = self.inputs
        terms = diffusion._vb_terms_bpd(self._guess, i.x_start, i.x_t, i.t, clip_denoised=True)
        return {"bpd term": terms}

    def _optimizer(self, _: Process, choices: Choices) -> dict[str, Value]:
        i = self.inputs
        moved = adam_update(i.gradients, i.lr, choices, i.weights)
        return {"three steps of Adam": np.diff(moved, axis=0, prepend=0).ravel()}

    def _learning_rate(self, _: Process, choices: Choices) -> dict[str, Value]:
        rates = training.learning_rates(self.config, self.inputs.training, choices)
        return {"learning rate": rates}

    def _clipping(self, _: Process, choices: Choices) -> dict[str, Value]:
        return {"clipped gradients": training.clipped(self.config, self.inputs.training, choices)}

    def _average(self, _: Process, choices: Choices) -> dict[str, Value]:
        averages = training.averages(self.config, self.inputs.training, choices)
        return {"average of the weights": averages}

    def _data(self, _: Process, choices: Choices) -> dict[str, Value]:
        return {
            "pixels into numbers": training.numbers_of_pixels(choices),
            "numbers into pixels": training.pixels_of_numbers(self.inputs.training, choices),
        }

    def _guess(self, x: Any, t: Any) -> Any:
        guess = self.inputs.guess(np.asarray(x), np.asarray(t))
        return tf.constant(guess) if tf.is_tensor(x) else guess


def tf_wave(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """`wave` in TensorFlow, as a network: x [B, S, S, C], t [B]."""
    return wave(x, tf.reshape(tf.cast(t, tf.float32), [-1, 1, 1, 1]), tf.sin)


def numpy_wave(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """`wave` in NumPy, in float32."""
    return wave(x, np.reshape(t, [-1, 1, 1, 1]).astype(np.float32), np.sin).astype(np.float32)


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
    "ddim": Reference._ddim,
    "loss": Reference._loss,
    "bpd": Reference._bpd,
    "optimizer": Reference._optimizer,
    "learning rate": Reference._learning_rate,
    "clipping": Reference._clipping,
    "average": Reference._average,
    "data": Reference._data,
}
