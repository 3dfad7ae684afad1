"""The ways to call a network, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.models.inputs import gathered
from diffusion_tf.models.mlp import MLP
from diffusion_tf.models.unet import UNet

X, T = tf.ones([2, 4]), tf.constant([0, 3])


def test_all_ways_to_call_a_network_are_the_same():
    network = MLP(ch=16, out_dim=4, num_res_blocks=1)
    expected = network(X, T)  # not built before
    assert expected.shape == (2, 4)
    for answer in (network([X, T]), network(x=X, t=T), network(X, t=T), network({"x": X, "t": T})):
        np.testing.assert_array_equal(answer, expected)
    np.testing.assert_array_equal(network(X, T, training=False), expected)
    np.testing.assert_array_equal(network(X, np.asarray(T).tolist()), expected)
    with pytest.raises(ValueError, match="called with input 0; it takes x and t"):
        network(X)


def test_conditions_come_third():
    assert gathered(["x", "t", "y"], {}) == ["x", "t", "y"]
    assert gathered(["x"], {"y": "y", "t": "t"}) == ["x", "t", "y"]
    assert gathered([{"y": "y", "x": "x", "t": "t"}], {}) == ["x", "t", "y"]
    assert gathered(["x", "t"], {"y": None}) == ["x", "t"]


@pytest.mark.parametrize(
    "inputs, named",
    [([X], {}), (["x", "t", "y", "z"], {}), (["x", "t"], {"x": 1}), ([{"x": 1, "time": 2}], {})],
)
def test_other_calls_are_refused(inputs, named):
    with pytest.raises(ValueError, match=r"it takes x and t, and y where it has conditions"):
        gathered([inputs[0]] if len(inputs) == 1 else inputs, named or {"y": 1})


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "float16"])
def test_weights_are_float32(dtype):
    message = f"dtype is '{dtype}', whose weights are {dtype}; choose float32, or mixed_bfloat16"
    with pytest.raises(ValueError, match=message):
        MLP(ch=16, out_dim=4, num_res_blocks=1, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        UNet(ch=32, out_ch=1, num_res_blocks=1, attn_resolutions=(), dtype=dtype)


def test_a_process_says_what_it_is():
    process = GaussianDiffusion(betas=np.linspace(1e-4, 0.02, 10), loss_type="kl")
    assert repr(process) == (
        "GaussianDiffusion(T=10, betas from 0.0001 to 0.02, model_mean_type='eps',"
        " model_var_type='fixedlarge', loss_type='kl')"
    )


@pytest.mark.parametrize("x", [np.full([2, 2, 2, 1], 9, np.uint8), np.full([2, 2, 2, 1], 200.0)])
def test_pixels_are_not_diffused(x):
    process = GaussianDiffusion(betas=np.linspace(1e-4, 0.02, 10))
    with pytest.raises(ValueError, match=r"in \[-1, 1\]: scale 8-bit pixels by x / 127.5 - 1\."):
        process.q_sample(x, tf.constant([0, 1]))
