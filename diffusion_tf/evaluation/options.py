"""What is to be measured, and how: the choices of one evaluation, and their flags."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diffusion_tf.config import Config
from diffusion_tf.evaluation.metric import METRICS, get_metric
from diffusion_tf.evaluation.schema import FEATURES
from diffusion_tf.utils.numbers import check_eta, checked_seed, is_whole, whole


def _option(default: Any, help: str | None = None, choices: Sequence[str] | None = None) -> Any:
    """A field with its documentation; without help, the flag is one that several scripts share."""
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Request:
    """The choices of one evaluation. Fields are command-line flags of the same name.

    Attributes:
        metrics: some of `METRICS`; empty for all that the features allow.
        splits: some of those that the data set has; empty for all.
        num_samples: 0 for as many as there are training images, 50,000 at most.
        sampler, sampling_steps, eta: see `sampling.registry.get_sampling_process`.
        clip_denoised: see `sampling.sampler.Sampler`; None for what the run's config says.
        inception_path, inception_sha256: see `metrics.inception.load_inception`.
        cache_dir: of statistics of real images, see `quality.real_statistics`.
        data_dir: see `datasets.get_dataset`.
        conditions: classes by name or number: images of these alone, real ones and samples; None
            for all.
        range: if not given, judged by the whole set, see `image_files.ImageFiles.range`.
        overwrite: replace an evaluation under other conditions.

    The others say what they are in their `help`.

    Raises:
        ValueError: a metric or features that do not exist, or a number that is too small or too
            large.
    """

    metrics: tuple[str, ...] = _option(
        (), f"what to measure, comma-separated: {', '.join(METRICS)} [all that are possible]"
    )
    splits: tuple[str, ...] = _option(
        (), "real images, comma-separated: train, test [all there are]"
    )
    num_samples: int = _option(
        0, "number of samples, exactly; 0: that of the training images, 50000 at most"
    )
    num_images: int = _option(
        0, "use only so many real images of each split, the first ones; 0: all"
    )
    batch_size: int = _option(64, "images at once on each device")
    seed: int = _option(0, "seed of all noise, from -2**63 to 2**63 - 1")
    sampler: str = _option("ancestral")
    sampling_steps: int | None = _option(None)
    eta: float | None = _option(None)
    clip_denoised: bool | None = _option(None)
    quantize: bool = _option(
        False, "round samples to 8 bits before they are measured; the original does not"
    )
    features: str = _option(
        "auto",
        "what FID compares; auto: pixels for digits, the Inception network for all else",
        ("auto", *FEATURES),
    )
    inception_path: str | None = _option(
        None, "frozen Inception graph, *.pb or its tarball [downloaded once]"
    )
    inception_sha256: str | None = _option(
        None, "refuse another Inception graph than this, in hexadecimal"
    )
    cache_dir: str | None = _option(
        None, "where statistics of real images are kept [~/.cache/diffusion_tf]"
    )
    data_dir: str | None = _option(None)
    test_dir: str | None = _option(
        None, "own data for testing, as --data_dir has those for training [those of the run]"
    )
    conditions: str | None = _option(None)
    pictures: bool = _option(True, "draw pictures for the report")
    range: tuple[float, float] | None = _option(
        None,
        "with --images: the numbers of black and white in an array of floats, such as 0,1 or -1,1"
        " [-1,1 where the whole set leaves no doubt]",
    )
    resize: bool = _option(
        False, "with --images: crop and resize the files of a folder as training does"
    )
    overwrite: bool = _option(False)

    def __post_init__(self) -> None:
        for name in ("metrics", "splits"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, tuple(getattr(self, name).split(",")))
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
        if self.eta is not None:
            check_eta(self.eta)
        checked_seed(self.seed)
        if self.range is not None and not -math.inf < self.range[0] < self.range[1] < math.inf:
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
            ValueError: one that needs a model where there is none, or the classes of Inception
                where images are compared by their pixels.
        """
        lacking = set() if self.chosen_features(config) == "inception" else {"classes"}
        lacking |= set() if has_model else {"likelihoods"}
        possible = tuple(name for name in METRICS if not get_metric(name).needs & lacking)
        for name in self.metrics:
            missing = get_metric(name).needs & lacking
            if "classes" in missing:
                raise ValueError(
                    f"Metric {name!r} rests on the classes of the Inception network; it"
                    " needs --features=inception, not pixels."
                )
            if missing:
                raise ValueError(
                    f"{name} needs a model; give --workdir instead of --images, or choose some of"
                    f" {', '.join(possible)}."
                )
        return tuple(name for name in possible if name in (self.metrics or possible))

    def of_data(self, config: Config) -> Config:
        """The config of a run, with the data for testing that are asked for here."""
        if not self.test_dir:
            return config
        return dataclasses.replace(config, test_dir=self.test_dir, test_fraction=0.0)

    def chosen_splits(self, config: Config) -> tuple[str, ...]:
        """The splits, in a fixed order.

        Raises:
            ValueError: one that the data set does not have.
        """
        from diffusion_tf.datasets import splits_of  # not for flags: it imports TensorFlow

        possible = splits_of(self.of_data(config), self.data_dir)
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
