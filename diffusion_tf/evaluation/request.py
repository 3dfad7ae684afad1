"""What is to be measured, and how: the choices of one evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.datasets import splits_of
from diffusion_tf.evaluation.features import FEATURES
from diffusion_tf.numbers import checked_seed, is_real, is_whole, whole

METRICS = ("bpd", "fid", "is", "rate_distortion")
NEED_FEATURES = ("fid", "is")  # of samples; no model
NEED_LIKELIHOOD = ("bpd", "rate_distortion")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The choices of one evaluation.

    Attributes:
        metrics: some of `METRICS`; empty for all that the features allow.
        splits: some of train and test; empty for all that the data set has.
        num_samples: how many to draw; 0 for as many as there are training images, 50,000 at most.
        num_images: use only so many real images of each split, the first ones; 0 for all.
        batch_size: images at once on each device.
        seed: of all noise, any int64.
        sampler, sampling_steps, eta: see `samplers.get_sampling_process`.
        quantize: round samples to 8 bits before they are measured. The original does not.
        features: one of `FEATURES`, or `auto`: pixels for the digits, Inception for all others.
        inception_path, inception_sha256: see `metrics.inception.load_inception`.
        cache_dir: of statistics of real images, see `quality.real_statistics`.
        data_dir: see `datasets.get_dataset`.
        pictures: draw the pictures of the report.
        range: the numbers of black and white in images made by anything; if not given, they are
            judged by the whole set, see `image_files.ImageFiles.range`.
        overwrite: replace an evaluation under other conditions.

    Raises:
        ValueError: a metric or features that do not exist, or a number that is too small or too
            large.
    """

    metrics: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    num_samples: int = 0
    num_images: int = 0
    batch_size: int = 64
    seed: int = 0
    sampler: str = "ancestral"
    sampling_steps: int | None = None
    eta: float | None = None
    quantize: bool = False
    features: str = "auto"
    inception_path: str | None = None
    inception_sha256: str | None = None
    cache_dir: str | None = None
    data_dir: str | None = None
    pictures: bool = True
    range: tuple[float, float] | None = None
    overwrite: bool = False

    def __post_init__(self):
        for metric in self.metrics:
            if metric not in METRICS:
                raise ValueError(f"Unknown metric {metric!r}; choose some of {', '.join(METRICS)}.")
        if self.features not in ("auto", *FEATURES):
            raise ValueError(
                f"Unknown features {self.features!r}; choose auto, {' or '.join(FEATURES)}."
            )
        for name in ("num_samples", "num_images"):
            value = getattr(self, name)
            if not is_whole(value) or value < 0 or value == 1:
                raise ValueError(f"{name} is {value!r}; it must be 2 or more, or 0.")
            whole(value, name, 0)
        whole(self.batch_size, "batch_size", 1)
        if self.sampling_steps is not None:
            whole(self.sampling_steps, "sampling_steps", 1)
        if self.eta is not None and not (is_real(self.eta) and 0 <= self.eta <= 1):
            raise ValueError(f"eta is {self.eta!r}; it must lie in [0, 1].")
        checked_seed(self.seed)
        if self.range is not None and not -np.inf < self.range[0] < self.range[1] < np.inf:
            raise ValueError(
                f"range is {self.range}; it must be two rising numbers, those of black and white."
            )

    def chosen_features(self, config: Config) -> str:
        """What images of a config's data set are compared by."""
        if self.features == "auto":
            return "pixels" if config.dataset == "digits" else "inception"
        return self.features

    def chosen_metrics(self, config: Config, *, has_model: bool) -> tuple[str, ...]:
        """The metrics, in a fixed order.

        Raises:
            ValueError: one that needs a model where there is none, or the Inception score where
                images are compared by their pixels.
        """
        has_classes = self.chosen_features(config) == "inception"
        possible = tuple(
            metric
            for metric in METRICS
            if (has_model or metric in NEED_FEATURES) and (has_classes or metric != "is")
        )
        for metric in self.metrics:
            if metric not in possible and metric == "is":
                raise ValueError("The Inception score needs --features=inception, not pixels.")
            if metric not in possible:
                raise ValueError(
                    f"{metric} needs a model; give --workdir instead of --images, or choose some of"
                    f" {', '.join(possible)}."
                )
        return tuple(m for m in possible if m in (self.metrics or possible))

    def chosen_splits(self, config: Config) -> tuple[str, ...]:
        """The splits, in a fixed order.

        Raises:
            ValueError: one that the data set does not have.
        """
        possible = splits_of(config.dataset)
        for split in self.splits:
            if split not in possible:
                raise ValueError(
                    f"{config.dataset} has no split {split!r}; choose --splits={','.join(possible)}"
                    " or one of them."
                )
        return tuple(s for s in possible if s in (self.splits or possible))


def parse_range(values: Sequence[str]) -> tuple[float, float] | None:
    """The numbers of black and white that --range says, None if it says nothing.

    Raises:
        ValueError: not two numbers.
    """
    if not values:
        return None
    try:
        black, white = map(float, values)
    except ValueError:
        raise ValueError(
            f"--range={','.join(values)} is not two numbers, those of black and white; give for"
            " example --range=0,1."
        ) from None
    return black, white
