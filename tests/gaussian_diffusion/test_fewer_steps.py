"""Respaced ancestral sampling and DDIM."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import DDIM, RespacedDiffusion
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.schedules import get_beta_schedule
from helpers import golden_arrays as golden

SHAPE = (2, 8, 8, 3)


def make_diffusion(T=20, beta_end=0.2, model_var_type="fixedsmall"):
    betas = get_beta_schedule(
        "linear", beta_start=1e-4, beta_end=beta_end, num_diffusion_timesteps=T
    )
    return GaussianDiffusion(betas=betas, model_var_type=model_var_type)


@pytest.mark.parametrize("steps, expected", [(1, [9]), (2, [0, 9]), (4, [0, 3, 6, 9])])
def test_timesteps_reach_from_end_to_end(steps, expected):
    assert RespacedDiffusion(make_diffusion(10), steps).timesteps.tolist() == expected


@pytest.mark.parametrize("steps, expected", [(2, [0, 5]), (4, [0, 2, 5, 7]), (10, list(range(10)))])
def test_timesteps_of_ddim_begin_each_stride(steps, expected):
    assert DDIM(make_diffusion(10), steps).timesteps.tolist() == expected


def test_respaced_noise_levels_are_those_of_training():
    diffusion = make_diffusion(1000, 0.02)
    respaced = RespacedDiffusion(diffusion, 50)
    np.testing.assert_allclose(
        respaced.alphas_cumprod, diffusion.alphas_cumprod[respaced.timesteps], rtol=1e-12
    )


def test_all_steps_are_the_process_itself():
    diffusion = make_diffusion()
    respaced = RespacedDiffusion(diffusion, 20)
    a, b = (d.p_sample_loop(golden.denoise_fn, shape=SHAPE, seed=3) for d in (diffusion, respaced))
    np.testing.assert_allclose(a, b, atol=5e-6)


def test_the_network_sees_the_timesteps_of_training():
    seen = []

    def denoise(x, t):
        seen.append(int(t[0]))
        return tf.zeros_like(x)

    RespacedDiffusion(make_diffusion(1000, 0.02), 3).p_sample_loop(denoise, shape=(1, 2), seed=0)
    assert seen == [999, 500, 0]


def test_ddim_without_eta_is_deterministic():
    ddim = DDIM(make_diffusion(), 7)
    x_T = ddim.prior_sample(shape=SHAPE, seed=1)
    a, b = (
        ddim.p_sample_steps(golden.denoise_fn, x=x_T, first=6, last=0, seed=seed)[0]
        for seed in (1, 2)
    )
    np.testing.assert_array_equal(a, b)


def test_ddim_with_eta_1_is_ancestral_sampling_with_the_small_variance():
    diffusion = make_diffusion()
    ddim = DDIM(diffusion, 20, eta=1.0)
    a, b = (d.p_sample_loop(golden.denoise_fn, shape=SHAPE, seed=3) for d in (diffusion, ddim))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_ddim_by_hand():
    """One step of eq. 12 in float64, with a prediction that is not clipped."""
    diffusion = make_diffusion()
    ddim = DDIM(diffusion, [0, 19])
    x, eps = 0.3, 0.25
    abar, abar_prev = diffusion.alphas_cumprod[[19, 0]]
    x_0 = (x - np.sqrt(1 - abar) * eps) / np.sqrt(abar)
    assert abs(x_0) < 1
    sample = ddim.p_sample(
        lambda x, t: tf.fill(x.shape, eps), x=tf.fill([1, 1], x), t=tf.constant([1])
    )
    expected = np.sqrt(abar_prev) * x_0 + np.sqrt(1 - abar_prev) * eps
    np.testing.assert_allclose(sample, [[expected]], rtol=1e-5)


@pytest.mark.parametrize("steps", [0, 21])
def test_a_number_of_steps_that_is_not_there_is_refused(steps):
    with pytest.raises(ValueError, match=rf"sampling_steps is {steps}; it must lie in 1\.\.20"):
        DDIM(make_diffusion(), steps)


def test_eta_out_of_range_is_refused():
    with pytest.raises(ValueError, match="eta is 2"):
        DDIM(make_diffusion(), 5, eta=2)


@pytest.mark.parametrize("timesteps", [[], [0, 5, 5], [3, 2], [-1, 4], [0, 20]])
def test_timesteps_that_do_not_rise_or_are_not_there_are_refused(timesteps):
    with pytest.raises(ValueError, match=r"timesteps must rise within 0\.\.19"):
        RespacedDiffusion(make_diffusion(), timesteps)


@pytest.mark.parametrize("model_var_type", ["fixedlarge", "fixedsmall"])
def test_the_sampler_is_what_was_asked_for(model_var_type):
    config = get_config("digits", model_var_type=model_var_type, num_diffusion_timesteps=20)

    def get(*arguments, **options):
        return get_sampling_process(get_diffusion(config), *arguments, **options)

    assert type(get()) is GaussianDiffusion
    assert get("ancestral", 5).timesteps.tolist() == [0, 5, 10, 14, 19]
    assert get("respaced").timesteps.tolist() == list(range(20))
    assert type(get("respaced", 5)) is RespacedDiffusion
    assert [get("ddim", 5, eta=eta).eta for eta in (None, 0, 0.5, 1)] == [0, 0, 0.5, 1]
    with pytest.raises(ValueError, match=r"eta is 0\.5, which sampler 'respaced' does not have"):
        get("respaced", 5, eta=0.5)
    with pytest.raises(ValueError, match="Unknown sampler 'plms'"):
        get("plms")


@pytest.mark.extras
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_50_steps_are_those_of_diffusers(eta, spacing):
    """From the same x_T, with the same noise and network: every x_t on the way."""
    torch = pytest.importorskip("torch")
    scheduler = pytest.importorskip("diffusers").DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=True,
        set_alpha_to_one=True,
        steps_offset=0,
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(50)
    timesteps = scheduler.timesteps.tolist()[::-1]
    ddim = DDIM(make_diffusion(1000, 0.02), 50 if spacing == "leading" else timesteps, eta=eta)
    ours = theirs = np.random.RandomState(0).randn(*SHAPE).astype(np.float32)
    noises = np.random.RandomState(1).randn(50, *SHAPE).astype(np.float32)
    for i, (timestep, noise) in enumerate(zip(scheduler.timesteps, noises, strict=True)):
        step = 49 - i
        assert ddim.timesteps[step] == timestep
        ours = ddim.p_sample(
            golden.denoise_fn, x=ours, t=tf.fill(SHAPE[:1], step),
            noise_fn=lambda noise=noise, **_: tf.constant(noise),
        )  # fmt: skip
        output = golden.denoise_fn(tf.constant(theirs), tf.fill(SHAPE[:1], int(timestep)))
        theirs = scheduler.step(
            torch.tensor(output.numpy()), int(timestep), torch.tensor(theirs), eta=eta,
            use_clipped_model_output=True, variance_noise=torch.tensor(noise),
        ).prev_sample.numpy()  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4, err_msg=f"step {step}")
    assert np.abs(theirs).max() > 0.1
