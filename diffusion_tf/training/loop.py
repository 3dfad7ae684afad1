"""The training loop: from the newest checkpoint to the last step, stoppable at any moment."""

import signal
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.config.agreement import check_steps
from diffusion_tf.datasets import Dataset
from diffusion_tf.datasets.record import DataRecord
from diffusion_tf.sampling.pictures import conditions_to_show, grid_drawer
from diffusion_tf.sampling.point_pictures import points_drawer
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training.checkpoints import Checkpoints, claim_workdir, hold_workdir
from diffusion_tf.training.log import RunLog
from diffusion_tf.training.trainer import Trainer, root_mean_square
from diffusion_tf.training.validation import validation_loss
from diffusion_tf.training.workdirs import check_of_run
from diffusion_tf.utils.devices import is_chief, num_workers, tf32
from diffusion_tf.utils.finite import NotFiniteError
from diffusion_tf.utils.interruption import Interrupted, StopSignals

GRID_STEPS = 250  # of a grid, at most: six of 1,000 cost a sixth of the digits' training
CALL_SECONDS = 10.0  # after which people want to see progress, and to be able to stop


def train(trainer: Trainer, dataset: Dataset, workdir: str, *, test: Dataset | None = None) -> None:
    """Trains up to `config.steps`, from the newest checkpoint if there is one.

    Writes `config.json`, `data.json`, `checkpoints/` and TensorBoard events into the workdir, and
    shows progress on standard error. Of several machines only the chief writes; all of them read
    the checkpoints, so the workdir lies on a file system that they share.

    Args:
        trainer: what trains.
        dataset: what is learned.
        workdir: folder of the run.
        test: whose loss is measured at each grid; the run is the same without.

    Raises:
        ValueError: the workdir holds another run or one on other data, the batch does not fit
            into memory, or the learning rate is 0 before the last step.
        OSError: another process trains in the workdir, a checkpoint cannot be written, or another
            machine of the run has stopped.
        FloatingPointError: loss or gradient are no longer finite; the last checkpoint is kept.
        Interrupted: SIGTERM, Ctrl-C or SIGHUP came; a checkpoint was saved.
    """
    check_steps(trainer.config)
    if not is_chief(trainer.strategy):
        _train(trainer, dataset, workdir, None, chief=False)
        return
    with hold_workdir(workdir):
        check_of_run(workdir, trainer.config)
        _train(trainer, dataset, workdir, test, chief=True)


def _train(
    trainer: Trainer, dataset: Dataset, workdir: str, test: Dataset | None, *, chief: bool
) -> None:
    config = trainer.config
    checkpoints = Checkpoints(
        workdir,
        trainer.parts,
        trainer.step,
        keep=config.keep_checkpoints,
        read_only=not chief,
    )
    first_step = _begin(trainer, checkpoints)
    if chief:  # not before it is sure that the run can begin: then the workdir is of this config
        claim_workdir(workdir, config, DataRecord.of(dataset))
    checkpoints.clear()  # not before it is sure that something can be read
    with (
        RunLog(workdir, config, first_step=first_step, silent=not chief) as log,
        StopSignals() as signals,
        tf32(config.tf32),
    ):
        validate = validation_loss(trainer, test) if test else None
        _Loop(trainer, dataset, checkpoints, log, signals, first_step, validate).run()


def _begin(trainer: Trainer, checkpoints: Checkpoints) -> int:
    """Restores the newest checkpoint of the run, or of the one that it starts from."""
    config = trainer.config
    step = checkpoints.restore()
    if step:
        logging.info("Resuming from step %d, checkpoint %s.", step, checkpoints.latest)
    elif config.warm_start:
        step = checkpoints.restore_from(config.warm_start)
        logging.info("Starting with the weights and step %d of %s.", step, config.warm_start)
        if step >= config.steps:
            raise ValueError(
                f"{config.warm_start} is at step {step}, where this run counts on, and steps is"
                f" {config.steps}; set steps to more."
            )
    if trainer.mean_over_workers(step) != step:
        raise ValueError(
            f"This machine finds step {step} in the workdir, others another; let it be on a file"
            " system that all machines share."
        )
    return step


def _drawer(trainer: Trainer, dataset: Dataset) -> Callable[[], np.ndarray]:
    """Draws a picture of samples, of what the averaged weights are at that moment."""
    config = trainer.config
    steps = min(trainer.diffusion.num_timesteps, GRID_STEPS)
    sampler = Sampler.of_run(
        config,
        trainer.ema_model,
        process=get_sampling_process(trainer.diffusion, sampling_steps=steps),
        jit_compile=trainer.jit_compile,
        conditions=conditions_to_show(config, dataset),
        scaling=dataset.scaling,
    )
    return points_drawer(config, sampler, dataset) if config.data_dim else grid_drawer(sampler)


class _Loop:
    """Calls the devices for some steps at a time; between two calls it looks around."""

    def __init__(
        self,
        trainer: Trainer,
        dataset: Dataset,
        checkpoints: Checkpoints,
        log: RunLog,
        signals: StopSignals,
        first_step: int,
        validate: Callable[[], float] | None,
    ):
        config = trainer.config
        self.trainer, self.dataset, self.checkpoints = trainer, dataset, checkpoints
        self.config, self.log, self.signals = config, log, signals
        self.first_step = self.step = first_step
        batches = trainer.strategy.distribute_datasets_from_function(
            lambda context: dataset.train_batches(
                config.batch_size,
                seed=config.seed,
                first_step=first_step,
                context=context,
                with_conditions=config.conditional,
            )
        )
        self.batches = iter(batches)
        self.draw_grid, self.validate = _drawer(trainer, dataset), validate
        self.seconds_per_step = CALL_SECONDS  # not known yet: the first call is one step
        self.saved_at = time.monotonic()

    def run(self) -> None:
        """Trains up to the last step."""
        while self.step < self.config.steps:
            self._call()
            if self._grid_is_due() and is_chief(self.trainer.strategy):
                self._log_grid()
                self._log_validation()
            stop = self.trainer.mean_over_workers(self.signals.received is not None) > 0
            if stop or self._checkpoint_is_due():
                self._save()
            if stop:
                raise self._interrupted()
        if self.signals.received is not None:  # while the last checkpoint was saved
            raise self._interrupted()

    def _call(self) -> None:
        """The steps up to the next moment at which the host has something to do."""
        number = self._steps_of_this_call()
        start = time.monotonic()
        try:
            with self.dataset.original_errors():
                metrics = self.trainer.train_steps(self.batches, tf.constant(number))
                metrics = {name: values.numpy() for name, values in metrics.items()}
        except tf.errors.OpError as error:
            raise self._explained(error) from error
        seconds = time.monotonic() - start
        self._check_finite(metrics)
        if self.step == self.first_step:
            logging.info("The first step, which compiles the graph, took %.0f s.", seconds)
        self.log.write(self.step, metrics, seconds)
        self.step += number
        self.seconds_per_step = self.trainer.mean_over_workers(seconds / number)

    def _steps_of_this_call(self) -> int:
        config = self.config
        most = min(config.steps_per_call, int(CALL_SECONDS / self.seconds_per_step))
        stops = [self.step + max(most, 1), config.steps]
        for period in (config.checkpoint_steps, config.grid_steps):
            if period:
                stops.append((self.step // period + 1) * period)
        return min(stops) - self.step

    def _log_grid(self) -> None:
        """Draws a grid; one that is not finite is left out and does not stop the training."""
        try:
            self.log.write_grid(self.step, self.draw_grid())
        except NotFiniteError as error:
            logging.warning("No grid of samples at step %d: %s", self.step, error)

    def _log_validation(self) -> None:
        """Measures the loss on what is not trained on, where there is any."""
        if self.validate:
            self.log.write_validation(self.step, self.validate())

    def _grid_is_due(self) -> bool:
        return self.config.grid_steps > 0 and self.step % self.config.grid_steps == 0

    def _checkpoint_is_due(self) -> bool:
        minutes = (time.monotonic() - self.saved_at) / 60
        return (
            self.step == self.config.steps
            or self.step % self.config.checkpoint_steps == 0
            or 0 < self.config.checkpoint_minutes <= minutes
        )

    def _save(self) -> None:
        rms = root_mean_square(self.trainer.model.trainable_variables)
        if not np.isfinite(rms):
            raise self._not_finite(f"The weights are {rms} on average", self.step)
        self.log.sync()
        self.checkpoints.save()
        self.saved_at = time.monotonic()

    def _check_finite(self, metrics: dict[str, np.ndarray]) -> None:
        for i, (loss, gnorm) in enumerate(zip(metrics["loss"], metrics["gnorm"], strict=True)):
            # In float16 gradients may overflow; such updates are skipped.
            good = np.isfinite(loss) and (
                np.isfinite(gnorm) or self.config.dtype == "mixed_float16"
            )
            if not good:
                raise self._not_finite(
                    f"The loss is {loss} and the gradient's norm {gnorm}", self.step + i
                )

    def _not_finite(self, what: str, step: int) -> FloatingPointError:
        latest = self.checkpoints.latest
        advice = (
            f"the last good checkpoint is {latest}: name its run in --warm_start, with a smaller"
            " --lr and another --workdir"
            if latest
            else "there is no checkpoint yet: begin anew with a smaller --lr and another --workdir"
        )
        return FloatingPointError(f"{what} at step {step}; {advice}.")

    def _interrupted(self) -> Interrupted:
        return Interrupted(
            f"Stopped at step {self.step} of {self.config.steps} and saved; the same command goes"
            " on from there.",
            self.signals.received or signal.SIGTERM,  # None where another machine was asked
        )

    def _explained(self, error: tf.errors.OpError) -> Exception:
        """An error of the devices, in words that say what to do."""
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return ValueError(
                f"A batch of {self.config.batch_size} on {self.trainer.num_replicas} devices does"
                f" not fit into their memory ({_reason(error)}); set --accumulation_steps to"
                f" {2 * self.config.accumulation_steps}."
            )
        if num_workers(self.trainer.strategy) > 1:
            return OSError(
                f"Another machine of this run stopped or cannot be reached ({_reason(error)});"
                " start all of them again: they go on from the last checkpoint."
            )
        return error


def _reason(error: tf.errors.OpError) -> str:
    """The sentence behind the graph's stack trace."""
    return error.message.strip().split("\n\n")[-1].splitlines()[0]
