"""The paper's figures from a network: what each shows, and what is refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.evaluation import figures
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.random_numbers import stream
from helpers.rows import mostly_slow
from helpers.shrinking_network import Network

CONFIG = get_config("digits", num_diffusion_timesteps=12)
SAMPLER = Sampler.of_run(CONFIG, Network())
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def material():
    return figures.Material(
        sampler=SAMPLER,
        images=IMAGES,
        data=lambda: IMAGES,
        number=2,
        share_from=[11, 3],
        budgets=[0.5, 2.0],
        quality_samples=4,
        features="pixels",
    )


@pytest.mark.parametrize("number", mostly_slow(figures.FIGURES, lambda number: number in (6, 9)))
def test_every_figure_is_drawn(material, number, tmp_path):
    figures.draw_figure(number, str(tmp_path / "a.png"), material)
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 100 and np.asarray(picture.convert("L")).std() > 0


def test_samples_that_share_a_latent(material):
    """They have the same x_t, and the later they part the more alike they are."""
    shared, samples = material.sampler.sharing((11, 5, 0), 6)
    assert shared.shape == (3, 8, 8, 1) and samples.shape == (3, 6, 8, 8, 1)
    spreads = samples.std(axis=1).mean(axis=(1, 2, 3))
    assert spreads[0] > spreads[1] > 0
    assert spreads[2] < 1e-6  # the last step adds no noise


def test_in_pieces_as_in_one_loop(material):
    """With the same seed: the process's own loops, which the original's arrays are held against."""
    sampler, process, network = material.sampler, material.sampler.process, Network()
    shape = (3, *sampler.sample_shape)

    def denoise_fn(x, t):
        return network([x, t], training=False)

    kept = tf.function(process.p_sample_loop_progressive)(
        denoise_fn, shape=shape, include_xstartpred_freq=5, seed=sampler.shard_seed(0, 3)
    )[1]
    steps, predictions = sampler.progressive(3, 5)
    np.testing.assert_array_equal(steps, [0, 5])
    np.testing.assert_allclose(predictions, kept, rtol=0, atol=1e-6)

    shared, samples = sampler.sharing((11, 7, 0), 3)
    for x_t, drawn, t in zip(shared, samples, (11, 7, 0), strict=True):
        _, images = tf.function(process.p_sample_loop_trajectory)(
            denoise_fn,
            shape=shape,
            repeat_noise_steps=11 - t,
            seed=stream(sampler.seed, "pictures"),
            keep=[t, -1],
        )
        np.testing.assert_allclose(np.stack([x_t] * 3), images[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(drawn, images[1], rtol=0, atol=1e-6)


def test_what_is_sent(material):
    sent = material.sampler.transmit(IMAGES, [1.0, 1e6])
    np.testing.assert_allclose(sent.reconstructions[:, 1], IMAGES / 127.5 - 1, atol=1e-6)
    assert (sent.spent[:, 0] <= 1.0).all() and sent.rate.shape == (4, 13)


def test_figures_of_networks_that_are_not_finite(material, tmp_path):
    class Broken(Network):
        def __call__(self, inputs, training):
            return np.float32(np.nan) * inputs[0]

    broken = dataclasses.replace(material, sampler=Sampler.of_run(CONFIG, Broken()))
    with pytest.raises(ValueError, match="share x_t at t=11"):
        figures.draw_figure("7", str(tmp_path / "a.png"), broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: figures.check_numbers(["7", "4"]), "--figures has '4'; choose from 5,6,7,8,9,10"),
        (lambda: figures.check_numbers([]), "--figures has ''"),
        (lambda: figures.check_share_from([12], 12), r"--share_from has 12; .* lie in 0\.\.11"),
        (lambda: figures.check_share_from([], 12), "--share_from is empty"),
        (lambda: figures.parse_budgets(["1", "x"]), "--budgets=1,x is not a list of bits/dim"),
        (lambda: figures.parse_budgets(["0"]), "give numbers above 0"),
        (lambda: figures.parse_budgets(["nan"]), "give numbers above 0"),
        (lambda: figures.parse_budgets(["1"] * 101), "--budgets lists 101; give at most 100"),
        (lambda: figures.check_share_from([1] * 101, 12), "--share_from lists 101; give at most"),
        (lambda: figures.check_images(["0"] * 102), "--images lists 102; give at most 100"),
        (lambda: figures.check_images(["0"]), "--images=0 names 1 images; give an even number"),
        (
            lambda: figures.check_memory_of(SAMPLER, 1, 10**12),
            "quality_samples is 100000.*free",
        ),
        (lambda: figures.check_memory_of(SAMPLER, 10**12, 2), "num_samples is 10000000.*free"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
