"""The losses and the variational bound."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from helpers import golden_arrays
from helpers.golden_arrays import TYPES, denoise_fn, denoise_fn_for

LINEAR = np.linspace(1e-4, 0.02, 1000)
SHORT = np.linspace(1e-4, 0.2, 20)
LOOPS = [(mean, var, 1) for mean, var in TYPES]
LOOPS += [("eps", "fixedlarge", 0), ("xprev", "learned", 0)]

# At t = 0 the logarithm of a difference of float32 numbers near 0 or 1 is rounding noise wherever
# the probability is below 1e-5. Where many pixels are like that, only the magnitude is comparable.
TAILS = {"rtol": 0.1}
# A KL near 0 is a difference of float32 numbers near 1.
TERMS = {"rtol": 5e-6, "atol": 2e-7}


def diffusion(mean="eps", var="fixedlarge", loss_type="kl", betas=LINEAR):
    return GaussianDiffusion(
        betas=betas, model_mean_type=mean, model_var_type=var, loss_type=loss_type
    )


@pytest.fixture(scope="module")
def losses():
    return golden_arrays.load("losses")


@pytest.fixture(scope="module")
def vb():
    return golden_arrays.load("vb")


# --- The training losses


@pytest.mark.parametrize("mean, var", TYPES)
def test_kl_loss_equals_original(losses, mean, var):
    ours = diffusion(mean, var).p_losses(
        denoise_fn_for(var), losses["x_start"], losses["t"], noise=losses["noise"]
    )
    expected = losses[f"kl_{mean}_{var}"]
    assert losses["t"].tolist() == [0, 1, 500, 999]
    np.testing.assert_allclose(ours[:1], expected[:1], **TAILS)
    np.testing.assert_allclose(ours[1:], expected[1:], **TERMS)


@pytest.mark.parametrize("mean, var", [types for types in TYPES if types[1] != "learned"])
def test_mse_loss_equals_original(losses, mean, var):
    ours = diffusion(mean, var, "mse").p_losses(
        denoise_fn, losses["x_start"], losses["t"], noise=losses["noise"]
    )
    np.testing.assert_allclose(ours, losses[f"mse_{mean}_{var}"], rtol=2e-6)


def test_mse_loss_equals_first_class(losses):
    ours = diffusion("eps", "fixedsmall", "mse").p_losses(
        denoise_fn, losses["x_start"], losses["t"], noise=losses["noise"]
    )
    np.testing.assert_allclose(ours, losses["v1_noisepred"], rtol=2e-6)


@pytest.mark.parametrize("loss_type", ["kl", "mse"])
@pytest.mark.parametrize("mean", ["xprev", "xstart", "eps"])
@pytest.mark.parametrize("shape", [(4, 10), (4, 5, 3)])
def test_losses_of_vectors_are_those_of_images(mean, loss_type, shape):
    ours = diffusion(mean, loss_type=loss_type)
    x_start = np.random.RandomState(0).uniform(-1, 1, shape).astype(np.float32)
    t, noise = [0, 1, 500, 999], golden_arrays.noise_fn(shape)

    def loss(shape):
        return ours.p_losses(denoise_fn, x_start.reshape(shape), t, noise=tf.reshape(noise, shape))

    image_shape = (4, 1, int(np.prod(shape[1:-1])), shape[-1])
    assert loss(shape).shape == (4,)
    np.testing.assert_allclose(loss(shape), loss(image_shape), rtol=1e-5)


def test_perfect_network_has_no_mse(losses):
    x_start, t, noise = losses["x_start"], losses["t"], losses["noise"]
    loss = diffusion("eps", loss_type="mse").p_losses(
        lambda x, t: tf.constant(noise), x_start, t, noise=noise
    )
    np.testing.assert_array_equal(loss, np.zeros(4))
    loss = diffusion("eps", "fixedsmall").p_losses(
        lambda x, t: tf.constant(noise), x_start, t, noise=noise
    )
    np.testing.assert_allclose(loss[1:], np.zeros(3), atol=1e-5)


def test_loss_draws_noise_of_its_own(losses):
    ours, x_start, t = diffusion(loss_type="mse"), losses["x_start"], losses["t"]
    # The network that returns 0 has a loss of E noise^2 = 1.
    first, other = (ours.p_losses(lambda x, t: 0 * x, x_start, t) for _ in range(2))
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first, np.ones(4), atol=0.5)


@pytest.mark.parametrize("loss_type", ["kl", "mse"])
def test_loss_has_a_gradient_in_a_graph_of_unknown_batch_size(losses, loss_type):
    ours, scale = diffusion(loss_type=loss_type), tf.Variable(0.9)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 8, 8, 3]),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, 8, 8, 3]),
        ]
    )
    def gradient(x_start, t, noise):
        with tf.GradientTape() as tape:
            loss = ours.p_losses(lambda x, t: scale * denoise_fn(x, t), x_start, t, noise=noise)
        return tape.gradient(loss, scale)

    value = gradient(losses["x_start"], losses["t"], losses["noise"])
    assert np.isfinite(value) and value != 0


# --- The variational bound


@pytest.mark.parametrize("clip", [1, 0])
@pytest.mark.parametrize("mean, var", TYPES)
def test_vb_terms_equal_original(vb, mean, var, clip):
    ours = diffusion(mean, var)._vb_terms_bpd(
        denoise_fn_for(var), vb["x_start"], vb["x_t"], vb["t"], clip_denoised=bool(clip)
    )
    expected = vb[f"vb_{mean}_{var}_clip{clip}"]
    assert vb["t"].tolist() == [0, 1, 500, 999]
    np.testing.assert_allclose(ours[:1], expected[:1], **TAILS)
    np.testing.assert_allclose(ours[1:], expected[1:], **TERMS)


@pytest.mark.parametrize("clip", [1, 0])
@pytest.mark.parametrize("mean, var", TYPES)
def test_vb_terms_of_wide_steps_equal_original(vb, mean, var, clip):
    wide, t = diffusion(mean, var, betas=vb["vbwide_betas"]), vb["vbwide_t"]
    x_t = wide.q_sample(vb["x_start"], t, noise=vb["vbwide_noise"])
    ours = wide._vb_terms_bpd(denoise_fn_for(var), vb["x_start"], x_t, t, clip_denoised=bool(clip))
    expected = vb[f"vbwide_{mean}_{var}_clip{clip}"]
    assert t.tolist() == [0, 1, 10, 19]
    decoder = TAILS if var == "learned" else {"rtol": 1e-5}
    np.testing.assert_allclose(ours[:1], expected[:1], **decoder)
    np.testing.assert_allclose(ours[1:], expected[1:], **TERMS)


def test_prior_equals_original(vb):
    prior = diffusion()._prior_bpd(tf.constant(vb["x_start"]))
    np.testing.assert_allclose(prior, vb["prior_bpd_T1000"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("mean, var, clip", LOOPS)
def test_calc_bpd_loop_equals_original(vb, mean, var, clip):
    bank = iter(vb["noise_bank"][::-1])  # the loop draws at T - 1 first and at 0 last
    values = diffusion(mean, var, betas=SHORT).calc_bpd_loop(
        denoise_fn_for(var),
        vb["x_start"],
        clip_denoised=bool(clip),
        noise_fn=lambda shape, dtype: tf.constant(next(bank), dtype),
    )
    assert next(bank, None) is None
    names = ("total", "terms", "prior", "mse")
    total, terms, prior, mse = (vb[f"loop_{mean}_{var}_clip{clip}_{name}"] for name in names)
    assert [v.shape for v in values] == [(4,), (4, 20), (4,), (4, 20)]
    np.testing.assert_allclose(values[0], total, **TAILS)
    np.testing.assert_allclose(values[1][:, 0], terms[:, 0], **TAILS)
    np.testing.assert_allclose(values[1][:, 1:], terms[:, 1:], **TERMS)
    np.testing.assert_allclose(values[2], prior, rtol=0, atol=1e-7)
    np.testing.assert_allclose(values[3], mse, rtol=2e-6)
    np.testing.assert_allclose(values[0], tf.reduce_sum(values[1], 1) + values[2], rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("var", ["learned", pytest.param("fixedlarge", marks=pytest.mark.slow)])
def test_calc_bpd_loop_in_every_mode(vb, jit_compile, var):
    ours = diffusion("eps", var, betas=vb["vbwide_betas"])

    def loop(x_start, seed):
        return ours.calc_bpd_loop(denoise_fn_for(var), x_start, seed=seed)

    total, terms, prior, mse = loop(vb["x_start"], 3)
    values = tf.function(loop, jit_compile=jit_compile)(tf.constant(vb["x_start"]), tf.constant(3))
    # The numbers drawn may differ in the last bits, see test_random_numbers.
    np.testing.assert_allclose(values[0], total, **TAILS)
    np.testing.assert_allclose(values[1][:, 0], terms[:, 0], **TAILS)
    np.testing.assert_allclose(values[1][:, 1:], terms[:, 1:], rtol=1e-4)
    np.testing.assert_allclose(values[2], prior, rtol=0, atol=1e-7)
    np.testing.assert_allclose(values[3], mse, rtol=1e-4)


def test_calc_bpd_loop_is_made_of_the_terms(vb):
    ours, t = diffusion(betas=SHORT), 7
    _, terms, prior, mse = ours.calc_bpd_loop(
        denoise_fn, vb["x_start"], noise_fn=golden_arrays.noise_fn
    )
    x_t = ours.q_sample(vb["x_start"], [t] * 4, noise=golden_arrays.noise_fn((4, 8, 8, 3)))
    term, pred_xstart = ours._vb_terms_bpd(
        denoise_fn, vb["x_start"], x_t, [t] * 4, clip_denoised=True, return_pred_xstart=True
    )
    np.testing.assert_array_equal(terms[:, t], term)
    error = np.mean((pred_xstart - vb["x_start"]) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(mse[:, t], error, rtol=2e-6)
    np.testing.assert_array_equal(prior, ours._prior_bpd(tf.constant(vb["x_start"])))


def test_prior_by_hand():
    # One step with beta = 0.5 from 1: q = N(sqrt(0.5), 0.5), whose KL to N(0, 1) is log(2) / 2.
    prior = diffusion(betas=[0.5])._prior_bpd(tf.ones([3, 6]))
    np.testing.assert_allclose(prior, np.full(3, 0.5), rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_example_has_the_same_noise_in_any_batch(jit_compile):
    x_start = np.random.RandomState(0).randint(0, 256, [5, 4, 4, 3]).astype(np.float32) / 127.5 - 1
    ours = diffusion(betas=SHORT)

    def loop(x_start, first):
        return ours.calc_bpd_loop(denoise_fn, x_start, seed=1, first_example=first)

    whole, compiled = loop(x_start, 0), tf.function(loop, jit_compile=jit_compile)
    for start, stop in ((0, 2), (2, 4), (4, 5)):
        part = compiled(tf.constant(x_start[start:stop]), tf.constant(start))
        for values, expected in zip(part, whole, strict=True):
            np.testing.assert_allclose(values, expected[start:stop], rtol=1e-4, atol=1e-7)
    other = loop(x_start[:2], 1)
    assert np.abs(other[1] - whole[1][:2]).max() > 1e-3


def test_bpd_terms_at_some_timesteps():
    x_start = np.random.RandomState(0).randint(0, 256, [2, 4, 4, 3]) / 127.5 - 1
    ours = diffusion(betas=SHORT)
    _, terms, _, mse = ours.calc_bpd_loop(denoise_fn, x_start, seed=1)
    some_terms, some_mse = ours.bpd_terms(denoise_fn, x_start, [7, 0, 19], seed=1)
    np.testing.assert_array_equal(some_terms, terms.numpy()[:, [7, 0, 19]])
    np.testing.assert_array_equal(some_mse, mse.numpy()[:, [7, 0, 19]])


def test_first_example_needs_a_seed():
    with pytest.raises(ValueError, match="give a seed"):
        diffusion(betas=SHORT).calc_bpd_loop(denoise_fn, np.zeros([2, 4, 4, 3]), first_example=0)


def test_calc_bpd_loop_of_vectors():
    x_start = np.random.RandomState(0).randint(0, 256, [3, 10]) / 127.5 - 1
    total, terms, prior, mse = diffusion(betas=SHORT).calc_bpd_loop(denoise_fn, x_start, seed=1)
    assert [v.shape for v in (total, terms, prior, mse)] == [(3,), (3, 20), (3,), (3, 20)]
    assert np.isfinite(total).all()
    np.testing.assert_allclose(total, tf.reduce_sum(terms, 1) + prior, rtol=1e-6)


# --- Mistakes


@pytest.mark.parametrize("worst", [1.01, -1.5, 255.0, float("nan"), float("inf")])
def test_data_out_of_range(worst):
    x_start = np.zeros([2, 4, 4, 3], np.float32)
    x_start[1, 2, 3, 0] = worst
    with pytest.raises(ValueError, match=r"x_start ranges .* must lie in \[-1, 1\]"):
        diffusion().p_losses(denoise_fn, x_start, [0, 1])
    with pytest.raises(ValueError, match=r"x_start ranges .* must lie in \[-1, 1\]"):
        diffusion().calc_bpd_loop(denoise_fn, x_start)


def test_noise_of_wrong_shape():
    with pytest.raises(ValueError, match="noise has shape"):
        diffusion().p_losses(
            denoise_fn, tf.zeros([2, 4, 4, 3]), [0, 1], noise=tf.zeros([2, 4, 4, 1])
        )


def test_learned_variance_with_mse():
    with pytest.raises(ValueError, match="'learned' cannot be trained with loss_type 'mse'"):
        diffusion("eps", "learned", "mse")


# --- From a config


def test_get_diffusion():
    config = Config(
        num_diffusion_timesteps=7,
        beta_schedule="quad",
        beta_start=0.04,
        beta_end=0.25,
        model_mean_type="xprev",
        model_var_type="learned",
        loss_type="kl",
    )
    ours = get_diffusion(config)
    np.testing.assert_allclose(ours.betas, np.linspace(0.2, 0.5, 7) ** 2, rtol=1e-10)
    types = (ours.model_mean_type, ours.model_var_type, ours.loss_type)
    assert types == ("xprev", "learned", "kl")


def test_other_distances_by_hand():
    """Errors of 0.5, -3, 0 and 1 of a network that returns 0."""
    noise = tf.constant([[0.5, -3.0, 0.0, 1.0]])
    expected = {"mse": 10.25 / 4, "l1": 4.5 / 4, "huber": (0.125 + 2.5 + 0.5) / 4}
    for loss_type, value in expected.items():
        loss = diffusion("eps", loss_type=loss_type).p_losses(
            lambda x, t: tf.zeros_like(x), tf.zeros_like(noise), tf.constant([3]), noise=noise
        )
        np.testing.assert_allclose(loss, [value], rtol=1e-6)


@pytest.mark.parametrize("loss_type", ["l1", "huber"])
def test_other_distances_of_images_are_means_over_all_pixels(loss_type):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 4, 4, 2)).astype(np.float32)
    ours = diffusion("eps", loss_type=loss_type)

    def loss(noise):
        return ours.p_losses(
            lambda x, t: tf.zeros_like(x), tf.zeros_like(noise), tf.range(3), noise=noise
        )

    np.testing.assert_allclose(loss(noise), loss(noise.reshape(3, 32)), rtol=1e-6)


@pytest.mark.parametrize("loss_type", ["mse", "l1", "huber"])
def test_only_the_bound_trains_a_variance(loss_type):
    with pytest.raises(ValueError, match=f"cannot be trained with loss_type '{loss_type}'"):
        diffusion("eps", "learned", loss_type)
