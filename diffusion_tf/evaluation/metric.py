"""What a metric is, and the metrics by name, from which flags and messages take their list.

A new metric is a class in a file of its own and a row here. Classes are named, not imported, so
that flags can be read without TensorFlow; the files of metrics import it only to measure.
"""

import functools
import importlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from diffusion_tf.evaluation.schema import Evaluation, parse

if TYPE_CHECKING:
    from diffusion_tf.config import Config
    from diffusion_tf.datasets import Dataset
    from diffusion_tf.evaluation.features import Features
    from diffusion_tf.evaluation.image_files import ImageFiles
    from diffusion_tf.evaluation.likelihood import Likelihood
    from diffusion_tf.evaluation.metrics.fid import InceptionScore, Statistics


@dataclass(frozen=True)
class Entry:
    """A metric: `module:class` of it, and what it is, in a few words."""

    cls: str
    help: str


_EVALUATION = "diffusion_tf.evaluation"
METRICS: dict[str, Entry] = {
    "bpd": Entry(f"{_EVALUATION}.likelihood_metrics:BitsPerDim", "the variational bound"),
    "fid": Entry(f"{_EVALUATION}.sample_metrics:FID", "Fréchet distance of features"),
    "is": Entry(f"{_EVALUATION}.sample_metrics:InceptionMetric", "Inception score"),
    "rate_distortion": Entry(
        f"{_EVALUATION}.likelihood_metrics:RateDistortion", "both along the reverse process"
    ),
}

Need = Literal["samples", "features", "classes", "likelihoods"]
# By (number, split): the paper's number, and where it stands.
Numbers = Mapping[tuple[str, str | None], tuple[float, str]]
# On CIFAR-10: model_mean_type, loss_type, whether the variance is learned. Else a data set's name.
Model = tuple[str, str, bool] | str
SIMPLE: Model = ("eps", "mse", False)
BOUND: Model = ("eps", "kl", False)
MEAN: Model = ("xprev", "kl", False)
MEAN_LEARNED: Model = ("xprev", "kl", True)


@dataclass(frozen=True)
class Number:
    """A number that a metric reports.

    Attributes:
        label: its name for readers, "" where the unit says it all.
        unit: "" if it has none.
        better: whether lower or higher values are better.
    """

    label: str
    unit: str
    better: Literal["lower", "higher"]


class Inputs(Protocol):
    """What a metric can be measured from; each is computed when it is first asked for.

    Attributes:
        config: of the run, or of the data set.
        datasets: real images by split.
        samples: all samples. Of metrics that need `samples`, as what follows.
        features: what images are compared by, with `features` among the needs.
        sample_features: moments of the samples' features, and their Inception score if there are
            logits.
    """

    config: "Config"
    datasets: "dict[str, Dataset]"
    samples: "ImageFiles"
    features: "Features"

    @property
    def sample_features(self) -> "tuple[Statistics, InceptionScore | None]":
        """Moments of the features of the samples, and the Inception score where it has logits."""

    def real_features(self, split: str) -> "Statistics":
        """Moments of the features of a split's real images."""

    def real_halves(self, split: str) -> "tuple[Statistics, Statistics] | None":
        """Moments of the features of both halves of a split's real images; None if too few."""

    def likelihood(self, split: str) -> "tuple[Likelihood, dict[str, Any]]":
        """The bound of a split, and how it was measured; with `likelihoods` among the needs."""


class Metric:
    """One thing that can be measured, with all that is known of it.

    Attributes:
        name: on the command line and in metrics.json.
        needs: what it is measured from. `features` and `classes` are those of the `samples`;
            `classes` come from the Inception network alone.
        per_split: whether it is measured against each split of the real images, or once.
        result: a dataclass, what metrics.json holds of it, for each split or once.
        numbers: those that it reports, by name.
        paper: the paper's values of these numbers, by model.
    """

    needs: ClassVar[frozenset[Need]]
    per_split: ClassVar[bool] = True
    result: ClassVar[type]
    numbers: ClassVar[Mapping[str, Number]]
    paper: ClassVar[Mapping[Model, Numbers]] = {}

    def __init__(self, name: str):
        """Gets the name from its row in `METRICS`."""
        self.name = name

    def measure(self, inputs: Inputs, split: str | None) -> Any:
        """Measures it, for one split or once (None); returns a `result`.

        Raises:
            ValueError, OSError: inputs that cannot be read.
        """
        raise NotImplementedError

    def rows(self, evaluation: Evaluation) -> Iterator[tuple[str, str | None, float]]:
        """(number, split, value) of all that was measured, in the order of the report."""
        raise NotImplementedError

    def real(self, evaluation: Evaluation, split: str | None) -> tuple[float, int] | None:
        """The same of real images against others of them, and how many on each side; None if it
        has no such number."""
        return None

    def reasons(self, evaluation: Evaluation, split: str | None) -> Iterator[str]:
        """What is not as in the paper, beside the model; each makes a comparison unfair."""
        yield from ()

    def notes(
        self, evaluation: Evaluation, number: str, split: str | None, paper: float | None
    ) -> Iterator[str]:
        """Sentences that a reader should know, whether the comparison is fair or not."""
        yield from ()

    def label(self, number: str, evaluation: Evaluation) -> str:
        """What a number is called in the report, with its unit."""
        described = self.numbers[number]
        return ", ".join(filter(None, (described.label, described.unit)))

    def results(self, evaluation: Evaluation) -> dict[str | None, Any]:
        """What was measured, by split; by None if it is measured once. Empty if it was not.

        Raises:
            ValueError: metrics.json holds something else there.
        """
        section = evaluation.measured.get(self.name)
        if section is None:
            return {}
        where = f"metrics.json, {self.name}"
        if self.per_split:
            return dict(parse(types.GenericAlias(dict, (str, self.result)), section, where))
        return {None: parse(self.result, section, where)}


@functools.cache
def get_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in METRICS:
        raise ValueError(f"Unknown metric {name!r}; choose some of {', '.join(METRICS)}.")
    module, cls = METRICS[name].cls.split(":")
    return getattr(importlib.import_module(module), cls)(name)


def in_report_order() -> list[Metric]:
    """All metrics: those of samples, then the others."""
    return sorted(map(get_metric, METRICS), key=lambda metric: "samples" not in metric.needs)
