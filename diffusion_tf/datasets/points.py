"""Points in the plane: scikit-learn's S-curve and Swiss roll, seen from the side."""

import numpy as np

S_CURVE_SCALE = 10.0  # the usual one in tutorials of DDPM on these points
SWISS_ROLL_SCALE = 20.0  # the roll ends at 4.5 pi, about 14; twelve deviations of noise are left


def s_curve(number: int, seed: int) -> np.ndarray:
    """Points about an S (`sklearn.datasets.make_s_curve`, x and z, noise of 0.1, all / 10).

    Args:
        number: how many, at least 1.
        seed: which.

    Returns:
        float32 [number, 2]: the curve itself spans 0.2 in x and 0.4 in z, its noise is 0.01.

    Raises:
        ValueError: number < 1.
    """
    from sklearn import datasets  # a second of import that most runs do not need

    _check(number)
    points, _ = datasets.make_s_curve(number, noise=0.1, random_state=seed)
    return (points[:, [0, 2]] / S_CURVE_SCALE).astype(np.float32)


def swiss_roll(number: int, seed: int) -> np.ndarray:
    """Points about a spiral (`sklearn.datasets.make_swiss_roll`, x and z, noise of 0.5, all / 20).

    Args:
        number: how many, at least 1.
        seed: which.

    Returns:
        float32 [number, 2] in [-1, 1], with noise of 0.025.

    Raises:
        ValueError: number < 1.
    """
    from sklearn import datasets  # see above

    _check(number)
    points, _ = datasets.make_swiss_roll(number, noise=0.5, random_state=seed)
    return (points[:, [0, 2]] / SWISS_ROLL_SCALE).astype(np.float32)


def _check(number: int) -> None:
    if number < 1:
        raise ValueError(f"number of points is {number}; it must be at least 1.")
