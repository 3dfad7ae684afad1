"""Workdirs: their config, their checkpoints, and the networks in them."""

import glob
import os
import shutil
from collections.abc import Sequence
from typing import Literal, get_args

import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.config.original import read_folder
from diffusion_tf.models import get_model
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.keras_backend import keras

WeightsKind = Literal["ema", "raw"]
WEIGHTS: tuple[WeightsKind, ...] = get_args(WeightsKind)


def check_weights(weights: str) -> None:
    """Raises a ValueError if `weights` is none of `WEIGHTS`."""
    if weights not in WEIGHTS:
        raise ValueError(f"Unknown weights {weights!r}; choose one of {', '.join(WEIGHTS)}.")


def config_path(workdir: str) -> str:
    """Where a workdir keeps its config."""
    return os.path.join(workdir, "config.json")


def load_config(workdir: str) -> Config:
    """Reads the config of a workdir, or of a run directory of the original.

    Raises:
        FileNotFoundError: the workdir holds no run.
        ValueError: its `config.json` or `kwargs.json` is not a config.
    """
    return read_folder(workdir)


def claim_workdir(workdir: str, config: Config) -> None:
    """Makes a workdir for a run, or makes sure that the one that is there is of this run.

    Raises:
        ValueError: it holds another run, or something else, such as a run of the original; nothing
            is changed then.
    """
    if os.path.exists(config_path(workdir)):
        differences = load_config(workdir).differences(config)
        if differences:
            listed = "; ".join(
                f"{k} {there} there, {here} here" for k, (there, here) in differences.items()
            )
            raise ValueError(
                f"{workdir} holds a run of another config ({listed}); choose another --workdir."
            )
    elif os.path.exists(workdir) and (not os.path.isdir(workdir) or os.listdir(workdir)):
        raise ValueError(
            f"{workdir} exists and holds something other than a run; choose another --workdir."
        )
    config.save(config_path(workdir))


class Checkpoints:
    """The checkpoints of a run: raw and averaged weights, optimizer and step.

    Everything else that a run needs follows from its config and the step.
    """

    def __init__(
        self,
        workdir: str,
        *,
        model: keras.Model,
        ema_model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        step: tf.Variable,
        keep: int,
        read_only: bool = False,
    ):
        """Finds the checkpoints of a workdir.

        Args:
            workdir: of the run.
            model, ema_model, optimizer, step: what a checkpoint holds.
            keep: how many are kept.
            read_only: `save` does nothing, as on machines that are not the chief.
        """
        self._step = step
        self._read_only = read_only
        self._manager = tf.train.CheckpointManager(
            _whole(model, ema_model, optimizer, step),
            _checkpoint_dir(workdir),
            max_to_keep=keep,
        )

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint, None if there is none."""
        return self._manager.latest_checkpoint

    def save(self) -> None:
        """Writes a checkpoint named after the step; then the oldest may go.

        Raises:
            OSError: it cannot be written. Those before it are as they were.
        """
        if self._read_only:
            return
        number = int(self._step.read_value())
        try:
            self._manager.save(checkpoint_number=number)
        except tf.errors.OpError as error:
            folder = self._manager.directory
            for leftover in glob.glob(os.path.join(glob.escape(folder), f"ckpt-{number}*")):
                shutil.rmtree(leftover) if os.path.isdir(leftover) else os.remove(leftover)
            raise OSError(
                f"The checkpoint of step {number} could not be written to {folder}"
                f" ({_first_line(error)}); the last good one is {self.latest}. Make room and give"
                " the same command again."
            ) from error

    def restore(self) -> int:
        """Restores the newest checkpoint, if there is one; returns the step reached.

        Raises:
            ValueError: it cannot be read, or is of another architecture.
        """
        if self.latest:
            _restore(self._manager.checkpoint, self.latest, whole=True)
        return int(self._step.read_value())

    def restore_from(self, workdir: str) -> int:
        """Restores the newest checkpoint of another run; returns its step.

        Everything is taken over: weights, averages, the optimizer's state and the step (the
        original's `warm_start_from` with all variables).

        Raises:
            FileNotFoundError: there is none.
            ValueError: it cannot be read, or is of another architecture.
        """
        _restore(self._manager.checkpoint, _newest(workdir), whole=True)
        return int(self._step.read_value())


def newest_number(workdir: str) -> int:
    """The number in the name of the newest checkpoint, its step; 0 if there is none."""
    path = tf.train.latest_checkpoint(_checkpoint_dir(workdir))
    return int(path.rsplit("-", 1)[1]) if path else 0


def load_network(
    workdir: str, config: Config, *, weights: WeightsKind = "ema", step: int | None = None
) -> tuple[keras.Model, int]:
    """The network of a checkpoint, with its weights.

    Args:
        workdir: of a run, with `checkpoints/`.
        config: of the run.
        weights: `ema` the averaged ones, `raw` those that the optimizer moves.
        step: of the checkpoint; the newest if not given.

    Returns:
        The network and the step of the checkpoint.

    Raises:
        FileNotFoundError: no such checkpoint there.
        ValueError: unknown weights, weights that are not finite, or a checkpoint that cannot be
            read.
    """
    check_weights(weights)
    path = _newest(workdir) if step is None else _of_step(workdir, step)
    model = get_model(config)
    reached = tf.Variable(0, dtype=tf.int64)
    part = {"ema": "ema", "raw": "model"}[weights]
    variables = _by_path(model.trainable_variables)
    _restore(tf.train.Checkpoint(step=reached, **{part: variables}), path, whole=False)
    for name, variable in variables.items():
        as_float32(variable.numpy(), f"{name} ({weights}) in {path}")
    return model, int(reached.read_value())


def restore_run(
    workdir: str,
    *,
    model: keras.Model,
    ema_model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    step: tf.Variable,
) -> None:
    """Restores everything from the newest checkpoint of a workdir, which stays as it is.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or is of another architecture.
    """
    _restore(_whole(model, ema_model, optimizer, step), _newest(workdir), whole=True)


def _whole(
    model: keras.Model,
    ema_model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    step: tf.Variable,
) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        model=_by_path(model.trainable_variables),
        ema=_by_path(ema_model.trainable_variables),
        optimizer=_by_path(optimizer.variables),
        step=step,
    )


def _checkpoint_dir(workdir: str) -> str:
    return os.path.join(workdir, "checkpoints")


def _newest(workdir: str) -> str:
    path = tf.train.latest_checkpoint(_checkpoint_dir(workdir))
    if path is None:
        raise FileNotFoundError(
            f"{workdir} has no checkpoint; train there with scripts/train.py until it has written"
            " one."
        )
    return path


def _of_step(workdir: str, step: int) -> str:
    state = tf.train.get_checkpoint_state(_checkpoint_dir(workdir))
    paths = state.all_model_checkpoint_paths if state else []
    for path in paths:
        if path.endswith(f"-{step}"):
            return path
    there = ", ".join(path.rsplit("-", 1)[1] for path in paths) or "none"
    raise FileNotFoundError(
        f"{workdir} has no checkpoint of step {step} (there: {there}); choose one of these."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _by_path(variables: Sequence[keras.Variable]) -> dict[str, tf.Variable]:
    """Variables under their names, which is how checkpoints hold them.

    Not whole Keras models: what a model keeps in lists never reaches the checkpoint.
    """
    by_path = {variable.path: variable.value for variable in variables}
    if len(by_path) != len(variables):
        raise ValueError("Two variables have the same path; checkpoints need them to differ.")
    return by_path


def _restore(checkpoint: tf.train.Checkpoint, path: str, *, whole: bool) -> None:
    """Restores every variable of `checkpoint`; with `whole`, every one of the file, too."""
    try:
        status = checkpoint.restore(path)
        if whole:
            status.assert_consumed()
        else:
            status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, LookupError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"Checkpoint {path} does not fit this config or is damaged ({_first_line(error)});"
            " delete its files to use the one before."
        ) from None
