"""What commands check before TensorFlow is imported, which takes seconds."""

import os
from collections.abc import Sequence
from typing import Any, get_args

from diffusion_tf.config import Config
from diffusion_tf.config.agreement import check_steps
from diffusion_tf.config.original import read_folder
from diffusion_tf.sampling.registry import checked_choices
from diffusion_tf.training.checkpoint_files import checkpoint_dir, find, newest, of_step
from diffusion_tf.training.workdirs import check_of_run, config_path
from diffusion_tf.utils.image_reading import fit_image
from diffusion_tf.utils.literals import BetaSchedule, LossType, ModelMeanType, ModelVarType

# Where every field is one of a few names that `Config` leaves to those who use them.
_NAMES: dict[str, Any] = {
    "beta_schedule": BetaSchedule,
    "model_mean_type": ModelMeanType,
    "model_var_type": ModelVarType,
    "loss_type": LossType,
}
_NEED_DATA_DIR = {
    "folder": "the folder with the images",
    "lsun": "a .tfrecords file of StyleGAN2's dataset_tool.py, or the folder that holds it",
    "arrays": "a file of images, .npz or .npy",
    "vectors": "a file of vectors, .npz, .npy or .csv",
}
# They may follow from the data, which are not read yet.
_OF_DATA = ("data_dim", "cond_dim", "image_size", "channels", "num_classes")


def check_run(workdir: str, step: int | None = None) -> Config:
    """The config of a run that has a checkpoint.

    Args:
        workdir, step: see `check_checkpoint`.

    Raises:
        FileNotFoundError: no run, or no checkpoint.
        ValueError: its config is not one.
    """
    config = read_folder(workdir)
    check_checkpoint(workdir, step)
    return config


def check_checkpoint(workdir: str, step: int | None = None) -> None:
    """Makes sure that a run has a checkpoint.

    Args:
        workdir: of the run; of the original's, the checkpoints are not looked for.
        step: of the checkpoint; the newest if not given.

    Raises:
        FileNotFoundError: it has none, or not that one.
    """
    if not os.path.exists(config_path(workdir)):
        return
    if step is not None:
        of_step(workdir, step)
    elif not find(checkpoint_dir(workdir)).complete:
        newest(workdir)  # says what is missing


def check_drawing(
    workdir: str, sampler: str = "ancestral", sampling_steps: int | None = None, **options: Any
) -> Config:
    """The config of a run that can be drawn from in this way, once it has a checkpoint.

    Args:
        workdir: of the run.
        sampler, sampling_steps, **options: see `checked_choices`.
    """
    config = read_folder(workdir)
    checked_choices(config.num_diffusion_timesteps, sampler, sampling_steps, **options)
    return config


def check_image_files(names: Sequence[str], config: Config) -> None:
    """Makes sure that those of the names that are not indices are images that can be read.

    Raises:
        ValueError, FileNotFoundError: see `fit_image`.
    """
    for name in names if not config.data_dim else ():
        if not name.isdecimal() and not os.path.isdir(name):
            fit_image(name, config.image_shape)


def check_training(config: Config, workdir: str, data_dir: str | None) -> None:
    """Makes sure of all that can be known of a training without its data.

    Raises:
        ValueError: an unknown name, an image size that the network cannot halve, steps beyond
            lr_decay_steps, no --data_dir where one is needed, or a workdir that holds something
            else.
        FileNotFoundError: the data are not there, or no run to start from.
    """
    for field, names in _NAMES.items():
        value, known = getattr(config, field), get_args(names)
        if value not in known:
            raise ValueError(f"Unknown {field} {value!r}; choose one of {', '.join(known)}.")
    check_steps(config)
    if config.dataset in _NEED_DATA_DIR and not data_dir:
        raise ValueError(f"{config.dataset} needs --data_dir: {_NEED_DATA_DIR[config.dataset]}.")
    if data_dir and "://" not in data_dir and not os.path.exists(data_dir):
        raise FileNotFoundError(f"There is no file or folder {data_dir}; check --data_dir.")
    check_of_run(workdir, config, unknown=_OF_DATA)
    if config.warm_start and not find(checkpoint_dir(workdir)).complete:
        check_run(config.warm_start)
