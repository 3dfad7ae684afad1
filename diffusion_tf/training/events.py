"""TensorBoard's events of a run: written as long as that is possible, and read back."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

_ERRORS = (tf.errors.OpError, OSError)


class EventLog:
    """Writes events into a folder.

    Where that fails a warning says so, once, and no more are written: the log is not the run, and a
    full disk must not end a training.
    """

    def __init__(self, folder: str):
        """Begins a file in a folder, which is made if it is not there.

        Raises:
            NotADirectoryError: something else has the folder's name.
        """
        self._folder = folder
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(
                f"{folder} is not a folder, and TensorBoard's events belong into one of that name;"
                " move it elsewhere."
            )
        self._writer = tf.summary.create_noop_writer()
        with self._warning():
            self._writer = tf.summary.create_file_writer(os.fsencode(folder))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, `tf.summary.scalar` and the like write here; afterwards it is in the file."""
        with self._warning():
            context = self._writer.as_default()
            context.__enter__()
            try:
                yield
            finally:
                self._leave(context)

    def close(self) -> None:
        """Ends the file."""
        with self._warning():
            self._writer.close()

    def _leave(self, context: contextlib.AbstractContextManager) -> None:
        try:
            context.__exit__(None, None, None)
        except _ERRORS:
            # TensorFlow keeps a writer that it could not flush as the default; closed, it does not.
            with contextlib.suppress(*_ERRORS):
                self._writer.close()
            context.__exit__(None, None, None)
            raise

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            self._writer = tf.summary.create_noop_writer()
            logging.warning(
                "TensorBoard's events cannot be written to %s any more (%s); the work goes on"
                " without them.",
                self._folder,
                str(error).strip().splitlines()[0].split("}} ")[-1],
            )


def losses_of_events(folder: str) -> dict[int, float]:
    """The loss curve in TensorBoard's events, by step; what cannot be read is left out.

    Where a run was resumed, the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not os.path.isdir(folder):
        return {}
    events = EventAccumulator(folder, size_guidance={"tensors": 0})
    events.Reload()
    if "train/loss" not in events.Tags()["tensors"]:
        return {}
    points = sorted(events.Tensors("train/loss"), key=lambda event: event.wall_time)
    return {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in points}
