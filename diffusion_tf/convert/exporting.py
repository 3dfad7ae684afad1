"""Exports: a network, and what samples from it, for other programs; tried before it is in place."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert import formats
from diffusion_tf.convert.architecture import build_from_config
from diffusion_tf.convert.contents import known_config, needed_config, own_config_error
from diffusion_tf.convert.exports import EXPORTS, Export
from diffusion_tf.convert.places import Work, put
from diffusion_tf.convert.serving import Serving
from diffusion_tf.convert.target_names import format_of
from diffusion_tf.datasets.record import load_record
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.training.checkpoints import load_config, load_network
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.numbers import finite, shown
from diffusion_tf.utils.weight_sets import WeightsKind, check_weights

TOLERANCE = 1e-5  # of what is written, see `exports.Code.difference`


def export(
    source: str,
    target: str,
    *,
    format: str | None = None,
    weights: WeightsKind = "ema",
    config: Config | None = None,
    overwrite: bool = False,
    sampler: str = "ancestral",
    sampling_steps: int | None = None,
    eta: float | None = None,
    guidance_scale: float = 1.0,
) -> None:
    """Exports the network of a checkpoint.

    Args:
        source: a checkpoint of any format; see `formats.detect`.
        target: a folder or a file, as the export has it.
        format: one of `exports.EXPORTS`; if not given, what the target's ending says.
        weights: `ema` or `raw`.
        config: of the run, where the source does not say the process and the export has it.
        overwrite: replace a target that exists.
        sampler, sampling_steps, eta: see `registry.get_sampling_process`.
        guidance_scale: see `Serving`.

    Raises:
        ValueError: as for `converting.convert`, and a sampler or options that there are not.
        FileNotFoundError: no source.
        InUse: another process is writing the target.
        OSError: it cannot be written, a package that writes or tries it is not installed, or it
            gave other numbers than the network here.
    """
    check_weights(weights)
    format, row = export_of(target, format)
    sampling = {"sampler": sampler, "sampling_steps": sampling_steps, "eta": eta}
    check_sampling(format, row, guidance_scale, sampling)

    def prepare() -> Serving:
        model, known, scaling = _network(source, weights, config, row)
        return serving_of(model, known, scaling, guidance_scale, **sampling)

    asked = [
        os.path.abspath(source), format, weights, config and config.to_json(), sampling,
        guidance_scale,
    ]  # fmt: skip
    put_export(source, target, format, prepare, asked, overwrite)


def export_of(target: str, format: str | None) -> tuple[str, Export]:
    """The name and the row of an export, as far as a target's name agrees; see `export`.

    Raises:
        ValueError: a format that is not an export, or a target that does not agree.
    """
    if format is not None and format not in EXPORTS:
        raise ValueError(f"Format {format} is not an export; choose one of {', '.join(EXPORTS)}.")
    format = format_of(target, format)
    if format not in EXPORTS:
        raise ValueError(
            f"The name {target} does not say which export is wanted; let it end with .keras or"
            f" .onnx, or name the format, one of {', '.join(EXPORTS)}."
        )
    return format, EXPORTS[format]


def check_sampling(
    format: str, row: Export, guidance_scale: float, sampling: Mapping[str, Any]
) -> None:
    """Raises a ValueError where something is chosen of the sampling, and the export has none."""
    chosen = {**sampling, "guidance_scale": None if guidance_scale == 1.0 else guidance_scale}
    for name, value in chosen.items():
        if value not in (None, "ancestral") and not row.has_process:
            having = [n for n, export in EXPORTS.items() if export.has_process]
            raise ValueError(
                f"{name} is {shown(value)}, but format {format} holds no sampler; leave it out, or"
                f" choose {' or '.join(having)}."
            )


@tf32(False)
def put_export(
    source: str,
    target: str,
    format: str,
    prepare: Callable[[], Serving],
    asked: list,
    overwrite: bool,
) -> None:
    """Writes an export and tries it; see `export` and `places.put`.

    Args:
        source: what the network was read from.
        target, format, overwrite: see `export`.
        prepare: gives what is exported.
        asked: all that decides what is written.
    """
    row, differences = EXPORTS[format], [0.0]

    def work() -> Work:
        serving = prepare()

        def is_right(path: str) -> bool:
            differences[0] = row.code.difference(path, serving)
            return differences[0] <= TOLERANCE

        return Work(lambda path: row.code.write(path, serving), is_right)

    put(source, target, format, row, asked, overwrite, work)
    logging.info(
        "Wrote %s, loaded it, and compared it with the network here: the largest difference is"
        " %.1e. It holds %s.", target, differences[0], row.written,
    )  # fmt: skip


def serving_of(
    model: keras.Model,
    config: Config | None,
    scaling: Scaling | None = None,
    guidance_scale: float = 1.0,
    **sampling: str | int | float | None,
) -> Serving:
    """A network with a sampler of its run.

    Args:
        model: the network.
        config: of the run; without one there is no process.
        scaling: of a run on standardized vectors.
        guidance_scale: see `Serving`.
        **sampling: `sampler`, `sampling_steps` and `eta`, see `registry.get_sampling_process`.

    Raises:
        ValueError: a sampler that there is not, or guidance of an unconditional network.
    """
    if config is None:
        return Serving(model=model)
    if finite(guidance_scale, "guidance_scale") != 1.0 and not config.conditional:
        raise ValueError("The network of this run is unconditional; it takes no guidance.")
    process: dict = sampling
    return Serving(
        model=model,
        process=get_sampling_process(get_diffusion(config), **process),
        clip_denoised=config.clip_denoised,
        guidance_scale=guidance_scale,
        scaling=scaling,
    )


def in_float32(model: keras.Model, config: Config) -> keras.Model:
    """The network itself, or one with its weights that computes in float32."""
    if config.dtype == "float32":
        return model
    copy = get_model(replace(config, dtype="float32"))
    copy.set_weights(model.get_weights())
    return copy


def _network(
    source: str, weights: WeightsKind, config: Config | None, row: Export
) -> tuple[keras.Model, Config | None, Scaling | None]:
    """What is exported: a network, and the config and the scaling of its run if they are known."""
    source_format = formats.detect(source)
    if source_format == "workdir":
        known = load_config(source)
        if config is not None:
            raise own_config_error(source)
        computed = _computed(known, row)
        model, _ = load_network(source, computed, weights=weights)
        return model, known, load_record(source, known).scaling
    contents = formats.read(source, source_format)
    found = known_config(contents, config)
    if found is None and not row.has_process:
        return formats.known_formats()[source_format].build_unet(source, weights), None, None
    known = needed_config(contents, found)
    return build_from_config(_computed(known, row), contents.chosen(weights)), known, None


def _computed(config: Config, row: Export) -> Config:
    """The config whose network is exported."""
    if row.has_process and config.dtype != "float32":
        logging.info("The run computes in %s, what is exported in float32.", config.dtype)
        return replace(config, dtype="float32")
    return config
