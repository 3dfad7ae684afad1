"""One evaluation from beginning to end: of a checkpoint, or of images in files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert.loading import load_model
from diffusion_tf.datasets.record import load_record
from diffusion_tf.evaluation.image_files import FLOATS, PIXELS, ImageFiles, open_images
from diffusion_tf.evaluation.measuring import Measuring
from diffusion_tf.evaluation.metric import in_report_order
from diffusion_tf.evaluation.options import Request
from diffusion_tf.evaluation.report.document import Picture, write_report
from diffusion_tf.evaluation.report.paper import compare_numbers, said_once
from diffusion_tf.evaluation.report.pictures import (
    NUM_SHOWN,
    NUM_WITH_NEIGHBOURS,
    first_images,
    illustrate_model,
    illustrate_samples,
)
from diffusion_tf.evaluation.results import writing_alone
from diffusion_tf.evaluation.schema import Likelihoods, Samples, Source
from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM
from diffusion_tf.sampling.files import write_samples
from diffusion_tf.sampling.guidance import Conditions
from diffusion_tf.sampling.parts import is_unfinished
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler, digest
from diffusion_tf.utils.array_files import Damaged, check_seal
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.weight_sets import WeightsKind


@writing_alone
@tf32(False)
def evaluate_run(
    out: str | Path,
    workdir: str,
    request: Request,
    *,
    weights: WeightsKind = "ema",
    step: int | None = None,
    strategy: tf.distribute.Strategy | None = None,
    jit_compile: bool = False,
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, or goes on where an evaluation was interrupted.

    Args:
        out: folder for metrics.json, report.html, its pictures and the samples.
        workdir: of a run of this project, or of the original.
        request: what to measure.
        weights: `ema` or `raw`.
        step: of the checkpoint; the newest if not given.
        strategy: of this machine's devices; one device if not given.
        jit_compile: compile with XLA, see `utils.devices.use_xla`.

    Returns:
        What metrics.json holds.

    Raises:
        FileNotFoundError, ValueError, OSError: no checkpoint, no data, results of another
            evaluation; see `load_model` and `Measuring`.
        InUse: another process is writing into the folder.
        Interrupted: SIGTERM or Ctrl-C came; what is finished is kept.
    """
    out, strategy = Path(out), strategy or tf.distribute.get_strategy()
    with strategy.scope():
        config, model, step = load_model(workdir, weights=weights, step=step)
    if config.data_dim:
        raise ValueError(f"{workdir} is a run on vectors; only runs on images can be evaluated.")
    logging.info("Evaluating %s, %s weights of step %d.", workdir, weights, step)
    sampler = Sampler.of_run(
        config, model, seed=request.seed, strategy=strategy, jit_compile=jit_compile,
        clip_denoised=request.clip_denoised,
    )  # fmt: skip
    process = get_sampling_process(
        sampler.process, request.sampler, request.sampling_steps, eta=request.eta
    )
    source = Source(
        kind="workdir" if Path(workdir, "config.json").exists() else "original",
        path=workdir,
        step=step,
        weights=weights,
        config=dataclasses.asdict(config),
        network_sha256=digest(model, sampler.process),
    )
    samples = _describe_samples(out / "samples.npz", request, config, process)
    samples = dataclasses.replace(samples, clip_denoised=sampler.clip_denoised)
    likelihoods = Likelihoods(sampler.seed, sampler.clip_denoised)
    measuring = Measuring(
        out, request, config, source=source, samples=samples, likelihoods=likelihoods
    )
    _check_class_names(measuring, load_record(workdir, config).class_names)
    if measuring.needs("likelihoods"):
        measuring.measure_likelihoods(sampler)
    drawing = dataclasses.replace(
        sampler, process=process, conditions=_conditions_of_data(measuring)
    )
    if measuring.needs("samples"):
        _draw_samples(measuring, drawing)
        measuring.measure_samples(_drawn_samples(measuring))
    pictures = _pictures_of_run(measuring, drawing) if request.pictures else []
    return _finish(measuring, pictures)


@writing_alone
@tf32(False)
def evaluate_images(
    out: str | Path, path: str | Path, config: Config, request: Request
) -> dict[str, Any]:
    """Evaluates images that were made by anything.

    Args:
        out: folder for metrics.json and report.html with its pictures.
        path: of the images, see `open_images`.
        config: whose data set they are compared with.
        request: what to measure; how to sample does not matter.

    Returns:
        What metrics.json holds.

    Raises:
        FileNotFoundError, ValueError, OSError: no images, of another size than the data set's, or
            in a range that is not clear; see `open_images`, `ImageFiles.range` and `Measuring`.
    """
    size = config.image_shape[:2] if request.resize else None
    images = open_images(path, channels=config.channels, value_range=request.range, size=size)
    images.check_shape(config)
    source = Source(kind="images", path=str(path), step=None, weights=None, config=None)
    samples = Samples(
        path=str(path),
        num_samples=images.shape[0],
        dtype="uint8" if images.dtype == "uint8" else "float32",
        range=list(images.range),  # of the whole set, before any number
        fingerprint=images.fingerprint,
        resized=request.resize or None,
    )
    measuring = Measuring(out, request, config, source=source, samples=samples)
    measuring.measure_samples(images)
    pictures = []
    if request.pictures:
        pictures = list(
            illustrate_samples(Path(out), first_images(images), measuring.datasets["train"])
        )
    return _finish(measuring, pictures)


def _describe_samples(
    path: Path, request: Request, config: Config, process: GaussianDiffusion
) -> Samples:
    """What metrics.json says of the samples that are to be drawn."""
    return Samples(
        path=str(path),
        num_samples=request.num_samples,
        seed=request.seed,
        batch_size=request.batch_size,
        sampler=request.sampler,
        sampling_steps=process.num_timesteps,
        eta=process.eta if isinstance(process, DDIM) else None,
        T=config.num_diffusion_timesteps,
        variance=config.model_var_type,
        dtype="uint8" if request.quantize else "float32",
    )


def _drawn_samples(measuring: Measuring) -> ImageFiles:
    """Those that were drawn here, whose range is known, however far they go beyond it."""
    samples = measuring.results.evaluation.samples
    assert samples is not None and samples.path is not None  # see `_describe_samples`
    value_range = PIXELS if samples.dtype == "uint8" else FLOATS
    return open_images(samples.path, value_range=value_range, bounded=False)


def _draw_samples(measuring: Measuring, sampler: Sampler) -> None:
    """Draws samples.npz, unless it is there and intact: then it is of this evaluation."""
    samples, source = measuring.results.evaluation.samples, measuring.results.evaluation.source
    assert samples is not None and samples.path is not None  # see `_describe_samples`
    assert samples.num_samples is not None and samples.batch_size is not None
    if Path(samples.path).exists():
        try:
            check_seal(samples.path)
            if not is_unfinished(samples.path):
                return
        except Damaged as damage:
            logging.warning("%s The samples are drawn again.", damage)
            Path(samples.path).unlink()
    with measuring.results.timed("samples"):
        write_samples(
            samples.path,
            sampler,
            num_samples=samples.num_samples,
            batch_size=samples.batch_size,
            origin={"step": source.step, "weights": source.weights},
            float32=samples.dtype == "float32",
            overwrite=measuring.request.overwrite,
        )
    measuring.results.save()


def _check_class_names(measuring: Measuring, names: Sequence[str] | None) -> None:
    """Raises a ValueError where label i of the data is another class than in training."""
    for dataset in measuring.datasets.values():
        theirs = dataset.class_names
        if names and theirs and tuple(theirs) != tuple(names):
            raise ValueError(
                f"The classes of {dataset.origin or measuring.config.dataset} are"
                f" {', '.join(theirs)}, and the run learned {', '.join(names)}; their numbers would"
                " not mean the same. Evaluate with data of the same classes."
            )


def _conditions_of_data(measuring: Measuring) -> Conditions | None:
    """Those of the training images, so that samples have their distribution."""
    if not measuring.config.conditional:
        return None
    samples = measuring.results.evaluation.samples
    number = samples.num_samples if samples else None
    return Conditions(spread(measuring.datasets["train"].known_conditions, number))


def spread(conditions: np.ndarray, number: int | None) -> np.ndarray:
    """So many conditions, at equal distances: images may be sorted by class. All if fewer.

    Args:
        conditions: [N] or [N, C], of the images in their order.
        number: of samples; None for all.
    """
    N = len(conditions)
    number = min(number or N, N)
    return conditions[np.arange(number) * N // number]


def _pictures_of_run(measuring: Measuring, sampler: Sampler) -> list[Picture]:
    """Samples first, in the order of the report."""
    folder, datasets = measuring.results.folder, measuring.datasets
    drawn, of_model = illustrate_model(
        folder, measuring.config, sampler, datasets.get("test", datasets["train"]),
        num_chains=NUM_WITH_NEIGHBOURS if measuring.needs("samples") else NUM_SHOWN,
    )  # fmt: skip
    if measuring.needs("samples"):
        drawn = first_images(_drawn_samples(measuring))
    return [*illustrate_samples(folder, drawn, datasets["train"]), *of_model]


def _finish(measuring: Measuring, pictures: list[Picture]) -> dict[str, Any]:
    """Compares with the paper, writes the report, and says the numbers."""
    results = measuring.results
    results.evaluation.comparison = compare_numbers(results.evaluation)
    results.save()
    report, metrics = results.folder / "report.html", results.evaluation.to_json()
    write_report(report, metrics, pictures)
    better = {k: n.better for m in in_report_order() for k, n in m.numbers.items()}
    once, sentences = said_once(results.evaluation, results.evaluation.comparison)
    for row, sentence in zip(results.evaluation.comparison, sentences, strict=True):
        split = f" ({row.split})" if row.split else ""
        real = "" if row.real is None else f"; real images against real ones {row.real:.3g}"
        paper = "" if row.paper is None else f"; the paper's {row.paper:g}"
        logging.info(
            "%s%s: %.3g, %s is better%s%s. %s",
            row.metric, split, row.measured, better[row.metric], real, paper, sentence,
        )  # fmt: skip
    if once:
        logging.info("%s", once)
    logging.info("Wrote %s and metrics.json.", report)
    return metrics
