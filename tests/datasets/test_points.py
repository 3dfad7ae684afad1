"""Points in the plane, and the energy distance that samples of them are judged by."""

import numpy as np
import pytest
from scipy import stats

from diffusion_tf.datasets import points
from helpers import energy
from helpers.energy import energy_distance

KINDS = [points.s_curve, points.swiss_roll]


@pytest.mark.parametrize("kind", KINDS)
def test_points_follow_from_the_seed(kind):
    first, again, other = kind(500, 3), kind(500, 3), kind(500, 4)
    assert (first.shape, first.dtype) == ((500, 2), np.float32)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05
    assert np.abs(first).max() <= 1


def test_an_s_lies_about_two_arcs():
    """x = sin(u), z = sign(u) (cos(u) - 1): two circles of radius 1 about (0, -1) and (0, 1)."""
    x, z = 10 * points.s_curve(10000, 0).T.astype(np.float64)
    from_circle = np.hypot(x, z - np.sign(z)) - 1
    # Where the arcs meet, noise makes the sign of z wrong: 2 in 100 points.
    assert np.quantile(np.abs(from_circle), 0.95) < 0.25
    assert abs(np.std(from_circle) - 0.1) < 0.01
    assert (z.min() < -1.9, z.max() > 1.9, x.min() < -0.9, x.max() > 0.9) == (True,) * 4


def test_a_swiss_roll_is_a_spiral_whose_radius_is_its_angle():
    """x = u cos(u), z = u sin(u) with u from 1.5 pi to 4.5 pi."""
    x, z = 20 * points.swiss_roll(10000, 0).T.astype(np.float64)
    radius, angle = np.hypot(x, z), np.arctan2(z, x)
    turns = (radius - angle) / (2 * np.pi)
    off = 2 * np.pi * (turns - np.rint(turns))
    assert np.std(off) == pytest.approx(0.5, abs=0.03)
    assert 1.5 * np.pi - 2 < radius.min() < 1.5 * np.pi
    assert 4.5 * np.pi < radius.max() < 4.5 * np.pi + 2


@pytest.mark.parametrize("kind", KINDS)
def test_no_points_are_refused(kind):
    with pytest.raises(ValueError, match="number of points is 0; it must be at least 1"):
        kind(0, 0)


def test_energy_distance_by_hand():
    """2 * 5 of the pair that is 3 and 4 apart, nothing within sets of one."""
    assert energy_distance([[0.0, 0.0]], [[3.0, 4.0]]) == 10.0
    # E|a - b| = (1 + 1) / 2, E|a - a'| = (0 + 2 + 2 + 0) / 4, E|b - b'| = 0.
    assert energy_distance([[0.0], [2.0]], [[1.0]]) == 2 * 1 - 1 - 0


def test_equal_sets_have_no_distance():
    a = points.s_curve(300, 0)
    assert energy_distance(a, a[::-1]) == pytest.approx(0, abs=1e-12)


def test_on_a_line_it_is_scipys():
    """SciPy's is the root of half of it, and of one dimension."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 200), rng.normal(0.5, 2, 300)
    expected = stats.energy_distance(a, b) ** 2
    assert energy_distance(a[:, None], b[:, None]) == pytest.approx(expected, rel=1e-9)


def test_between_two_samples_it_is_what_the_docstring_says():
    a = points.swiss_roll(2000, 0).astype(np.float64)
    distances = [
        energy_distance(points.swiss_roll(200, i), points.swiss_roll(100, 50 + i))
        for i in range(1, 41)
    ]
    mean = np.linalg.norm(a[:1000] - a[1000:], axis=1).mean()
    expected = (1 / 200 + 1 / 100) * mean
    error = np.std(distances) / np.sqrt(len(distances))
    assert abs(np.mean(distances) - expected) < 4 * error < 0.5 * expected


def test_other_points_are_farther_than_fresh_ones():
    fresh = energy_distance(points.s_curve(1000, 0), points.s_curve(1000, 1))
    shifted = energy_distance(points.s_curve(1000, 0), points.s_curve(1000, 1) + 0.02)
    assert 0 < 5 * fresh < shifted


@pytest.mark.parametrize("block", [1, 700, 2**22])
def test_blocks_change_nothing(monkeypatch, block):
    a, b = points.s_curve(70, 0), points.swiss_roll(30, 0)
    whole = energy_distance(a, b)
    monkeypatch.setattr(energy, "BLOCK", block)
    assert energy_distance(a, b) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    "bad", [np.zeros(3), np.zeros((0, 2)), np.zeros((2, 0)), np.zeros((1, 2, 2))]
)
def test_points_of_another_shape_are_refused(bad):
    for a, b in ((bad, np.zeros((2, 2))), (np.zeros((2, 2)), bad)):
        with pytest.raises(ValueError, match=r"must be \[N, D\]"):
            energy_distance(a, b)


def test_points_of_unequal_dimension_are_refused():
    with pytest.raises(ValueError, match="of 2 and of 3 dimensions do not compare"):
        energy_distance(np.zeros((2, 2)), np.zeros((2, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        energy_distance([[0.0]], [[value]])
