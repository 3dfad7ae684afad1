"""Exact denoisers against numerical integration, and their closed forms against simulation."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.exact import (
    CorrelatedGaussian,
    Gaussian,
    Mixture,
    Moments,
    ancestral_chain,
    ddim_chain,
    empirical,
    guided,
    interpolation_start,
)
from diffusion_tf.gaussian_diffusion.process import MODEL_MEAN_TYPES
from diffusion_tf.schedules import get_beta_schedule
from helpers.rows import modes

GRID = np.linspace(-8, 8, 32001)
MIXTURES = {
    "gaussian": Gaussian([0.3], 0.04),
    "shared variance": Mixture([[-0.6], [0.1], [0.8]], 0.02, weights=[1, 2, 3]),
    "own variances": Mixture([[-0.5], [0.7]], [[0.3], [0.01]], weights=[0.25, 0.75]),
}


def make_diffusion(T=50, beta_end=0.4, **types):
    betas = get_beta_schedule(
        "linear", beta_start=1e-3, beta_end=beta_end, num_diffusion_timesteps=T
    )
    return GaussianDiffusion(betas=betas, **types)


def density(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def integrated_posterior(mixture, x_t, abar, label=-1):
    """By Bayes on a grid of x_0, without a word of the closed form."""
    components = range(len(mixture.weights)) if label < 0 else [label]
    variances = np.broadcast_to(mixture.variances, mixture.means.shape)
    prior = sum(
        mixture.weights[k] * density(GRID, mixture.means[k, 0], variances[k, 0]) for k in components
    )
    p = prior * density(x_t, np.sqrt(abar) * GRID, 1 - abar)
    mean = (p * GRID).sum() / p.sum()
    return mean, (p * (GRID - mean) ** 2).sum() / p.sum()


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("abar", [0.9, 0.3, 0.01])
@pytest.mark.parametrize("label", [-1, 0])
def test_the_posterior_is_that_of_numerical_integration(name, abar, label):
    for x_t in (-1.5, 0.05, 0.9):
        posterior = MIXTURES[name].posterior([[x_t]], abar, y=[label])
        expected = integrated_posterior(MIXTURES[name], x_t, abar, label)
        np.testing.assert_allclose(np.ravel(posterior), expected, rtol=1e-7)


def test_both_ways_of_computing_a_mixture_agree():
    """Components that share their variances are summed by products of matrices."""
    rng = np.random.default_rng(0)
    means, variances = rng.normal(size=[5, 2, 3]), rng.uniform(0.1, 1, size=[1, 2, 3])
    shared, own = Mixture(means, variances), Mixture(means, variances.repeat(5, axis=0))
    assert shared.variances.shape != own.variances.shape
    x_t, y = rng.normal(size=[4, 2, 3]), [-1, 2, 0, -1]
    for a, b in zip(shared.posterior(x_t, 0.7, y), own.posterior(x_t, 0.7, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_a_data_set_has_the_mean_of_its_examples_by_their_distance():
    data = empirical(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    abar, x_t = 0.5, np.array([[0.6, 0.1]])
    distance = ((x_t - np.sqrt(abar) * data.means) ** 2).sum(axis=1)
    p = np.exp(-distance / (2 * (1 - abar)))
    expected = (p[:, None] * data.means).sum(axis=0) / p.sum()
    posterior = data.posterior(x_t, abar)
    np.testing.assert_allclose(posterior.mean[0], expected, rtol=1e-12)
    np.testing.assert_allclose(posterior.variance[0], expected * (1 - expected), rtol=1e-12)


def test_a_label_without_variance_is_the_example_itself():
    data = empirical(np.arange(6.0).reshape(3, 2))
    posterior = data.posterior(np.zeros([2, 2]), 0.3, y=[2, 1])
    np.testing.assert_allclose(posterior.mean, data.means[[2, 1]], rtol=1e-12)
    np.testing.assert_array_less(posterior.variance, 1e-12)


@pytest.mark.parametrize(
    "compiled, name, mean_type, var_type, loss_type",
    modes(
        *[
            (name, mean_type, *types)
            for types in (("learned", "kl"), ("fixedsmall", "mse"))
            for mean_type in MODEL_MEAN_TYPES
            for name in MIXTURES
        ]
    ),
    indirect=["compiled"],
)
def test_tensorflow_and_numpy_agree(compiled, name, mean_type, var_type, loss_type):
    diffusion = make_diffusion(
        model_mean_type=mean_type, model_var_type=var_type, loss_type=loss_type
    )
    x = np.random.default_rng(1).normal(size=[6, 1]).astype(np.float32)
    t, y = np.array([0, 1, 10, 30, 48, 49], np.int32), np.array([-1, 0, -1, 0, 0, -1])
    expected = MIXTURES[name].predict(diffusion, x, t, y)
    output = compiled(MIXTURES[name].denoise_fn(diffusion, y))(tf.constant(x), tf.constant(t))
    np.testing.assert_allclose(output, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("mean_type", MODEL_MEAN_TYPES)
def test_whatever_is_predicted_is_the_same_step(mean_type):
    """p(x_{t-1} | x_t) has the mean and variance of x_{t-1} that integration over x_0 gives."""
    data = MIXTURES["own variances"]
    diffusion = make_diffusion(model_mean_type=mean_type, model_var_type="learned", loss_type="kl")
    x = np.array([[-0.7], [0.2], [1.1]], np.float32)
    for t in (1, 20, 49):
        p = diffusion.p_mean_variance(
            data.denoise_fn(diffusion), x=x, t=tf.fill([3], t), clip_denoised=False
        )
        for b in range(3):
            mean, variance = integrated_posterior(
                data, np.float64(x[b, 0]), diffusion.alphas_cumprod[t]
            )
            coef1 = diffusion.posterior_mean_coef1[t]
            expected = coef1 * mean + diffusion.posterior_mean_coef2[t] * x[b, 0]
            np.testing.assert_allclose(p.mean[b, 0], expected, atol=3e-6)
            expected = coef1**2 * variance + diffusion.posterior_variance[t]
            np.testing.assert_allclose(p.variance[b, 0], expected, rtol=1e-5)


def test_the_optimal_network_has_the_least_loss():
    """Eq. 14: adding anything to it makes the mean square error larger by that square."""
    rng, diffusion = np.random.default_rng(2), make_diffusion()
    data = MIXTURES["own variances"]
    component = rng.choice(2, size=200_000, p=data.weights)
    x_0 = data.means[component] + np.sqrt(data.variances[component]) * rng.normal(size=[200_000, 1])
    noise, t = rng.normal(size=x_0.shape), np.full(len(x_0), 20)
    abar = diffusion.alphas_cumprod[20]
    x_t = np.sqrt(abar) * x_0 + np.sqrt(1 - abar) * noise
    error = data.predict(diffusion, x_t, t) - noise
    for disturbance in (np.ones_like(x_t), x_t, x_t**2, np.sin(3 * x_t)):
        covariance = (error * disturbance).mean()
        assert abs(covariance) < 5 * (error * disturbance).std() / np.sqrt(len(x_t))


def test_labels_choose_the_component():
    data = Mixture([[-1.0], [1.0]], 0.1)
    alone = Gaussian([1.0], 0.1)
    x_t = np.array([[0.3], [-0.4]])
    for a, b in zip(data.posterior(x_t, 0.5, [1, 1]), alone.posterior(x_t, 0.5), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def simulate(step, abar, x):
    for t in reversed(range(len(abar))):
        x = step(t, x)
    return x


def test_the_ancestral_chain_is_that_of_particles():
    """Algorithm 2 in float64, written out: 400,000 chains of eight steps."""
    rng = np.random.default_rng(3)
    data, abar = Gaussian([0.5], 0.2), np.cumprod(1 - np.linspace(0.05, 0.6, 8))
    beta = 1 - abar / np.append(1, abar[:-1])

    def step(t, x):
        eps = (x - np.sqrt(abar[t]) * data.posterior(x, abar[t]).mean) / np.sqrt(1 - abar[t])
        mean = (x - beta[t] / np.sqrt(1 - abar[t]) * eps) / np.sqrt(1 - beta[t])
        return mean + (np.sqrt(beta[t]) * rng.normal(size=x.shape) if t else 0)

    x = simulate(step, abar, rng.normal(size=[400_000, 1]))
    chain = ancestral_chain(abar, data.denoiser(abar), "fixedlarge")
    assert abs(x.mean() - chain.mean[-1, 0]) < 5 * x.std() / np.sqrt(len(x))
    np.testing.assert_allclose(x.var(), chain.variance[-1, 0], rtol=5 * np.sqrt(2 / len(x)))


def test_ddim_with_eta_1_is_the_ancestral_chain_with_the_small_variance():
    data, abar = Gaussian([0.5], 0.2), make_diffusion().alphas_cumprod
    denoiser = data.denoiser(abar)
    a, b = ancestral_chain(abar, denoiser, "fixedsmall"), ddim_chain(abar, denoiser, eta=1.0)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-14)
    np.testing.assert_allclose(a.variance, b.variance, rtol=1e-12)


def test_ddim_tends_to_the_flow_with_first_order():
    data = Gaussian([0.4], 0.09)

    def error(S):
        levels = np.cos(np.linspace(0, 0.98, S + 1)[1:] * np.pi / 2) ** 2
        start = Moments(np.array([1.3]), np.zeros(1))
        end = ddim_chain(levels, data.denoiser(levels), start=start).mean[-1]
        return (end - data.flow(np.array([1.3]), levels[-1], 1.0))[0]

    products = [S * error(S) for S in (100, 200, 400, 800)]
    np.testing.assert_allclose(products, products[-1], rtol=0.05)
    assert abs(products[-1]) > 0.01


def test_the_flow_carries_the_marginal_of_noise_to_the_data():
    data = Gaussian([0.4, -0.2], [0.09, 0.5])
    mean, variance = data.marginal(0.01)
    x = mean + np.sqrt(variance) * np.array([[-1.0, 2.0], [0.5, 0.0]])
    expected = data.mean + np.sqrt(data.variance) * np.array([[-1.0, 2.0], [0.5, 0.0]])
    np.testing.assert_allclose(data.flow(x, 0.01, 1.0), expected, rtol=1e-12)


def test_the_variance_that_is_learned_ends_at_that_of_the_data():
    """With the exact variance of each step the chain is exact, but for the last step's noise."""
    data, diffusion = Gaussian([0.3], 0.04), make_diffusion(1000, 0.02)
    abar = diffusion.alphas_cumprod
    t = np.arange(1000)
    learned = GaussianDiffusion(betas=diffusion.betas, model_var_type="learned", loss_type="kl")
    variance = np.exp(data.predict(learned, np.zeros([1000, 1]), t)[:, 1:])
    chain = ancestral_chain(abar, data.denoiser(abar), variance)
    np.testing.assert_allclose(chain.mean[-1], data.mean, atol=1e-4)
    np.testing.assert_allclose(chain.variance[-1] + variance[0], data.variance, rtol=1e-3)


def test_guidance_by_hand():
    a, b = Gaussian([0.0], 1.0).denoiser([0.25]), Gaussian([1.0], 1.0).denoiser([0.25])
    # E[x_0 | x_t] = 0.5 x_t, and 1 + 0.5 (x_t - 0.5) = 0.5 x_t + 0.75; three times the difference.
    mixed = guided(a, b, 3.0)
    np.testing.assert_allclose([mixed.slope[0, 0], mixed.offset[0, 0]], [0.5, 2.25])


def test_interpolation_starts_with_less_noise_between_the_ends():
    mean, variance = interpolation_start(np.array([1.0]), np.array([-1.0]), 0.25, 0.36)
    np.testing.assert_allclose([mean[0], variance[0]], [0.6 * 0.5, 0.64 * (0.5625 + 0.0625)])


@pytest.mark.parametrize("lam", [0.0, 0.25, 0.6, 1.0])
def test_which_mixtures_keep_the_variance_of_the_noise(lam):
    def noise(mix, shared):
        return interpolation_start(np.zeros(1), np.zeros(1), lam, 0.36, mix, shared).variance[0]

    np.testing.assert_allclose(noise("constant_variance", False), 0.64)
    np.testing.assert_allclose(noise("linear", True), 0.64)
    np.testing.assert_allclose(noise("linear", False), 0.64 * (1 - 2 * lam * (1 - lam)))
    both = 1 + 2 * lam * np.sqrt(1 - lam**2)
    np.testing.assert_allclose(noise("constant_variance", True), 0.64 * both)


def test_a_correlated_gaussian_by_hand():
    data = CorrelatedGaussian([1.0, -1.0], [[1.0, 0.5], [0.5, 1.0]])
    mean, covariance = data.conditional([True, False], [3.0, np.nan])
    np.testing.assert_allclose([mean[0], covariance[0, 0]], [-1 + 0.5 * 2, 1 - 0.25])
    diagonal = CorrelatedGaussian([0.3, -0.2], np.diag([0.04, 0.5]))
    slope, offset = diagonal.denoiser([0.9, 0.1])
    expected = Gaussian([0.3, -0.2], [0.04, 0.5]).denoiser([0.9, 0.1])
    np.testing.assert_allclose(slope, [np.diag(row) for row in expected.slope], atol=1e-15)
    np.testing.assert_allclose(offset, expected.offset)


@pytest.mark.parametrize(
    "mean, covariance, message",
    [
        ([0.0], np.eye(2), r"mean has shape \(1,\) and covariance \(2, 2\)"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "symmetric and positive definite"),
    ],
)
def test_bad_correlated_gaussians(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        CorrelatedGaussian(mean, covariance)
    with pytest.raises(ValueError, match="model_mean_type is 'eps'; this network predicts x_0"):
        CorrelatedGaussian([0.0], [[1.0]]).denoise_fn(GaussianDiffusion(betas=np.array([0.1])))


def test_bits_per_dim_by_hand():
    data = Gaussian([0.0, 0.0], 1.0)
    density_bits = 0.5 * np.log2(2 * np.pi) + 0.5 * (0.5**2 / 2) / np.log(2)
    np.testing.assert_allclose(data.bits_per_dim([[0.5, 0.0]]), density_bits, rtol=1e-12)
    # Narrow bins: probability is density times width, 2/255.
    pixels = data.bits_per_dim([[127 / 127.5 - 1, 0.0]], pixels=True)
    expected = 0.5 * np.log2(2 * np.pi) + 0.5 * ((-0.5 / 127.5) ** 2 / 2) / np.log(2)
    np.testing.assert_allclose(pixels, expected - np.log2(2 / 255), rtol=1e-5)
    levels = (np.arange(256) / 127.5 - 1)[:, None]
    bits = MIXTURES["own variances"].bits_per_dim(levels, pixels=True)
    np.testing.assert_allclose((2.0**-bits).sum(), 1.0, rtol=1e-12)


def test_the_bound_lies_above_the_likelihood_and_falls_with_finer_steps():
    data, x = Gaussian([0.1], 0.09), np.array([[25 / 127.5 - 1], [140 / 127.5 - 1]])
    exact = data.bits_per_dim(x, pixels=True)
    gaps = []
    for T in (100, 1000, 4000):
        betas = get_beta_schedule(
            "linear", beta_start=0.1 / T, beta_end=20 / T, num_diffusion_timesteps=T
        )
        terms, prior = data.bound(np.cumprod(1 - betas), x, "fixedsmall")
        gaps.append(terms.sum(axis=1) + prior - exact)
    assert (np.array(gaps) > 0).all()
    assert (gaps[0] > gaps[1]).all() and (gaps[1] > gaps[2]).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([1.0, 2.0],), r"means has shape \(2,\)"),
        (([[1.0], [2.0]], -0.1), "variances 0 or more"),
        (([[1.0], [np.nan]],), "finite"),
        (([[1.0], [2.0]], 0.1, [1.0, 0.0]), "2 numbers > 0"),
    ],
)
def test_parameters_that_make_no_distribution_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixture(*arguments)
