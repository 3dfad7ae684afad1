"""What the commands share: flags for every field of the config, and errors in one sentence.

Nothing here imports TensorFlow, so that --help and a mistyped flag answer at once.
"""

import dataclasses
import functools
import json
import logging as python_logging
import os
import re
import signal
import sys
import time
import traceback
import typing
from collections.abc import Callable
from types import FrameType
from typing import Any

from absl import app, flags, logging

from diffusion_tf.command_line.help import (
    CONFIG_GROUPS,
    answer,
    group,
    mark_required,
    show,
)
from diffusion_tf.config import PRESETS, Config, get_config
from diffusion_tf.config.fields import type_of
from diffusion_tf.config.original import read_config
from diffusion_tf.sampling.registry import SAMPLERS
from diffusion_tf.utils import ctrl_c, progress, streams
from diffusion_tf.utils.command_names import command_name
from diffusion_tf.utils.decays import Decays
from diffusion_tf.utils.image_sizes import Size
from diffusion_tf.utils.interruption import Interrupted
from diffusion_tf.utils.sentences import sentence, shown_text
from diffusion_tf.utils.weight_sets import check_weights

flags.DEFINE_boolean("debug", False, "show the traceback of an error")
flags.DEFINE_enum(
    "log", "text", ["text", "json"], "what is said on the way: text, or an object of JSON a line"
)

# What several scripts take, so that the same word means the same thing everywhere.
_SHARED = {
    "clip_denoised": lambda name: flags.DEFINE_boolean(
        name,
        None,
        "clip the predicted x_0 to [-1, 1] at every step [images: on, as the original does;"
        " vectors: off]",
    ),
    "conditions": lambda name: flags.DEFINE_string(
        name,
        None,
        "of a conditional network: labels 3,5 or names of classes cat,dog; vectors 1,0;0.5,0.5; a"
        " file, *.npy or *.npz with y; or none; sample i has number i, modulo their number [all"
        " labels in turn]; of evaluate, the classes of images and samples [all]",
    ),
    "data_dir": lambda name: flags.DEFINE_string(
        name,
        None,
        "where the data are: a folder or a zip archive of images (dataset folder), a TFRecord file"
        " or its folder (lsun), a file of arrays (arrays, vectors, embeddings), a folder with two"
        " .npy files (sprites), cifar-10-python.tar.gz (cifar10), the folder of tensorflow_datasets"
        " (cifar10, celebahq256) [TFDS_DATA_DIR]",
    ),
    "deterministic": lambda name: flags.DEFINE_boolean(
        name,
        False,
        "let every operation give the same bits each time, also on GPUs; slower",
    ),
    "eta": lambda name: flags.DEFINE_float(name, None, SAMPLERS["ddim"].options["eta"]),
    "guidance_scale": lambda name: flags.DEFINE_float(
        name,
        1.0,
        "of a conditional network: 1 with its conditions, 0 without, more than 1 beyond them",
    ),
    "jit_compile": lambda name: flags.DEFINE_enum(
        name,
        "auto",
        ["auto", "on", "off"],
        "compile with XLA; auto: on GPUs and TPUs, and for small images",
    ),
    "overwrite": lambda name: flags.DEFINE_boolean(name, False, "replace what is there"),
    "sampler": lambda name: flags.DEFINE_enum(
        name,
        "ancestral",
        list(SAMPLERS),
        "; ".join(f"{sampler}: {entry.help}" for sampler, entry in SAMPLERS.items()),
    ),
    "sampling_steps": lambda name: flags.DEFINE_integer(
        name, None, "steps, spread over the T of training [all T]"
    ),
    "strategy": lambda name: flags.DEFINE_enum(
        name, "auto", ["auto", "single", "mirrored"], "devices to use; auto: all GPUs"
    ),
    "weights": lambda name: flags.DEFINE(
        _Weights(),
        name,
        "ema",
        "averaged or raw weights: ema or raw; of a run with several averages ema_0.9999, by decay",
        serializer=flags.ArgumentSerializer(),
    ),
}

__all__ = ["group", "mark_required"]  # of what else a command finds here

_TEXT = "%(message)s"

_DEFINE_BY_TYPE: dict[Any, Callable[..., flags.FlagHolder]] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple[int, ...]: flags.DEFINE_list,
    Size: flags.DEFINE_string,
    Decays: flags.DEFINE_string,
}


class _Weights(flags.ArgumentParser):
    """Parses a name of weights."""

    def parse(self, argument: str) -> str:
        """The name, or a ValueError."""
        check_weights(argument)
        return argument


def define_shared_flag(name: str) -> flags.FlagHolder:
    """Defines a flag that several commands take, one of `_SHARED`."""
    return _SHARED[name](name)


def define_flags_of(cls: type) -> None:
    """Defines a flag for every field of a dataclass, with its default.

    Args:
        cls: its fields have `help` and `choices` in their metadata; those without help are flags
            that several scripts take.
    """
    for field in dataclasses.fields(cls):
        if field.metadata["help"] is None:
            define_shared_flag(field.name)
            continue
        _define(field)


def _define(field: dataclasses.Field) -> None:
    help, choices = field.metadata["help"], field.metadata["choices"]
    default: Any = field.default
    if choices:
        flags.DEFINE_enum(field.name, default, choices, help)
        return
    kind = next(iter(typing.get_args(field.type)), field.type)  # T of `T | None`
    if typing.get_origin(field.type) is tuple or typing.get_origin(kind) is tuple:
        flags.DEFINE_list(field.name, list(default or ()), help)
        return
    _DEFINE_BY_TYPE[kind](field.name, default, help)


def define_config_flags() -> None:
    """Defines a flag for every field of `Config`; unset, the preset's value holds."""
    for field in dataclasses.fields(Config):
        define = _DEFINE_BY_TYPE[type_of(field)]
        kind = ", comma-separated" if define is flags.DEFINE_list else ""
        if field.name in CONFIG_GROUPS:
            group(CONFIG_GROUPS[field.name])
        define(field.name, None, f"{field.metadata['help']}{kind}")


def get_config_from_flags(base: Config | str) -> Config:
    """A config with the fields that were given on the command line.

    Args:
        base: a config, the name of a preset, or a path that `read_config` takes.

    Raises:
        ValueError: unknown preset, no config at the path, or a value that no run could use.
        FileNotFoundError: a folder without a run.
    """
    if isinstance(base, str):
        base = named_config(base)
    given = {
        field.name: _parse(field, flags.FLAGS[field.name].value)
        for field in dataclasses.fields(Config)
        if flags.FLAGS[field.name].present
    }
    return dataclasses.replace(base, **given)


def left_to_the_data(base: Config | str) -> tuple[str, ...]:
    """Fields that nobody has chosen, so that they may follow from the data.

    Args:
        base: see `get_config_from_flags`; a preset chooses none of them, a run has chosen.
    """
    if not isinstance(base, str) or is_path(base):
        return ()
    names = ("data_dim", "cond_dim", "image_size", "channels")
    return tuple(name for name in names if not flags.FLAGS[name].present)


def named_config(name: str) -> Config:
    """The config that a preset or a path means.

    Raises:
        ValueError, FileNotFoundError: see `get_config` and `read_config`.
    """
    return read_config(name) if is_path(name) else get_config(name)


def check_one_machine(strategy: str) -> None:
    """Refuses to start on every machine of a cluster what one machine does.

    Args:
        strategy: value of the flag.

    Raises:
        ValueError: TF_CONFIG is set, and nobody said that it does not matter.
    """
    if strategy == "auto" and "TF_CONFIG" in os.environ:
        raise ValueError(
            "TF_CONFIG is set, and one machine does this alone; unset it, or choose"
            " --strategy=mirrored."
        )


def is_path(config: str) -> bool:
    """Whether --config means a file or folder that is there; names of presets come first."""
    return config not in PRESETS and os.path.exists(config)


def required(flag: flags.FlagHolder[str | None], what: str) -> str:
    """The value of a flag that must be there, `what` in words; ValueError if it is missing."""
    if not flag.value:
        raise ValueError(f"--{flag.name} is missing; name {what}.")
    return flag.value


def parse_ints(name: str, values: list[str]) -> tuple[int, ...]:
    """The numbers of a comma-separated flag.

    Raises:
        ValueError: one of them is not a whole number.
    """
    try:
        return tuple(int(value) for value in values)
    except ValueError:
        given = shown_text(",".join(values))
        raise ValueError(
            f"--{name}={given} is not a comma-separated list of whole numbers."
        ) from None


def _parse(field: dataclasses.Field, value: Any) -> Any:
    return parse_ints(field.name, value) if field.type == tuple[int, ...] else value


def _is_ours_or_urgent(record: python_logging.LogRecord) -> bool:
    """Keeps the libraries' notes to themselves; their warnings pass."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ours = (package, os.path.dirname(os.path.abspath(sys.argv[0])))
    return record.levelno >= python_logging.WARNING or record.pathname.startswith(ours)


def run(main: Callable[[], None], *, positional: flags.FlagHolder | None = None) -> None:
    """Runs a command: answers --help and --version, or parses flags and calls main.

    Args:
        main: the command.
        positional: a flag that may be given without its name; of most commands none.

    An error ends the command with exit code 1 and its sentence on standard error, see
    `utils.sentences`; --debug shows the traceback instead.
    """
    streams.secure()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes about its own start
    # Whatever other backend this machine prefers; nothing else here uses Keras.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Faster convolutions on every x86 CPU; by itself TensorFlow has them on some of them only.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    _answer(sys.modules[main.__module__].__doc__ or "")

    interrupted_by: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted_by.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.INFO)
        handler = logging.get_absl_handler()
        handler.setFormatter(_JSONLines() if logs_json() else python_logging.Formatter(_TEXT))
        if logs_json():
            progress.use_json()
        handler.addFilter(_is_ours_or_urgent)
        try:
            if len(arguments) == 2 and positional is not None and not positional.present:
                flags.FLAGS[positional.name].parse(arguments.pop())
            if len(arguments) > 1:
                raise ValueError(f"Unexpected argument {arguments[1]!r}; flags start with --.")
            _check_not_empty()
            main()
        except Interrupted as interrupted:
            logging.info("%s", interrupted)
            sys.exit(interrupted.exit_code)
        except Exception as error:  # the net below the checks; it says what nobody expected
            if flags.FLAGS.debug:
                raise
            if interrupted_by:  # NumPy, interrupted while it is imported, raises an ImportError
                raise KeyboardInterrupt from error
            sys.exit(_ended(sentence(error)))

    try:
        app.run(guarded, flags_parser=functools.partial(_parse_flags, _name_of(main)))
    except KeyboardInterrupt:  # outside of what listens for it, or while flags are read
        if flags.FLAGS.is_parsed() and flags.FLAGS.debug:
            traceback.print_exc()
        sys.stderr.write(f"{ctrl_c.SENTENCE}\n")
        sys.exit(ctrl_c.EXIT_CODE)


def _check_not_empty() -> None:
    """Refuses --workdir= and the like, such as a variable of the shell leaves that is not set."""
    of_config = {field.name for field in dataclasses.fields(Config)}  # some may be empty
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.present and flag.value == "" and name not in of_config:
            raise ValueError(f"--{name} is empty; give a value, or leave the flag out.")


class _JSONLines(python_logging.Formatter):
    """Records as objects of JSON."""

    def format(self, record: python_logging.LogRecord) -> str:
        """One line: time in seconds, level, message."""
        return json.dumps(
            {
                "time": round(record.created, 3),
                "level": record.levelname.lower(),
                "message": record.getMessage(),
            }
        )


def logs_json() -> bool:
    """Whether what is said is to be JSON."""
    return flags.FLAGS.log == "json"


def _ended(text: str) -> str:
    """What a command says last when it has failed."""
    if not logs_json():
        return f"Error: {text}"
    return json.dumps({"time": round(time.time(), 3), "level": "error", "message": text})


def _answer(doc: str) -> None:
    """Ends the process where help or the version is asked for."""
    try:
        text = answer(sys.argv[1:], doc)
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {sentence(error)}")
    if text is not None:
        show(text)
        sys.exit(0)


def _name_of(main: Callable[[], None]) -> str:
    """What the command is called by those who call it."""
    module = main.__module__.split(".")
    return command_name(module[-1]) if len(module) > 1 else os.path.basename(sys.argv[0])


def _parse_flags(program: str, arguments: list[str]) -> list[str]:
    """The arguments that are not flags; a flag that is wrong ends the process with a sentence."""
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        text = " ".join(str(error).rstrip(".").split())
        text = re.sub(r"invalid literal for int\(\).*", "it must be a whole number", text)
        text = re.sub("could not convert string to float.*", "it must be a number", text)
        sys.exit(f"Error: {text}; {program} --help shows all flags.")
