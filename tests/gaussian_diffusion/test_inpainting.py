"""Filling in, against the closed form of its chain and the conditional distribution."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.exact import CorrelatedGaussian
from diffusion_tf.gaussian_diffusion.inpainting import Filling, plan_jumps
from helpers.golden_arrays import denoise_fn
from helpers.rows import mostly_slow

STDVS = np.array([0.4, 0.5, 0.3])
CORRELATIONS = np.array([[1, 0.8, 0.3], [0.8, 1, 0.5], [0.3, 0.5, 1]])
DATA = CorrelatedGaussian([0.2, -0.1, 0.1], np.outer(STDVS, STDVS) * CORRELATIONS)
KNOWN = np.array([True, False, False])
X_0 = np.array([0.7, 9.0, 9.0])  # what is unknown counts nothing
NUMBER = 10_000
BETAS = np.linspace(1e-4, 0.5, 25)


def make_diffusion():
    return GaussianDiffusion(betas=BETAS, model_mean_type="xstart", model_var_type="fixedlarge")


def closed_form(jump_length, num_resamples, betas=BETAS):
    """Mean and covariance of what is filled in."""
    plan = plan_jumps(len(betas), jump_length, num_resamples)
    return DATA.filled_in(np.cumprod(1 - betas), KNOWN, X_0, plan)


@pytest.mark.parametrize(
    "jump_length, num_resamples", [(4, 3), pytest.param(1, 10, marks=pytest.mark.slow)]
)
def test_what_is_filled_in_has_the_moments_of_the_closed_form(jump_length, num_resamples):
    diffusion = make_diffusion()
    samples = tf.function(
        lambda: diffusion.inpaint(
            DATA.denoise_fn(diffusion), x_start=np.tile(X_0, [NUMBER, 1]), known=KNOWN,
            jump_length=jump_length, num_resamples=num_resamples, seed=0, clip_denoised=False,
        )
    )().numpy()  # fmt: skip
    assert (samples[:, KNOWN] == X_0[KNOWN].astype(np.float32)).all()
    filled, (mean, covariance) = samples[:, ~KNOWN], closed_form(jump_length, num_resamples)
    error = (filled.mean(axis=0) - mean) / np.sqrt(covariance.diagonal() / NUMBER)
    assert (abs(error) < 4.5).all(), error
    scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()) * 2 / NUMBER)
    error = (np.cov(filled.T) - covariance) / scale
    assert (abs(error) < 4.5).all(), error


def test_resampling_leads_to_the_conditional_distribution():
    """With twice as many steps and resamples, about half as far; then within noise of it."""
    mean, covariance = DATA.conditional(KNOWN, X_0)
    distances = []
    for T, num_resamples in ((25, 10), (50, 20), (100, 40), (200, 80), (400, 160)):
        filled = closed_form(1, num_resamples, np.linspace(1e-4, 12.5 / T, T))
        distances.append([abs(filled[0] - mean).max(), abs(filled[1] - covariance).max()])
    halves = np.divide(distances[1:], distances[:-1])
    assert (halves < 0.55).all(), halves
    variance = covariance.diagonal().min()
    noise = [np.sqrt(variance / NUMBER), variance * np.sqrt(2 / NUMBER)]  # standard errors
    assert (np.array(distances[-1]) < 2 * np.array(noise)).all(), (distances, noise)
    assert abs(closed_form(1, 1)[0] - mean).max() > 0.2


def test_the_plan_is_that_of_the_paper():
    """get_schedule_jump of their code, with t_T=6, jump_length=2, jump_n_sample=2, by hand."""
    plan = plan_jumps(6, 2, 2)
    assert plan.steps.tolist() == [5, 4, 3, 4, 3, 2, 1, 2, 1, 0]
    assert plan.jumps.tolist() == [0, 0, 2, 0, 0, 0, 2, 0, 0, 0]
    assert plan_jumps(3, 10, 10).steps.tolist() == [2, 1, 0]
    plan = plan_jumps(250, 10, 10)
    assert len(plan.steps) == 250 + 24 * 9 * 10 and plan.steps.max() == 249


@pytest.mark.parametrize(
    "jit_compile, mask_shape",
    mostly_slow(
        [(False, (8, 8, 1)), (False, (2, 8, 8, 3)), (True, (8, 8, 1))],
        lambda jit_compile, mask_shape: jit_compile,
    ),
)
def test_known_pixels_of_images_come_out_exactly(jit_compile, mask_shape):
    diffusion = GaussianDiffusion(betas=BETAS[:8])
    images = np.random.RandomState(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    known = np.random.RandomState(1).rand(*mask_shape) < 0.5
    everywhere = np.broadcast_to(known, images.shape)
    hidden = np.where(everywhere, images, np.nan)
    how = {"jump_length": 2, "num_resamples": 2, "seed": 3}

    def fill_in(x_start):
        return diffusion.inpaint(denoise_fn, x_start=x_start, known=known, **how)

    filled = tf.function(fill_in, jit_compile=jit_compile)(hidden).numpy()
    np.testing.assert_array_equal(filled[everywhere], images[everywhere])
    assert np.isfinite(filled).all() and abs(filled).max() <= 1
    eager = diffusion.inpaint(denoise_fn, x_start=images, known=1.0 * known, **how)
    np.testing.assert_allclose(filled, eager, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"known": np.zeros([2, 9], bool)}, r"known has shape \(2, 9\); it must broadcast"),
        ({"known": np.zeros([3, 2, 8], bool)}, "it must broadcast"),
        ({"known": np.full([2, 8], 0.5)}, "known holds numbers other than 0 and 1"),
        ({"known": np.full([2, 8], np.nan)}, "known holds numbers other than 0 and 1"),
        ({"x_start": np.full([2, 8, 1], 2.0)}, "x_start ranges from 0 to 2"),
        ({"jump_length": 0}, "jump_length is 0"),
        ({"num_resamples": 0}, "num_resamples is 0"),
    ],
)
def test_mistakes(arguments, message):
    arguments = {"x_start": np.zeros([2, 8]), "known": np.eye(2, 8, dtype=bool), **arguments}
    if np.ndim(arguments["x_start"]) == 3:
        arguments["known"] = arguments["known"][..., None]
    with pytest.raises(ValueError, match=message):
        GaussianDiffusion(betas=BETAS).inpaint(denoise_fn, **arguments)


def test_plans_that_would_never_end_are_refused_at_once():
    with pytest.raises(ValueError, match=r"num_resamples is 2147483647: with a jump_length of 1 "):
        plan_jumps(250, 1, 2**31 - 1)
    assert len(plan_jumps(10**6, 1, 1).steps) == 10**6  # no jumps, as many steps as there may be


def test_a_chain_in_pieces_is_the_chain():
    diffusion, plan = GaussianDiffusion(betas=BETAS[:6]), plan_jumps(6, 2, 2)
    how = {"x_start": np.full([2, 3], 0.5), "known": [True, False, False], "seed": 1}
    filling = Filling.of(plan=plan, **how)
    x = diffusion.inpaint_start(filling)
    for first, last in ((0, 3), (3, 4), (4, len(plan.steps))):
        x = diffusion.inpaint_moves(denoise_fn, filling, x, first, last)
    whole = diffusion.inpaint(denoise_fn, jump_length=2, num_resamples=2, **how)
    np.testing.assert_array_equal(x, whole)
