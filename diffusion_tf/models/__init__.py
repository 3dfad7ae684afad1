"""Networks, and the one place that builds the network of a config."""

from collections.abc import Callable

from diffusion_tf.config import Config
from diffusion_tf.config.sizes import check_network_fits
from diffusion_tf.models import tutorials
from diffusion_tf.models.mlp import MLP
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.devices import num_accelerators
from diffusion_tf.utils.keras_backend import keras


def get_model(config: Config) -> keras.Model:
    """Builds the network that a config describes, with its variables.

    Raises:
        ValueError: sizes that the network cannot have, or that do not fit into memory.
    """
    check_network_fits(config, accelerators=num_accelerators())
    builders: dict[str, Callable[[Config], keras.Model]] = {
        "unet": _unet,
        "mlp": _mlp,
        "table_mlp": lambda config: tutorials.TableMLP(ch=config.ch, **_of_tutorial(config)),
        "context_unet": lambda config: tutorials.ContextUNet(ch=config.ch, **_of_tutorial(config)),
        "scale_shift": lambda config: tutorials.ScaleShiftMLP(**_of_tutorial(config)),
        "scale_shift_mixing": lambda config: tutorials.ScaleShiftMLP(
            mixes=True, **_of_tutorial(config)
        ),
    }
    model = builders[config.model](config)
    model.build([(None, *config.sample_shape), (None,)])
    return model


def _unet(config: Config) -> UNet:
    return UNet(
        out_ch=config.channels * _outputs_per_value(config),
        ch_mult=config.ch_mult,
        attn_resolutions=config.attn_resolutions,
        resamp_with_conv=config.resamp_with_conv,
        block_size=config.block_size,
        **_shared(config),
    )


def _mlp(config: Config) -> MLP:
    learned = config.time_embedding == "learned"
    return MLP(
        out_dim=config.data_dim * _outputs_per_value(config),
        num_timesteps=config.num_diffusion_timesteps if learned else None,
        **_shared(config),
    )


def _of_tutorial(config: Config) -> dict:
    """What the networks of `tutorials` share; none of them learns a variance."""
    return {
        "out_dim": config.sample_shape[-1],
        "num_timesteps": config.num_diffusion_timesteps,
        "cond_dim": config.cond_dim,
        "dtype": config.dtype,
    }


def _shared(config: Config) -> dict:
    """What both networks take under the names of the config."""
    names = ("ch", "num_res_blocks", "dropout", "num_classes", "cond_dim", "dtype")
    return {name: getattr(config, name) for name in names}


def _outputs_per_value(config: Config) -> int:
    return 2 if config.learns_variance else 1
