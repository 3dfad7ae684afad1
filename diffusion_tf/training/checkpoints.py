"""Workdirs: their config, their checkpoints, and the networks in them."""

import contextlib
import errno
import os
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.config.original import read_folder
from diffusion_tf.datasets.record import DataRecord
from diffusion_tf.models import get_model
from diffusion_tf.training import checkpoint_files
from diffusion_tf.training.checkpoint_files import (
    checkpoint_dir,
    explained,
    name_of,
    nothing_complete,
)
from diffusion_tf.training.checkpoint_reading import (
    Unreadable,
    by_path,
    first_line,
    read,
    read_one,
)
from diffusion_tf.training.workdirs import check_of_run, config_path, no_run
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.locks import InUse, Lock, lock_in, locked
from diffusion_tf.utils.tensorflow_paths import for_tensorflow
from diffusion_tf.utils.weight_sets import WeightsKind, check_weights, no_such_weights, own_name

Parts = Mapping[str, Mapping[str, tf.Variable]]
_NO_ROOM = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))


def load_config(workdir: str) -> Config:
    """Reads the config of a workdir, or of a run directory of the original.

    Raises:
        FileNotFoundError: the workdir holds no run.
        ValueError: its `config.json` or `kwargs.json` is not a config.
    """
    return read_folder(workdir)


def claim_workdir(workdir: str, config: Config, data: DataRecord | None = None) -> None:
    """Makes a workdir for a run, or makes sure that the one that is there is of this run.

    Args:
        workdir: of the run.
        config: of the run.
        data: what it learns from, which the workdir keeps; None where that is not known.

    Raises:
        ValueError: it holds another run, a run on other data, or something else, such as a run of
            the original; nothing is changed then.
    """
    check_of_run(workdir, config)
    if os.path.exists(config_path(workdir)):
        kept = DataRecord.load(workdir)
        if kept and data:
            kept.check_same(data, workdir)
    config.save(config_path(workdir))
    if data and DataRecord.load(workdir) is None:
        data.save(workdir)


def hold_workdir(workdir: str) -> contextlib.AbstractContextManager[Lock]:
    """Keeps other processes from writing into a workdir, which is made, while the block runs.

    Raises:
        ValueError: it is not a folder.
        OSError: another process holds it, or it cannot be made.
    """
    if os.path.lexists(workdir) and not os.path.isdir(workdir):
        raise no_run(workdir)
    return locked(lock_in(workdir), workdir)


class Checkpoints:
    """The checkpoints of a run: raw and averaged weights, optimizer, step, a history of losses.

    Everything else that a run needs follows from its config and the step.
    """

    def __init__(
        self,
        workdir: str,
        parts: Parts,
        step: tf.Variable,
        *,
        keep: int,
        read_only: bool = False,
    ):
        """Finds the checkpoints of a workdir.

        Args:
            workdir: of the run.
            parts, step: what a checkpoint holds; see `checkpoint_reading.parts_of`.
            keep: how many are kept.
            read_only: `save` and `clear` do nothing, as on machines that are not the chief.
        """
        self._workdir, self._folder = workdir, checkpoint_dir(workdir)
        self._parts, self._step = parts, step
        self._checkpoint = tf.train.Checkpoint(step=step, **parts)
        self._keep, self._read_only = keep, read_only
        self._unreadable: set[int] = set()
        self._restored: int | None = None

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint, None if there is none."""
        complete = checkpoint_files.find(self._folder).complete
        return os.path.join(self._folder, name_of(complete[-1])) if complete else None

    def clear(self) -> None:
        """Deletes what saves left behind that were cut short; after `restore`, finishes the newest.

        Raises:
            OSError: another process is saving there, or it cannot be deleted.
        """
        if not self._read_only:
            checkpoint_files.clear(self._folder, self._restored, self._keep, self._unreadable)

    def save(self) -> None:
        """Writes a checkpoint named after the step; then the oldest may go.

        Raises:
            OSError: it cannot be written, or the workdir is gone. Those before it are as they
                were.
        """
        if self._read_only:
            return
        number = int(self._step.read_value())
        try:
            if not os.path.isdir(self._workdir):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._workdir)
            self._unreadable.discard(number)
            checkpoint_files.write(self._folder, number, self._write, self._keep, self._unreadable)
        except InUse:
            raise
        except (OSError, tf.errors.OpError) as error:
            raise self._not_saved(number, error) from error

    def _write(self, path: str) -> None:
        folder, name = os.path.split(path)
        # TensorFlow's own restore misses it; with the step, a resumed run has the same bytes.
        self._checkpoint.save_counter.assign(self._step)
        with for_tensorflow(folder) as plain:
            self._checkpoint.write(os.path.join(plain, name))

    def _not_saved(self, number: int, error: Exception) -> OSError:
        what = f"The checkpoint of step {number} could not be written"
        if not os.path.isdir(self._workdir):
            return OSError(
                f"{what}: {self._workdir} was removed or renamed while the run went on. Put it back"
                " and give the same command again; without it, that begins anew."
            )
        last = f"the last good one is {self.latest}" if self.latest else "there is none before it"
        full = any(text in str(error) for text in _NO_ROOM)
        return OSError(
            f"{what} to {self._folder} ({first_line(error)}); {last}."
            f" {'Make room' if full else 'Mend that'} and give the same command again."
        )

    def restore(self) -> int:
        """Restores the newest checkpoint, if there is one; returns the step reached.

        Of those that are damaged a warning says what is lost, and the one before is taken.

        Raises:
            FileNotFoundError: the run had checkpoints, and none is complete.
            ValueError: none can be read, or the newest that can is of another architecture.
        """
        found = checkpoint_files.find(self._folder)
        doubts = checkpoint_files.doubts_about(self._folder, found)
        if not found.complete:
            if doubts:
                raise nothing_complete(self._workdir, doubts)
            return int(self._step.read_value())
        for number in reversed(found.complete):
            try:
                read(self._folder, number, self._parts, self._step, whole=True)
            except Unreadable as error:
                doubts.append(str(error))
                self._unreadable.add(number)
                continue
            self._check_number(number)
            self._restored = number
            if doubts:
                logging.warning("%s", explained(doubts, number))
            return number
        raise ValueError(
            f"{'; '.join(doubts)}. No other is left in {self._folder}: restore the files from a"
            " copy, or choose another --workdir to begin anew."
        )

    def _check_number(self, number: int) -> None:
        step = int(self._step.read_value())
        if step != number:
            raise ValueError(
                f"{name_of(number)} in {self._folder} holds step {step}; give it the name"
                f" {name_of(step)} again."
            )

    def restore_from(self, workdir: str) -> int:
        """Restores the newest checkpoint of another run; returns its step.

        Everything is taken over: weights, averages, the optimizer's state and the step (the
        original's `warm_start_from` with all variables).

        Raises:
            FileNotFoundError: there is none.
            ValueError: it cannot be read, or is of another architecture.
        """
        read_one(workdir, self._parts, self._step, whole=True)
        return int(self._step.read_value())


def newest_number(workdir: str) -> int:
    """The number in the name of the newest checkpoint, its step; 0 if there is none."""
    complete = checkpoint_files.find(checkpoint_dir(workdir)).complete
    return complete[-1] if complete else 0


def load_network(
    workdir: str, config: Config, *, weights: WeightsKind = "ema", step: int | None = None
) -> tuple[keras.Model, int]:
    """The network of a checkpoint, with its weights.

    Args:
        workdir: of a run, with `checkpoints/`.
        config: of the run.
        weights: see `utils.weight_sets`.
        step: of the checkpoint; the newest if not given.

    Returns:
        The network and the step of the checkpoint.

    Raises:
        FileNotFoundError: no such checkpoint there.
        ValueError: unknown weights, weights that are not finite, or a checkpoint that cannot be
            read.
    """
    check_weights(weights)
    name = own_name(weights, config.averages)
    if name not in (*config.averages, "raw"):
        raise no_such_weights(workdir, weights, (*config.averages, "raw"))
    part = "model" if name == "raw" else name
    model = get_model(config)
    reached = tf.Variable(0, dtype=tf.int64)
    variables = by_path(model.trainable_variables)
    path = read_one(workdir, {part: variables}, reached, whole=False, step=step)
    for name, variable in variables.items():
        as_float32(variable.numpy(), f"{name} ({weights}) in {path}")
    return model, int(reached.read_value())


def restore_run(workdir: str, parts: Parts, step: tf.Variable) -> None:
    """Restores everything from the newest checkpoint of a workdir, which stays as it is.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or is of another architecture.
    """
    read_one(workdir, parts, step, whole=True)
