"""Conditions inside a network: embeddings, their absence, and what does not fit."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.models import get_model
from diffusion_tf.models.conditioning import ConditionEmbedding, no_condition
from helpers.conditional_networks import MLP, UNET, inputs_of, randomized

LABELS = tf.constant([3, 0, 9])
VECTORS = tf.constant(np.random.default_rng(0).normal(size=(3, 5)), tf.float32)


@pytest.mark.parametrize("base", [UNET, MLP], ids=["unet", "mlp"])
@pytest.mark.parametrize("fields, y", [({"num_classes": 10}, LABELS), ({"cond_dim": 5}, VECTORS)])
def test_without_a_condition_a_network_is_the_unconditional_one(base, fields, y):
    config = dataclasses.replace(base, **fields)
    conditional, unconditional = randomized(config), get_model(base)
    shared = {v.path: v for v in conditional.weights}
    assert {v.path for v in unconditional.weights} == {p for p in shared if "/cond/" not in p}
    for variable in unconditional.weights:
        variable.assign(shared[variable.path])
    x, t = inputs_of(config)
    expected = unconditional([x, t])
    np.testing.assert_array_equal(conditional([x, t, no_condition(y)]), expected)
    assert np.abs(conditional([x, t, y]) - expected).max() > 1e-3 * np.abs(expected).max()


def test_conditions_of_some_examples_do_not_touch_the_others():
    model = randomized(dataclasses.replace(MLP, num_classes=10))
    x, t = inputs_of(MLP)
    some = model([x, t, tf.constant([3, -1, 9])])
    none, all_ = model([x, t, no_condition(LABELS)]), model([x, t, LABELS])
    np.testing.assert_allclose(some, tf.stack([all_[0], none[1], all_[2]]), rtol=1e-5)


def test_embeddings_by_hand():
    labels = ConditionEmbedding(2, num_classes=3)
    labels.build(None)
    labels.set_weights([np.array([[1, 2], [3, 4], [5, 6]], np.float32)])
    np.testing.assert_array_equal(labels(tf.constant([2, -1, 0])), [[5, 6], [0, 0], [1, 2]])

    vectors = ConditionEmbedding(1, cond_dim=2)
    vectors.build(None)
    vectors.set_weights([np.array(a, np.float32) for a in ([[1], [2]], [0.5], [[3]], [-1])])
    swish = 5.5 / (1 + np.exp(-5.5))  # of 1 * 1 + 2 * 2 + 0.5
    y = tf.constant([[1, 2], [np.nan, np.nan]])
    np.testing.assert_allclose(vectors(y), [[3 * swish - 1], [0]], rtol=1e-6)


def test_a_vector_that_is_missing_has_no_gradient_of_nan():
    layer = ConditionEmbedding(4, cond_dim=2)
    layer.build(None)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([[1.0, 2.0], [np.nan, np.nan]])))
    assert all(np.isfinite(g).all() for g in tape.gradient(loss, layer.trainable_variables))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_labels_survive_half_precision(dtype):
    layer = ConditionEmbedding(1, num_classes=3000, dtype=dtype)
    layer.build(None)
    layer.set_weights([np.arange(3000, dtype=np.float32)[:, None] % 7])
    np.testing.assert_array_equal(layer(tf.constant([2999, 2998])), [[2999 % 7], [2998 % 7]])


@pytest.mark.parametrize(
    "fields, y, message",
    [
        ({}, LABELS, r"takes no condition; call it with \[x, t\]"),
        ({"num_classes": 10}, None, r"is conditional; call it with \[x, t, y\]"),
        ({"num_classes": 10}, tf.constant([0, 1, 10]), r"label 10; labels lie in 0..9 \(-1: none"),
        ({"num_classes": 10}, tf.constant([0, -2, 1]), "label -2; labels lie in 0..9"),
        ({"num_classes": 10}, VECTORS, r"dtype float32 and shape \(3, 5\).*labels: integers"),
        ({"cond_dim": 4}, VECTORS, r"shape \(3, 5\).*vectors: floats \[batch, 4\]"),
        ({"cond_dim": 5}, LABELS, "dtype int32.*vectors: floats"),
    ],
)
@pytest.mark.parametrize("base", [UNET, MLP], ids=["unet", "mlp"])
def test_what_does_not_fit_is_refused(base, fields, y, message):
    config = dataclasses.replace(base, **fields)
    with pytest.raises(ValueError, match=message):
        get_model(config)([*inputs_of(config), *([] if y is None else [y])])


def test_configs_whose_fields_contradict_each_other_are_refused():
    for fields, message in (
        ({"num_classes": 3, "cond_dim": 2}, "cond_dim is 2; it must be 0 with num_classes"),
        ({"cond_drop_prob": 0.1}, "cond_drop_prob is 0.1; it must be 0 for a network without"),
        ({"cond_drop_prob": 1.0, "num_classes": 3}, r"cond_drop_prob is 1.0; it must be in \[0, 1"),
        ({"data_dim": 2}, "model is 'unet'; it must be mlp or table_mlp"),
        ({"model": "mlp"}, "model is 'mlp'; it must be mlp or table_mlp"),
        ({"num_classes": -1}, "num_classes is -1; it must be 0 or more"),
        ({"time_embedding": "fourier"}, "time_embedding is 'fourier'; it must be one of sinus"),
    ):
        with pytest.raises(ValueError, match=message):
            get_config("digits", **fields)
