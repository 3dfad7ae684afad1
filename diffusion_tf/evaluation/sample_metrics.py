"""Metrics of samples: FID and the Inception score."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from absl import logging

from diffusion_tf.evaluation import reasons
from diffusion_tf.evaluation.metric import BOUND, MEAN, MEAN_LEARNED, SIMPLE, Inputs, Metric, Number
from diffusion_tf.evaluation.metrics.fid import frechet_distance
from diffusion_tf.evaluation.schema import Evaluation

NUM_SPLITS = 10  # of the Inception score's "+-", as everywhere since arXiv:1606.03498
LSUN = {"lsun_church": 7.89, "lsun_bedroom": 6.36, "lsun_bedroom_large": 4.90, "lsun_cat": 19.75}


@dataclass(frozen=True)
class FrechetResult:
    """The distance to a split: from how many samples and real images, features of how many
    dimensions, and what to mind; the distance between its halves, and the images in the smaller."""

    value: float
    num_samples: int | None = None
    num_images: int | None = None
    dimensions: int | None = None
    warning: str | None = None
    real: float | None = None
    real_images: int | None = None


class FID(Metric):
    """Fréchet distance between the features of samples and those of real images."""

    needs = frozenset({"samples", "features"})
    result = FrechetResult
    numbers: ClassVar = {"fid": Number("FID", "", "lower")}
    paper: ClassVar = {
        SIMPLE: {
            ("fid", "train"): (3.17, "table 1, L_simple"),
            ("fid", "test"): (5.24, "section 4.1"),
        },
        BOUND: {("fid", "train"): (13.51, "table 1, L")},
        MEAN: {("fid", "train"): (13.22, "table 2, µ̃ prediction")},
        MEAN_LEARNED: {("fid", "train"): (23.69, "table 2, µ̃ prediction, learned Σ")},
        **{name: {("fid", "train"): (value, "table 3")} for name, value in LSUN.items()},
    }

    def measure(self, inputs: Inputs, split: str | None) -> FrechetResult:
        """See `Metric`."""
        assert split is not None  # it is measured per split
        samples, _ = inputs.sample_features
        halves = inputs.real_halves(split)  # first: those of all images may follow from them
        real = inputs.real_features(split)
        for statistics, what in ((samples, "Samples"), (real, f"Real images ({split})")):
            if statistics.warning:
                logging.warning("%s: %s", what, statistics.warning)
        return FrechetResult(
            value=frechet_distance(samples, real),
            num_samples=samples.num_samples,
            num_images=real.num_samples,
            dimensions=len(real.mean),
            warning=" ".join(filter(None, (samples.warning, real.warning))),
            real=halves and frechet_distance(*halves),
            real_images=halves and halves[1].num_samples,
        )

    def real(self, evaluation: Evaluation, split: str | None) -> tuple[float, int] | None:
        """See `Metric`."""
        result = self.results(evaluation)[split]
        if result.real is None or result.real_images is None:
            return None
        return result.real, result.real_images

    def rows(self, evaluation: Evaluation) -> Iterator[tuple[str, str | None, float]]:
        """See `Metric`."""
        for split, result in self.results(evaluation).items():
            yield "fid", split, result.value

    def reasons(self, evaluation: Evaluation, split: str | None) -> Iterator[str]:
        """See `Metric`."""
        result = self.results(evaluation)[split]
        yield from reasons.in_samples(evaluation, result.num_samples)
        yield from reasons.in_images(evaluation, split, result.num_images)

    def notes(self, evaluation: Evaluation, number: str, split: Any, paper: Any) -> Iterator[str]:
        """See `Metric`."""
        yield self.results(evaluation)[split].warning or ""

    def label(self, number: str, evaluation: Evaluation) -> str:
        """Only the distance of Inception's features is called FID."""
        if evaluation.features and evaluation.features.name != "inception":
            return f"Fréchet distance of {evaluation.features.name}"
        return super().label(number, evaluation)


@dataclass(frozen=True)
class ScoreResult:
    """The score of all samples at once, and mean and standard deviation over `num_splits` parts."""

    value: float
    num_samples: int | None = None
    split_mean: float | None = None
    split_std: float | None = None
    num_splits: int | None = None


class InceptionMetric(Metric):
    """Inception score: the mean over parts where there are enough samples for it."""

    needs = frozenset({"samples", "features", "classes"})
    per_split = False
    result = ScoreResult
    numbers: ClassVar = {"is": Number("Inception score", "", "higher")}
    paper: ClassVar = {
        SIMPLE: {("is", None): (9.46, "table 1, L_simple, ± 0.11")},
        BOUND: {("is", None): (7.67, "table 1, L, ± 0.13")},
        MEAN: {("is", None): (8.06, "table 2, µ̃ prediction, ± 0.09")},
        MEAN_LEARNED: {("is", None): (7.28, "table 2, µ̃ prediction, learned Σ, ± 0.10")},
    }

    def measure(self, inputs: Inputs, split: str | None) -> ScoreResult:
        """See `Metric`."""
        _, score = inputs.sample_features
        assert score is not None  # it needs `classes`
        value, number = score.score(), score.num_samples
        if number < 2 * score.num_splits:
            return ScoreResult(value, number)
        mean, deviation = score.split_scores()
        return ScoreResult(value, number, mean, deviation, score.num_splits)

    def rows(self, evaluation: Evaluation) -> Iterator[tuple[str, str | None, float]]:
        """See `Metric`."""
        for result in self.results(evaluation).values():
            yield "is", None, result.value if result.split_mean is None else result.split_mean

    def reasons(self, evaluation: Evaluation, split: str | None) -> Iterator[str]:
        """See `Metric`."""
        result = self.results(evaluation)[None]
        yield from reasons.in_samples(evaluation, result.num_samples)
        if result.split_mean is None:
            yield f"it is over all samples at once, not the mean of {NUM_SPLITS} parts"
        elif result.num_splits != NUM_SPLITS:
            yield f"it is the mean of {result.num_splits} parts, not of {NUM_SPLITS}"

    def notes(self, evaluation: Evaluation, number: str, split: Any, paper: Any) -> Iterator[str]:
        """See `Metric`."""
        deviation = self.results(evaluation)[None].split_std
        if deviation is not None:
            yield f"The standard deviation over the parts is {deviation:.2g}."
        if paper is not None:
            yield "The paper's is by OpenAI's code, which leaves out the last layer's biases."
