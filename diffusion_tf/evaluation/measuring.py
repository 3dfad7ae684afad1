"""The measurements of one evaluation: each is made once, against named images, and written down."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import logging

from diffusion_tf.conditions import Conditions
from diffusion_tf.config import Config
from diffusion_tf.datasets import Dataset, get_dataset, splits_of
from diffusion_tf.evaluation.features import get_features
from diffusion_tf.evaluation.image_files import ImageFiles
from diffusion_tf.evaluation.likelihood import measure_likelihood, rate_distortion
from diffusion_tf.evaluation.quality import EXTRACT_BATCH, measure_images, real_statistics
from diffusion_tf.evaluation.request import NEED_FEATURES, NEED_LIKELIHOOD, Request
from diffusion_tf.evaluation.results import Results
from diffusion_tf.metrics.fid import InceptionScore, Statistics, frechet_distance
from diffusion_tf.sampler import Sampler

CLIP_DENOISED = True  # as the original's evaluation
MAX_DEFAULT_SAMPLES = 50_000  # the paper's number


class Measuring:
    """Measures what a request wants, unless it has been measured before.

    Attributes:
        config: of the run, or of the real images that others are compared with.
        request: what to measure.
        datasets: real images by split, every split that there is.
        results: what is written down.
    """

    def __init__(
        self,
        out: str | Path,
        request: Request,
        config: Config,
        *,
        source: dict[str, Any],
        samples: dict[str, Any],
        has_model: bool,
    ):
        """Loads the real images, and finds what has been measured before.

        Args:
            out: folder of the evaluation.
            request: what to measure.
            config: see above.
            source: what the samples or likelihoods come from, for metrics.json.
            samples: which samples, for metrics.json; a `num_samples` of 0 is replaced.
            has_model: whether likelihoods can be measured.

        Raises:
            ValueError, FileNotFoundError, OSError: see `Request`, `get_dataset`, `get_features` and
                `Results`.
        """
        self.config, self.request = config, request
        self._metrics = request.chosen_metrics(config, has_model=has_model)
        self._splits = request.chosen_splits(config)
        self.datasets, data = _real_images(config, request)
        conditions = {"source": source, "data": data}
        default = min(data["splits"]["train"]["of"], MAX_DEFAULT_SAMPLES)
        samples = samples | {"num_samples": samples["num_samples"] or default}
        if self.needs_samples:
            self._features = get_features(
                request.chosen_features(config),
                inception_path=request.inception_path,
                inception_sha256=request.inception_sha256,
            )
            conditions |= {
                "samples": samples,
                "features": {
                    "name": self._features.name,
                    "preprocessing": self._features.preprocessing,
                    "graph_sha256": self._features.graph_sha256,
                    "quantized": samples["dtype"] == "uint8",
                },
            }
        self.results = Results(out, conditions, overwrite=request.overwrite)

    @property
    def needs_samples(self) -> bool:
        """Whether samples are measured."""
        return bool(set(self._metrics) & set(NEED_FEATURES))

    @property
    def needs_likelihood(self) -> bool:
        """Whether likelihoods are measured."""
        return bool(set(self._metrics) & set(NEED_LIKELIHOOD))

    def measure_likelihoods(self, sampler: Sampler) -> None:
        """Measures bits/dim, rate and distortion of every split that is wanted.

        Args:
            sampler: the network, with the process of training.

        Raises:
            ValueError, OSError, Interrupted: see `measure_likelihood`.
        """
        for split in self._splits:
            if not self.results.has("bpd", split):
                self._measure_likelihood(split, sampler)

    def _measure_likelihood(self, split: str, sampler: Sampler) -> None:
        described, partial = self.results.values, self.results.partial_path(split)
        origin = {
            "network": described["source"]["network_sha256"],
            "images": described["data"]["splits"][split]["fingerprint"],
            "seed": self.request.seed,
        }
        dataset = self.datasets[split]
        conditions = Conditions(dataset.conditions) if self.config.conditional else None
        with self.results.timed(f"bits/dim of {split} images"):
            likelihood = measure_likelihood(
                dataclasses.replace(sampler, conditions=conditions, clip_denoised=CLIP_DENOISED),
                dataset,
                batch_size=self.request.batch_size,
                partial_path=partial,
                origin=origin,
            )
        how = {"seed": self.request.seed, "clip_denoised": CLIP_DENOISED}
        curve = rate_distortion(likelihood)
        self.results.add(split, bpd=likelihood.to_json() | how, rate_distortion=curve)
        partial.unlink(missing_ok=True)

    def measure_samples(self, samples: ImageFiles) -> None:
        """Measures FID against every split that is wanted, and the Inception score.

        Args:
            samples: all of them.

        Raises:
            ValueError: samples that cannot be read.
            OSError: see `real_statistics`.
        """
        splits = [s for s in self._splits if "fid" in self._metrics]
        missing = [s for s in splits if not self.results.has("fid", s)]
        if not missing and ("is" not in self._metrics or self.results.has("is")):
            return
        with self.results.timed("features of the samples"):
            statistics, score = measure_images(
                samples.batches(EXTRACT_BATCH), self._features, total=samples.shape[0],
                what="samples",
            )  # fmt: skip
        for split in missing:
            self.results.add(split, fid=self._fid(statistics, split))
        if "is" in self._metrics:
            self.results.add(**{"is": _inception_score(score)})

    def _fid(self, samples: Statistics, split: str) -> dict[str, Any]:
        with self.results.timed(f"features of {split} images"):
            real = real_statistics(
                self.datasets[split], f"{self.config.dataset}_{split}", self._features,
                cache_dir=self.request.cache_dir,
            )  # fmt: skip
        for statistics, what in ((samples, "Samples"), (real, f"Real images ({split})")):
            if statistics.warning:
                logging.warning("%s: %s", what, statistics.warning)
        return {
            "value": frechet_distance(samples, real),
            "num_samples": samples.num_samples,
            "num_images": real.num_samples,
            "dimensions": len(real.mean),
            "warning": " ".join(filter(None, (samples.warning, real.warning))),
        }


def _inception_score(score: InceptionScore) -> dict[str, Any]:
    """With the mean over splits where there are enough samples for it."""
    values = {"value": score.score(), "num_samples": score.num_samples}
    if score.num_samples >= 2 * score.num_splits:
        mean, deviation = score.split_scores()
        values |= {"split_mean": mean, "split_std": deviation, "num_splits": score.num_splits}
    return values


def _real_images(config: Config, request: Request) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """The images of every split that there is, and what metrics.json says of them."""
    whole = dataclasses.replace(config, max_images=0)
    datasets, described = {}, {}
    for split in splits_of(config.dataset):
        dataset = get_dataset(whole, request.data_dir, split=split)
        limits = (request.num_images, config.max_images if split == "train" else 0)
        datasets[split] = used = dataset.first(min([len(dataset), *filter(None, limits)]))
        described[split] = {
            "num_images": len(used),
            "of": len(dataset),
            "fingerprint": used.fingerprint(),
        }
    return datasets, {"name": config.dataset, "splits": described}
