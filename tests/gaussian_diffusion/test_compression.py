"""What is sent and seen step by step, against the closed form of the bound."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.exact import Gaussian

DATA = Gaussian([0.3, -0.2, 0.0, 0.1], [0.04, 0.3, 0.1, 0.2])
EXAMPLE = np.array([140, 30, 127, 200]) / 127.5 - 1
BETAS = np.linspace(1e-3, 0.4, 20)
NUMBER = 4000


@pytest.fixture(scope="module")
def diffusion():
    return GaussianDiffusion(betas=BETAS, model_var_type="fixedsmall")


@pytest.fixture(scope="module")
def sent(diffusion):
    """The same example many times, so that averages over the noise are known."""
    x = np.tile(EXAMPLE, [NUMBER, 1]).astype(np.float32)
    network, budgets = DATA.denoise_fn(diffusion), [0.0, 0.5, 1.5, 100.0]
    transmit = tf.function(
        lambda: diffusion.transmit(network, x, budgets=budgets, seed=0, clip_denoised=False)
    )
    return [a.numpy() for a in transmit()]


def test_rates_are_those_of_the_bound(diffusion, sent):
    rate = sent[0]
    terms, prior = DATA.bound(diffusion.alphas_cumprod, EXAMPLE[None])
    expected = prior[0] + np.append(0, np.cumsum(terms[0, ::-1]))
    noise = rate.std(axis=0) / np.sqrt(NUMBER)
    np.testing.assert_array_less(abs(rate.mean(axis=0) - expected), 4.5 * noise + 1e-4)
    assert (np.diff(rate.mean(axis=0)) > 0).all()


def test_distortions_are_those_of_the_closed_form(diffusion, sent):
    abar = diffusion.alphas_cumprod[::-1, None]
    slope = DATA.denoiser(abar[:, 0]).slope
    kept = (1 - slope * np.sqrt(abar)) ** 2 * (EXAMPLE - DATA.mean) ** 2
    expected = (kept + slope**2 * (1 - abar)).mean(axis=1)
    noise = sent[1].std(axis=0) / np.sqrt(NUMBER)
    error = abs(sent[1].mean(axis=0) - np.append(expected, 0))
    np.testing.assert_array_less(error, 4.5 * noise + 1e-6)


def test_each_budget_is_spent_as_far_as_it_goes(sent):
    rate, distortion, spent, reconstructions = sent
    assert (spent[:, 0] == 0).all() and (reconstructions[:, 0] == 0).all()  # x_T costs more
    for k, budget in ((1, 0.5), (2, 1.5)):
        last = (rate <= np.float32(budget)).sum(axis=1) - 1
        rows = np.arange(NUMBER)
        np.testing.assert_array_equal(spent[:, k], rate[rows, last])
        error = ((reconstructions[:, k] - EXAMPLE) ** 2).mean(axis=1)
        np.testing.assert_allclose(error, distortion[rows, last], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(spent[:, 3], rate[:, -1])
    np.testing.assert_array_equal(reconstructions[:, 3], np.tile(EXAMPLE, [NUMBER, 1]).astype("f"))


def test_the_first_of_many_is_the_same_alone_and_eagerly(diffusion, sent):
    x = np.tile(EXAMPLE, [2, 1]).astype(np.float32)
    alone = diffusion.transmit(DATA.denoise_fn(diffusion), x, seed=0, clip_denoised=False)
    np.testing.assert_allclose(alone.rate, sent[0][:2], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(alone.distortion, sent[1][:2], rtol=1e-3, atol=1e-5)
    assert alone.reconstructions.shape == (2, 0, 4)


@pytest.mark.parametrize("budgets", [[-1.0], [np.nan], [[1.0]], [np.inf]])
def test_bad_budgets(diffusion, budgets):
    with pytest.raises(ValueError, match="each a number of 0 or more"):
        diffusion.transmit(lambda x, t: x, np.zeros([1, 2]), budgets=budgets)
