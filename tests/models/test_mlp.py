"""The MLP: sizes, its time embeddings, a step of training, what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.models import get_model
from diffusion_tf.models.mlp import MLP, MLPBlock
from helpers.conditional_networks import randomized

CONFIG = get_config("s_curve", ch=16, num_res_blocks=2)


def test_parameters_by_hand():
    def dense(inputs, outputs):
        return (inputs + 1) * outputs

    block = dense(16, 16) + dense(16, 32) + dense(16, 16)
    time = dense(4, 16) + dense(16, 16)
    expected = time + dense(2, 16) + 2 * block + dense(16, 2)

    def count(model):
        return sum(np.prod(v.shape) for v in model.trainable_variables)

    assert count(get_model(CONFIG)) == expected
    learned = get_config("s_curve", ch=16, num_res_blocks=2, time_embedding="learned")
    assert count(get_model(learned)) == expected - time + 100 * 16
    variance = get_config(
        "s_curve", ch=16, num_res_blocks=2, model_var_type="learned", loss_type="kl"
    )
    assert count(get_model(variance)) == expected + dense(16, 2)


def test_a_block_by_hand():
    def swish(a):
        return a / (1 + np.exp(-a))

    rng = np.random.default_rng(0)
    x, temb = rng.normal(size=(3, 4)), rng.normal(size=(3, 5))
    block = MLPBlock()
    block.build([x.shape, temb.shape])
    layers = {}
    for layer in (block.dense1, block.temb_proj, block.dense2):
        kernel = rng.normal(size=layer.kernel.shape)
        bias = rng.normal(size=layer.bias.shape)
        layer.set_weights([kernel, bias])
        layers[layer.name] = lambda a, kernel=kernel, bias=bias: a @ kernel + bias
    scale, shift = np.split(layers["temb_proj"](swish(temb)), 2, axis=1)
    expected = x + layers["dense2"](swish(layers["dense1"](swish(x)) * (1 + scale) + shift))
    output = block([tf.constant(x, tf.float32), tf.constant(temb, tf.float32)])
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


def test_it_begins_at_zero():
    """As the U-Net does: the last layer is scaled down to about nothing."""
    x = tf.random.stateless_normal([7, 2], [0, 1])
    output = get_model(CONFIG)([x, tf.range(7)])
    assert (output.shape, output.dtype) == ((7, 2), tf.float32)
    assert np.abs(output).max() < 1e-4


@pytest.mark.parametrize("time_embedding", ["sinusoidal", "learned"])
def test_it_sees_the_time(time_embedding):
    config = get_config("s_curve", ch=16, num_res_blocks=2, time_embedding=time_embedding)
    model, x = randomized(config), tf.ones([3, 2])
    output = model([x, tf.constant([0, 50, 99])]).numpy()
    assert np.ptp(output, axis=0).min() > 1e-2
    np.testing.assert_allclose(output[1:], model([x[1:], tf.constant([50, 99])]), rtol=1e-5)


def test_dropout_only_while_training():
    config = get_config("s_curve", ch=16, dropout=0.5)
    model, x, t = randomized(config), tf.ones([3, 2]), tf.constant([0, 50, 99])
    np.testing.assert_array_equal(model([x, t]), model([x, t], training=False))
    assert np.abs(model([x, t], training=True) - model([x, t])).max() > 1e-3


def test_its_config_makes_it_again():
    config = get_config("s_curve", ch=16, time_embedding="learned", num_classes=3, dropout=0.25)
    model = randomized(config)
    again = MLP.from_config(model.get_config())
    again.build([(None, 2), (None,)])
    again.set_weights(model.get_weights())
    inputs = [tf.ones([2, 2]), tf.constant([7, 8]), tf.constant([0, 2])]
    np.testing.assert_array_equal(again(inputs), model(inputs))


def test_half_precision_gives_float32():
    config = get_config("s_curve", ch=16, dtype="mixed_bfloat16")
    assert randomized(config)([tf.ones([2, 2]), tf.constant([7, 8])]).dtype == tf.float32


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"ch": 12}, "ch is 12 and num_res_blocks is 1; ch must be a multiple of 4, at least 16"),
        ({"ch": 18}, "ch is 18"),
        ({"num_res_blocks": 0}, "num_res_blocks is 0"),
        ({"num_classes": 2, "cond_dim": 3}, "num_classes is 2 and cond_dim is 3"),
    ],
)
def test_sizes_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**{"ch": 16, "out_dim": 2, "num_res_blocks": 1, **arguments}).build(
            [(None, 2), (None,)]
        )


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"x has shape \(4, 8, 8, 1\); it must be \[B, D\]"):
        MLP(ch=16, out_dim=2, num_res_blocks=1)([tf.ones([4, 8, 8, 1]), tf.range(4)])


def test_keras_saves_it(tmp_path):
    model = randomized(CONFIG)
    model([tf.ones([1, 2]), tf.constant([3])])
    model.save(tmp_path / "mlp.keras")
    again = keras.saving.load_model(tmp_path / "mlp.keras")
    inputs = [tf.ones([2, 2]), tf.constant([7, 8])]
    np.testing.assert_array_equal(again(inputs), model(inputs))
