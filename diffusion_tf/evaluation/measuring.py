"""The measurements of one evaluation: each is made once, against named images, and written down."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset, get_dataset, splits_of
from diffusion_tf.evaluation.features import Features, get_features
from diffusion_tf.evaluation.image_files import ImageFiles
from diffusion_tf.evaluation.likelihood import Likelihood, measure_likelihood
from diffusion_tf.evaluation.metric import METRICS, Need, get_metric
from diffusion_tf.evaluation.metrics.fid import InceptionScore, Statistics
from diffusion_tf.evaluation.options import Request
from diffusion_tf.evaluation.quality import (
    EXTRACT_BATCH,
    measure_images,
    real_halves,
    real_statistics,
)
from diffusion_tf.evaluation.results import Results
from diffusion_tf.evaluation.schema import (
    Data,
    FeaturesUsed,
    Likelihoods,
    Samples,
    Source,
    Split,
)
from diffusion_tf.sampling.guidance import Conditions, get_conditions
from diffusion_tf.sampling.sampler import Sampler

MAX_DEFAULT_SAMPLES = 50_000  # the paper's number


class Measuring:
    """Measures what a request wants, unless it has been measured before.

    It is what metrics are measured from, see `metric.Inputs`.

    Attributes:
        config: of the run, or of the real images that others are compared with.
        request: what to measure.
        datasets: real images by split, every split that there is.
        samples: all of them, as soon as `measure_samples` is given them.
        features: what images are compared by, if a metric needs them.
        results: what is written down.
    """

    samples: ImageFiles
    features: Features

    def __init__(
        self,
        out: str | Path,
        request: Request,
        config: Config,
        *,
        source: Source,
        samples: Samples,
        likelihoods: Likelihoods | None = None,
    ):
        """Loads the real images, and finds what has been measured before.

        Args:
            out: folder of the evaluation.
            request: what to measure.
            config: see above.
            source: what the samples or likelihoods come from.
            samples: which samples; a `num_samples` of 0 is replaced.
            likelihoods: how they are measured, None where there is no model.

        Raises:
            ValueError, FileNotFoundError, OSError: see `Request`, `get_dataset`, `get_features` and
                `Results`.
        """
        self.config, self.request = config, request
        chosen = request.chosen_metrics(config, has_model=likelihoods is not None)
        self._metrics = [get_metric(name) for name in chosen]
        self._splits = request.chosen_splits(config)
        self.datasets, data = _real_images(config, request)
        self.results = Results(
            out,
            source=source,
            data=data,
            samples=_with_number(samples, data) if self.needs("samples") else None,
            likelihoods=likelihoods if self.needs("likelihoods") else None,
            features=self._load_features(samples) if self.needs("features") else None,
            overwrite=request.overwrite,
        )

    def needs(self, what: Need) -> bool:
        """Whether a metric that is wanted needs samples, features, classes or likelihoods."""
        return any(what in metric.needs for metric in self._metrics)

    def measure_likelihoods(self, sampler: Sampler) -> None:
        """Measures all metrics of likelihoods, for every split for which one is wanted.

        Args:
            sampler: the network, with the process of training.

        Raises:
            ValueError, OSError, Interrupted: see `measure_likelihood`.
        """
        possible = [m for m in map(get_metric, METRICS) if "likelihoods" in m.needs]
        wanted = [metric for metric in self._metrics if metric in possible]
        for split in self._splits:
            if all(self.results.has(metric.name, split) for metric in wanted):
                continue
            self._likelihoods = {split: self._measure_likelihood(split, sampler)}
            self.results.add(split, {m.name: m.measure(self, split) for m in possible})
            self.results.partial_path(split).unlink(missing_ok=True)

    def measure_samples(self, samples: ImageFiles) -> None:
        """Measures the metrics of samples that are wanted, against every split that is wanted.

        Args:
            samples: all of them.

        Raises:
            ValueError: samples that cannot be read.
            OSError: see `real_statistics`.
        """
        self.samples = samples
        for metric in self._metrics:
            if "samples" not in metric.needs:
                continue
            for split in self._splits if metric.per_split else (None,):
                if not self.results.has(metric.name, split):
                    self.results.add(split, {metric.name: metric.measure(self, split)})

    def likelihood(self, split: str) -> tuple[Likelihood, dict[str, Any]]:
        """The bound of a split, and how it was measured."""
        how = self.results.evaluation.likelihoods
        assert how is not None  # likelihoods are needed
        return self._likelihoods[split], dataclasses.asdict(how)

    @functools.cached_property
    def sample_features(self) -> tuple[Statistics, InceptionScore | None]:
        """Moments of the samples' features, and their Inception score if there are logits."""
        with self.results.timed("features of the samples"):
            return measure_images(
                self.samples.batches(EXTRACT_BATCH), self.features, total=self.samples.shape[0],
                what="samples",
            )  # fmt: skip

    def real_features(self, split: str) -> Statistics:
        """Moments of the features of a split's real images."""
        with self.results.timed(f"features of {split} images"):
            return real_statistics(
                self.datasets[split], f"{self.config.dataset}_{split}", self.features,
                cache_dir=self.request.cache_dir,
            )  # fmt: skip

    def real_halves(self, split: str) -> tuple[Statistics, Statistics] | None:
        """Moments of the features of both halves of a split's real images; None of fewer than 4."""
        if len(self.datasets[split]) < 4:
            return None
        with self.results.timed(f"features of {split} images"):
            return real_halves(
                self.datasets[split], f"{self.config.dataset}_{split}", self.features,
                cache_dir=self.request.cache_dir,
            )  # fmt: skip

    def _measure_likelihood(self, split: str, sampler: Sampler) -> Likelihood:
        described = self.results.evaluation
        dataset = self.datasets[split]
        conditions = Conditions(dataset.known_conditions) if self.config.conditional else None
        with self.results.timed(f"bits/dim of {split} images"):
            return measure_likelihood(
                dataclasses.replace(sampler, conditions=conditions),
                dataset,
                batch_size=self.request.batch_size,
                partial_path=self.results.partial_path(split),
                origin={
                    "network": described.source.network_sha256,
                    "images": described.data.splits[split].fingerprint,
                    "seed": sampler.seed,
                    "clip_denoised": sampler.clip_denoised,
                },
            )

    def _load_features(self, samples: Samples) -> FeaturesUsed:
        self.features = get_features(
            self.request.chosen_features(self.config),
            inception_path=self.request.inception_path,
            inception_sha256=self.request.inception_sha256,
        )
        return FeaturesUsed(
            self.features.name,
            self.features.preprocessing,
            self.features.graph_sha256,
            quantized=samples.dtype == "uint8",
        )


def _with_number(samples: Samples, data: Data) -> Samples:
    default = min(data.splits["train"].of, MAX_DEFAULT_SAMPLES)
    return dataclasses.replace(samples, num_samples=samples.num_samples or default)


def _real_images(config: Config, request: Request) -> tuple[dict[str, Dataset], Data]:
    """The images of every split that there is, and what metrics.json says of them."""
    whole = dataclasses.replace(request.of_data(config), max_images=0)
    datasets, described = {}, {}
    for split in splits_of(whole, request.data_dir):
        dataset = get_dataset(whole, request.data_dir, split=split)
        if request.conditions is not None:
            dataset = _of_classes(dataset, request.conditions, config)
        limits = (request.num_images, config.max_images if split == "train" else 0)
        datasets[split] = used = dataset.first(min([len(dataset), *filter(None, limits)]))
        classes = used.count_classes() if config.num_classes else None
        described[split] = Split(len(used), len(dataset), used.fingerprint(), classes)
    return datasets, Data(config.dataset, described)


def _of_classes(dataset: Dataset, text: str, config: Config) -> Dataset:
    """The images of the classes that a person asks for; see `Request.conditions`."""
    if not config.num_classes:
        raise ValueError(
            f"--conditions={text} chooses classes, and the run has none; leave it out."
        )
    conditions = get_conditions(config, text, class_names=dataset.class_names)
    assert conditions is not None  # there are classes
    chosen = np.flatnonzero(np.isin(dataset.known_conditions, conditions.values))
    if not len(chosen):
        raise ValueError(f"No image of {dataset.origin or config.dataset} is of {text}.")
    return dataset.subset(chosen)
