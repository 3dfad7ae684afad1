"""What a caller of the Python API gets wrong is answered with a ValueError of one sentence."""

import numpy as np
import pytest
import tensorflow as tf

import diffusion_tf
from diffusion_tf.config import get_config
from diffusion_tf.convert.loading import load_model
from diffusion_tf.evaluation.image_files import open_images
from diffusion_tf.evaluation.metrics.fid import Statistics
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import MLP, UNet
from diffusion_tf.utils import image_reading, images

PROCESS = get_diffusion(get_config("digits", num_diffusion_timesteps=10))
X, T = tf.zeros([2, 8, 8, 1]), tf.constant([0, 1])
UNET = {"ch": 32, "out_ch": 1, "ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": ()}


def loss(denoise_fn):
    return lambda: PROCESS.p_losses(denoise_fn, X, T)


MISTAKES = {
    "no function": (loss(None), "denoise_fn is None; it must be a function"),
    "float64": (
        loss(lambda x, t: tf.cast(x, tf.float64)),
        "returned has dtype float64; .* cast it",
    ),
    "whole numbers": (loss(lambda x, t: tf.cast(x, tf.int32)), "returned has dtype int32"),
    "nothing": (loss(lambda x, t: None), "what denoise_fn returned must hold real numbers"),
    "int x of a U-Net": (lambda: UNet(**UNET)([tf.cast(X, tf.int32), T]), "x has dtype int32"),
    "int x of an MLP": (
        lambda: MLP(ch=16, out_dim=3, num_res_blocks=1)([tf.zeros([2, 3], tf.int32), T]),
        "x has dtype int32",
    ),
    "config's list": (lambda: get_config(["digits"]), r"Unknown config \['digits'\]"),
    "config's None": (lambda: get_config(None), "Unknown config None"),
    "no picture": (lambda: images.tile(np.zeros((0, 2, 2, 1), np.uint8)), r"shape \(0, 2, 2, 1\)"),
    "columns": (lambda: images.tile(np.zeros((1, 2, 2, 1), np.uint8), columns=-1), "columns is -1"),
    "image path": (lambda: image_reading.load_image(None, (8, 8, 1)), "None is not a path"),
    "folder path": (lambda: image_reading.find_images(5), "5 is not a path"),
    "images path": (lambda: open_images(5), "5 is not a path"),
    "statistics path": (lambda: Statistics.load(5), "5 is not a path"),
    "weights path": (lambda: diffusion_tf.load_unet(5), "5 is not a path"),
    "workdir path": (lambda: load_model(5), "5 is not a path"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_a_sentence(name):
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value) or "Exception encountered" in str(refused.value)  # Keras
