"""The network of a run, whether a workdir of this project or a run directory of the original."""

import os

from diffusion_tf.config import Config
from diffusion_tf.convert import tf1
from diffusion_tf.convert.architecture import build_from_config
from diffusion_tf.training import checkpoints
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.regular_files import checked_path
from diffusion_tf.utils.weight_sets import WeightsKind, check_weights


def is_original(workdir: str) -> bool:
    """Whether a run is one of the original's, which has no config.json."""
    return not os.path.exists(checkpoints.config_path(workdir))


def newest_step(workdir: str) -> int:
    """The step of the newest checkpoint of a run, 0 if there is none."""
    numbered = tf1 if is_original(workdir) else checkpoints
    return numbered.newest_number(workdir)


def load_config(workdir: str) -> Config:
    """The config of a run, of this project or of the original; see `load_model` for errors."""
    return checkpoints.load_config(checked_path(workdir))


def load_model(
    workdir: str, *, weights: WeightsKind = "ema", step: int | None = None
) -> tuple[Config, keras.Model, int]:
    """Loads a checkpoint of a workdir, or of a run directory of the original.

    Args:
        workdir: of a run, with `config.json` and `checkpoints/`; or, of the original, with
            `kwargs.json` and `model.ckpt-*`.
        weights: `ema` the averaged ones, `raw` those that the optimizer moves.
        step: of the checkpoint; the newest if not given.

    Returns:
        The run's config, its network, and the step of the checkpoint.

    Raises:
        FileNotFoundError: no run or no checkpoint there.
        ValueError: unknown weights, weights that are not there or not finite, or a checkpoint that
            cannot be read.
    """
    check_weights(weights)
    workdir = checked_path(workdir)
    config = checkpoints.load_config(workdir)
    if is_original(workdir):
        path = workdir if step is None else os.path.join(workdir, f"model.ckpt-{step}")
        values, reached = tf1.read_weights(path, weights)
        return config, build_from_config(config, values), reached or 0
    model, reached = checkpoints.load_network(workdir, config, weights=weights, step=step)
    return config, model, reached
