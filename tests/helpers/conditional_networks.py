"""Small networks with and without conditions, every weight of which counts."""

import numpy as np
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.models import get_model

T = tf.constant([0, 500, 999])
UNET = get_config("digits", ch_mult=[1], ch=64)
MLP = get_config("s_curve", ch=16, num_res_blocks=1)


def randomized(config, seed=0):
    """A network whose every weight counts: those that begin at 0 would hide the others."""
    model, rng = get_model(config), np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.3, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def inputs_of(config):
    x = np.random.default_rng(1).normal(size=(3, *config.sample_shape)).astype(np.float32)
    return tf.constant(x), T
