import math

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.losses import (
    approx_standard_normal_cdf,
    discretized_gaussian_log_likelihood,
    meanflat,
    normal_kl,
)
from helpers import golden_arrays

PIXELS = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1


@pytest.fixture(scope="module")
def golden():
    return golden_arrays.load("vb")


def log_likelihood(x, mean, log_scale):
    x = tf.constant(x, tf.float32)
    return discretized_gaussian_log_likelihood(
        x, means=tf.fill(x.shape, mean), log_scales=tf.fill(x.shape, log_scale)
    ).numpy()


@pytest.mark.parametrize("name", ["normal_kl", "normal_kl_v1"])
def test_normal_kl_equals_original(golden, name):
    kl = normal_kl(*(golden[f"normal_kl_{k}"] for k in ("mean1", "logvar1", "mean2", "logvar2")))
    np.testing.assert_allclose(kl, golden[name], rtol=5e-6)


@pytest.mark.parametrize(
    "mean1, logvar1, mean2, logvar2, expected",
    [
        (0.3, -1.0, 0.3, -1.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 0.5),
        (3.0, 0.0, 1.0, 0.0, 2.0),
        (0.0, 2.0, 0.0, 0.0, (math.e**2 - 3) / 2),
        (0.0, 0.0, 0.0, 2.0, (math.e**-2 + 1) / 2),
        (2.0, 1.0, 0.0, 1.0, 2 / math.e),
        (1.0, math.log(4), 0.0, 0.0, 2 - math.log(2)),
    ],
)
def test_normal_kl_by_hand(mean1, logvar1, mean2, logvar2, expected):
    kl = normal_kl(*(tf.constant(x, tf.float32) for x in (mean1, logvar1, mean2, logvar2)))
    assert float(kl) == pytest.approx(expected, abs=1e-6)


def test_normal_kl_broadcasts():
    assert normal_kl(tf.zeros([4, 2, 3]), tf.zeros([4, 1, 1]), 0.0, 0.0).shape == [4, 2, 3]


def test_log_likelihood_equals_original_as_probabilities(golden):
    # In nats the tails are rounding noise: log of a difference of float32 numbers near 0 or 1.
    x, means, log_scales = (golden[f"dgll_{k}"] for k in ("x", "means", "log_scales"))
    ours = discretized_gaussian_log_likelihood(x, means=means, log_scales=log_scales)
    difference = np.exp(ours.numpy().astype(np.float64)) - np.exp(golden["dgll"].astype(np.float64))
    assert np.abs(difference).max() < 1e-6


def test_log_likelihood_equals_original_near_the_mean(golden):
    x, means, log_scales = (golden[f"dgll_near_{k}"] for k in ("x", "means", "log_scales"))
    ours = discretized_gaussian_log_likelihood(x, means=means, log_scales=log_scales)
    np.testing.assert_allclose(ours, golden["dgll_near"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.998, 0.0, 0.31, 1.0, 2.0])
@pytest.mark.parametrize("log_scale", [-5.0, -4.0, -1.0, 0.0, 2.0])
def test_probabilities_of_all_pixels_sum_to_one(mean, log_scale):
    # Neighbouring bins meet to within 6e-8, 8e-6 of a bin's width; all else cancels.
    probability = np.exp(log_likelihood(PIXELS, mean, log_scale).astype(np.float64))
    assert probability.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("mean, scale", [(0.0, 0.1), (0.4, 0.5), (-0.9, 0.02)])
def test_probabilities_are_near_the_integrals_of_the_gaussian(mean, scale):
    def cdf(x):
        return 0.5 * (1 + math.erf((x - mean) / scale / math.sqrt(2)))

    edges = [-math.inf, *(PIXELS[1:].astype(np.float64) - 1 / 255), math.inf]
    integrals = np.diff([cdf(edge) for edge in edges])
    # The tanh approximation of the CDF is off by up to 2e-4.
    probability = np.exp(log_likelihood(PIXELS, mean, math.log(scale)))
    np.testing.assert_allclose(probability, integrals, rtol=0, atol=4e-4)


def test_probability_has_a_floor():
    assert log_likelihood([0.0], 30.0, -10.0) == pytest.approx(math.log(1e-12), abs=1e-5)


def test_cdf_is_near_the_normal_one():
    x = np.linspace(-5, 5, 101)
    expected = [0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    np.testing.assert_allclose(approx_standard_normal_cdf(tf.constant(x)), expected, atol=2e-4)


@pytest.mark.parametrize("shapes", [([2, 3], [2, 3], [2, 1]), ([2, 3], [3], [2, 3])])
def test_log_likelihood_wants_equal_shapes(shapes):
    x, means, log_scales = (tf.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="same shape"):
        discretized_gaussian_log_likelihood(x, means=means, log_scales=log_scales)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2), (3, 2, 5, 4)])
def test_meanflat(shape):
    x = np.random.RandomState(0).randn(*shape).astype(np.float32)
    np.testing.assert_allclose(meanflat(tf.constant(x)), x.reshape(3, -1).mean(1), atol=1e-6)
