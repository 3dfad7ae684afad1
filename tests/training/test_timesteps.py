"""Timesteps drawn by their losses (Nichol & Dhariwal 2021, section 3.3)."""

import dataclasses
from collections import deque

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.training.timesteps import KEPT, UNIFORM_SHARE, LossHistory
from diffusion_tf.training.trainer import Trainer
from helpers.checkpoints import checkpoints_of, save_checkpoint
from helpers.replicas import replicas
from helpers.small_training import make_trainer, pixelwise


def filled(losses):
    """A history whose losses of each timestep are all the same."""
    history = LossHistory(len(losses))
    for _ in range(KEPT):
        history.record(tf.range(len(losses)), tf.constant(losses, tf.float32))
    return history


def test_until_all_are_known_all_are_alike():
    history = LossHistory(4)
    for _ in range(KEPT):
        history.record(tf.constant([0, 1, 2]), tf.constant([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(history.probabilities(), 0.25, rtol=1e-6)
    np.testing.assert_allclose(history.weights(tf.constant([3, 0])), 1.0, rtol=1e-6)


def test_probabilities_worked_by_hand():
    history = filled([3.0, 4.0])
    for _ in range(KEPT // 2):  # sqrt((5 * 3^2 + 5 * 5^2) / 10) = sqrt(17)
        history.record(tf.constant([0]), tf.constant([5.0]))
    root = np.sqrt(17)
    expected = np.array([root, 4]) / (root + 4) * 0.999 + 0.001 / 2
    np.testing.assert_allclose(history.probabilities(), expected, rtol=1e-6)
    np.testing.assert_allclose(history.weights(tf.constant([1])), 1 / (2 * expected[1]), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 64])  # of 64 examples and 3 timesteps, over 10 have one
def test_the_last_ten_losses_count(size):
    rng, history = np.random.default_rng(0), LossHistory(3)
    last = [deque(maxlen=KEPT) for _ in range(3)]
    for _ in range(30):
        t, losses = rng.integers(0, 3, size), rng.gamma(1, 1, size).astype(np.float32)
        history.record(tf.constant(t, tf.int32), tf.constant(losses))
        for timestep, loss in zip(t, losses, strict=True):
            last[timestep].append(loss)
    np.testing.assert_array_equal(
        np.sort(history.variables["losses"]),
        [np.sort([0.0] * (KEPT - len(x)) + [*x]) for x in last],
    )
    sizes = np.array([np.sqrt(np.mean(np.square(x))) for x in last], np.float64)
    if all(len(x) == KEPT for x in last):
        expected = sizes / sizes.sum() * (1 - UNIFORM_SHARE) + UNIFORM_SHARE / 3
        np.testing.assert_allclose(history.probabilities(), expected, rtol=1e-6)


def test_timesteps_are_drawn_as_often_as_that():
    history = filled([0.0, 1.0, 3.0])
    t = history.draw(100_000, tf.constant([1, 2], tf.int64)).numpy()
    assert t.dtype == np.int32
    shares = np.bincount(t, minlength=3) / len(t)
    p = history.probabilities().numpy()
    np.testing.assert_allclose(p, [0.001 / 3, 0.24975 + 0.001 / 3, 0.74925 + 0.001 / 3], rtol=1e-5)
    np.testing.assert_allclose(shares, p, atol=5 * np.sqrt(0.25 / len(t)))
    assert shares[0] > 0


def test_the_weighted_mean_is_that_of_uniform_timesteps():
    losses = np.random.default_rng(0).gamma(1, 1, 1000)
    history = filled(losses)
    p, weights = history.probabilities(), history.weights(tf.range(1000))
    np.testing.assert_allclose(np.sum(p * weights * losses), losses.mean(), rtol=1e-5)


FIELDS = {
    "timestep_sampling": "by_loss", "num_diffusion_timesteps": 4, "batch_size": 8, "grid_steps": 0,
}  # fmt: skip


def batches(number):
    rng = np.random.default_rng(0)
    for _ in range(number):
        x, noise = rng.standard_normal([2, 8, 8, 8, 1], np.float32)
        yield tf.clip_by_value(x, -1, 1), tf.constant(rng.integers(0, 4, 8), tf.int32), noise


@pytest.mark.parametrize("fields", [{}, {"accumulation_steps": 4}])
def test_a_step_trains_the_weighted_loss_and_records_the_plain_one(fields):
    trainer, plain = make_trainer(**FIELDS, **fields), make_trainer(batch_size=8)
    history = trainer.history
    history.variables["losses"].assign(np.arange(1.0, 41).reshape(4, 10))
    history.variables["counts"].assign([10, 11, 12, 13])
    ((x, t, noise),) = batches(1)
    weights = history.weights(t).numpy()
    plain.model.set_weights(trainer.model.get_weights())
    losses = trainer.diffusion.p_losses(
        lambda x, t: plain.model([x, t]), x, t, noise=tf.constant(noise)
    ).numpy()
    metrics = trainer.train_step(x, t, noise)
    np.testing.assert_allclose(metrics["loss"], np.mean(weights * losses), rtol=1e-5)
    np.testing.assert_array_equal(
        history.variables["counts"], np.array([10, 11, 12, 13]) + np.bincount(t, minlength=4)
    )
    recorded = np.setdiff1d(history.variables["losses"], np.arange(1.0, 41, dtype=np.float32))
    np.testing.assert_allclose(np.sort(recorded), np.sort(losses), rtol=1e-5)


def test_two_replicas_record_what_one_does():
    states = []
    for number in (1, 2):
        config = get_config("digits", **FIELDS, ch_mult=(1,))
        trainer = Trainer(config, replicas(number), jit_compile=False, model_fn=pixelwise)
        for batch in batches(8):
            trainer.train_step(*(_per_replica(trainer, a) for a in batch))
        states.append({name: v.numpy() for name, v in trainer.history.variables.items()})
    np.testing.assert_array_equal(states[0]["counts"], states[1]["counts"])
    np.testing.assert_allclose(states[0]["losses"], states[1]["losses"], rtol=1e-4)


def _per_replica(trainer, value):
    shards = np.split(np.asarray(value), trainer.num_replicas)
    return trainer.strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(shards[context.replica_id_in_sync_group])
    )


def test_a_resumed_run_has_its_history(tmp_path):
    trainer = make_trainer(**FIELDS)
    for batch in batches(6):
        trainer.train_step(*batch)
    save_checkpoint(tmp_path, trainer)
    resumed = make_trainer(**FIELDS)
    checkpoints_of(tmp_path, resumed).restore()
    for name, variable in trainer.history.variables.items():
        np.testing.assert_array_equal(variable, resumed.history.variables[name])
        assert np.any(variable)


def test_antithetic_timesteps_are_refused():
    config = get_config("digits", timestep_sampling="by_loss")
    with pytest.raises(ValueError, match="antithetic is True; it must be false with"):
        dataclasses.replace(config, antithetic=True)
