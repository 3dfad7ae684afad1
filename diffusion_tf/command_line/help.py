"""What --help, --version and --config=help show: flags in groups, with the values that hold."""

import dataclasses
import importlib.metadata
import os
import platform
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

import diffusion_tf.utils.command_names as names
from diffusion_tf.config import PRESETS, Config
from diffusion_tf.config.original import read_config

WIDTH = 88  # columns
_HELP = {"-h", "--h", "-?", "--?", "-help", "--help", "--helpshort", "-helpshort"}
_FULL = {"--helpfull", "-helpfull"}
# The field that a group of flags of the config begins with.
CONFIG_GROUPS = {
    "dataset": "Data",
    "num_diffusion_timesteps": "Diffusion process",
    "model": "Network",
    "batch_size": "Training",
    "log_steps": "Bookkeeping",
}
_groups: list[tuple[str, int]] = []  # title, number of flags that were defined before
_required: set[str] = set()


def group(title: str) -> None:
    """Begins a group: the flags defined from here on stand under this title."""
    _groups.append((title, len(list(flags.FLAGS))))


def mark_required(*holders: flags.FlagHolder) -> None:
    """Says of flags that the command does not go without them."""
    _required.update(holder.name for holder in holders)


def answer(arguments: Sequence[str], doc: str) -> str | None:
    """What arguments that ask for help, the version or the presets are answered.

    Args:
        arguments: of the command.
        doc: what the command says of itself.

    Returns:
        The text, or None where nothing of that is asked for.

    Raises:
        ValueError, FileNotFoundError: help for a config that is not there.
    """
    if "--version" in arguments:
        return version()
    if _given("config", arguments) == "help" and "config" in flags.FLAGS:
        return f"Values of --config:\n{presets()}"
    if _HELP.isdisjoint(arguments) and _FULL.isdisjoint(arguments):
        return None
    return _help(arguments, doc)


def version() -> str:
    """The versions of this package and of what it computes with, which are not imported for it."""
    here = importlib.import_module("diffusion_tf").__version__
    others = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "keras"):
        try:
            others.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            others.append(f"no {package}")
    return f"diffusion_tf {here} ({', '.join(others)})\n"


def presets() -> str:
    """A line for each preset: what it is, its batch size and its number of steps."""
    longest = max(map(len, PRESETS))
    return "".join(f"  {name:{longest}}  {summary(name)}\n" for name in PRESETS)


def summary(preset: str) -> str:
    """What a preset is, in one line."""
    config = PRESETS[preset]()
    what = re.split(r"[:,.;](?:\s|$)", PRESETS[preset].__doc__ or "", maxsplit=1)[0].strip()
    return f"{what} (batch_size {config.batch_size}, {config.steps:,} steps)"


def with_names(text: str) -> str:
    """A text in which every `ddpm-COMMAND` is called as this process calls commands."""
    return re.sub(r"\bddpm-(\w+)", lambda match: names.command_name(match[1]), text)


def _help(arguments: Sequence[str], doc: str) -> str:
    config, whose = _config(arguments)
    parts = [with_names(doc.strip()) + "\n"]
    for title, members in _members(full=not _FULL.isdisjoint(arguments)):
        of_config = title in CONFIG_GROUPS.values()
        lines = [_describe(name, config) for name in members]
        parts.append(f"{title}{f' [of {whose}]' if of_config else ''}\n{''.join(lines)}")
    if "config" in flags.FLAGS:
        more = "; --config=NAME --help shows all its values" if config else ""
        parts.append(f"Presets (--config=NAME{more})\n{presets()}")
    parts.append("A value in brackets holds where the flag is not given.\n")
    return "\n".join(parts)


def _members(*, full: bool) -> Iterable[tuple[str, list[str]]]:
    """The groups with the names of their flags, in the order of their definition."""
    known = list(flags.FLAGS)
    starts = [start for _, start in _groups]
    for (title, start), end in zip(_groups, [*starts, len(known)][1:], strict=True):
        yield title, [name for name in known[start:end] if len(name) > 1]
    yield "Help and messages", ["log", "debug", *_ANSWERS]
    if full:
        before = set(known[: starts[0]] if starts else known) - {"log", "debug"}
        yield "Of absl-py", sorted(name for name in before if len(name) > 1)


_ANSWERS = {
    "help": "show this; -h, too",
    "helpfull": "show the flags of absl-py, as well",
    "version": "show the versions of this package, TensorFlow and Keras",
}


def _describe(name: str, config: Config | None) -> str:
    if name in _ANSWERS:
        return _wrapped(f"--{name}: {_ANSWERS[name]}")
    flag = flags.FLAGS[name]
    no = "[no]" if flag.boolean else ""
    must = "required; " if name in _required else ""
    text = f"--{no}{name}: {must}{with_names(' '.join((flag.help or '').split()))}"
    of_config = config and name in {field.name for field in dataclasses.fields(Config)}
    shown = _shown(getattr(config, name) if of_config else flag.default)
    return _wrapped(text + (f" [{shown}]" if shown else ""))


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(
        text, WIDTH, initial_indent="  ", subsequent_indent="      ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """A value as it is given on the command line; nothing where nothing is set."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _config(arguments: Sequence[str]) -> tuple[Config | None, str]:
    """The config whose values hold, and what it is called; None where there are no flags for it."""
    if not any(title in CONFIG_GROUPS.values() for title, _ in _groups):
        return None, ""
    workdir, given = _given("workdir", arguments), _given("config", arguments)
    if workdir and not given and os.path.exists(os.path.join(workdir, "config.json")):
        return read_config(workdir), workdir
    name = given or str(flags.FLAGS["config"].default)
    if name not in PRESETS and os.path.exists(name):
        return read_config(name), name
    return _preset(name), f"--config={name}"


def _preset(name: str) -> Config:
    if name not in PRESETS:
        raise ValueError(f"Unknown config {name!r}; choose one of {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]()


def _given(name: str, arguments: Sequence[str]) -> str | None:
    """The value of a flag among arguments that need not be right; None if it is not there."""
    found = None
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            found = value if equals else next(iter(arguments[i + 1 :]), None)
    return found


def show(text: str) -> None:
    """Writes an answer to standard output."""
    sys.stdout.write(text)
