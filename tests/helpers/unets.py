"""Small U-Nets with random weights in every tensor."""

import numpy as np

from diffusion_tf.models.unet import UNet

SMALL = {"ch": 32, "out_ch": 3, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "attn_resolutions": (8,)}


def build(size=16, channels=3, **arguments):
    model = UNet(**{**SMALL, **arguments})
    model.build([(None, size, size, channels), (None,)])
    return model


def randomise(model, seed=0):
    """Random weights, also for the layers that start at zero."""
    generator = np.random.RandomState(seed)
    for variable in model.trainable_variables:
        centre = 1.0 if variable.path.endswith("gamma") else 0.0
        variable.assign(centre + 0.05 * generator.randn(*variable.shape))
    return model
