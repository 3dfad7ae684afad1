"""Python first: train, load and sample in a line each, and a run as one object."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_tf.config import Config, get_config
from diffusion_tf.convert.exporting import (
    check_sampling,
    export_of,
    in_float32,
    put_export,
    serving_of,
)
from diffusion_tf.convert.loading import load_model
from diffusion_tf.convert.serving import Serving
from diffusion_tf.datasets import get_fitted_dataset, get_images, get_test_split
from diffusion_tf.datasets.given import fitted
from diffusion_tf.datasets.own_arrays import checked_images
from diffusion_tf.datasets.record import DataRecord, load_record
from diffusion_tf.evaluation.options import Request
from diffusion_tf.evaluation.run import evaluate_run
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.sampling import shards
from diffusion_tf.sampling.guidance import get_conditions, get_one_condition
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training import loop
from diffusion_tf.training.checkpoints import newest_number
from diffusion_tf.training.workdirs import check_of_run
from diffusion_tf.utils.devices import JitCompile, StrategyName, get_strategy, tf32, use_xla
from diffusion_tf.utils.images import as_pixels
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.numbers import checked_seed, whole
from diffusion_tf.utils.weight_sets import WeightsKind


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained network, with all that its run says of it; see `load`.

    Attributes:
        path: of the workdir, or the run directory of the original.
        config: of the run.
        model: the network, called as `model(x, t)`.
        step: of the checkpoint, the updates that were made.
        weights: `ema` or `raw`.
        data: what the workdir keeps of the data; None if nothing.
    """

    path: str
    config: Config
    model: keras.Model
    step: int
    weights: WeightsKind = "ema"
    data: DataRecord | None = None

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.config.sample_shape))
        return (
            f"Run({self.path!r}, step={self.step}, weights={self.weights!r},"
            f" dataset={self.config.dataset!r}, shape={shape},"
            f" parameters={self.model.count_params():,})"
        )

    @property
    def diffusion(self) -> GaussianDiffusion:
        """The process that the network was trained with."""
        return get_diffusion(self.config)

    def sample(
        self,
        num_samples: int = 16,
        *,
        seed: int = 0,
        sampler: str = "ancestral",
        sampling_steps: int | None = None,
        eta: float | None = None,
        conditions: str | None = None,
        guidance_scale: float = 1.0,
        batch_size: int = 64,
        clip_denoised: bool | None = None,
        float32: bool = False,
        jit_compile: JitCompile = "auto",
    ) -> np.ndarray:
        """Draws samples, the same that the command writes.

        Args:
            num_samples: how many.
            seed: of the noise.
            sampler, sampling_steps, eta: see `sampling.registry.get_sampling_process`.
            conditions, guidance_scale: of a conditional network, see `guidance.get_conditions`.
            batch_size: how many at once; what is drawn depends on it.
            clip_denoised: see `Sampler`; what the config says if not given.
            float32: images as the network has them, -1 black and 1 white, not as pixels.
            jit_compile: `auto`, `on` or `off`, see `utils.devices.use_xla`.

        Returns:
            Images as uint8 [N, H, W, C], or float32; vectors as float32 [N, D] on the scale of the
            data.

        Raises:
            ValueError: an unknown sampler, a number that is too small or too large, or conditions
                that the network does not take.
        """
        names = self.data.class_names if self.data else None
        drawing = self._sampler(
            seed,
            jit_compile,
            process=get_sampling_process(self.diffusion, sampler, sampling_steps, eta=eta),
            conditions=get_conditions(self.config, conditions, guidance_scale, class_names=names),
            clip_denoised=clip_denoised,
            scaling=self.data.scaling if self.data else None,
        )
        with tf32(False):
            drawn = np.concatenate(list(shards.sample(drawing, num_samples, batch_size)))
        return drawn if float32 or self.config.data_dim else as_pixels(drawn)

    def interpolate(
        self,
        first: int | str | np.ndarray,
        second: int | str | np.ndarray,
        *,
        number: int = 9,
        t: int | None = None,
        seed: int = 0,
        conditions: str | None = None,
        guidance_scale: float = 1.0,
        data_dir: str | None = None,
        jit_compile: JitCompile = "auto",
    ) -> np.ndarray:
        """Goes from one image to another (section 4.3 of the paper).

        Args:
            first, second: index in the training data, image file, or uint8 [H, W, C].
            number: of mixtures, both ends among them.
            t: how far the images are diffused before they are mixed; T / 2 if not given.
            seed: of the noise.
            conditions, guidance_scale: see `guidance.get_one_condition`.
            data_dir: where the training data are, see `datasets.get_dataset`.
            jit_compile: see `sample`.

        Returns:
            uint8 [number, H, W, C].

        Raises:
            ValueError: a run on vectors, no such image, or one of another size, or t is not in
                0..T-1.
        """
        if self.config.data_dim:
            raise ValueError(f"{self.path} is a run on vectors; only images can be mixed here.")
        T = self.config.num_diffusion_timesteps
        t = T // 2 if t is None else whole(t, "t", 0, T - 1)
        x1, x2 = (self._image(image, data_dir)[None] for image in (first, second))
        names = self.data.class_names if self.data else None
        drawing = self._sampler(
            seed,
            jit_compile,
            conditions=get_one_condition(
                self.config, conditions, guidance_scale, class_names=names
            ),
        )
        lambdas = np.linspace(0, 1, whole(number, "number", 2, 1000), dtype=np.float32)
        with tf32(False):
            (mixtures,) = drawing.mixtures(x1, x2, lambdas, [t])
        return as_pixels(mixtures[:, 0])

    def evaluate(self, out: str | Path | None = None, **choices: Any) -> dict[str, Any]:
        """Measures the run, or goes on with a measurement that was interrupted.

        Args:
            out: folder for metrics.json and report.html; `evaluation` in the workdir if not given.
            **choices: fields of `evaluation.options.Request`, such as `metrics` and `num_samples`.

        Returns:
            What metrics.json holds.

        Raises:
            ValueError, FileNotFoundError, OSError: see `evaluation.run.evaluate_run`.
        """
        known = {field.name for field in dataclasses.fields(Request)}
        for name in choices.keys() - known:
            raise ValueError(f"evaluate has no choice {name!r}; take some of {', '.join(known)}.")
        return evaluate_run(
            out or os.path.join(self.path, "evaluation"),
            self.path,
            Request(**choices),
            weights=self.weights,
            step=self.step,
            jit_compile=use_xla("auto", self.config.image_size),
        )

    def export(
        self,
        target: str | Path,
        *,
        format: str | None = None,
        overwrite: bool = False,
        guidance_scale: float = 1.0,
        **sampling: Any,
    ) -> None:
        """Writes the network for other programs, as the command `convert` does.

        Args:
            target: a file `*.keras` or `*.onnx`, or a folder.
            format: one of `convert.EXPORTS`; if not given, what the target's ending says.
            overwrite: replace a target that exists.
            guidance_scale: of a conditional network, see `guidance.Conditions`.
            **sampling: `sampler`, `sampling_steps` and `eta`, see `sample`.

        Raises:
            ValueError, OSError: see `convert.exporting.export`.
        """
        target, scaling = os.fspath(target), self.data.scaling if self.data else None

        def prepare() -> Serving:
            model = in_float32(self.model, self.config) if row.has_process else self.model
            return serving_of(model, self.config, scaling, guidance_scale, **sampling)

        format, row = export_of(target, format)
        check_sampling(format, row, guidance_scale, sampling)
        asked = [self.path, self.step, self.weights, format, sampling, guidance_scale]
        put_export(self.path, target, format, prepare, asked, overwrite)

    def _sampler(self, seed: int, jit_compile: JitCompile, **choices: Any) -> Sampler:
        xla, seed = use_xla(jit_compile, self.config.image_size), checked_seed(seed)
        return Sampler.of_run(self.config, self.model, seed=seed, jit_compile=xla, **choices)

    def _image(self, image: int | str | np.ndarray, data_dir: str | None) -> np.ndarray:
        """uint8 [H, W, C] of the run's size."""
        if not isinstance(image, np.ndarray):
            return get_images(self.config, [str(image)], data_dir)[0]
        (pixels,) = checked_images(image[None], "the image")
        if pixels.shape != self.config.image_shape:
            raise ValueError(
                f"the image has shape {pixels.shape}; those of this run have"
                f" {self.config.image_shape}."
            )
        return pixels


def load(path: str | Path, *, weights: WeightsKind = "ema", step: int | None = None) -> Run:
    """Loads a run that was trained.

    Args:
        path: of a workdir, or a run directory of the original.
        weights: `ema` the averaged ones, `raw` those that the optimizer moves.
        step: of the checkpoint; the newest if not given.

    Raises:
        FileNotFoundError, ValueError: see `convert.loading.load_model`.
    """
    path = os.fspath(path)
    config, model, reached = load_model(path, weights=weights, step=step)
    return Run(path, config, model, reached, weights, load_record(path, config))


def sample(path: str | Path, num_samples: int = 16, **choices: Any) -> np.ndarray:
    """Draws samples from a run: `load(path).sample(num_samples, **choices)`."""
    return load(path).sample(num_samples, **choices)


def train(
    config: str | Config = "digits",
    dataset: Any = None,
    workdir: str | Path | None = None,
    *,
    data_dir: str | None = None,
    strategy: StrategyName = "auto",
    jit_compile: JitCompile = "auto",
    **fields: Any,
) -> Run:
    """Trains a network up to `config.steps`, or goes on with the run in the workdir.

    Args:
        config: a preset by its name, or a whole config.
        dataset: an array, a pair of arrays, a `tf.data.Dataset` or a `Dataset`, see
            `datasets.given.fitted`; that of the config if not given. From a preset, the sizes and
            the number of classes follow from it.
        workdir: folder of the run; runs/NAME of the preset if not given.
        data_dir: where the config's data are, see `datasets.get_dataset`.
        strategy, jit_compile: see `utils.devices`.
        **fields: of `Config`, instead of the preset's.

    Raises:
        ValueError, FileNotFoundError, OSError, FloatingPointError, Interrupted: see `loop.train`
            and `datasets.given.fitted`.
    """
    if workdir is None and not isinstance(config, str):
        raise ValueError("A config has no name; say with workdir where the run is to be.")
    path = os.fspath(workdir) if workdir is not None else os.path.join("runs", str(config))
    config, data = _config_and_data(config, dataset, data_dir, fields)
    check_of_run(path, config)
    if newest_number(path) > config.steps:
        return load(path)  # which is further than it is to come
    trainer = loop.Trainer(
        config,
        get_strategy(strategy),
        jit_compile=use_xla(jit_compile, config.image_size),
    )
    test = get_test_split(config, data_dir) if dataset is None and config.grid_steps else None
    loop.train(trainer, data, path, test=test)
    return load(path)


def _config_and_data(
    config: str | Config, dataset: Any, data_dir: str | None, fields: dict[str, Any]
) -> tuple[Config, Any]:
    """What is trained, and on what."""
    is_preset = isinstance(config, str)
    base = get_config(config) if isinstance(config, str) else config
    config = Config.from_dict({**dataclasses.asdict(base), **fields})
    if dataset is not None:
        return fitted(config, dataset, free=is_preset)
    sizes = ("data_dim", "cond_dim", "image_size", "channels") if is_preset else ()
    return get_fitted_dataset(config, data_dir, [name for name in sizes if name not in fields])
