"""A trainer of ten weights, for tests of what goes on around it."""

import keras
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.training.trainer import Trainer

SMALL = {
    "ch_mult": (1,), "attn_resolutions": (), "batch_size": 8, "log_steps": 1, "warmup": 2,
    "num_diffusion_timesteps": 20, "grid_steps": 0,
}  # fmt: skip


class Pixelwise(keras.Model):
    """A network of ten weights, for tests of what goes on around it."""

    def __init__(self, kernel_size=3):
        super().__init__(name="model")
        self.layer = keras.layers.Conv2D(1, kernel_size, padding="same", name="conv")

    def call(self, inputs, training=False):
        return self.layer(inputs[0])


def pixelwise(config, kernel_size=3):
    model = Pixelwise(kernel_size)
    model.layer.build((None, *config.image_shape))
    model.built = True
    return model


def make_trainer(model_fn=pixelwise, preset="digits", **fields):
    config = get_config(preset, **{**SMALL, **fields})
    return Trainer(config, tf.distribute.get_strategy(), jit_compile=False, model_fn=model_fn)
