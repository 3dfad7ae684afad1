"""From one format into another, verified by reading back before it takes its place."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert import diffusers_pipeline, formats, pytorch_diffusion, tf1, workdir
from diffusion_tf.convert.architecture import build_from_config, build_from_weights
from diffusion_tf.convert.contents import (
    Contents,
    check_weights,
    config_of,
    known_config,
    same_bits,
)
from diffusion_tf.devices import tf32
from diffusion_tf.files import replacing, replacing_folder, write_json
from diffusion_tf.original_runs import kwargs_from_config

# What a folder of each format may hold to be replaced: what is written there, and nothing else.
_WRITTEN = {
    "keras": r"config\.json|checkpoints",
    "tf1": r"checkpoint|kwargs\.json|model\.ckpt-\d+\.(index|data-\d+-of-\d+)",
    "diffusers": r"model_index\.json|unet|scheduler",
}


@tf32(False)
def convert(
    source: str,
    target: str,
    *,
    format: str,
    weights: str = "ema",
    config: Config | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint in another format.

    Args:
        source: a checkpoint of any format; see `formats.detect`.
        target: a file for `pytorch_diffusion` (`*.safetensors`, or any other name for what
            `torch.save` writes), otherwise a folder.
        format: of the target, one of `formats.FORMATS`.
        weights: `ema` or `raw`: those to write where the target holds one set. `keras` and `tf1`
            take both, the step and the optimizer's state, as far as they are there; in `keras`
            these weights also stand for a set that is not.
        config: of the run, where the source does not say it and the target needs it.
        overwrite: replace a target that exists.

    Raises:
        ValueError: unknown format or weights; a target that exists, or that may not be replaced; a
            source of no format, or that lacks what is asked for; a network or process that the
            target's format does not have; a config that is needed, or of another network.
        FileNotFoundError: no source.
        OSError: it cannot be written, or a package that reads or writes it is not installed.
    """
    check_weights(weights)
    if format not in formats.FORMATS:
        raise ValueError(f"Unknown format {format!r}; choose one of {', '.join(formats.FORMATS)}.")
    _check_target(source, target, format, overwrite)
    source_format = formats.detect(source)
    contents = formats.read(source, source_format)
    logging.info("%s", describe(source_format, contents))
    expected = _expected(contents, format, weights)
    with _replacing(target, format) as temporary:
        _write(temporary, format, expected, config)
        _verify(formats.read(temporary, format), expected)
    logging.info("Wrote %s, and read it back bit for bit.", target)


def describe(format: str, contents: Contents) -> str:
    """What a checkpoint holds, in words."""
    architecture = contents.architecture
    values = next(iter(contents.weights.values()))
    sets = {"ema": "averaged", "raw": "raw"}
    held = " and ".join(sets[name] for name in contents.weights)
    if len(contents.weights) == 2 and contents.weights["ema"] is contents.weights["raw"]:
        held = "one set of"
    step = "step unknown" if contents.step is None else f"step {contents.step}"
    slots = f", optimizer's state {' and '.join(contents.slots)}" if contents.slots else ""
    size = contents.fields.get("image_size")
    images = f"{size}x{size} pixels with " if size else ""
    return (
        f"Found {formats.FORMATS[format]} ({format}) in {contents.path}: {step}, {held}"
        f" weights{slots}.\n"
        f"Network: {sum(np.size(value) for value in values.values()):,} parameters in"
        f" {len(values)} tensors; images of {images}{architecture.in_channels} channels, output of"
        f" {architecture.out_channels}, ch {architecture.ch}, ch_mult {architecture.ch_mult},"
        f" num_res_blocks {architecture.num_res_blocks}, attention at resolutions"
        f" {architecture.attention or 'none'} of {len(architecture.ch_mult)},"
        f" resamp_with_conv {architecture.resamp_with_conv}."
    )


def _expected(contents: Contents, format: str, weights: str) -> Contents:
    """What the target will hold."""
    chosen = contents.chosen(weights)
    if format == "keras":  # a workdir holds both sets
        contents = replace(contents, weights={"ema": chosen, "raw": chosen, **contents.weights})
    if format in ("keras", "tf1"):
        return replace(contents, step=contents.step or 0)
    return replace(contents, weights={"ema": chosen, "raw": chosen}, slots={}, step=None)


def _write(target: str, format: str, contents: Contents, base: Config | None) -> None:
    if format == "tf1":
        tf1.write(target, contents)
        config = known_config(contents, base)
        kwargs = kwargs_from_config(config) if config else None
        if kwargs is None:
            logging.info("Without kwargs.json: the original has no run of this config.")
        else:
            write_json(os.path.join(target, "kwargs.json"), kwargs)
    elif format == "keras":
        workdir.write(target, contents, config_of(contents, base))
    elif format == "diffusers":
        config = config_of(contents, base)
        unet = build_from_config(config, contents.weights["ema"])
        diffusers_pipeline.save_pipeline(target, unet, config)
    else:
        config, values = known_config(contents, base), contents.weights["ema"]
        unet = build_from_config(config, values) if config else build_from_weights(values)
        pytorch_diffusion.write(target, unet)


def _verify(found: Contents, expected: Contents) -> None:
    same = (
        all(same_bits(found.weights[name], expected.weights[name]) for name in expected.weights)
        and found.slots.keys() == expected.slots.keys()
        and all(same_bits(found.slots[name], expected.slots[name]) for name in expected.slots)
        and found.step == expected.step
    )
    if not same:
        raise OSError(f"What was written differs from {expected.path}; nothing was kept of it.")


def _check_target(source: str, target: str, format: str, overwrite: bool) -> None:
    is_folder = format in _WRITTEN
    if not os.path.lexists(target):
        return
    if os.path.islink(target):
        raise ValueError(f"{target} is a link; give what it leads to, or another --target.")
    if os.path.isdir(target) != is_folder:
        raise ValueError(
            f"{target} exists, and {format} is written into a {'folder' if is_folder else 'file'};"
            " choose another --target."
        )
    if not overwrite:
        raise ValueError(f"{target} exists; choose another --target, or add --overwrite.")
    if f"{os.path.realpath(source)}/".startswith(f"{os.path.realpath(target)}/"):
        raise ValueError(f"{target} holds the source; choose another --target.")
    if is_folder:
        others = [n for n in sorted(os.listdir(target)) if not re.fullmatch(_WRITTEN[format], n)]
        if others:
            raise ValueError(
                f"{target} holds {others[0]}, which is not written for {format}; choose another"
                " --target."
            )


@contextlib.contextmanager
def _replacing(target: str, format: str) -> Iterator[str]:
    with (replacing_folder if format in _WRITTEN else replacing)(target) as temporary:
        yield str(temporary)
