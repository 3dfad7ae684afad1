"""Training: one replica's step, the average of the weights, and the loop around them."""

import os
import sys

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from diffusion_tf.checkpoints import Checkpoints, claim_workdir
from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.random_numbers import fold_in, normal, stream


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


def get_optimizer(config: Config, num_replicas: int) -> keras.optimizers.Optimizer:
    """The optimizer of a config (the original's `make_optimizer`).

    Each replica's gradient is of its loss / num_replicas, and clipped to grad_clip / num_replicas
    before Keras sums them: the mean of the replicas' clipped gradients, as in the original.
    """
    optimizer = keras.optimizers.Adam(
        LinearWarmup(config.lr, config.warmup),
        epsilon=1e-8,
        name="adam",  # part of the names in checkpoints; Keras would count up
        global_clipnorm=config.grad_clip / num_replicas,
    )
    if config.dtype == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    return optimizer


class Trainer:
    """The state of a training run, and the step that changes it.

    Attributes:
        model: the network with the raw weights.
        ema_model: the same network with their exponential moving average.
        step: int64, number of updates made.
    """

    def __init__(self, config: Config, strategy: tf.distribute.Strategy, *, jit_compile: bool):
        """Creates networks and optimizer on the devices of the strategy.

        Args:
            config: of the run.
            strategy: see `diffusion_tf.devices`.
            jit_compile: compile loss and gradients with XLA.

        Raises:
            ValueError: sizes that the network cannot have, or a batch that the replicas cannot
                share evenly.
        """
        self.config = config
        self.strategy = strategy
        self.num_replicas = strategy.num_replicas_in_sync
        if config.batch_size % self.num_replicas:
            raise ValueError(
                f"batch_size is {config.batch_size}; it must be a multiple of the number of"
                f" replicas, {self.num_replicas}."
            )
        self.diffusion = get_diffusion(config)
        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            self.model = get_model(config)
            self.ema_model = get_model(config)
            self.ema_model.set_weights(self.model.get_weights())
            self.optimizer = get_optimizer(config, self.num_replicas)
            self.optimizer.build(self.model.trainable_variables)
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        # XLA takes the whole update of one replica; of several, what lies between their exchanges.
        compiled = "_update" if self.num_replicas == 1 else "_loss_and_gradients"
        function = tf.function(getattr(self, compiled), jit_compile=jit_compile, autograph=False)
        setattr(self, compiled, function)

    @tf.function(autograph=False)
    def train_step(self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor) -> dict:
        """One update from given data, timesteps and noise, and the average after it.

        Args:
            x_start: [B, ...] in [-1, 1], per replica.
            t: int32 [B], per replica.
            noise: shaped like x_start, per replica.

        Returns:
            loss, gnorm (before clipping), pnorm (root mean square of the weights) and lr, of the
            state before the update.
        """
        return self._update((x_start, t, noise))

    @tf.function(autograph=False)
    def train_step_from(self, batches: tf.data.Iterator) -> dict:
        """One update from the next uint8 batch; all else follows from the seed and the step."""
        return self._update(self.strategy.run(self._draw, args=(next(batches),)))

    def _update(self, batch: tuple) -> dict:
        pnorm = _root_mean_square(self.model.trainable_variables)
        lr = self.optimizer.learning_rate
        loss, gnorm = self.strategy.run(self._update_replica, args=batch)
        self._update_ema()
        self.step.assign_add(1)
        loss = self.strategy.reduce("SUM", loss, axis=None)
        gnorm = self.strategy.reduce("MEAN", gnorm, axis=None)
        return {"loss": loss, "gnorm": gnorm, "pnorm": pnorm, "lr": lr}

    def _draw(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Flips, timesteps and noise of one replica: its rows of the global batch's."""
        local_size, replica = pixels.shape[0], _replica_id()
        global_size = local_size * self.num_replicas
        rows = slice(replica * local_size, (replica + 1) * local_size)
        seed = fold_in(stream(self.config.seed, "train"), self.step)
        x_start = tf.cast(pixels, tf.float32) / 127.5 - 1.0
        if self.config.random_flip:
            flip = tf.random.stateless_uniform(
                [global_size, 1, 1, 1], fold_in(seed, 0), 0, 2, tf.int32, alg="philox"
            )
            x_start = tf.where(flip[rows] == 1, tf.reverse(x_start, axis=[2]), x_start)
        t = tf.random.stateless_uniform(
            [global_size], fold_in(seed, 1), 0, self.diffusion.num_timesteps, tf.int32, alg="philox"
        )
        noise = normal([global_size, *x_start.shape[1:]], fold_in(seed, 2))
        return x_start, t[rows], noise[rows]

    def _update_replica(
        self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One replica's part of an update: its share of the loss, and its gradient's norm."""
        dropout_seed = fold_in(
            fold_in(stream(self.config.seed, "dropout"), self.step), _replica_id()
        )
        loss, gradients = self._loss_and_gradients(x_start, t, noise, dropout_seed)
        scale = 1.0
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            scale = self.optimizer.dynamic_scale.value
        gnorm = tf.linalg.global_norm(gradients) / scale
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        return loss, gnorm

    def _loss_and_gradients(
        self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor, dropout_seed: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        weights = [variable.value for variable in self.model.trainable_variables]
        # The network's only other variables are the states of its dropout layers.
        dropout_states = [
            tf.bitcast(tf.cast(fold_in(dropout_seed, i), tf.int32), tf.uint32)
            for i in range(len(self.model.non_trainable_variables))
        ]

        def denoise(x_t: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            output, _ = self.model.stateless_call(weights, dropout_states, [x_t, t], training=True)
            return output

        with tf.GradientTape() as tape:
            losses = self.diffusion.p_losses(denoise, x_start, t, noise=noise)
            loss = tf.reduce_mean(losses) / self.num_replicas
            scaled_loss = self.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled_loss, weights)

    def _update_ema(self) -> None:
        """average <- average - (1 - decay) (average - weight); the first update copies."""
        decay = tf.where(self.step < 1, 0.0, self.config.ema_decay)

        def move(average: tf.Variable, weight: tf.Tensor) -> None:
            average.assign_sub((1.0 - decay) * (average - weight))

        pairs = zip(self.ema_model.trainable_variables, self.model.trainable_variables, strict=True)
        for average, weight in pairs:
            self.strategy.extended.update(average.value, move, args=(weight.value,))


def _replica_id() -> tf.Tensor:
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def _root_mean_square(variables: list[keras.Variable]) -> tf.Tensor:
    """The original's `rms`, its pnorm."""
    squares = [tf.reduce_sum(tf.square(v.value)) for v in variables]
    return tf.sqrt(tf.add_n(squares) / sum(np.prod(v.shape) for v in variables))


def train(trainer: Trainer, dataset: Dataset, workdir: str) -> None:
    """Trains up to `config.steps`, from the newest checkpoint if there is one.

    Writes `config.json`, `checkpoints/` and TensorBoard events into the workdir, and shows
    progress on standard error.

    Raises:
        ValueError: the workdir holds another run.
        FloatingPointError: the loss is no longer finite; the last checkpoint is kept.
    """
    config = trainer.config
    claim_workdir(workdir, config)
    checkpoints = Checkpoints(
        workdir,
        model=trainer.model,
        ema_model=trainer.ema_model,
        optimizer=trainer.optimizer,
        step=trainer.step,
        keep=config.keep_checkpoints,
    )
    first_step = checkpoints.restore()
    if first_step:
        logging.info("Resuming from step %d, checkpoint %s.", first_step, checkpoints.latest)
    batches = trainer.strategy.distribute_datasets_from_function(
        lambda context: dataset.train_batches(
            config.batch_size, seed=config.seed, first_step=first_step, context=context
        )
    )
    writer = tf.summary.create_file_writer(events_dir(workdir))
    with writer.as_default(), _progress_bar(first_step, config.steps) as progress:
        _run_steps(trainer, iter(batches), checkpoints, progress)
        writer.flush()


def _run_steps(
    trainer: Trainer, batches: tf.data.Iterator, checkpoints: Checkpoints, progress: tqdm
) -> None:
    config = trainer.config
    for step in progress:
        metrics = trainer.train_step_from(batches)
        is_last = step + 1 == config.steps
        if step % config.log_steps == 0 or is_last:
            loss = float(metrics["loss"])
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"The loss is {loss} at step {step}; the last good checkpoint is"
                    f" {checkpoints.latest}: go on from it with a smaller --lr."
                )
            progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            for name, value in metrics.items():
                tf.summary.scalar(f"train/{name}", value, step=step)
        if (step + 1) % config.checkpoint_steps == 0 or is_last:
            checkpoints.save()


def _progress_bar(first_step: int, steps: int) -> tqdm:
    return tqdm(
        range(first_step, steps),
        desc="training",
        unit="step",
        initial=first_step,
        total=steps,
        mininterval=0.5 if sys.stderr.isatty() else 20,
    )


def events_dir(workdir: str) -> str:
    """Where a workdir keeps its TensorBoard events."""
    return os.path.join(workdir, "tensorboard")


def load_losses(workdir: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the loss curve from the TensorBoard events of a workdir.

    Returns:
        steps and losses, in the order of steps; where a run was resumed, the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(events_dir(workdir), size_guidance={"tensors": 0})
    events.Reload()
    points = sorted(events.Tensors("train/loss"), key=lambda event: event.wall_time)
    losses = {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in points}
    steps = sorted(losses)
    return np.array(steps), np.array([losses[step] for step in steps])
