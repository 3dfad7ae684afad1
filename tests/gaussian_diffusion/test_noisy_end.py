"""Sampling with noise after the last step, too, in closed form."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.exact import Gaussian
from diffusion_tf.gaussian_diffusion.process import GaussianDiffusion
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.schedules import get_beta_schedule


def process_of(model_var_type):
    betas = get_beta_schedule("linear", beta_start=0.04, beta_end=0.3, num_diffusion_timesteps=20)
    return GaussianDiffusion(betas=betas, model_var_type=model_var_type)


@pytest.mark.parametrize(("model_var_type", "added"), [("fixedlarge", 0.04), ("fixedsmall", 0.0)])
def test_samples_end_with_the_first_variance_of_the_schedule(model_var_type, added):
    training = process_of(model_var_type)
    noisy, ancestral = (get_sampling_process(training, name) for name in ("noisy_end", "ancestral"))
    denoise = Gaussian(mean=[0.3], variance=[0.05]).denoise_fn(training)

    def variance(process, seed):
        draw = tf.function(
            lambda: process.p_sample_loop(
                denoise, shape=(40_000, 1), seed=seed, clip_denoised=False
            )
        )
        return np.var(draw().numpy())

    difference = variance(noisy, 1) - variance(ancestral, 2)
    spread = 2 * (0.1**2 * 2 / 40_000) ** 0.5  # of two variances of about 0.05 to 0.1
    assert abs(difference - added) < 4 * spread


def test_other_steps_are_the_papers():
    training = process_of("fixedlarge")
    noisy = get_sampling_process(training, "noisy_end")
    denoise = Gaussian(mean=[0.3], variance=[0.05]).denoise_fn(training)
    x, t = tf.constant([[0.4], [-1.0]]), tf.constant([1, 19])

    def noise(shape, dtype):
        return tf.constant([[0.5], [-2.0]], dtype)

    ours, paper = (
        process.p_sample(denoise, x=x, t=t, noise_fn=noise).numpy() for process in (noisy, training)
    )
    np.testing.assert_allclose(ours, paper, rtol=1e-5)
