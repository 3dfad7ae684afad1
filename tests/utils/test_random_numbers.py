import math

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.utils import random_numbers

NUMBER = 100_000


def draw(seed, shape=(NUMBER,)):
    return random_numbers.normal(shape, seed)


@pytest.fixture(scope="module")
def seed():
    return random_numbers.stream(3, random_numbers.STREAMS[0])


def test_same_numbers_in_every_mode(compiled, seed):
    # The integers are the same; the cosine and the logarithm may differ in the last bits.
    np.testing.assert_allclose(compiled(draw)(seed), draw(seed), rtol=0, atol=2e-6)


def test_same_seeds_in_every_mode(compiled, seed):
    @compiled
    def fold_twice(seed, data):
        return random_numbers.fold_in(random_numbers.fold_in(seed, data), 1)

    expected = random_numbers.fold_in(random_numbers.fold_in(seed, 5), 1)
    np.testing.assert_array_equal(fold_twice(seed, tf.constant(5)), expected)


def test_box_muller_by_hand(seed):
    bits = tf.random.stateless_uniform([9, 2], seed, None, None, tf.uint32, alg="philox").numpy()
    first, second = (bits.astype(np.float64) // 256 + 0.5).T / 2**24
    expected = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    np.testing.assert_allclose(draw(seed, [9]), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("run_seed", [0, 1, 2**31, 2**40, -1])
@pytest.mark.parametrize("name", random_numbers.STREAMS)
def test_numbers_are_standard_normal(run_seed, name):
    x = draw(random_numbers.stream(run_seed, name)).numpy().astype(np.float64)
    assert np.isfinite(x).all()
    # Five standard errors of the mean, the variance, the skewness and the kurtosis.
    margin = 5 / math.sqrt(NUMBER)
    assert abs(x.mean()) < margin
    assert abs(x.var() - 1) < math.sqrt(2) * margin
    assert abs((x**3).mean()) < math.sqrt(15) * margin
    assert abs((x**4).mean() - 3) < math.sqrt(96) * margin


def test_distribution_is_the_normal_one(seed):
    x = np.sort(draw(seed).numpy().astype(np.float64))
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    distance = np.abs(cdf - (np.arange(NUMBER) + 0.5) / NUMBER).max()
    assert distance < 2 / math.sqrt(NUMBER)  # Kolmogorov and Smirnov: p < 0.001


def test_neighbours_are_uncorrelated(seed):
    x = draw(seed).numpy()
    assert abs((x[1:] * x[:-1]).mean()) < 5 / math.sqrt(NUMBER)


def test_seeds_streams_and_steps_differ():
    seeds = [random_numbers.stream(s, n) for s in (0, 1) for n in random_numbers.STREAMS]
    seeds += [random_numbers.fold_in(seeds[0], step) for step in range(3)]
    draws = np.stack([draw(seed, [1000]) for seed in seeds])
    assert len({tuple(x) for x in draws}) == len(seeds)
    correlation = np.corrcoef(draws) - np.eye(len(seeds))
    assert np.abs(correlation).max() < 6 / math.sqrt(1000)


@pytest.mark.parametrize("shape", [[5], [5, 3], [5, 2, 3]])
def test_more_rows_leave_the_first_ones_as_they_are(seed, shape):
    # Up to the last bits: at an array's end the logarithm may be another than inside it.
    more = draw(seed, [9, *shape[1:]])
    np.testing.assert_allclose(more[:5], draw(seed, shape), rtol=0, atol=2e-6)


def test_shape_may_be_a_tensor(seed):
    np.testing.assert_array_equal(draw(seed, tf.constant([2, 3])), draw(seed, [2, 3]))


def test_float32(seed):
    assert draw(seed, [2, 3]).dtype == tf.float32


def test_unknown_stream():
    with pytest.raises(ValueError):
        random_numbers.stream(0, "other")


@pytest.mark.parametrize("row_shape", [(8, 8, 1), (3,), (5, 1)])
def test_rows_are_the_same_whatever_they_are_drawn_with(compiled, seed, row_shape):
    all_rows = random_numbers.normal_rows([12, *row_shape], seed, 0)

    @compiled
    def draw_rows(first_row):
        return random_numbers.normal_rows([3, *row_shape], seed, first_row)

    for first_row in (0, 1, 8):
        rows = draw_rows(tf.constant(first_row))
        np.testing.assert_allclose(rows, all_rows[first_row : first_row + 3], rtol=0, atol=2e-6)


def test_all_rows_together_are_standard_normal(seed):
    x = random_numbers.normal_rows([NUMBER // 5, 5], seed, 2**40).numpy().astype(np.float64)
    margin = 5 / math.sqrt(NUMBER)
    assert abs(x.mean()) < margin
    assert abs(x.var() - 1) < math.sqrt(2) * margin
    assert abs(np.mean(x[:-1] * x[1:])) < margin  # neighbouring rows
