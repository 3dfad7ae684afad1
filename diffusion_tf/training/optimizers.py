"""Optimizers and the warmup of the learning rate, as the original's TensorFlow 1 computes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.config.fields import LrDecay
from diffusion_tf.utils.keras_backend import keras


@keras.saving.register_keras_serializable("diffusion_tf")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """lr * min(step / warmup, 1): 0 at step 0 (the original's `get_warmed_up_lr`)."""

    def __init__(self, lr: float, warmup: int):
        self.lr = lr
        self.warmup = warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0."""
        if self.warmup == 0:
            return tf.constant(self.lr)
        return self.lr * tf.minimum(tf.cast(step, tf.float32) / float(self.warmup), 1.0)

    def get_config(self) -> dict:
        """The arguments that make this schedule again."""
        return {"lr": self.lr, "warmup": self.warmup}


@keras.saving.register_keras_serializable("diffusion_tf")
class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a warmup, which then falls to 0: along a line, or half a cosine."""

    def __init__(self, rise: LinearWarmup, kind: LrDecay, steps: int):
        """At which step it is 0: `steps`, more than those of the warmup."""
        self.rise, self.kind, self.steps = rise, kind, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0."""
        span = self.steps - self.rise.warmup
        # Subtracted as whole numbers: float32 has no more than 24 bits.
        gone = tf.cast(tf.cast(step, tf.int64) - self.rise.warmup, tf.float32) / float(span)
        gone = tf.clip_by_value(gone, 0.0, 1.0)
        left = 1.0 - gone if self.kind == "linear" else 0.5 * (1.0 + tf.cos(np.pi * gone))
        return self.rise(step) * left

    def get_config(self) -> dict:
        """The arguments that make this schedule again."""
        rise = keras.saving.serialize_keras_object(self.rise)
        return {"rise": rise, "kind": self.kind, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict) -> "Decay":
        """The inverse of `get_config`."""
        return cls(**{**config, "rise": keras.saving.deserialize_keras_object(config["rise"])})


class _Clipped(keras.optimizers.Optimizer):
    """Clips gradients to a norm over all of them as TensorFlow 1 does; Keras takes more passes.

    Without `max_norm` nothing is clipped.
    """

    def __init__(self, *, max_norm: float | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self._max_norm = max_norm

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Clips the gradients, then updates the weights by them."""
        if self._max_norm is not None:
            grads, _ = tf.clip_by_global_norm(grads, self._max_norm)
        super().apply(grads, trainable_variables)


class TF1Adam(_Clipped, keras.optimizers.Adam):
    """Adam with its bias correction in float32, as TensorFlow 1 computes it.

    There the powers of the betas are products of float32 numbers, from which 1 - beta^t inherits
    relative errors of up to 1e-5; here they are looked up in a precomputed table of such products.
    """

    def __init__(self, **kwargs: Any):
        beta_1, beta_2 = np.float32(0.9), np.float32(0.999)
        super().__init__(beta_1=float(beta_1), beta_2=float(beta_2), **kwargs)
        # Long enough for 1 - beta^t to have become 1.
        self._powers = np.cumprod(np.tile([[beta_1, beta_2]], [20_000, 1]), axis=0)

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Updates all weights, by numbers that they share: one operation each, not one a weight."""
        t = tf.minimum(self.iterations.value, len(self._powers) - 1)
        self._beta1_power, self._beta2_power = tf.unstack(tf.gather(self._powers, t))
        self._beta1, self._beta2 = tf.constant(self.beta_1), tf.constant(self.beta_2)
        self._epsilon = tf.constant(self.epsilon)
        super().apply(grads, trainable_variables)

    @property
    def tf1_slots(self) -> dict[str, list[keras.Variable]]:
        """The state, a variable for each weight, under TensorFlow 1's names."""
        return {"Adam": self._momentums, "Adam_1": self._velocities}

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one weight: lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).

        The kernel is TensorFlow 1's own, which goes through memory once.
        """
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self._beta1_power,
            beta2_power=self._beta2_power,
            lr=learning_rate,
            beta1=self._beta1,
            beta2=self._beta2,
            epsilon=self._epsilon,
            grad=gradient,
        )


class TF1RMSprop(_Clipped, keras.optimizers.RMSprop):
    """RMSProp whose mean square begins at 1, as TensorFlow 1's does; Keras's begins at 0."""

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the state for the given weights."""
        if self.built:
            return
        super().build(variables)
        for mean_square in self._velocities:
            mean_square.assign(tf.ones_like(mean_square))

    @property
    def tf1_slots(self) -> dict[str, list[keras.Variable]]:
        """The state, a variable for each weight, under TensorFlow 1's names."""
        return {"RMSProp": self._velocities, "RMSProp_1": self._momentums}


def get_learning_rate(config: Config) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of a config by step."""
    rise = LinearWarmup(config.lr, config.warmup)
    if not config.lr_decay_steps:
        return rise
    return Decay(rise, config.lr_decay, config.lr_decay_steps)


def get_optimizer(config: Config, num_replicas: int) -> keras.optimizers.Optimizer:
    """The optimizer of a config (the original's `make_optimizer`).

    Each replica's gradient is of its loss / num_replicas, and clipped to grad_clip / num_replicas
    before Keras sums them: the mean of the replicas' clipped gradients, as in the original.

    Args:
        config: of the run.
        num_replicas: number of devices that share a batch.
    """
    # The name is part of those in checkpoints; Keras would count it up.
    shared: dict[str, Any] = {
        "learning_rate": get_learning_rate(config),
        "epsilon": 1e-8,
        "max_norm": config.grad_clip / num_replicas,
        "name": config.optimizer,
    }
    if config.optimizer == "adam":
        optimizer = TF1Adam(**shared)
    else:
        optimizer = TF1RMSprop(rho=0.95, momentum=0.9, **shared)
    if config.dtype == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    return optimizer
