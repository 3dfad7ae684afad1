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
from diffusion_tf.crosscheck.dropout import of_network
from diffusion_tf.crosscheck.inputs import BATCH_SIZE, Inputs
from diffusion_tf.crosscheck.recipe import Recipe
from diffusion_tf.crosscheck.reference_sampling import (
    SAMPLING,
    Process,
    gradient_by_output,
    guess_of,
    moments_of,
    step,
    wave_of,
)
from diffusion_tf.crosscheck.stage_table import Value
from diffusion_tf.crosscheck.stages import COEFFICIENTS, LAST_STEP, of_examples
from diffusion_tf.crosscheck.training_loop import trained
from diffusion_tf.crosscheck.varied_network import Walk
from diffusion_tf.crosscheck.waves import Network
from diffusion_tf.gaussian_diffusion.process import get_diffusion
from diffusion_tf.models.unet import UNet

FIRST_STEP = "first of the last ten steps"  # no stage of its own; it sorts out what cannot be


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
        process = self._process_of(choices)
        if group in SAMPLING:
            values = SAMPLING[group](self.inputs, self.config, process, choices)
        else:
            values = GROUPS[group](self, process, choices)
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
            loss = tf.reduce_mean(tf.square(output - self.inputs.target))
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

    def _dropout(self, _: Process, choices: Choices) -> dict[str, Value]:
        unet, i = self._unet_of(choices), self.inputs
        if unet is None:
            return {}
        return of_network(unet, i.num_timesteps, i.x_t, i.t, choices)

    def _forward(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        i = self.inputs
        posterior: Any = diffusion.q_posterior_mean_variance(i.x_start, i.x_t, i.t)
        mean, _, log_variance = posterior
        return {
            "q_sample": diffusion.q_sample(i.x_start, i.t, noise=i.noise),
            "posterior mean": mean,
            "posterior log variance": of_examples(np.asarray(log_variance)),
        }

    def _reverse(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        p = diffusion.p_mean_variance(guess_of(self.inputs), x=self.inputs.x_t, t=self.inputs.t)
        moments = moments_of(p, self.config)
        return {f"p_mean_variance: {name}": value for name, value in moments.items()}

    def _sampling(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        x = self.inputs.x_first
        for i in range(len(self.inputs.steps)):
            x = self._step(diffusion, x, i)
        return {LAST_STEP: x}

    def first_step(self, choices: Choices) -> np.ndarray:
        """What the first step of the sampling gives."""
        return self._step(self._process_of(choices), self.inputs.x_first, 0)

    def _step(self, diffusion: Process, x: np.ndarray, i: int) -> np.ndarray:
        """The i-th of the steps of sampling."""
        t, noise = np.full(BATCH_SIZE, self.inputs.steps[i]), self.inputs.step_noise[i]
        return step(diffusion, self.config, x, t, noise)

    def rounded(self, group: str, choices: Choices) -> dict[str, Value]:
        """The stages of a group without network, rounded differently.

        x_t and the noise are off by a last digit, and the bound is in float64.
        """
        i = self.inputs
        up = np.float32(1 + np.finfo(np.float32).eps)
        off = dataclasses.replace(i, x_t=i.x_t * up, noise=i.noise * up)
        other = Reference(self.config, off)
        if group in ("reverse process", "ddim", "respacing", "respaced loss"):
            return other.values(group, choices)
        if group == "loss" and self.config.loss_type != "kl":
            return other.values(group, choices)
        stage, clip = ("bpd term", True) if group == "bpd" else ("loss", False)
        return {stage: other._bound(choices, clip)}

    def _bound(self, choices: Choices, clip: bool) -> np.ndarray:
        i, diffusion = self.inputs, self._process_of(choices)
        true_mean, _, true_log_variance = diffusion.q_posterior_mean_variance(i.x_start, i.x_t, i.t)
        p = diffusion.p_mean_variance(guess_of(self.inputs), x=i.x_t, t=i.t, clip_denoised=clip)
        moments = (true_mean, np.asarray(true_log_variance), p.mean, np.asarray(p.log_variance))
        return bound_of(i.x_start, i.t, *moments)

    def _loss(self, diffusion: Process, _: Choices) -> dict[str, Value]:
        i = self.inputs
        return {"loss": diffusion.p_losses(self._loss_model(diffusion), i.x_start, i.t, i.noise)}

    def _loss_model(self, diffusion: Process) -> Network:
        return (
            guess_of(self.inputs) if self.inputs.loss_is_bound else wave_of(diffusion, self.config)
        )

    def _loss_gradient(self, _: Process, choices: Choices) -> dict[str, Value]:
        """By what the network says; not where the loss itself is another one.

        Of a bound, the examples at t > 0: float32 leaves too few digits of the decoder's share far
        from the pixel, by which its gradient is divided.
        """
        but_for = tuple(field for field in PROCESS_FIELDS if field != "hybrid_stops")
        if not are_original(choices, but_for):
            return {}
        i, model = self.inputs, self._loss_model(self._original)
        output = tf.constant(model(tf.constant(i.x_t), tf.constant(i.t)))
        arguments = (i.x_start, i.t, i.noise)
        gradient = gradient_by_output(self._original, output, *arguments, choices.hybrid_stops)
        later = gradient[i.t > 0] if i.loss_is_bound else gradient
        return {"gradient of the loss by the output": later}

    def _bpd(self, diffusion: Process, _: Choices) -> dict[str, Any]:
        i = self.inputs
        terms = diffusion._vb_terms_bpd(
            guess_of(self.inputs), i.x_start, i.x_t, i.t, clip_denoised=True
        )
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
        averages = training.averages(self.config, self.inputs.training.weights, choices)
        return {"average of the weights": averages.ravel()}

    def _timesteps(self, _: Process, choices: Choices) -> dict[str, Value]:
        probabilities = training.timestep_probabilities(self.inputs.training, choices)
        return {training.TIMESTEPS: probabilities}

    def _training(self, diffusion: Process, choices: Choices) -> dict[str, Value]:
        if self.inputs.loss_is_bound:  # of which float32 tells nothing for this network
            return {}
        recipe = diffusion if isinstance(diffusion, Recipe) else Recipe(self.config)
        return trained(self.config, self.inputs.training, recipe, choices)

    def _data(self, _: Process, choices: Choices) -> dict[str, Value]:
        return {
            "pixels into numbers": training.numbers_of_pixels(choices),
            "numbers into pixels": training.pixels_of_numbers(self.inputs.training, choices),
        }


# In the order of the table.
GROUPS = {
    "weights": Reference._weights,
    "schedule": Reference._schedule,
    "coefficients": Reference._coefficients,
    "network": Reference._network,
    "gradient": Reference._gradient,
    "dropout": Reference._dropout,
    "forward process": Reference._forward,
    "reverse process": Reference._reverse,
    "sampling": Reference._sampling,
    "loss": Reference._loss,
    "loss gradient": Reference._loss_gradient,
    "bpd": Reference._bpd,
    "optimizer": Reference._optimizer,
    "learning rate": Reference._learning_rate,
    "clipping": Reference._clipping,
    "average": Reference._average,
    "timesteps": Reference._timesteps,
    "data": Reference._data,
    "training": Reference._training,
}
