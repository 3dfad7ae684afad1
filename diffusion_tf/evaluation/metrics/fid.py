"""Frechet distance and Inception score, from features and logits that arrive in batches.

All of it is float64 NumPy, and memory does not grow with the number of images. The conventions are
those of the original's `classifier_metrics_numpy.py`, which are TFGAN's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import special

from diffusion_tf.utils.array_files import check_seal, is_sealed, open_npz, save_npz
from diffusion_tf.utils.numbers import INT64_MAX, whole
from diffusion_tf.utils.regular_files import checked_path


@dataclass(frozen=True, eq=False)
class Statistics:
    """The Gaussian that the Frechet distance sees in a set of feature vectors.

    Attributes:
        mean: float64 [D].
        covariance: float64 [D, D], symmetric; sums of squares are divided by N - 1.
        num_samples: N, at least 2; None if a file does not say it.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a covariance that is not
            symmetric, N < 2.
    """

    mean: np.ndarray
    covariance: np.ndarray
    num_samples: int | None

    def __post_init__(self) -> None:
        if self.num_samples is not None and self.num_samples < 2:
            raise ValueError(
                f"A covariance needs at least 2 samples; there are {self.num_samples}."
            )
        if self.mean.ndim != 1 or self.covariance.shape != self.mean.shape * 2:
            raise ValueError(
                f"The mean has shape {self.mean.shape} and the covariance {self.covariance.shape};"
                " they must be [D] and [D, D]."
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("The mean or covariance is not finite; compute the statistics again.")
        if not np.allclose(self.covariance, self.covariance.T):
            raise ValueError("The covariance is not symmetric; compute the statistics again.")

    @property
    def warning(self) -> str:
        """A sentence for the reader of a distance from too few samples; "" if there are enough."""
        dimension = len(self.mean)
        if self.num_samples is None:
            return (
                "The statistics do not say from how many samples they are, and the Frechet distance"
                " depends on it; compare only with distances from the same file."
            )
        if self.num_samples < dimension:
            return (
                f"{self.num_samples} samples are fewer than the {dimension} feature dimensions:"
                " the Frechet distance comes out too large; compare only at the same number."
            )
        return ""

    def save(self, path: str | Path) -> None:
        """Writes an .npz with `mu`, `sigma` (what pytorch-fid reads) and `num_samples`, if known.

        The file is sealed, see `array_files`.

        Raises:
            ValueError: another ending than .npz.
        """
        if Path(path).suffix != ".npz":  # NumPy would append it
            raise ValueError(f"{path} must end in .npz; rename it.")
        number: dict[str, int] = (
            {} if self.num_samples is None else {"num_samples": self.num_samples}
        )
        arrays: dict[str, npt.ArrayLike] = {"mu": self.mean, "sigma": self.covariance, **number}
        save_npz(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Statistics":
        """Reads what `save` or pytorch-fid wrote; the latter does not say the number of samples.

        Only what `save` wrote has a checksum, which is compared.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no .npz, damaged, without `mu` and `sigma`, or with impossible values.
        """
        arrays = _read_npz(path)
        missing = {"mu", "sigma"} - arrays.keys()
        if missing:
            raise ValueError(
                f"{path} lacks {', '.join(sorted(missing))}; name a file of statistics, with mu and"
                " sigma."
            )
        try:
            number = arrays.get("num_samples")
            return cls(
                _real(arrays["mu"], "mu"),
                _real(arrays["sigma"], "sigma"),
                None if number is None else whole(number, "num_samples", 0, INT64_MAX),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no statistics of features: {error}") from None


class Moments:
    """Mean and covariance of feature vectors, gathered batch by batch or from several gatherers.

    Every batch is centred on its own mean before it is squared and added (Chan, Golub, LeVeque
    1979), so that a large mean costs no digits.

    Attributes:
        num_samples: seen so far.
    """

    def __init__(self) -> None:
        self.num_samples = 0
        self._mean = self._scatter = np.zeros(0)  # scatter: the sum of (x - mean) (x - mean)^T

    @classmethod
    def of(cls, statistics: Statistics) -> "Moments":
        """Those that statistics of a known number of samples are of."""
        moments, number = cls(), statistics.num_samples or 0
        moments._add(number, statistics.mean, statistics.covariance * (number - 1))
        return moments

    def update(self, features: np.ndarray) -> None:
        """Adds a batch.

        Args:
            features: numbers [B, D], B at least 1.

        Raises:
            ValueError: another shape, another D than before, or values that are not finite.
        """
        features = _checked(features, "features")
        mean = features.mean(axis=0)
        deviations = features - mean
        self._add(len(features), mean, deviations.T @ deviations)

    def merge(self, other: "Moments") -> None:
        """Adds all that another has seen, as if it had come here.

        Raises:
            ValueError: the other has seen features of another dimension.
        """
        if other.num_samples:
            self._add(other.num_samples, other._mean, other._scatter)

    def statistics(self) -> Statistics:
        """Mean and covariance of all so far.

        Raises:
            ValueError: fewer than 2 samples.
        """
        covariance = self._scatter / max(self.num_samples - 1, 1)
        return Statistics(self._mean, covariance, self.num_samples)

    def _add(self, number: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if self.num_samples:
            _check_same_dimension(len(self._mean), len(mean))
            total = self.num_samples + number
            step = mean - self._mean
            between = np.outer(step, step) * (self.num_samples * number / total)
            mean, scatter = self._mean + step * (number / total), self._scatter + scatter + between
        self._mean, self._scatter = mean, scatter
        self.num_samples += number


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 sqrt(C_a C_b)), the squared Wasserstein-2 distance.

    With Inception features it is the FID (arXiv:1706.08500). With C = F F^T, the trace of the root
    is the sum of the singular values of F_a^T F_b: no root of a matrix that is not symmetric, and
    nothing complex, also where there are fewer samples than dimensions. The original neglects
    eigenvalues below 1e-10; here only those go that are rounding errors, which can change the fifth
    digit of a distance.

    Returns:
        A number of at least 0, in squared units of the features.

    Raises:
        ValueError: statistics of different dimensions.
    """
    _check_same_dimension(len(a.mean), len(b.mean))
    product = _factor(a.covariance).T @ _factor(b.covariance)
    trace_of_root = np.linalg.svd(product, compute_uv=False).sum()
    between = np.sum(np.square(a.mean - b.mean))
    within = np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * trace_of_root
    return max(float(between + within), 0.0)  # rounding could leave it below 0


class InceptionScore:
    """exp of the mean KL(p(y|x) || p(y)), gathered from logits batch by batch (arXiv:1606.03498).

    Args:
        num_splits: parts that `split_scores` looks at. Samples are dealt to them in turn, so that
            each gets a fair share of a set in any order.

    Attributes:
        num_samples: seen so far.
        num_splits: see above.

    Raises:
        ValueError: num_splits < 1.
    """

    def __init__(self, *, num_splits: int = 10):
        if num_splits < 1:
            raise ValueError(f"num_splits is {num_splits}; it must be at least 1.")
        self.num_samples, self.num_splits = 0, num_splits
        self._counts = np.zeros(num_splits)
        self._negative_entropies = np.zeros(num_splits)  # the sum of p log p
        self._probabilities = np.zeros((num_splits, 0))  # the sum of p

    def update(self, logits: np.ndarray) -> None:
        """Adds a batch.

        Args:
            logits: numbers [B, number of classes], B at least 1; of the original's network, all
                1,008.

        Raises:
            ValueError: another shape, another number of classes, or values that are not finite.
        """
        log_p = special.log_softmax(_checked(logits, "logits"), axis=1)
        p = np.exp(log_p)
        # dealt[s, i] is 1 where sample i belongs to split s.
        owner = (self.num_samples + np.arange(len(p))) % len(self._counts)
        dealt = (np.arange(len(self._counts))[:, None] == owner).astype(np.float64)
        self._add(dealt.sum(axis=1), dealt @ np.sum(p * log_p, axis=1), dealt @ p)

    def merge(self, other: "InceptionScore") -> None:
        """Adds all that another has seen, as if it had come here.

        Raises:
            ValueError: the other has another number of splits or of classes.
        """
        if len(self._counts) != len(other._counts):
            raise ValueError(
                f"Scores of {len(self._counts)} and {len(other._counts)} splits cannot be merged;"
                " give both the same num_splits."
            )
        if other.num_samples:
            # Its first sample belongs where the next one here would have gone.
            sums = (other._counts, other._negative_entropies, other._probabilities)
            self._add(*(np.roll(s, self.num_samples % len(self._counts), axis=0) for s in sums))

    def score(self) -> float:
        """One number over all samples, between 1 and the number of classes.

        It is what the original logs (`classifier_score_from_logits`); nothing is split.

        Raises:
            ValueError: fewer than 2 samples.
        """
        self._check_enough(2)
        sums = (self._counts, self._negative_entropies, self._probabilities)
        return float(_score(*(s.sum(axis=0, keepdims=True) for s in sums))[0])

    def split_scores(self) -> tuple[float, float]:
        """Mean and standard deviation (divided by the number of splits) of the splits' scores.

        This is how "9.46 +- 0.11" is meant in papers since arXiv:1606.03498, with 10 splits of
        50,000 samples. The original computes no such thing. A split's score comes out a little
        below that of all.

        Raises:
            ValueError: fewer than 2 samples for each split.
        """
        self._check_enough(2 * len(self._counts))
        scores = _score(self._counts, self._negative_entropies, self._probabilities)
        return float(scores.mean()), float(scores.std())

    def _check_enough(self, number: int) -> None:
        if self.num_samples < number:
            raise ValueError(
                f"This Inception score needs at least {number} samples; there are"
                f" {self.num_samples}."
            )

    def _add(
        self, counts: np.ndarray, negative_entropies: np.ndarray, probabilities: np.ndarray
    ) -> None:
        if self.num_samples:
            _check_same_dimension(self._probabilities.shape[1], probabilities.shape[1])
            probabilities = self._probabilities + probabilities
        self._probabilities = probabilities
        self._counts = self._counts + counts
        self._negative_entropies = self._negative_entropies + negative_entropies
        self.num_samples = int(self._counts.sum())


def _score(
    counts: np.ndarray, negative_entropies: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """The mean KL divergence is the entropy of the mean p less the mean entropy of p."""
    marginal = probabilities / counts[:, None]
    return np.exp(negative_entropies / counts + special.entr(marginal).sum(axis=1))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F [D, rank] with F F^T = covariance. Eigenvalues that are rounding errors are left out."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    """The values as float64 [B, D]; refused if they are something else or not finite."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name} have shape {values.shape}; they must be [B, D], none of them 0.")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} of {np.sum(~finite)} of {len(values)} samples are not finite; look at the"
            f" images, the first at index {np.argmin(finite)} of this batch."
        )
    return values


def _real(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {array.dtype}; it must hold real numbers.")
    return array.astype(np.float64)


def _check_same_dimension(a: int, b: int) -> None:
    if a != b:
        raise ValueError(
            f"Vectors of {a} and of {b} dimensions do not compare; take both from the same network."
        )


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    if not Path(checked_path(path)).is_file():
        raise FileNotFoundError(f"There is no file {path}; check the path of the statistics.")
    try:
        if is_sealed(path):
            check_seal(path)
        with open_npz(path) as arrays:
            return dict(arrays)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as .npz ({error}); restore it, or compute it again."
        ) from None
