"""What a training run tells people while it runs: a progress bar, and TensorBoard."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.utils.progress import progress_bar


class RunLog:
    """Writes a run's curves and grids to TensorBoard, and shows its progress.

    What it has written outlives the process: leaving a writer's `as_default` flushes it. Use it as
    a context manager. On machines that are not the chief it is silent.
    """

    def __init__(self, workdir: str, config: Config, *, first_step: int, silent: bool = False):
        """Opens the log of a run.

        Args:
            workdir: of the run.
            config: of the run.
            first_step: number of updates made before.
            silent: write and show nothing.
        """
        self._config = config
        self._writer = (
            tf.summary.create_noop_writer()
            if silent
            else tf.summary.create_file_writer(events_dir(workdir))
        )
        self._progress = progress_bar(
            "training", "step", total=config.steps, done=first_step, disable=silent
        )

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()
        self._writer.close()

    def write(self, first_step: int, metrics: Mapping[str, np.ndarray], seconds: float) -> None:
        """Logs consecutive steps.

        Args:
            first_step: of them.
            metrics: [n] each, one value for each step.
            seconds: that they took.
        """
        number = len(metrics["loss"])
        steps = range(first_step, first_step + number)
        with self._writer.as_default():
            for i, step in enumerate(steps):
                if step % self._config.log_steps == 0 or step + 1 == self._config.steps:
                    for name, values in metrics.items():
                        tf.summary.scalar(f"train/{name}", values[i], step=step)
            rate = number / seconds
            tf.summary.scalar("speed/steps_per_second", rate, step=steps[-1])
            tf.summary.scalar(
                "speed/images_per_second", rate * self._config.batch_size, step=steps[-1]
            )
        self._progress.set_postfix(loss=f"{metrics['loss'][-1]:.4f}", refresh=False)
        self._progress.update(number)

    def write_grid(self, step: int, grid: np.ndarray) -> None:
        """Logs a picture of samples, uint8 [H, W, C]."""
        with self._writer.as_default():
            tf.summary.image("samples/ema", grid[None], step=step)


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
