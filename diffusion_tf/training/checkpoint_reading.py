"""From checkpoints into variables; what is damaged and what does not fit are told apart."""

import os
from collections.abc import Mapping, Sequence

import tensorflow as tf

from diffusion_tf.training.checkpoint_files import checkpoint_dir, find, name_of, newest, of_step
from diffusion_tf.training.timesteps import LossHistory
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.tensorflow_paths import for_tensorflow

# What TensorFlow writes beside the variables: its graph of objects, a counter of saves.
_OTHERS = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")
# What its reader raises, whatever is wrong with the files.
_ERRORS = (tf.errors.OpError, LookupError, RuntimeError, SystemError)


class Unreadable(ValueError):
    """A checkpoint that is damaged, or that the system does not let one read."""


def by_path(variables: Sequence[keras.Variable]) -> dict[str, tf.Variable]:
    """Variables under their names, which is how checkpoints hold them.

    Not whole Keras models: what a model keeps in lists never reaches the checkpoint.
    """
    named = {variable.path: variable.value for variable in variables}
    if len(named) != len(variables):
        raise ValueError("Two variables have the same path; checkpoints need them to differ.")
    return named


def parts_of(
    model: keras.Model,
    averages: Mapping[str, keras.Model],
    optimizer: keras.optimizers.Optimizer,
    history: LossHistory | None,
) -> dict[str, dict[str, tf.Variable]]:
    """Variables by their names, by the part of a checkpoint that they are."""
    parts = {
        "model": by_path(model.trainable_variables),
        **{name: by_path(average.trainable_variables) for name, average in averages.items()},
        "optimizer": by_path(optimizer.variables),
    }
    return parts | ({"timesteps": history.variables} if history else {})


def read(
    folder: str,
    number: int,
    parts: Mapping[str, Mapping[str, tf.Variable]],
    step: tf.Variable,
    *,
    whole: bool,
) -> None:
    """Sets variables to what a checkpoint holds, whose checksums must all be right.

    Args:
        folder: with its files.
        number: of it.
        parts: variables by their names, by the part of the checkpoint that they are.
        step: becomes the number of updates made.
        whole: the checkpoint may not hold anything else.

    Raises:
        Unreadable: its files cannot be read; variables may have changed by then.
        ValueError: it does not fit the variables, which are as they were.
    """
    path = os.path.join(folder, name_of(number))
    wanted = {_key("step"): step}
    for part, variables in parts.items():
        wanted |= {_key(part, name): variable for name, variable in variables.items()}
    try:
        with for_tensorflow(folder) as plain:
            reader = tf.train.load_checkpoint(os.path.join(plain, name_of(number)))
            shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
            there = {key: (tuple(shapes[key]), dtypes[key].name) for key in shapes}
            _check_fit(there, wanted, path, whole)
            for key, variable in wanted.items():
                variable.assign(reader.get_tensor(key))
            for key in there.keys() - wanted.keys():  # for nothing but their checksums
                reader.get_tensor(key)
    except _ERRORS as error:
        raise Unreadable(
            f"Checkpoint {path} cannot be read: it is damaged ({first_line(error)})"
        ) from None


def read_one(
    workdir: str,
    parts: Mapping[str, Mapping[str, tf.Variable]],
    reached: tf.Variable,
    *,
    whole: bool,
    step: int | None = None,
) -> str:
    """Reads one checkpoint of a run that may be going on.

    One that was deleted meanwhile has a newer one after it, and that is read. One that is damaged
    is refused: others than the run itself are to know which step they have.

    Args:
        workdir: of the run.
        parts, reached, whole: see `read`.
        step: of the checkpoint; the newest if not given.

    Returns:
        Its path, without the endings of its files.

    Raises:
        FileNotFoundError: no such checkpoint there.
        ValueError: it cannot be read or does not fit.
    """
    folder = checkpoint_dir(workdir)
    while True:
        number = newest(workdir) if step is None else of_step(workdir, step)
        try:
            read(folder, number, parts, reached, whole=whole)
            return os.path.join(folder, name_of(number))
        except Unreadable as error:
            complete = find(folder).complete
            if number in complete:
                raise ValueError(f"{error}; {_instead(number, complete)}") from None


def first_line(error: Exception) -> str:
    """What TensorFlow says first; the rest is its own matter."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _check_fit(
    there: Mapping[str, tuple], wanted: Mapping[str, tf.Variable], path: str, whole: bool
) -> None:
    here = {key: (tuple(v.shape), v.dtype.name) for key, v in wanted.items()}
    differences = [
        f"{_name(key)} is {_described(there.get(key))} there, {_described(here.get(key))} here"
        for key in sorted(here.keys() | (there.keys() - set(_OTHERS) if whole else set()))
        if there.get(key) != here.get(key)
    ]
    if differences:
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise ValueError(
            f"Checkpoint {path} does not fit this config ({differences[0]}{more}); it is as it"
            " was. Give the config that it was trained with."
        )


def _described(tensor: tuple[tuple[int, ...], str] | None) -> str:
    return f"{tensor[1]} {list(tensor[0])}" if tensor else "missing"


def _key(*names: str) -> str:
    """TensorFlow's name for a variable in objects that contain each other."""
    escaped = (name.replace(".", "..").replace("/", ".S") for name in names)
    return "/".join([*escaped, ".ATTRIBUTES", "VARIABLE_VALUE"])


def _name(key: str) -> str:
    """The inverse of `_key`, for people."""
    return key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").replace(".S", "/").replace("..", ".")


def _instead(number: int, complete: list[int]) -> str:
    before = [other for other in complete if other < number]
    if not before:
        return "restore its files from a copy."
    return f"restore its files from a copy, or move them elsewhere to use {name_of(before[-1])}."
