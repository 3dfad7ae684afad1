"""From one format into another, verified by reading back before it takes its place."""

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert import formats
from diffusion_tf.convert.contents import Contents, known_config, same_bits
from diffusion_tf.convert.exporting import export
from diffusion_tf.convert.exports import EXPORTS
from diffusion_tf.convert.formats import FORMATS, Format, detect
from diffusion_tf.convert.maps import Weights
from diffusion_tf.convert.places import Work, put
from diffusion_tf.convert.target_names import format_of
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.image_sizes import shown_size, sides
from diffusion_tf.utils.weight_sets import WEIGHTS, WeightsKind, check_weights


@tf32(False)
def convert(
    source: str,
    target: str,
    *,
    format: str | None = None,
    weights: WeightsKind = "ema",
    config: Config | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint in another format, or exports its network (see `exporting.export`).

    Args:
        source: a checkpoint of any format; see `formats.detect`.
        target: a folder, or a file where `Format.files` is None (for a state dict `*.safetensors`,
            or `*.pt` for what `torch.save` writes).
        format: of the target, one of `target_names.targets()`; if not given, what the target's
            name says.
        weights: those to write where the target holds one set. Where it holds a
            run, both sets, the step and the optimizer's state are written as far as they are
            there; where it must hold both sets, these weights also stand for a missing one.
        config: of the run, where the source does not say it and the target needs it.
        overwrite: replace a target that exists.

    Raises:
        ValueError: unknown format or weights; a target whose name is not one of the format, that
            exists, or that may not be replaced; a
            source of no format, or that lacks what is asked for; a network or process that the
            target's format does not have; a config that is needed, or of another network.
        FileNotFoundError: no source.
        InUse: another process is writing the target.
        OSError: it cannot be written, or a package that reads or writes it is not installed.
    """
    check_weights(weights)
    format = format_of(target, format)
    if format in EXPORTS:
        export(source, target, format=format, weights=weights, config=config, overwrite=overwrite)
        return
    row = FORMATS[format]

    def prepare() -> Work:
        source_format = detect(source)
        contents = formats.read(source, source_format)
        logging.info("%s", describe(source_format, contents))
        expected = _expected(contents, row, weights)
        said.append(_in_words(expected))
        return Work(
            lambda path: row.write(path, expected, known_config(expected, config)),
            lambda path: _is_same(row.read(path), expected),
        )

    said: list[str] = []
    asked = [os.path.abspath(source), format, weights, config and config.to_json()]
    put(source, target, format, row, asked, overwrite, prepare)
    logging.info("Wrote %s, and read it back bit for bit. It holds %s.", target, said[0])


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
    held = " and ".join(sets.get(name, name) for name in contents.weights)
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
    if format.holds == "run":
        contents = replace(contents, weights=_known_everywhere(contents))
    if format.holds == "both sets":
        contents = replace(contents, weights={"ema": chosen, "raw": chosen, **contents.weights})
    return replace(contents, step=contents.step or 0)


def _known_everywhere(contents: Contents) -> Mapping[str, Weights]:
    others = [name for name in contents.weights if name not in WEIGHTS]
    if others:
        logging.info("Left out: %s, which the target has no place for.", ", ".join(others))
    return {name: values for name, values in contents.weights.items() if name in WEIGHTS}


def _is_same(found: Contents, expected: Contents) -> bool:
    return (
        all(same_bits(found.weights[name], expected.weights[name]) for name in expected.weights)
        and found.slots.keys() == expected.slots.keys()
        and all(same_bits(found.slots[name], expected.slots[name]) for name in expected.slots)
        and found.step == expected.step
    )
