"""The warmup, and the parts of the optimizers that differ from Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.training.optimizers import LinearWarmup, get_learning_rate, get_optimizer


@pytest.mark.parametrize("step, lr", [(0, 0.0), (1, 0.5), (2, 1.0), (7, 1.0)])
def test_learning_rate_rises_over_the_warmup(step, lr):
    assert float(LinearWarmup(1.0, 2)(tf.constant(step))) == lr


@pytest.mark.parametrize(
    ("kind", "expected"),  # at steps 0, 2, 4, 6, 10 and beyond
    [
        ("linear", [0.0, 0.4, 0.3, 0.2, 0.0, 0.0]),
        ("cosine", [0.0, 0.4, 0.2 * (1 + 2**-0.5), 0.2, 0.0, 0.0]),
    ],
)
def test_the_learning_rate_falls_to_zero_after_the_warmup(kind, expected):
    config = get_config("digits", lr=0.4, warmup=2, lr_decay=kind, lr_decay_steps=10)
    rate = get_learning_rate(config)
    values = [float(rate(tf.constant(step, tf.int64))) for step in (0, 2, 4, 6, 10, 99)]
    np.testing.assert_allclose(values, expected, atol=1e-7)
    again = type(rate).from_config(rate.get_config())
    assert float(again(tf.constant(4))) == values[2]


def test_a_learning_rate_that_falls_before_it_rose_is_refused():
    with pytest.raises(ValueError, match="lr_decay_steps is 100; it must be more than warmup, 100"):
        get_config("digits", lr_decay_steps=100)


def test_no_warmup_is_full_learning_rate_from_the_start():
    assert float(LinearWarmup(0.25, 0)(tf.constant(0))) == 0.25


def two_steps(name, gradient=0.5):
    """A weight that begins at 0, after one and after two steps with a learning rate of 0.1."""
    optimizer = get_optimizer(get_config("digits", optimizer=name, lr=0.1, warmup=0), 1)
    weight = keras.Variable(0.0)
    values = []
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant(gradient), weight)])
        values.append(float(weight.numpy()))
    return values


def test_adam_moves_by_the_learning_rate_at_first():
    # m = 0.05, v = 2.5e-4, corrected both to gradient and its square: 0.1 * 0.5 / 0.5
    assert two_steps("adam") == pytest.approx([-0.1, -0.2], rel=1e-5)


def test_rmsprop_begins_with_a_mean_square_of_one():
    # rms = 0.95 + 0.05 * 0.25 = 0.9625: step 0.05 / sqrt(0.9625) = 0.0509647
    # rms = 0.95 * 0.9625 + 0.0125 = 0.926875: 0.9 * 0.0509647 + 0.05 / sqrt(0.926875)
    first, second = 0.0509647, 0.9 * 0.0509647 + 0.0519350
    assert two_steps("rmsprop") == pytest.approx([-first, -first - second], rel=1e-5)


def test_gradients_are_clipped_to_the_replicas_share():
    config = get_config("digits", optimizer="rmsprop", lr=0.1, warmup=0, grad_clip=0.5)
    optimizer = get_optimizer(config, 4)
    weight = keras.Variable(0.0)
    optimizer.apply_gradients([(tf.constant(7.0), weight)])
    clipped = 0.125
    expected = -0.1 * clipped / np.sqrt(0.95 + 0.05 * clipped**2)
    assert float(weight.numpy()) == pytest.approx(expected, rel=1e-6)


def test_bias_correction_lasts():
    optimizer = get_optimizer(get_config("digits", lr=0.1, warmup=0), 1)
    weight = keras.Variable(0.0)
    optimizer.build([weight])
    optimizer.iterations.assign(500_000)
    optimizer.apply_gradients([(tf.constant(0.5), weight)])
    # No correction any more: 0.1 * 0.05 / sqrt(2.5e-4)
    assert float(weight.numpy()) == pytest.approx(-0.1 * 0.05 / np.sqrt(2.5e-4), rel=1e-4)
