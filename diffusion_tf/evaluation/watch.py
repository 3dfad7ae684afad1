"""Follows a running training: evaluates checkpoints as they come (the original's EvalWorker)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from diffusion_tf.convert.loading import newest_step
from diffusion_tf.evaluation.schema import Evaluation
from diffusion_tf.training.checkpoints import load_config
from diffusion_tf.training.events import EventLog
from diffusion_tf.training.log import events_dir
from diffusion_tf.utils.interruption import StopSignals
from diffusion_tf.utils.keras_backend import keras

SECONDS_BETWEEN_LOOKS = 2.0


def watch(
    workdir: str, out: str | Path, evaluate: Callable[[Path, int], dict[str, Any]]
) -> dict[int, dict[str, Any]]:
    """Evaluates the newest checkpoint of a run again and again, until its last step is reached.

    Checkpoints that come and go while another is evaluated are left out. Numbers also go to
    TensorBoard, beside the curves of the training.

    Args:
        workdir: of a run, which may still be about to begin.
        out: folder; each checkpoint gets one of its own in it, such as `step_00001000`.
        evaluate: from a folder and a step to what metrics.json holds.

    Returns:
        What `evaluate` returned, by step.

    Raises:
        Interrupted: SIGTERM or Ctrl-C came while waiting; see also `evaluate`.
    """
    results: dict[int, dict[str, Any]] = {}
    step = 0
    while step == 0 or step < load_config(workdir).steps:
        step = _wait_for_checkpoint(workdir, after=step)
        results[step] = evaluate(Path(out, f"step_{step:08d}"), step)
        events = EventLog(events_dir(workdir))
        with events.writing():
            for row in Evaluation.from_json(results[step]).comparison or ():
                name = "_".join(filter(None, (row.metric, row.split)))
                tf.summary.scalar(f"evaluation/{name}", row.measured, step=step)
        events.close()
        keras.utils.clear_session()  # nothing of this model is of use to the next
    return results


def _wait_for_checkpoint(workdir: str, *, after: int) -> int:
    """The step of the newest checkpoint, as soon as it is a later one."""
    logging.info("Waiting for a checkpoint after step %d in %s ...", after, workdir)
    with StopSignals() as signals:
        while (step := newest_step(workdir)) <= after:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            signals.raise_if_received(f" while waiting for a checkpoint after step {after}.")
    return step
