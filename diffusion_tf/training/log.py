"""What a training run tells people while it runs: a progress bar, TensorBoard, the losses."""

import os
import textwrap
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.training.events import EventLog, losses_of_events
from diffusion_tf.training.losses import LossFile, read_losses
from diffusion_tf.utils import images
from diffusion_tf.utils.progress import progress_bar

_DESCRIPTIONS = {
    "train/loss": "Mean of the batch, from the raw weights before the update.",
    "train/gnorm": "Norm of the gradient before it is clipped.",
    "train/pnorm": "Root mean square of the raw weights.",
    "train/lr": "Learning rate of the update.",
    "speed/steps_per_second": "Of the last call of the devices; the first one compiles.",
    "speed/images_per_second": "Steps per second times the batch size.",
    "validation/loss": "Mean loss of the averaged weights on the first examples of the test split,"
    " without dropout; timesteps and noise are the same at every step.",
    "samples/ema": "Samples of the averaged weights in at most 250 steps, from the same noise.",
}


class RunLog:
    """Writes curves and grids to TensorBoard and losses to a file, and shows a run's progress.

    What it has written outlives the process. Where it cannot be written, a warning says so and the
    run goes on. Use it as a context manager. On machines that are not the chief it is silent.
    """

    def __init__(self, workdir: str, config: Config, *, first_step: int, silent: bool = False):
        """Opens the log of a run.

        Args:
            workdir: of the run.
            config: of the run.
            first_step: number of updates made before.
            silent: write and show nothing.

        Raises:
            NotADirectoryError: something else has the name of the folder of events.
        """
        self._workdir, self._config, self._first_step = workdir, config, first_step
        self._losses = None if silent else _open_losses(workdir, first_step)
        self._events = None if silent else EventLog(events_dir(workdir))
        self._progress = progress_bar(
            "training", "step", total=config.steps, done=first_step, disable=silent
        )
        if self._events:
            with self._events.writing():
                text = textwrap.indent(config.to_json(), "    ")  # as code, in Markdown
                what = "The config of the run, as in config.json."
                tf.summary.text("config", text, step=first_step, description=what)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()
        for log in (self._events, self._losses):
            if log:
                log.close()

    def write(self, first_step: int, metrics: Mapping[str, np.ndarray], seconds: float) -> None:
        """Logs consecutive steps.

        Args:
            first_step: of them.
            metrics: [n] each, one value for each step.
            seconds: that they took.
        """
        steps = range(first_step, first_step + len(metrics["loss"]))
        if self._events and self._losses:
            logged = [step for step in steps if self._is_logged(step)]
            with self._events.writing():
                self._write_metrics(steps, logged, metrics, seconds)
            self._losses.write(logged, [metrics["loss"][step - first_step] for step in logged])
        self._progress.set_postfix(loss=f"{metrics['loss'][-1]:.4f}", refresh=False)
        if first_step == self._first_step:  # it compiled the graph: no rate to go by
            self._progress.begin_at(first_step + len(steps))
        else:
            self._progress.update(len(steps))

    def _is_logged(self, step: int) -> bool:
        return step % self._config.log_steps == 0 or step + 1 == self._config.steps

    def _write_metrics(
        self, steps: range, logged: list[int], metrics: Mapping[str, np.ndarray], seconds: float
    ) -> None:
        rate = len(steps) / seconds
        for step in logged:
            for name, values in metrics.items():
                _scalar(f"train/{name}", values[step - steps[0]], step)
        _scalar("speed/steps_per_second", rate, steps[-1])
        _scalar("speed/images_per_second", rate * self._config.batch_size, steps[-1])

    def write_validation(self, step: int, loss: float) -> None:
        """Logs the loss on the test split."""
        if self._events:
            with self._events.writing():
                _scalar("validation/loss", loss, step)

    def write_grid(self, step: int, grid: np.ndarray) -> None:
        """Logs a picture of samples, uint8 [H, W, C]; it and the losses appear in the workdir."""
        if not self._events:
            return
        with self._events.writing():
            name = "samples/ema"
            tf.summary.image(name, grid[None], step=step, description=_DESCRIPTIONS[name])
        try:
            self._show(grid)
        except OSError as error:  # a picture is not worth a run
            logging.warning("The pictures of step %d cannot be written (%s).", step, error)

    def _show(self, grid: np.ndarray) -> None:
        """Replaces samples.png and loss.png, which the end of the training replaces again."""
        images.save_png(os.path.join(self._workdir, "samples.png"), grid)
        losses = load_losses(self._workdir)
        if len(losses[0]):
            path = os.path.join(self._workdir, "loss.png")
            images.save_figure(path, images.loss_curve(*losses))

    def sync(self) -> None:
        """Waits until the losses are on the disk, before a checkpoint follows on them."""
        if self._losses:
            self._losses.sync()


def _scalar(name: str, value: float, step: int) -> None:
    tf.summary.scalar(name, value, step=step, description=_DESCRIPTIONS.get(name))


def events_dir(workdir: str) -> str:
    """Where a workdir keeps its TensorBoard events."""
    return os.path.join(workdir, "tensorboard")


def load_losses(workdir: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the loss curve of a workdir, from TensorBoard's events where it has no file of its own.

    Returns:
        steps and losses, in the order of steps; where a run was resumed, the later value counts.
        Both are empty if there is nothing that can be read.
    """
    try:
        losses = read_losses(_losses_path(workdir))
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            logging.warning("The losses cannot be read (%s).", error)
        losses = losses_of_events(events_dir(workdir))
    steps = sorted(losses)
    return np.array(steps, int), np.array([losses[step] for step in steps], float)


def _losses_path(workdir: str) -> str:
    return os.path.join(workdir, "losses.csv")


def _open_losses(workdir: str, first_step: int) -> LossFile:
    """The loss curve of a run; that of an older version begins with what its events hold."""
    path = _losses_path(workdir)
    is_older = first_step > 0 and not os.path.exists(path)
    return LossFile(path, losses_of_events(events_dir(workdir)) if is_older else {})
