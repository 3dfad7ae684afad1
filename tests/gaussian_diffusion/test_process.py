"""The forward and the reverse process: one step at a time."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import DISTANCES, LOSS_TYPES, GaussianDiffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import RespacedDiffusion
from diffusion_tf.schedules import get_beta_schedule
from diffusion_tf.utils.literals import LEARNED
from helpers import golden_arrays
from helpers.golden_arrays import TYPES, denoise_fn, denoise_fn_for

LINEAR = get_beta_schedule("linear", beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=1000)
JSD = get_beta_schedule("jsd", beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=10)
COEFFICIENTS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip


def diffusion(mean="eps", var="fixedlarge", betas=LINEAR):
    return GaussianDiffusion(betas=betas, model_mean_type=mean, model_var_type=var, loss_type="kl")


def gaussians(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


@pytest.fixture(scope="module")
def golden():
    return golden_arrays.load("process")


# --- Coefficients


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_coefficients_equal_second_class(name):
    values = getattr(diffusion(), name)
    assert values.dtype == np.float64
    expected = golden_arrays.load("coefficients")[f"v2_{name}"]
    np.testing.assert_allclose(values, expected, rtol=1e-10)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_coefficients_equal_first_class(name):
    expected = golden_arrays.load("coefficients")[f"v1_{name}"]
    # The first class has another stand-in for the logarithm of the first posterior variance, 0.
    start = 1 if name == "posterior_log_variance_clipped" else 0
    np.testing.assert_allclose(getattr(diffusion(), name)[start:], expected[start:], rtol=1e-6)


def test_first_posterior_log_variance_is_the_second_posterior_variance():
    first = golden_arrays.load("coefficients")["v1_posterior_log_variance_clipped"][0]
    assert first == pytest.approx(np.log(1e-20), rel=1e-6)
    ours = diffusion()
    assert ours.posterior_variance[0] == 0
    assert ours.posterior_log_variance_clipped[0] == np.log(ours.posterior_variance[1])


def test_num_timesteps():
    assert diffusion().num_timesteps == 1000


# --- q


@pytest.mark.parametrize("version", ["", "v1_"])
@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_q_equals_original(golden, version, dtype):
    ours, x_start, t = diffusion(), golden["x_start"], tf.cast(golden["t"], dtype)
    names = ("q_mean", "q_variance", "q_log_variance")
    for name, value in zip(names, ours.q_mean_variance(x_start, t), strict=True):
        expected = golden[version + name]
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=2e-6)
    x_t = ours.q_sample(x_start, t, noise=golden["noise"])
    np.testing.assert_allclose(x_t, golden[version + "x_t"], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("version", ["", "v1_"])
def test_q_posterior_equals_original(golden, version):
    x_start, x_t, t = golden["x_start"], golden["x_t"], golden["t"]
    names = ("posterior_mean", "posterior_variance", "posterior_log_variance_clipped")
    values = diffusion().q_posterior_mean_variance(x_start, x_t, t)
    for name, value in zip(names, values, strict=True):
        expected = golden[version + name]
        assert value.shape == expected.shape
        start = 1 if version and "log" in name else 0  # the classes' logarithms of 0 differ
        np.testing.assert_allclose(value[start:], expected[start:], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "quad"])
def test_posterior_by_the_rule_of_bayes(schedule):
    T, t = 6, np.arange(1, 6)
    betas = get_beta_schedule(schedule, beta_start=0.01, beta_end=0.3, num_diffusion_timesteps=T)
    x_start, x_t = gaussians(5, 3), gaussians(5, 3, seed=1)

    # log q(x_{t-1} | x_t, x_0) = log N(x_t; sqrt(1 - beta) x_{t-1}, beta)
    #     + log N(x_{t-1}; sqrt(abar) x_0, 1 - abar) + constant, a square in x_{t-1}.
    beta = betas[t][:, None]
    abar_prev = np.array([np.prod([1 - b for b in betas[:k]]) for k in t])[:, None]
    precision = (1 - beta) / beta + 1 / (1 - abar_prev)
    slope = np.sqrt(1 - beta) / beta * x_t + np.sqrt(abar_prev) / (1 - abar_prev) * x_start

    mean, variance, log_variance = diffusion(betas=betas).q_posterior_mean_variance(
        x_start, x_t, tf.constant(t)
    )
    np.testing.assert_allclose(mean, slope / precision, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(variance, 1 / precision, rtol=1e-6)
    np.testing.assert_allclose(log_variance, -np.log(precision), rtol=1e-6, atol=2e-6)


def test_q_sample_is_the_composition_of_single_steps():
    betas = np.array([0.1, 0.3, 0.05, 0.6])
    mean, variance = 1.0, 0.0  # of x_t given x_0 = 1
    for t, beta in enumerate(betas):
        mean, variance = np.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        ours = diffusion(betas=betas).q_mean_variance(tf.ones([1, 1]), [t])
        np.testing.assert_allclose(np.ravel(ours), [mean, variance, np.log(variance)], rtol=1e-6)


def test_q_sample_draws_standard_normal_noise():
    ours, x_start = diffusion(), tf.fill([2, 20000], 0.5)
    x_t = ours.q_sample(x_start, [999, 500]).numpy()
    mean, variance, _ = ours.q_mean_variance(x_start, [999, 500])
    np.testing.assert_allclose(x_t.mean(1), mean[:, 0], atol=0.04)
    np.testing.assert_allclose(x_t.var(1), variance[:, 0], rtol=0.05)


# --- p


@pytest.mark.parametrize("clip", [1, 0])
@pytest.mark.parametrize("mean, var", TYPES)
def test_p_mean_variance_equals_original(golden, mean, var, clip):
    p = diffusion(mean, var).p_mean_variance(
        denoise_fn_for(var), x=golden["x_t"], t=golden["t"], clip_denoised=bool(clip)
    )
    expected = {
        name: golden[f"{mean}_{var}_clip{clip}_{name}"]
        for name in ("mean", "variance", "logvar", "pred_xstart")
    }
    assert all(a.shape == b.shape for a, b in zip(p, expected.values(), strict=True))
    np.testing.assert_allclose(p.mean, expected["mean"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(p.variance, expected["variance"], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(p.log_variance, expected["logvar"], rtol=1e-6, atol=2e-6)
    largest = np.abs(expected["pred_xstart"]).max()
    atol = 5e-5 if clip else 1e-6 * largest
    np.testing.assert_allclose(p.pred_xstart, expected["pred_xstart"], rtol=0, atol=atol)


@pytest.mark.parametrize("clip", [1, 0])
def test_p_mean_variance_equals_first_class(golden, clip):
    p = diffusion("eps", "fixedsmall").p_mean_variance(
        denoise_fn, x=golden["x_t"], t=golden["t"], clip_denoised=bool(clip)
    )
    mean, variance, logvar = (golden[f"v1_clip{clip}_{k}"] for k in ("mean", "variance", "logvar"))
    np.testing.assert_allclose(p.mean, mean, rtol=0, atol=2e-6)
    for ours, expected in ((p.variance, variance), (p.log_variance, logvar)):
        assert expected.shape == (4, 1, 1, 1)  # the second class repeats them over the image
        np.testing.assert_allclose(
            ours[1:], np.broadcast_to(expected, ours.shape)[1:], rtol=1e-6, atol=2e-6
        )
    assert logvar[0] == pytest.approx(np.log(1e-20), rel=1e-6)  # t = 0: see the coefficients


@pytest.mark.parametrize("clip", [1, 0])
def test_clipping_comes_before_the_mean(golden, clip):
    p = diffusion("xstart").p_mean_variance(
        lambda x, t: 3 * denoise_fn(x, t), x=golden["x_t"], t=golden["t"], clip_denoised=bool(clip)
    )
    expected = golden[f"times3_xstart_clip{clip}_pred_xstart"]
    atol = 5e-5 if clip else 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(p.pred_xstart, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(p.mean, golden[f"times3_xstart_clip{clip}_mean"], rtol=0, atol=2e-6)


def test_default_is_to_clip(golden):
    p = diffusion().p_mean_variance(denoise_fn, x=golden["x_t"], t=golden["t"])
    expected = golden["eps_fixedlarge_clip1_pred_xstart"]
    np.testing.assert_allclose(p.pred_xstart, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("mean", ["xprev", "xstart", "eps"])
def test_perfect_network_predicts_x_start_and_the_posterior(golden, mean):
    ours = diffusion(mean)
    x_start, t = golden["x_start"], np.array([20, 1, 150, 300])
    x_t = ours.q_sample(x_start, t, noise=golden["noise"])
    posterior_mean, _, _ = ours.q_posterior_mean_variance(x_start, x_t, t)
    truth = {"xprev": posterior_mean, "xstart": x_start, "eps": golden["noise"]}[mean]
    p = ours.p_mean_variance(lambda x, t: tf.constant(truth), x=x_t, t=t, clip_denoised=False)
    # xprev divides the rounding errors of two numbers near 1 by coef1, 1/500 at t = 300.
    np.testing.assert_allclose(p.pred_xstart, x_start, rtol=0, atol=1e-3)
    np.testing.assert_allclose(p.mean, posterior_mean, rtol=0, atol=2e-6)


@pytest.mark.parametrize("mean, var", TYPES)
@pytest.mark.parametrize("shape", [(4, 10), (4, 5, 3), (4, 2, 3, 2, 2)])
def test_any_rank_gives_what_images_give(mean, var, shape):
    """Every step works element by element, so a network on images can be asked for vectors."""
    ours, t, x_start = diffusion(mean, var), np.array([0, 1, 500, 999]), gaussians(*shape)
    image_shape = (4, 1, int(np.prod(shape[1:-1])), shape[-1])

    def outcomes(x):
        posterior = ours.q_posterior_mean_variance(x, 0.5 * x, t)
        p = ours.p_mean_variance(denoise_fn_for(var), x=x, t=t)
        x_prev = ours.p_sample(denoise_fn_for(var), x=x, t=t, noise_fn=golden_arrays.noise_fn)
        return [ours.q_sample(x, t, noise=x), *posterior, *p, x_prev]

    vectors, images = outcomes(x_start), outcomes(x_start.reshape(image_shape))
    for ours_value, image_value in zip(vectors, images, strict=True):
        assert ours_value.shape in (shape, (4,) + (1,) * (len(shape) - 1))
        np.testing.assert_array_equal(np.ravel(ours_value), np.ravel(image_value))


@pytest.mark.parametrize("mean, var", TYPES)
def test_p_sample_adds_noise_except_at_zero(golden, mean, var):
    x, t, noise = golden["x_t"], golden["t"], golden_arrays.noise_fn(golden["x_t"].shape)
    ours = diffusion(mean, var)
    x_prev, pred_xstart = ours.p_sample(
        denoise_fn_for(var), x=x, t=t, noise_fn=golden_arrays.noise_fn, return_pred_xstart=True
    )
    p = ours.p_mean_variance(denoise_fn_for(var), x=x, t=t)
    np.testing.assert_array_equal(pred_xstart, p.pred_xstart)
    np.testing.assert_array_equal(x_prev[0], p.mean[0])
    expected = p.mean + np.exp(0.5 * p.log_variance) * noise
    np.testing.assert_allclose(x_prev[1:], expected[1:], rtol=0, atol=2e-6)


# --- Schedules at the edge


@pytest.mark.parametrize("mean, var", TYPES)
@pytest.mark.parametrize("betas", [JSD, np.ones(3), np.array([1.0]), np.array([0.5, 1.0, 0.1])])
def test_beta_of_one_gives_finite_steps_and_gradients(betas, mean, var):
    ours, scale, T = diffusion(mean, var, betas), tf.Variable(1.0), len(betas)
    t, x_start = tf.range(T), tf.clip_by_value(gaussians(T, 4, 4, 3), -1, 1)

    def scaled_denoise_fn(x, t):
        return scale * denoise_fn_for(var)(x, t)

    with tf.GradientTape() as tape:
        loss = ours.p_losses(scaled_denoise_fn, x_start, t)
    x_prev, pred_xstart = ours.p_sample(
        scaled_denoise_fn, x=gaussians(T, 4, 4, 3), t=t, return_pred_xstart=True
    )
    for value in (loss, tape.gradient(loss, scale), x_prev, pred_xstart):
        assert np.isfinite(value).all()


def test_x_start_from_pure_noise_is_zero():
    p = diffusion(betas=JSD).p_mean_variance(denoise_fn, x=gaussians(2, 8), t=[9, 9])
    np.testing.assert_array_equal(p.pred_xstart, np.zeros([2, 8]))


@pytest.mark.parametrize("mean, var", TYPES)
def test_single_step(mean, var):
    ours, x = diffusion(mean, var, betas=[0.3]), gaussians(2, 8)
    assert ours.posterior_log_variance_clipped == pytest.approx(np.log(0.3))
    p = ours.p_mean_variance(denoise_fn_for(var), x=x, t=[0, 0])
    assert all(np.isfinite(field).all() for field in p)
    x_start = ours.p_sample(denoise_fn_for(var), x=x, t=[0, 0])
    np.testing.assert_array_equal(x_start, p.mean)  # one step, and it is the last
    if mean != "xprev":
        np.testing.assert_allclose(p.mean, p.pred_xstart, atol=1e-6)


# --- Mistakes


@pytest.mark.parametrize(
    "betas, message",
    [
        ([], r"betas has shape \(0,\)"),
        (0.1, r"betas has shape \(\)"),
        ([[0.1]], r"betas has shape \(1, 1\)"),
        ([0.1, 0.0], r"betas\[1\] is 0.0"),
        ([0.1, 0.2, -0.1], r"betas\[2\] is -0.1"),
        ([1.1], r"betas\[0\] is 1.1"),
        ([0.1, float("nan")], r"betas\[1\] is nan"),
        ([0.1, float("inf")], r"betas\[1\] is inf"),
    ],
)
def test_bad_betas(betas, message):
    with pytest.raises(ValueError, match=message):
        GaussianDiffusion(betas=betas)


@pytest.mark.parametrize(
    "name, options",
    [
        ("model_mean_type", "xprev, xstart, eps, v"),
        ("model_var_type", "learned, learned_range, fixedsmall, fixedlarge"),
        ("loss_type", "kl, rescaled_kl, mse"),
    ],
)
def test_unknown_option_lists_the_right_ones(name, options):
    with pytest.raises(ValueError, match=f"{name} 'other'; choose one of {options}"):
        GaussianDiffusion(betas=LINEAR, **{name: "other"})


def test_the_names_of_losses_are_the_bound_the_distances_and_both_together():
    assert set(LOSS_TYPES) == {"kl", "rescaled_kl", "hybrid", *DISTANCES}


@pytest.mark.parametrize("learned", LEARNED)
def test_learned_variance_with_mse(learned):
    with pytest.raises(ValueError, match=f"'{learned}' cannot be trained with loss_type 'mse'"):
        GaussianDiffusion(betas=LINEAR, model_var_type=learned, loss_type="mse")


def test_hybrid_without_a_variance_to_learn():
    with pytest.raises(ValueError, match="'hybrid' trains a variance.*'fixedlarge'; use 'le"):
        GaussianDiffusion(betas=LINEAR, model_var_type="fixedlarge", loss_type="hybrid")


# --- What Nichol & Dhariwal 2021 and Salimans & Ho 2022 add


def test_v_by_hand():
    """At abar = 0.36 the angle's cosine is 0.6: x_t = 0.6 x_0 + 0.8 eps, v = 0.6 eps - 0.8 x_0."""
    ours = GaussianDiffusion(betas=[0.5, 0.28], model_mean_type="v")
    x_0, eps = tf.constant([[0.5]]), tf.constant([[-1.0]])
    x_t = ours.q_sample(x_0, [1], noise=eps)
    assert x_t.numpy()[0, 0] == pytest.approx(-0.5)
    losses = [
        ours.p_losses(lambda x, t, v=v: tf.fill([1, 1], v), x_0, [1], noise=eps)
        for v in (-1.0, 0.0)
    ]
    np.testing.assert_allclose(losses, [[0], [1]], atol=1e-12)
    p = ours.p_mean_variance(lambda x, t: tf.fill([1, 1], -1.0), x=x_t, t=[1])
    assert p.pred_xstart.numpy()[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("t", [0, 1, 500, 999])
def test_a_learned_range_ends_at_the_fixed_variances(t):
    ours, x = diffusion("eps", "learned_range"), tf.zeros([1, 3])
    values = tf.constant([[-1.0, 0.0, 1.0]])
    p = ours.p_mean_variance(lambda x, t: tf.concat([x, values], axis=-1), x=x, t=[t])
    low, high = ours.posterior_log_variance_clipped[t], np.log(ours.betas[t])
    np.testing.assert_allclose(p.log_variance[0], [low, (low + high) / 2, high], rtol=1e-6)
    np.testing.assert_allclose(p.variance, np.exp(p.log_variance), rtol=1e-6)


def outputs_and_gradients(loss_type, var_type="learned_range", mean_type="eps"):
    """Losses of two examples, and their gradients by the two halves of the output."""
    ours = GaussianDiffusion(
        betas=LINEAR, model_mean_type=mean_type, model_var_type=var_type, loss_type=loss_type
    )
    x_start, noise = np.clip(gaussians(2, 4, 4, 3), -1, 1), gaussians(2, 4, 4, 3, seed=1)
    halves = [tf.constant(gaussians(2, 4, 4, 3, seed=seed)) for seed in (2, 3)]
    with tf.GradientTape() as tape:
        tape.watch(halves)
        joined = halves[0] if var_type not in LEARNED else tf.concat(halves, axis=-1)
        losses = ours.p_losses(lambda x, t: joined, x_start, [2, 20], noise=noise)
    return losses.numpy(), tape.gradient(losses, halves)


@pytest.mark.parametrize("mean_type", ["eps", "v", "xstart"])
def test_hybrid_is_mse_and_a_thousandth_of_the_bound_for_the_variance_alone(mean_type):
    """T = 1000, so that 0.001 times T terms of the bound are one term."""
    mse, by_mse = outputs_and_gradients("mse", "fixedlarge", mean_type)
    kl, by_kl = outputs_and_gradients("kl", mean_type=mean_type)
    hybrid, by_hybrid = outputs_and_gradients("hybrid", mean_type=mean_type)
    np.testing.assert_allclose(hybrid, mse + kl, rtol=1e-6)
    np.testing.assert_allclose(by_hybrid[0], by_mse[0], rtol=1e-6)
    np.testing.assert_allclose(by_hybrid[1], by_kl[1], rtol=1e-6)
    assert np.abs(by_kl[0]).max() > 1e-3  # which the mean does not get


def test_rescaled_kl_is_the_whole_bound_in_the_mean():
    kl, by_kl = outputs_and_gradients("kl")
    rescaled, by_rescaled = outputs_and_gradients("rescaled_kl")
    np.testing.assert_allclose(rescaled, 1000 * kl, rtol=1e-6)
    for gradient, thousandth in zip(by_rescaled, by_kl, strict=True):
        largest = np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)
        # The terms of the divergence nearly cancel, which leaves five digits.
        np.testing.assert_allclose(gradient / largest, 1000 * thousandth / largest, atol=1e-5)


def test_fewer_steps_keep_the_place_in_a_learned_range():
    """Between the two variances of the longer step, wherever it was: also beyond them."""
    ours, x = diffusion("eps", "learned_range"), tf.zeros([1, 3])
    fewer, values = RespacedDiffusion(ours, [100, 400, 800]), tf.constant([[-1.0, 0.4, 1.2]])
    p = fewer.p_mean_variance(lambda x, t: tf.concat([x, values], axis=-1), x=x, t=[2])
    abar = ours.alphas_cumprod
    beta = 1 - abar[800] / abar[400]
    small = beta * (1 - abar[400]) / (1 - abar[800])
    expected = [np.log(small), 0.3 * np.log(small) + 0.7 * np.log(beta)]
    expected.append(-0.1 * np.log(small) + 1.1 * np.log(beta))
    np.testing.assert_allclose(p.log_variance[0], expected, rtol=1e-5)


STEPS = {
    "q_mean_variance": lambda d, x, t: d.q_mean_variance(x, t),
    "q_sample": lambda d, x, t: d.q_sample(x, t),
    "q_posterior_mean_variance": lambda d, x, t: d.q_posterior_mean_variance(x, x, t),
    "p_mean_variance": lambda d, x, t: d.p_mean_variance(denoise_fn, x=x, t=t),
    "p_sample": lambda d, x, t: d.p_sample(denoise_fn, x=x, t=t),
    "p_losses": lambda d, x, t: d.p_losses(denoise_fn, x, t),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("t", [0, [0], [0, 1, 2], [[0], [1]]])
def test_t_of_wrong_shape(step, t):
    with pytest.raises(ValueError, match=r"t has shape .* one timestep for each example"):
        STEPS[step](diffusion(), tf.zeros([2, 4, 4, 3]), t)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("t", [[0.0, 1.0], np.zeros(2, np.int16), [True, False]])
def test_t_of_wrong_dtype(step, t):
    with pytest.raises(ValueError, match=r"t has dtype .* must be int32 or int64"):
        STEPS[step](diffusion(), tf.zeros([2, 4, 4, 3]), t)


@pytest.mark.parametrize("var", ["fixedlarge", "learned"])
@pytest.mark.parametrize("out_shape", [[2, 4, 4, 5], [2, 4, 3], [1, 4, 4, 3], [2, 4, 4, 1]])
def test_network_output_of_wrong_shape(var, out_shape):
    with pytest.raises(ValueError, match="denoise_fn returned shape") as error:
        diffusion("eps", var).p_mean_variance(
            lambda x, t: tf.zeros(out_shape), x=tf.zeros([2, 4, 4, 3]), t=[0, 1]
        )
    assert repr(var) in str(error.value)


@pytest.mark.parametrize("var, wrong", [("fixedlarge", "learned"), ("learned", "fixedlarge")])
def test_network_of_the_other_variance_type(var, wrong):
    with pytest.raises(ValueError, match="denoise_fn returned shape"):
        diffusion("eps", var).p_mean_variance(
            denoise_fn_for(wrong), x=tf.zeros([2, 4, 4, 3]), t=[0, 1]
        )


def test_noise_of_wrong_shape():
    with pytest.raises(ValueError, match="noise has shape"):
        diffusion().q_sample(tf.zeros([2, 4, 4, 3]), [0, 1], noise=tf.zeros([2, 4, 4, 1]))
