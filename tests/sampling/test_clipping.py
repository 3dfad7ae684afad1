"""Clipping the predicted x_0 is a choice: data of deviation 3 with their optimal network show it.

Without clipping, every sampler has a closed form; with it, samples stay within [-1, 1].
"""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.gaussian_diffusion.exact import (
    Gaussian,
    ancestral_chain,
    ddim_chain,
    interpolation_start,
)
from diffusion_tf.sampling.registry import SAMPLERS, get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.shards import sample
from helpers.rows import mostly_slow

DATA = Gaussian([0.5, -0.5], 9.0)
VECTORS = get_config("swiss_roll", num_diffusion_timesteps=40, beta_schedule="cosine")
IMAGES = get_config("digits", num_diffusion_timesteps=4)
TRAINING = get_diffusion(VECTORS)
NUMBER = 4000


class Exact(keras.Model):
    """The optimal network, as one of a run."""

    def call(self, inputs, training=False):
        return DATA.denoise_fn(TRAINING)(*inputs)


def sampler_of(name="ancestral", config=VECTORS, **choices):
    process = get_sampling_process(TRAINING, name)
    return Sampler.of_run(config, Exact(), process=process, **choices)


def expected(name, start=None, first=None):
    process = get_sampling_process(TRAINING, name)
    levels = process.alphas_cumprod[: None if first is None else first + 1]
    if name in ("ancestral", "respaced"):
        chain = ancestral_chain(levels, DATA.denoiser(levels), "fixedlarge", start)
    else:
        chain = ddim_chain(levels, DATA.denoiser(levels), 0.0, start)
    return chain.mean[-1], np.sqrt(chain.variance[-1])


def moments_are(samples, mean, deviation, tolerance=4.5):
    error = tolerance / np.sqrt(len(samples))
    return (
        np.allclose(samples.mean(axis=0), mean, atol=error * deviation.max(), rtol=0)
        and np.allclose(samples.std(axis=0), deviation, rtol=error)
    )  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(SAMPLERS, {"ancestral", "ddim"}.__contains__))
def test_samples_have_the_deviation_of_the_data_without_clipping_alone(name):
    drawn = {
        clip: next(sample(sampler_of(name, clip_denoised=clip), NUMBER, NUMBER))
        for clip in (None, False, True)
    }
    np.testing.assert_array_equal(drawn[None], drawn[False])  # of vectors
    assert abs(drawn[True]).max() <= 1
    if name == "dpmpp_2m":  # of second order: nearer to the data than any closed form of DDIM
        assert moments_are(drawn[None], DATA.mean, np.sqrt(DATA.variance), tolerance=9)
    else:
        assert moments_are(drawn[None], *expected(name))


@pytest.mark.parametrize("clip", [None, True])
def test_what_is_kept_on_the_way_is_clipped_as_the_samples_are(clip):
    sampler = sampler_of(clip_denoised=clip)
    for drawn in (
        sampler.grid(NUMBER)().numpy(),
        sampler.trajectory(NUMBER, [9, -1])[1][-1],
        sampler.progressive(NUMBER, 10)[1][:, 0],
    ):
        if clip:
            assert abs(drawn).max() <= 1
        else:
            assert moments_are(drawn, *expected("ancestral"), tolerance=9)


def test_vectors_of_any_range_are_interpolated():
    """In closed form: the mixture of two diffused vectors is where a chain starts."""
    x1, x2 = (np.full([NUMBER, 2], value, np.float32) for value in (-40, 8))
    t, lam = TRAINING.num_timesteps // 2, 0.25

    def mixed(clip):
        def mix(network):
            return TRAINING.interpolate(
                network, x1=x1, x2=x2, lam=lam, t=t, seed=0, clip_denoised=clip
            )

        return sampler_of().chain(NUMBER, mix)().numpy()

    start = interpolation_start(x1[0], x2[0], lam, TRAINING.alphas_cumprod[t])
    assert moments_are(mixed(False), *expected("ancestral", start, t))
    assert abs(mixed(True)).max() <= 1


def test_images_are_clipped_and_vectors_are_not_where_nobody_chooses():
    assert IMAGES.clip_denoised and not VECTORS.clip_denoised
    for config in (IMAGES, VECTORS):
        described = [
            sampler_of(config=config, clip_denoised=clip).describe()["clip_denoised"]
            for clip in (None, True, False)
        ]
        assert described == [config.clip_denoised, True, False]


def test_mixtures_of_images_follow_the_choice():
    class Far(keras.Model):
        def call(self, inputs, training=False):
            return inputs[0] * 0 + 3.0

    config = dataclasses.replace(IMAGES, model_mean_type="xstart")
    x = np.zeros([1, 8, 8, 1], np.uint8)
    for clip, value in ((None, 1.0), (True, 1.0), (False, 3.0)):
        sampler = Sampler.of_run(config, Far(), clip_denoised=clip)
        (mixtures,) = sampler.mixtures(x, x, np.array([0.5], np.float32), [3])
        np.testing.assert_allclose(mixtures, value, rtol=1e-5)


def saturated(config, diffusion):
    """The exact network of standard normal data, a little off, whose outputs do not grow on."""
    abar = tf.constant(diffusion.alphas_cumprod, tf.float32)

    def network(x, t):
        x, a = tf.clip_by_value(x, -5.0, 5.0), tf.gather(abar, t)[:, None]
        exact = {"eps": tf.sqrt(1 - a) * x, "v": tf.zeros_like(x)}[config.model_mean_type]
        return exact + 0.2 * tf.sin(5.0 * x + tf.cast(t, tf.float32)[:, None])

    return network


@pytest.mark.parametrize("fields, is_good", [({}, True), ({"model_mean_type": "eps"}, False)])
def test_own_vectors_do_not_need_clipping(fields, is_good):
    """A network that is a little off, as one of 128 numbers given 768 is, must not run away."""
    config = get_config("vectors", data_dim=3, **fields)
    diffusion = get_diffusion(config)
    network = saturated(config, diffusion)

    @tf.function
    def draw():
        clip = config.clip_denoised
        return diffusion.p_sample_loop(network, shape=(500, 3), seed=0, clip_denoised=clip)

    deviation = np.std(draw(), axis=0)
    assert np.all(np.abs(deviation - 1) < 0.1) if is_good else deviation.min() > 10
