"""The state of a training run and the step that changes it, on one replica or on several."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.config.sizes import check_training_fits
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.models.conditioning import no_condition
from diffusion_tf.training.checkpoint_reading import parts_of
from diffusion_tf.training.optimizers import get_optimizer
from diffusion_tf.training.timesteps import LossHistory, uniform
from diffusion_tf.utils.devices import num_accelerators, num_workers
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.random_numbers import fold_in, host_seed, normal, stream

METRICS = ("loss", "gnorm", "pnorm", "lr")


class Trainer:
    """The state of a training run, and the step that changes it.

    Attributes:
        model: the network with the raw weights.
        averages: by name, the same network with exponential moving averages of them, one for each
            decay of the config.
        ema_model: the first of these.
        optimizer: a Keras optimizer.
        diffusion: the process whose loss is trained.
        history: of losses by which timesteps are drawn; None where they are drawn uniformly.
        step: int64, number of updates made.
    """

    def __init__(
        self,
        config: Config,
        strategy: tf.distribute.Strategy,
        *,
        jit_compile: bool,
        model_fn: Callable[[Config], keras.Model] = get_model,
        diffusion: GaussianDiffusion | None = None,
    ):
        """Creates networks and optimizer on the devices of the strategy.

        Args:
            config: of the run.
            strategy: see `diffusion_tf.utils.devices`.
            jit_compile: compile with XLA.
            model_fn: builds the network of a config.
            diffusion: whose `p_losses` is trained; that of the config if not given.

        Raises:
            ValueError: sizes that the network cannot have, or a batch that cannot be shared
                evenly.
        """
        self.config = config
        self.strategy = strategy
        self.jit_compile = jit_compile
        self.num_replicas = strategy.num_replicas_in_sync
        _check_batch(config, self.num_replicas)
        check_training_fits(config, workers=num_workers(strategy), accelerators=num_accelerators())
        self.diffusion = diffusion or get_diffusion(config)
        keras.utils.set_random_seed(host_seed(config.seed))
        with strategy.scope():
            self.model = model_fn(config)
            self.averages = {name: model_fn(config) for name in config.averages}
            for average in self.averages.values():
                average.set_weights(self.model.get_weights())
            self.optimizer = get_optimizer(config, self.num_replicas)
            self.optimizer.build(self.model.trainable_variables)
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            by_loss = config.timestep_sampling == "by_loss"
            self.history = LossHistory(self.diffusion.num_timesteps) if by_loss else None
        self.ema_model = next(iter(self.averages.values()))
        # XLA takes the whole update of one replica; of several, what lies between their exchanges.
        self._update = _compiled_if(jit_compile and self.num_replicas == 1, self._plain_update)
        self._loss_and_gradients = _compiled_if(
            jit_compile and self.num_replicas > 1, self._plain_loss_and_gradients
        )

    @property
    def parts(self) -> dict[str, dict[str, tf.Variable]]:
        """What a checkpoint holds beside the step: variables by name, by the part they are of."""
        return parts_of(self.model, self.averages, self.optimizer, self.history)

    @tf.function(autograph=False)
    def train_step(
        self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor, y: tf.Tensor | None = None
    ) -> dict:
        """One update from given data, timesteps and noise, and the average after it.

        Args:
            x_start: [B, ...] in [-1, 1], per replica.
            t: int32 [B], per replica.
            noise: shaped like x_start, per replica.
            y: conditions of a conditional network, labels [B] or vectors [B, C], per replica.

        Returns:
            loss, gnorm (before clipping), pnorm (root mean square of the weights) and lr, of the
            state before the update.
        """
        return self._update((x_start, t, noise) if y is None else (x_start, t, noise, y))

    @tf.function(autograph=False)
    def train_steps(self, batches: tf.data.Iterator, number: tf.Tensor) -> dict:
        """Updates from the next batches, without returning to the host in between.

        All else that a step needs follows from the seed and the step.

        Args:
            batches: for each replica, uint8 [B, H, W, C] or float32 [B, D]; of a conditional
                network, pairs with the conditions.
            number: int32, of updates.

        Returns:
            What `train_step` returns, [number] each.
        """

        def update(i: tf.Tensor, collected: dict) -> tuple:
            metrics = self._update(self.strategy.run(self._draw, args=(next(batches),)))
            return i + 1, {name: collected[name].write(i, metrics[name]) for name in METRICS}

        collected = {name: tf.TensorArray(tf.float32, size=number) for name in METRICS}
        _, collected = tf.while_loop(
            lambda i, _: i < number, update, (0, collected), parallel_iterations=1
        )
        return {name: array.stack() for name, array in collected.items()}

    def mean_over_workers(self, value: float) -> float:
        """The mean of a number that each machine has its own of; all must ask at the same step."""
        if num_workers(self.strategy) == 1:
            return float(value)
        return float(self._mean_over_replicas(tf.constant(value, tf.float32)))

    @tf.function(autograph=False)
    def _mean_over_replicas(self, value: tf.Tensor) -> tf.Tensor:
        return self.strategy.reduce("MEAN", self.strategy.run(lambda: value), axis=None)

    def _plain_update(self, batch: tuple) -> dict:
        pnorm = root_mean_square(self.model.trainable_variables)
        lr = tf.cast(self.optimizer.learning_rate, tf.float32)
        shares, losses = self.strategy.run(self._update_replica, args=batch)
        if self.history:
            t = batch[1]
            self.history.record(*(self.strategy.gather(a, axis=0) for a in (t, losses)))
        self._update_averages()
        self.step.assign_add(1)
        loss, gnorm = tf.unstack(self.strategy.reduce("SUM", shares, axis=None))
        return {"loss": loss, "gnorm": gnorm, "pnorm": pnorm, "lr": lr}

    def _draw(self, batch: Any) -> tuple[tf.Tensor, ...]:
        """Flips, timesteps, noise, dropped conditions of a replica: its rows of the global batch.

        Returns:
            x_start, t, noise, and the conditions of a conditional network.
        """
        x_start, *conditions = batch if self.config.conditional else (batch,)
        local_size, replica = x_start.shape[0], _replica_id()
        global_size = local_size * self.num_replicas
        rows = slice(replica * local_size, (replica + 1) * local_size)
        seed = fold_in(stream(self.config.seed, "train"), self.step)
        if x_start.dtype == tf.uint8:
            x_start = tf.cast(x_start, tf.float32) / 127.5 - 1.0
        if self.config.random_flip:
            flip = tf.random.stateless_uniform(
                [global_size, 1, 1, 1], fold_in(seed, 0), 0, 2, tf.int32, alg="philox"
            )
            x_start = tf.where(flip[rows] == 1, tf.reverse(x_start, axis=[2]), x_start)
        t = self._draw_timesteps(global_size, fold_in(seed, 1))
        noise = normal([global_size, *x_start.shape[1:]], fold_in(seed, 2))
        chance = tf.random.stateless_uniform([global_size], fold_in(seed, 3), alg="philox")[rows]
        dropped = chance < self.config.cond_drop_prob
        conditions = [
            tf.where(tf.reshape(dropped, [-1] + [1] * (y.shape.rank - 1)), no_condition(y), y)
            for y in conditions
        ]
        return x_start, t[rows], noise[rows], *conditions

    def _draw_timesteps(self, number: int, seed: tf.Tensor) -> tf.Tensor:
        if self.history:
            return self.history.draw(number, seed)
        T = self.diffusion.num_timesteps
        return uniform(T, number, seed, antithetic=self.config.antithetic)

    def _update_replica(
        self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor, *condition: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One replica's part of an update.

        Returns:
            Its share of the loss and of the mean norm, and the losses of its examples.
        """
        dropout_seed = fold_in(
            fold_in(stream(self.config.seed, "dropout"), self.step), _replica_id()
        )
        loss, gradients, losses = self._loss_and_gradients(
            (x_start, t, noise, *condition), dropout_seed
        )
        gnorm = tf.linalg.global_norm(gradients)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gnorm /= self.optimizer.dynamic_scale.value
            gradients = self._agree_to_skip(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        return tf.stack([loss, gnorm / self.num_replicas]), losses

    def _agree_to_skip(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Makes the gradient NaN on all replicas if it is not finite on one.

        Keras's LossScaleOptimizer skips an update whose gradient is not finite, but lets each
        replica decide by its own part.
        """
        if self.num_replicas == 1:
            return gradients
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        overflows = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, tf.where(finite, 0.0, 1.0)
        )
        return [tf.where(overflows > 0, np.nan, g) for g in gradients]

    def _plain_loss_and_gradients(
        self, batch: tuple[tf.Tensor, ...], dropout_seed: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
        """Of a replica's batch, worked off in `accumulation_steps` parts, one after the other."""
        parts = self.config.accumulation_steps
        if parts == 1:
            return self._part_of_loss_and_gradients(batch, dropout_seed)
        batches = [tf.reshape(a, [parts, -1, *a.shape[1:]]) for a in batch]

        def add(
            i: tf.Tensor, loss: tf.Tensor, gradients: list[tf.Tensor], losses: tf.TensorArray
        ) -> tuple:
            part_loss, part_gradients, part_losses = self._part_of_loss_and_gradients(
                [a[i] for a in batches], fold_in(dropout_seed, i)
            )
            return (
                i + 1,
                loss + part_loss,
                [a + b for a, b in zip(gradients, part_gradients, strict=True)],
                losses.write(i, part_losses),
            )

        zeros = [tf.zeros_like(v.value) for v in self.model.trainable_variables]
        shape = batches[1].shape[1:]  # of t
        _, loss, gradients, losses = tf.while_loop(
            lambda i, *_: i < parts,
            add,
            (0, 0.0, zeros, tf.TensorArray(tf.float32, size=parts, element_shape=shape)),
            parallel_iterations=1,
            maximum_iterations=parts,
        )
        return loss, gradients, tf.reshape(losses.stack(), [-1])

    def _part_of_loss_and_gradients(
        self, batch: Sequence[tf.Tensor], dropout_seed: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
        """A part's share in the mean loss of the global batch, its gradient, and its losses."""
        x_start, t, noise, *condition = batch
        weights = [variable.value for variable in self.model.trainable_variables]
        # The network's only other variables are the states of its dropout layers.
        seeds = tf.random.split(dropout_seed, len(self.model.non_trainable_variables), "philox")
        dropout_states = tf.unstack(tf.bitcast(tf.cast(seeds, tf.int32), tf.uint32))

        def denoise(x_t: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            inputs = [x_t, t, *condition]
            output, _ = self.model.stateless_call(weights, dropout_states, inputs, training=True)
            return output

        with tf.GradientTape() as tape:
            losses = self.diffusion.p_losses(denoise, x_start, t, noise=noise)
            weighted = losses * self.history.weights(t) if self.history else losses
            loss = tf.reduce_mean(weighted) / (self.num_replicas * self.config.accumulation_steps)
            scaled_loss = self.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled_loss, weights), losses

    def _update_averages(self) -> None:
        """average <- average - (1 - decay) (average - weight); the first update copies."""
        for name, decay in self.config.averages.items():
            share = 1.0 - tf.where(self.step < 1, 0.0, decay)
            pairs = zip(
                self.averages[name].trainable_variables,
                self.model.trainable_variables,
                strict=True,
            )
            for average, weight in pairs:
                self.strategy.extended.update(average.value, _move, args=(weight.value, share))


def _move(average: tf.Variable, weight: tf.Tensor, share: tf.Tensor) -> None:
    average.assign_sub(share * (average - weight))


def root_mean_square(variables: list[keras.Variable]) -> tf.Tensor:
    """The original's `rms` of all weights, its pnorm."""
    norm = tf.linalg.global_norm([v.value for v in variables])
    return norm / np.sqrt(sum(np.prod(v.shape) for v in variables), dtype=np.float32)


def _compiled_if(compiled: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as it is, or compiled with XLA."""
    return tf.function(function, jit_compile=True, autograph=False) if compiled else function


def _replica_id() -> tf.Tensor:
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def _check_batch(config: Config, num_replicas: int) -> None:
    if config.batch_size % num_replicas:
        raise ValueError(
            f"batch_size is {config.batch_size}; it must be a multiple of the number of"
            f" replicas, {num_replicas}."
        )
    local_size = config.batch_size // num_replicas
    if local_size % config.accumulation_steps:
        raise ValueError(
            f"accumulation_steps is {config.accumulation_steps}; it must divide the batch of a"
            f" replica, {local_size}."
        )
