"""From one format into another, verified by reading back before it takes its place."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert import formats
from diffusion_tf.convert.contents import Contents, known_config, same_bits
from diffusion_tf.convert.formats import FORMATS, Format, detect
from diffusion_tf.training.checkpoints import WeightsKind, check_weights
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.files import delete_leftovers, replacing_alone, replacing_folder
from diffusion_tf.utils.image_sizes import shown_size, sides
from diffusion_tf.utils.locks import has_note, lock_beside, locked

_EXISTS = "{} exists; choose another --target, or add --overwrite."


@tf32(False)
def convert(
    source: str,
    target: str,
    *,
    format: str,
    weights: WeightsKind = "ema",
    config: Config | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint in another format.

    Args:
        source: a checkpoint of any format; see `formats.detect`.
        target: a folder, or a file where `Format.files` is None (for a state dict `*.safetensors`,
            or any other name for what `torch.save` writes).
        format: of the target, one of `formats.FORMATS`.
        weights: `ema` or `raw`: those to write where the target holds one set. Where it holds a
            run, both sets, the step and the optimizer's state are written as far as they are
            there; where it must hold both sets, these weights also stand for a missing one.
        config: of the run, where the source does not say it and the target needs it.
        overwrite: replace a target that exists.

    Raises:
        ValueError: unknown format or weights; a target that exists, or that may not be replaced; a
            source of no format, or that lacks what is asked for; a network or process that the
            target's format does not have; a config that is needed, or of another network.
        FileNotFoundError: no source.
        InUse: another process is writing the target.
        OSError: it cannot be written, or a package that reads or writes it is not installed.
    """
    check_weights(weights)
    if format not in FORMATS:
        raise ValueError(f"Unknown format {format!r}; choose one of {', '.join(FORMATS)}.")
    _check_target(source, target, format, overwrite or has_note(lock_beside(target)))
    with locked(lock_beside(target), target) as lock:
        delete_leftovers(target)
        request = _request(source, format, weights, config)
        # Put there by a process that was killed before it could say so; it is compared below.
        finished = not overwrite and lock.noted == request and os.path.exists(target)
        _check_target(source, target, format, overwrite or finished)
        source_format, target_format = detect(source), FORMATS[format]
        contents = formats.read(source, source_format)
        logging.info("%s", describe(source_format, contents))
        expected = _expected(contents, target_format, weights)
        if not finished:
            with _replacing(target, target_format) as temporary:
                target_format.write(temporary, expected, known_config(expected, config))
                if not _is_same(target_format.read(temporary), expected):
                    raise OSError(
                        f"What was written differs from {source}; nothing was kept of it."
                    )
                lock.note("" if overwrite else request)
        elif not _is_same(target_format.read(target), expected):
            raise ValueError(_EXISTS.format(target))
    logging.info(
        "Wrote %s, and read it back bit for bit. It holds %s.", target, _in_words(expected)
    )


def _request(source: str, format: str, weights: str, config: Config | None) -> str:
    """What is asked for, in one line."""
    asked = [os.path.abspath(source), format, weights, config and config.to_json()]
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def describe(format: str, contents: Contents) -> str:
    """What a checkpoint holds, in words."""
    architecture = contents.architecture
    values = next(iter(contents.weights.values()))
    size = contents.fields.get("image_size")
    images = f"{shown_size(sides(size))} pixels with " if size else ""
    return (
        f"Found {formats.known_formats()[format].what} ({format}) in {contents.path}:"
        f" {_in_words(contents)}.\n"
        f"Network: {sum(np.size(value) for value in values.values()):,} parameters in"
        f" {len(values)} tensors; images of {images}{architecture.in_channels} channels, output of"
        f" {architecture.out_channels}, ch {architecture.ch}, ch_mult {architecture.ch_mult},"
        f" num_res_blocks {architecture.num_res_blocks}, attention at resolutions"
        f" {architecture.attention or 'none'} of {len(architecture.ch_mult)},"
        f" resamp_with_conv {architecture.resamp_with_conv}."
    )


def _in_words(contents: Contents) -> str:
    sets = {"ema": "averaged", "raw": "raw"}
    held = " and ".join(sets[name] for name in contents.weights)
    if len(contents.weights) == 2 and contents.weights["ema"] is contents.weights["raw"]:
        held = "one set of"
    step = "no step" if contents.step is None else f"step {contents.step}"
    slots = f", optimizer's state {' and '.join(contents.slots)}" if contents.slots else ""
    return f"{step}, {held} weights{slots}"


def _expected(contents: Contents, format: Format, weights: WeightsKind) -> Contents:
    """What the target will hold."""
    chosen = contents.chosen(weights)
    if format.holds == "one set":
        return replace(contents, weights={"ema": chosen, "raw": chosen}, slots={}, step=None)
    if format.holds == "both sets":
        contents = replace(contents, weights={"ema": chosen, "raw": chosen, **contents.weights})
    return replace(contents, step=contents.step or 0)


def _is_same(found: Contents, expected: Contents) -> bool:
    return (
        all(same_bits(found.weights[name], expected.weights[name]) for name in expected.weights)
        and found.slots.keys() == expected.slots.keys()
        and all(same_bits(found.slots[name], expected.slots[name]) for name in expected.slots)
        and found.step == expected.step
    )


def _check_target(source: str, target: str, format: str, overwrite: bool) -> None:
    files = FORMATS[format].files
    if not os.path.lexists(target):
        return
    if os.path.islink(target):
        raise ValueError(f"{target} is a link; give what it leads to, or another --target.")
    if os.path.isdir(target) != (files is not None):
        raise ValueError(
            f"{target} exists, and {format} is written into a {'folder' if files else 'file'};"
            " choose another --target."
        )
    if not overwrite:
        raise ValueError(_EXISTS.format(target))
    if f"{os.path.realpath(source)}/".startswith(f"{os.path.realpath(target)}/"):
        raise ValueError(f"{target} holds the source; choose another --target.")
    if files is not None:
        others = [n for n in sorted(os.listdir(target)) if not re.fullmatch(files, n)]
        if others:
            raise ValueError(
                f"{target} holds {others[0]}, which is not written for {format}; choose another"
                " --target."
            )


@contextlib.contextmanager
def _replacing(target: str, format: Format) -> Iterator[str]:
    with (replacing_alone if format.files is None else replacing_folder)(target) as temporary:
        yield str(temporary)
