"""Metrics of the variational bound: bits/dim and its parts, rate and distortion."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from diffusion_tf.evaluation import reasons
from diffusion_tf.evaluation.metric import BOUND, SIMPLE, Inputs, Metric, Number
from diffusion_tf.evaluation.schema import Evaluation

# Table 4, on CIFAR-10's test set: steps of the reverse process, T - t + 1 with t from 1 to T; rate
# in bits/dim; distortion as root mean square error on the scale 0..255.
RATE_DISTORTION: tuple[tuple[int, float, float], ...] = (
    (100, 0.00000, 67.60125),
    (200, 0.00013, 60.97170),
    (300, 0.00081, 54.18826),
    (400, 0.00282, 46.12765),
    (500, 0.00716, 38.03236),
    (600, 0.01507, 30.80948),
    (700, 0.02866, 24.43656),
    (800, 0.05415, 18.47482),
    (900, 0.11994, 12.02277),
    (1000, 1.77581, 0.95136),
)
_CURVE = {
    "rate": Number("rate", "bits/dim", "lower"),
    "rmse": Number("distortion", "RMSE 0..255", "lower"),
}


@dataclass(frozen=True, kw_only=True)
class BoundResult:
    """The bound of a split, see `likelihood.Likelihood`; `decoder` is its term at t = 0.

    Attributes:
        seed: of the noise.
        clip_denoised: whether predictions of x_0 were clipped.
    """

    total: float
    standard_error: float | None = None
    prior: float
    decoder: float
    terms: list[float] | None = None
    mse: list[float] | None = None
    num_images: int | None = None
    seed: int | None = None
    clip_denoised: bool | None = None


class _OfLikelihood(Metric):
    """What bits/dim and the curve have in common."""

    needs = frozenset({"likelihoods"})

    def reasons(self, evaluation: Evaluation, split: str | None) -> Iterator[str]:
        """See `Metric`."""
        section = evaluation.measured.get("bpd", {}).get(split or "", {})
        yield from reasons.in_images(evaluation, split, section.get("num_images"))
        if not section.get("clip_denoised", True):
            yield "predictions of x_0 are not clipped"


class BitsPerDim(_OfLikelihood):
    """Bits/dim, of which L_1 + ... + L_T is the rate and L_0 the distortion (section 4.3)."""

    result = BoundResult
    numbers: ClassVar = {
        "bpd": Number("", "bits/dim", "lower"),
        "distortion": Number("distortion", "bits/dim", "lower"),
        **_CURVE,
    }
    paper: ClassVar = {
        SIMPLE: {
            ("bpd", "train"): (3.72, "table 1, L_simple"),
            ("bpd", "test"): (3.75, "table 1, L_simple"),
            ("rate", "test"): (1.78, "section 4.3"),
            ("distortion", "test"): (1.97, "section 4.3"),
            ("rmse", "test"): (0.95, "section 4.3"),
        },
        BOUND: {
            ("bpd", "train"): (3.69, "table 1, L"),
            ("bpd", "test"): (3.70, "table 1, L"),
        },
    }

    def measure(self, inputs: Inputs, split: str | None) -> BoundResult:
        """See `Metric`."""
        assert split is not None  # it is measured per split
        likelihood, how = inputs.likelihood(split)
        return BoundResult(**likelihood.to_json(), **how)

    def rows(self, evaluation: Evaluation) -> Iterator[tuple[str, str | None, float]]:
        """See `Metric`."""
        results = self.results(evaluation)
        for split, bound in results.items():
            yield "bpd", split, bound.total
        for split, bound in results.items():
            yield "rate", split, bound.total - bound.decoder
            yield "distortion", split, bound.decoder
            if bound.mse is not None:
                yield "rmse", split, 127.5 * bound.mse[0] ** 0.5  # [-1, 1] is 0..255

    def notes(self, evaluation: Evaluation, number: str, split: Any, paper: Any) -> Iterator[str]:
        """See `Metric`."""
        error = self.results(evaluation)[split].standard_error
        if number == "bpd" and error is not None:
            yield f"The standard error is {error:.2g} bits/dim."


@dataclass(frozen=True)
class CurveResult:
    """The curve of a split, see `likelihood.rate_distortion`."""

    reverse_steps: list[int]
    rate: list[float]
    distortion: list[float]


class RateDistortion(_OfLikelihood):
    """Rate and distortion along the reverse process; its numbers are those at its end."""

    result = CurveResult
    numbers: ClassVar = _CURVE

    def measure(self, inputs: Inputs, split: str | None) -> CurveResult:
        """See `Metric`."""
        from diffusion_tf.evaluation.likelihood import rate_distortion  # TensorFlow

        assert split is not None  # it is measured per split
        likelihood, _ = inputs.likelihood(split)
        return CurveResult(**rate_distortion(likelihood))

    def rows(self, evaluation: Evaluation) -> Iterator[tuple[str, str | None, float]]:
        """Only where bits/dim, which say the same, are not there."""
        for split, curve in self.results(evaluation).items():
            if split not in evaluation.measured.get("bpd", {}):
                yield "rate", split, curve.rate[-1]
                yield "rmse", split, curve.distortion[-1]
