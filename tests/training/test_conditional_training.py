"""Training with conditions: lost ones, replicas, antithetic timesteps."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.training.trainer import Trainer
from helpers.replicas import replicas

TINY = {"ch": 16, "num_res_blocks": 1, "batch_size": 64, "warmup": 1}


def make_trainer(name="embeddings", num_replicas=1, **fields):
    config = get_config(name, **{**TINY, **fields})
    return Trainer(config, replicas(num_replicas), jit_compile=False)


def batches_of(trainer):
    config, dataset = trainer.config, get_dataset(trainer.config)
    return iter(
        trainer.strategy.distribute_datasets_from_function(
            lambda context: dataset.train_batches(
                config.batch_size, seed=0, context=context, with_conditions=config.conditional
            )
        )
    )


def test_the_asked_for_share_of_conditions_is_lost():
    trainer = make_trainer(cond_drop_prob=0.25, batch_size=4096)
    batch = next(batches_of(trainer))
    x_start, *_, y = trainer._draw(batch)
    np.testing.assert_array_equal(x_start, batch[0])
    lost = np.isnan(y).all(axis=1)
    np.testing.assert_array_equal(lost, np.isnan(y).any(axis=1))
    np.testing.assert_array_equal(y[~lost], batch[1][~lost])
    assert abs(lost.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4096)
    trainer.step.assign(1)
    assert (np.isnan(trainer._draw(batch)[3]).all(axis=1) != lost).any()


def test_no_condition_is_lost_unless_asked_for():
    trainer = make_trainer("digits_conditional", cond_drop_prob=0.0, ch=32)
    batch = next(batches_of(trainer))
    np.testing.assert_array_equal(trainer._draw(batch)[3], batch[1])


@pytest.mark.parametrize("number", [8, 7])
def test_antithetic_timesteps_come_in_pairs(number):
    trainer = make_trainer("s_curve")
    t = trainer._draw_timesteps(number, tf.constant([1, 2], tf.int64)).numpy()
    assert t.shape == (number,) and t.dtype == np.int32
    half = -(-number // 2)
    np.testing.assert_array_equal(t[half:], 99 - t[: number - half])
    plain = make_trainer("s_curve", antithetic=False)
    np.testing.assert_array_equal(
        plain._draw_timesteps(half, tf.constant([1, 2], tf.int64)), t[:half]
    )


def test_antithetic_timesteps_are_uniform():
    t = make_trainer("s_curve")._draw_timesteps(100_000, tf.constant([1, 2], tf.int64))
    counts = np.bincount(t, minlength=100)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(2 * 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embeddings", "digits_conditional"])
def test_two_replicas_train_as_one(name):
    fields = {"ch": 32, "ch_mult": (1,)} if name == "digits_conditional" else {}
    weights = []
    for number in (1, 2):
        trainer = make_trainer(name, number, grad_clip=1e9, cond_drop_prob=0.3, **fields)
        metrics = trainer.train_steps(batches_of(trainer), tf.constant(3))
        weights.append((trainer.model.get_weights(), metrics["loss"].numpy()))
    np.testing.assert_allclose(weights[0][1], weights[1][1], rtol=1e-5)
    for one, two in zip(weights[0][0], weights[1][0], strict=True):
        if one.dtype == np.float32:
            np.testing.assert_allclose(one, two, rtol=0, atol=2e-4)


@pytest.mark.slow
def test_accumulation_takes_conditions_along():
    losses = []
    for parts in (1, 4):
        trainer = make_trainer(accumulation_steps=parts)
        losses.append(trainer.train_steps(batches_of(trainer), tf.constant(3))["loss"].numpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_step_with_given_conditions_is_that_of_the_batch():
    one, other = make_trainer(), make_trainer()
    drawn = one._draw(next(batches_of(one)))
    expected = one.train_steps(batches_of(one), tf.constant(1))["loss"].numpy()[0]
    np.testing.assert_allclose(other.train_step(*drawn)["loss"], expected, rtol=1e-6)
