"""The energy distance of two sets of points."""

import numpy as np
from scipy.spatial import distance

BLOCK = 2**22  # distances in memory at once: 32 MiB


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'|, with Euclidean distances (Szekely and Rizzo 2013, eq. 2).

    It is the V-statistic: the means run over all pairs, those of a point and itself among them. So
    it is never negative, 0 only for equal sets, and between two samples of one distribution about
    (1/N + 1/M) E|a - a'|: a yardstick for other samples of the same number. The U-statistic, free
    of that bias, would scatter about 0 there, and nothing could be compared with it.

    Time grows with (N + M)^2, memory does not.

    Args:
        a: numbers [N, D].
        b: numbers [M, D].

    Returns:
        A number of at least 0, in the points' unit (not squared).

    Raises:
        ValueError: other shapes, empty sets, or values that are not finite.
    """
    a, b = _checked(a), _checked(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Points of {a.shape[1]} and of {b.shape[1]} dimensions do not compare; give both the"
            " same."
        )
    between, within = _mean_distance(a, b), _mean_distance(a, a) + _mean_distance(b, b)
    return max(2.0 * between - within, 0.0)  # rounding could leave it below 0


def _mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    rows = max(1, BLOCK // len(b))
    starts = range(0, len(a), rows)
    sums = [distance.cdist(a[start : start + rows], b).sum() for start in starts]
    return float(sum(sums) / (len(a) * len(b)))


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or not points.size:
        raise ValueError(f"Points have shape {points.shape}; they must be [N, D], none of them 0.")
    if not np.isfinite(points).all():
        raise ValueError("Points have values that are not finite; look at where they come from.")
    return points
