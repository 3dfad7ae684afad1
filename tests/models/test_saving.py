"""Networks saved by TensorFlow's and Keras's own means."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.models.recomputation import plain_gradients
from diffusion_tf.models.saving import input_specs
from helpers.unets import build, randomise

X, T = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32), np.array([3, 700])


@pytest.fixture(scope="module")
def network():
    return randomise(build(4, ch_mult=(1,), attn_resolutions=(), num_classes=2))


def test_a_network_says_its_inputs(network):
    found = [(spec.name, spec.shape.as_list(), spec.dtype) for spec in input_specs(network)]
    assert found == [
        ("x", [None, 4, 4, 3], tf.float32), ("t", [None], tf.int32), ("y", [None], tf.int32)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="takes all of them; build it with"):
        all_sizes = build(4, ch_mult=(1,), attn_resolutions=())
        all_sizes.image_size = None
        input_specs(all_sizes)


@pytest.mark.slow
@pytest.mark.parametrize("means", ["export", "save"])
def test_what_is_saved_takes_integers_and_loads_without_a_warning(network, means, tmp_path, caplog):
    t, y = T.astype(np.int32), np.array([1, -1], np.int32)
    expected = network([X, t, y])
    if means == "export":
        network.export(tmp_path / "a")
    else:
        tf.saved_model.save(network, tmp_path / "a")
    loaded = tf.saved_model.load(tmp_path / "a")
    (found,) = loaded.signatures["serving_default"](x=X, t=t, y=y).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "custom gradients" not in caplog.text
    if means == "export":
        np.testing.assert_allclose(loaded.serve([X, t, y]), expected, atol=1e-5)


def test_gradients_of_an_inference_graph_are_the_same(network):
    def gradient(**options):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(network([X, T, np.array([1, -1])], **options) ** 2)
        gradients = tape.gradient(loss, network.trainable_variables)
        return [tf.convert_to_tensor(g) for g in gradients]

    with plain_gradients():
        plain = gradient()
    for a, b, c in zip(gradient(), plain, gradient(training=False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(b, c)
