"""Networks, and the one place that builds the network of a config."""

import keras

from diffusion_tf.config import Config
from diffusion_tf.models.unet import UNet


def get_model(config: Config) -> keras.Model:
    """Builds the network that a config describes, with its variables.

    Raises:
        ValueError: sizes that the network cannot have.
    """
    outputs_per_channel = 2 if config.model_var_type == "learned" else 1
    model = UNet(
        ch=config.ch,
        out_ch=config.channels * outputs_per_channel,
        ch_mult=config.ch_mult,
        num_res_blocks=config.num_res_blocks,
        attn_resolutions=config.attn_resolutions,
        dropout=config.dropout,
        resamp_with_conv=config.resamp_with_conv,
        block_size=config.block_size,
        dtype=config.dtype,
    )
    model.build([(None, *config.image_shape), (None,)])
    return model
