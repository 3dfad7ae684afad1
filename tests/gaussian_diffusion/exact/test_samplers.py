"""Every sampler on Gaussian data with the optimal network: the closed forms are what must come out.

The first row of each batch is a chain without noise from x_T = 0: the mean. The other 10,000 are
samples, whose moments may be off by what so few of them tell.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.exact import (
    Gaussian,
    Moments,
    ancestral_chain,
    ddim_chain,
    guided,
    interpolation_start,
)
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM, RespacedDiffusion
from diffusion_tf.gaussian_diffusion.process import MODEL_MEAN_TYPES, MODEL_VAR_TYPES
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.schedules import get_beta_schedule
from diffusion_tf.utils.literals import LEARNED
from helpers.rows import mostly_slow

DATA = Gaussian([0.3, -0.2], [0.04, 0.5])
NUMBER = 10_000
ETAS = (0.0, 0.3, 1.0)
SAMPLERS = [
    *[("ancestral", var_type, None) for var_type in MODEL_VAR_TYPES],
    *[("ddim", "fixedsmall", eta) for eta in ETAS],
    ("ddim", "learned", 0.3),
]


def training_process(schedule="linear", T=1000, mean_type="eps", var_type="fixedlarge"):
    betas = get_beta_schedule(schedule, beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=T)
    return GaussianDiffusion(
        betas=betas, model_mean_type=mean_type, model_var_type=var_type, loss_type="kl"
    )


def sampling_process(training, sampler, steps, eta):
    if sampler == "ddim":
        return DDIM(training, steps, eta=eta)
    return training if steps == training.num_timesteps else RespacedDiffusion(training, steps)


def learned_variance(training, timesteps):
    """Of x_{t-1} given x_t, at the steps of sampling: float64, without a word of the samplers.

    In training it is the exact one. Where the steps are longer, it keeps its place between the
    logarithms of the posterior's variance and of beta.
    """
    abar = np.cumprod(1 - training.betas)
    prev = np.append(1, abar[:-1])
    posterior = training.betas * (1 - prev) / (1 - abar)
    coef1 = training.betas * np.sqrt(prev) / (1 - abar)
    x_0 = DATA.variance * (1 - abar[:, None]) / (abar[:, None] * DATA.variance + 1 - abar[:, None])
    exact = coef1[:, None] ** 2 * x_0 + posterior[:, None]
    if len(timesteps) == len(abar):
        return exact
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.log(training.betas) - np.log(posterior)
        place = (np.log(exact) - np.log(posterior)[:, None]) / width[:, None]
        place = np.nan_to_num(place, posinf=1.0).clip(0, 1)[timesteps]  # bounds that are equal
        levels = abar[timesteps]
        prev = np.append(1, levels[:-1])
        beta = 1 - levels / prev
        small = beta * (1 - prev) / (1 - levels)
        log_variance = (1 - place) * np.log(small)[:, None] + place * np.log(beta)[:, None]
    return np.exp(log_variance)  # of step 0: nobody asks


def closed_form(training, process, var_type, eta, start=None, denoiser=None):
    timesteps = getattr(process, "timesteps", np.arange(training.num_timesteps))
    levels = np.cumprod(1 - training.betas)[timesteps]
    denoiser = denoiser or DATA.denoiser(levels)
    if eta is not None:
        return ddim_chain(levels, denoiser, eta, start)
    variance = learned_variance(training, timesteps) if var_type in LEARNED else var_type
    return ancestral_chain(levels, denoiser, variance, start)


def run(process, network):
    """The mean, and samples; long chains are compiled, which halves their time."""
    generator = tf.random.Generator.from_seed(0)

    def noise_but_for_the_first_row(shape, dtype):
        noise = generator.normal([shape[0] - 1, *shape[1:]], dtype=dtype)
        return tf.concat([tf.zeros([1, *shape[1:]], dtype), noise], axis=0)

    x = tf.function(
        lambda: process.p_sample_loop(
            network,
            shape=(NUMBER + 1, 2),
            noise_fn=noise_but_for_the_first_row,
            clip_denoised=False,
        ),
        jit_compile=process.num_timesteps >= 1000,
    )().numpy()
    return x[0], x[1:]


def assert_moments(samples, expected, deviations=4.5):
    mean, variance = expected
    error = (samples.mean(axis=0) - mean) / np.sqrt(variance / NUMBER)
    assert (abs(error) < deviations).all(), error
    error = (samples.var(axis=0) / variance - 1) / np.sqrt(2 / NUMBER)
    assert (abs(error) < deviations).all(), error


def check(schedule, T, steps, sampler, mean_type, var_type, eta):
    training = training_process(schedule, T, mean_type, var_type)
    process = sampling_process(training, sampler, steps, eta)
    mean, samples = run(process, DATA.denoise_fn(training))
    chain = closed_form(training, process, var_type, eta)
    np.testing.assert_allclose(mean, chain.mean[-1], atol=1e-5)
    assert_moments(samples, (chain.mean[-1], chain.variance[-1]))


@pytest.mark.parametrize(
    "mean_type, sampler, var_type, eta",
    mostly_slow(
        [(mean_type, *row) for row in SAMPLERS for mean_type in MODEL_MEAN_TYPES],
        lambda mean_type, *row: mean_type == "eps" or row == SAMPLERS[0],
    ),
)
def test_fifty_steps(mean_type, sampler, var_type, eta):
    check("linear", 1000, 50, sampler, mean_type, var_type, eta)


@pytest.mark.parametrize("var_type", MODEL_VAR_TYPES)
def test_all_steps(var_type):
    check("linear", 200, 200, "ancestral", "eps", var_type, None)


@pytest.mark.slow
@pytest.mark.parametrize("sampler, var_type, eta", SAMPLERS)
@pytest.mark.parametrize("mean_type", MODEL_MEAN_TYPES)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("T, steps", [(1000, 50), (1000, 1000), (4000, 50)])
def test_long_chains(T, steps, schedule, mean_type, sampler, var_type, eta):
    check(schedule, T, steps, sampler, mean_type, var_type, eta)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler, var_type, eta", [("ancestral", "learned", None), ("ddim", "fixedsmall", 0.3)]
)
@pytest.mark.parametrize("mean_type", MODEL_MEAN_TYPES)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_longest_chains(schedule, mean_type, sampler, var_type, eta):
    check(schedule, 4000, 4000, sampler, mean_type, var_type, eta)


@pytest.mark.parametrize("eta", [None, *ETAS])
def test_other_timesteps_than_evenly_spread_ones(eta):
    timesteps = [3, 4, 10, 60, 61, 300, 800, 999]
    check("linear", 1000, timesteps, "ddim" if eta is not None else "x", "xprev", "learned", eta)


def test_a_learned_variance_is_kept_where_the_steps_are_those_of_training():
    """Also beyond the bounds, where it has no place between them."""
    training = training_process(var_type="learned")
    respaced = RespacedDiffusion(training, [0, 1, 2, 50, 100])
    x, t = tf.zeros([5, 2]), tf.range(5)
    p = respaced.p_mean_variance(lambda x, t: tf.concat([x, x - 30.0], 1), x=x, t=t)
    np.testing.assert_array_equal(p.log_variance[:3], np.full([3, 2], -30.0, np.float32))
    expected = respaced.posterior_log_variance_clipped[3:, None] * np.ones([1, 2])
    np.testing.assert_allclose(p.log_variance[3:], expected, rtol=1e-6)


@pytest.mark.parametrize("sampler, var_type, eta", SAMPLERS)
@pytest.mark.parametrize("steps", [1000, 50])
def test_the_last_step_adds_no_noise(sampler, var_type, eta, steps):
    training = training_process(var_type=var_type)
    process = sampling_process(training, sampler, steps, eta)
    x, t = tf.constant([[0.1, -0.3]]), tf.constant([0])
    ends = [
        process.p_sample(
            DATA.denoise_fn(training),
            x=x,
            t=t,
            noise_fn=lambda shape, dtype, s=s: s * tf.ones(shape),
        )
        for s in (-3.0, 3.0)
    ]
    np.testing.assert_array_equal(*ends)


def test_fewer_steps_of_fewer_steps():
    """Timesteps of the inner one are counted in its own steps, and the network sees training's."""
    training = training_process(mean_type="xprev")
    twice = DDIM(DDIM(training, 100), 10)
    mean, samples = run(twice, DATA.denoise_fn(training))
    levels = np.cumprod(1 - training.betas)[np.arange(10) * 100]
    chain = ddim_chain(levels, DATA.denoiser(levels))
    np.testing.assert_allclose(mean, chain.mean[-1], atol=1e-5)
    assert_moments(samples, (chain.mean[-1], chain.variance[-1]))


def test_ddim_is_of_first_order():
    """Its error in the flow, times the number of steps, is the same for all numbers of steps."""
    training, start = training_process(), np.array([[0.8, -1.2]], np.float32)

    def error(steps):
        timesteps = np.rint(np.linspace(0, 999, steps + 1)[1:]).astype(int)
        x_0 = tf.function(DDIM(training, timesteps).p_sample_steps)(
            DATA.denoise_fn(training), x=start, first=steps - 1, last=0, clip_denoised=False
        )[0]
        levels = training.alphas_cumprod[timesteps]
        return x_0[0] - DATA.flow(start[0].astype(np.float64), levels[-1], 1.0)

    products = np.array([steps * error(steps) for steps in (20, 40, 80, 160)])
    np.testing.assert_allclose(products[1:] / products[:-1], 1.0, atol=0.15)
    assert (abs(products[-1]) > 0.05).all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
@pytest.mark.parametrize(
    "mean_type, var_type",
    [("eps", "learned"), pytest.param("xprev", "fixedsmall", marks=pytest.mark.slow)],
)
def test_guidance(scale, mean_type, var_type):
    training = training_process("linear", 1000, mean_type, var_type)
    process = RespacedDiffusion(training, 50)
    conditional = Gaussian([0.5, 0.1], [0.02, 0.3])

    def model(inputs, training_=False, **_):
        x, t, y = inputs
        both = (data.denoise_fn(training)(x, t) for data in (conditional, DATA))
        return tf.where(y[:, None] >= 0, *both)

    mean, samples = run(process, denoise_fn(model, tf.zeros([NUMBER + 1], tf.int32), scale))
    levels = np.cumprod(1 - training.betas)[process.timesteps]
    mixed = guided(DATA.denoiser(levels), conditional.denoiser(levels), scale)
    if var_type == "learned":  # that of the condition, or of none where there is none
        chain = ancestral_chain(levels, mixed, "fixedsmall")
    else:
        chain = ancestral_chain(levels, mixed, var_type)
        assert_moments(samples, (chain.mean[-1], chain.variance[-1]))
    np.testing.assert_allclose(mean, chain.mean[-1], atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_global_seed_leaves_the_noises_of_a_chain_independent(jit_compile):
    """The first noise once was x_T, after tf.random.set_seed and inside tf.function."""
    training = training_process()
    process = DDIM(training, 50, eta=0.3)
    network, how = DATA.denoise_fn(training), {"shape": (NUMBER, 2), "clip_denoised": False}
    sample = tf.function(lambda: process.p_sample_loop(network, **how), jit_compile=jit_compile)
    tf.random.set_seed(0)
    samples = sample().numpy()
    chain = closed_form(training, process, "fixedsmall", 0.3)
    assert_moments(samples, (chain.mean[-1], chain.variance[-1]))
    assert not np.array_equal(samples, sample())


@pytest.mark.parametrize(
    "lam, t, mix, shared_noise",
    [
        *mostly_slow(
            [(lam, t, "linear", False) for t in (0, 30, 99) for lam in (0.0, 0.3, 1.0)],
            lambda lam, t, *_: (lam, t) in ((0.0, 0), (0.3, 30), (1.0, 99)),
        ),
        (0.3, 99, "constant_variance", False),
        (0.6, 30, "linear", True),
        (0.6, 30, "constant_variance", True),
    ],
)
def test_interpolation(lam, t, mix, shared_noise):
    training = training_process("linear", 100, "xstart", "fixedsmall")
    x1, x2 = np.array([0.5, -0.6]), np.array([-0.9, 0.7])
    tf.random.set_seed(1)
    ends = [np.tile(x, [NUMBER, 1]).astype(np.float32) for x in (x1, x2)]
    samples = tf.function(
        lambda: training.interpolate(
            DATA.denoise_fn(training),
            x1=ends[0],
            x2=ends[1],
            lam=lam,
            t=t,
            clip_denoised=False,
            mix=mix,
            shared_noise=shared_noise,
        )
    )().numpy()
    levels = np.cumprod(1 - training.betas)[: t + 1]
    start = interpolation_start(x1, x2, lam, levels[-1], mix, shared_noise)
    chain = ancestral_chain(levels, DATA.denoiser(levels), "fixedsmall", start)
    assert_moments(samples, (chain.mean[-1], chain.variance[-1]))


def test_trajectories_and_progressive_predictions_are_the_chain_at_their_times():
    training = training_process(mean_type="xprev", var_type="fixedsmall")
    process = RespacedDiffusion(training, 40)
    levels = np.cumprod(1 - training.betas)[process.timesteps]
    denoiser = DATA.denoiser(levels)
    chain = ancestral_chain(levels, denoiser, "fixedsmall")
    how = {"shape": (NUMBER, 2), "seed": 5, "clip_denoised": False}
    network = DATA.denoise_fn(training)
    times, images = tf.function(lambda: process.p_sample_loop_trajectory(network, **how))()
    for time in (39, 20, 7, 0, -1):
        row = 39 - time
        assert times[row] == time
        assert_moments(images[row].numpy(), (chain.mean[row], chain.variance[row]))
    _, predictions = tf.function(
        lambda: process.p_sample_loop_progressive(network, include_xstartpred_freq=10, **how)
    )()
    for k in range(4):  # made at step 10 k, from the x that is about to take it
        row = 39 - 10 * k
        slope = denoiser.slope[10 * k]
        mean = slope * chain.mean[row] + denoiser.offset[10 * k]
        predicted = predictions[:, k].numpy()
        assert_moments(predicted, Moments(mean, slope**2 * chain.variance[row]))


@pytest.mark.parametrize(
    "steps, var_type, mean_type",
    mostly_slow(
        itertools.product((40, 10), MODEL_VAR_TYPES, MODEL_MEAN_TYPES),
        lambda steps, var_type, mean_type: (
            (steps, mean_type) == (10, "eps")
            or (steps, mean_type, var_type) == (40, "v", "learned")
        ),
    ),
)
def test_the_bound_term_by_term(steps, var_type, mean_type):
    """Of one pixel value, averaged over 20,000 noises; the exact one is never above it."""
    training = training_process("linear", 40, mean_type, var_type)
    process = sampling_process(training, "ancestral", steps, None)
    data, pixel = Gaussian([0.3], 0.04), np.float32(170 / 127.5 - 1)
    timesteps = getattr(process, "timesteps", np.arange(40))
    variance = var_type
    if var_type in LEARNED:
        variance = learned_variance_of_bound(training, process, data, timesteps)
    terms, prior = data.bound(training.alphas_cumprod[timesteps], [[pixel]], variance)
    x_start = tf.fill([20_000, 1], pixel)
    total, drawn, drawn_prior, _ = tf.function(
        lambda: process.calc_bpd_loop(
            data.denoise_fn(training), x_start, seed=0, clip_denoised=False
        )
    )()
    np.testing.assert_allclose(drawn_prior[0], prior[0], atol=1e-6)
    deviation = drawn.numpy().std(axis=0) / np.sqrt(20_000)
    error = abs(drawn.numpy().mean(axis=0) - terms[0])
    # The decoder's distribution function is the original's approximation.
    assert (error < 5 * deviation + np.append(2e-3, np.full(steps - 1, 2e-6))).all()
    assert total.numpy().mean() > data.bits_per_dim([[pixel]], pixels=True)[0]


def learned_variance_of_bound(training, process, data, timesteps):
    """At step 0 as well, where it is the decoder's: step 0 is as long as in training."""
    mean_type = training.model_mean_type
    says_it = GaussianDiffusion(
        betas=training.betas, model_mean_type=mean_type, model_var_type="learned", loss_type="kl"
    )
    network = data.predict(says_it, np.zeros([len(timesteps), 1]), timesteps)
    exact = np.exp(network[:, 1:])
    if len(timesteps) == training.num_timesteps:
        return exact
    low = training.posterior_log_variance_clipped[timesteps, None]
    high = np.log(training.betas)[timesteps, None]
    place = ((np.log(exact) - low) / (high - low)).clip(0, 1)
    new_low = process.posterior_log_variance_clipped[:, None]
    carried = np.exp(new_low + place * (np.log(process.betas)[:, None] - new_low))
    return np.append(exact[:1], carried[1:], axis=0)
