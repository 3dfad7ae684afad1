"""Exactly N samples, the same in every batch and on any number of devices."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.sampling import shards as sampling
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.random_numbers import fold_in, stream
from helpers.replicas import replicas

CONFIG = get_config("digits", ch=32, ch_mult=(2,), attn_resolutions=(), num_diffusion_timesteps=4)


@pytest.fixture(scope="module")
def model():
    return build(tf.distribute.get_strategy())


def build(strategy):
    with strategy.scope():
        model = get_model(CONFIG)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def draw(model, num_samples, batch_size, process=None, **choices):
    process = process or get_diffusion(CONFIG)
    sampler = Sampler.of_run(CONFIG, model, process=process, **choices)
    return list(sampling.sample(sampler, num_samples, batch_size))


@pytest.mark.parametrize(
    "num_samples, sizes",
    [(5, [2, 2, 1]), (4, [2, 2]), pytest.param(1, [1], marks=pytest.mark.slow)],
)
def test_exactly_as_many_as_asked_for(model, num_samples, sizes):
    assert [len(batch) for batch in draw(model, num_samples, 2)] == sizes


def test_samples_follow_from_the_seed(model):
    first, second, other = (np.concatenate(draw(model, 3, 2, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first[0] - first[2]).max() > 0.1  # shards differ


def test_pieces_are_one_chain(model):
    seed = fold_in(stream(7, "sample"), 0)
    whole = get_diffusion(CONFIG).p_sample_loop(
        denoise_fn(model), shape=[2, *CONFIG.image_shape], seed=seed
    )
    np.testing.assert_allclose(draw(model, 2, 2, seed=7)[0], whole, atol=1e-5)


def test_xla_draws_the_same_samples(model):
    a, b = (np.concatenate(draw(model, 2, 2, jit_compile=jit)) for jit in (False, True))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_ddim_takes_fewer_steps(model):
    process = get_sampling_process(get_diffusion(CONFIG), "ddim", 2)
    assert process.num_timesteps == 2
    assert draw(model, 2, 2, process)[0].shape == (2, 8, 8, 1)


def test_an_unknown_sampler_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="Unknown sampler 'euler'; choose one of ancestral, respaced, ddim"
    ):
        get_sampling_process(get_diffusion(CONFIG), "euler")


@pytest.mark.parametrize("name", ["num_samples", "batch_size"])
def test_nothing_to_do_is_an_error(model, name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        draw(model, **{"num_samples": 1, "batch_size": 1, name: 0})


@pytest.mark.slow
def test_the_first_samples_are_the_same_in_a_larger_batch(model):
    small, large = draw(model, 2, 2)[0], draw(model, 5, 5)[0]
    np.testing.assert_allclose(small, large[:2], atol=1e-5)


@pytest.mark.parametrize("devices", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_devices_draw_the_very_same_samples(model, devices):
    strategy = replicas(devices)
    one = draw(model, 7, 2)
    several = draw(build(strategy), 7, 2, strategy=strategy)
    assert [len(batch) for batch in several] == [2, 2, 2, 1]  # devices without a shard are idle
    for a, b in zip(one, several, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_shard_does_not_depend_on_those_that_are_drawn_with_it(model):
    sampler = Sampler.of_run(CONFIG, model)

    def shards(numbers):
        rounds = sampling.sample_shards(sampler, numbers, num_shards=4, batch_size=2)
        return {number: samples for drawn in rounds for number, samples in drawn.items()}

    every, some = shards([0, 1, 2, 3]), shards([3, 1])
    assert list(some) == [3, 1]
    for number in some:
        np.testing.assert_array_equal(some[number], every[number])


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_sample_with_a_seed_of_its_own_is_the_same_in_every_batch(model, jit_compile):
    def with_seeds(seeds, batch_size):
        drawn = draw(model, len(seeds), batch_size, seeds=seeds, jit_compile=jit_compile)
        return np.concatenate(drawn)

    all_of_them = with_seeds((3, 4, 5), 3)
    np.testing.assert_allclose(with_seeds((3, 4, 5), 2), all_of_them, atol=1e-4)
    np.testing.assert_allclose(with_seeds((5, 3), 2), all_of_them[[2, 0]], atol=1e-4)
    assert np.abs(all_of_them[0] - all_of_them[1]).max() > 0.1
