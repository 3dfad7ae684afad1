"""Configs of runs: this project's `config.json`, and the `kwargs.json` of the original's runs.

The original's scripts write the arguments of their `train` into the run directory
(`tpu_utils.run_training`): `run_cifar.py` those of its second diffusion class, `run_celebahq.py`
and `run_lsun.py` those of the first, whose one loss `noisepred` stands for `eps`, `fixedsmall`
and `mse`.
"""

import dataclasses
import itertools
import os
from collections.abc import Mapping
from typing import Any

from diffusion_tf.config import PRESETS, Config, get_config
from diffusion_tf.utils.command_names import command_name
from diffusion_tf.utils.json_files import read_json_object
from diffusion_tf.utils.numbers import whole

# The presets whose network bears the original's name.
_NETWORKS = {"unet2d16b2": "cifar10", "unet2d16b2c112244": "celebahq256"}
_NETWORK_FIELDS = ("ch", "ch_mult", "num_res_blocks", "attn_resolutions", "resamp_with_conv")

# Keys of every script, and the fields that they are here.
_FIELDS = {
    "dataset": "dataset",
    "optimizer": "optimizer",
    "total_bs": "batch_size",
    "grad_clip": "grad_clip",
    "lr": "lr",
    "warmup": "warmup",
    "num_diffusion_timesteps": "num_diffusion_timesteps",
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "beta_schedule": "beta_schedule",
    "dropout": "dropout",
}
_SECOND_CLASS = {"model_mean_type": "model_mean_type", "model_var_type": "model_var_type"}
_FIRST_CLASS = {"block_size": "block_size"}
_OPTIONAL = {"keep_checkpoint_max": "keep_checkpoints", "warm_start_model_dir": "warm_start"}

_CATEGORIES = ("bedroom", "cat", "church")  # of LSUN

# Where the original's cloud kept things: nothing that a run elsewhere could use. (Which LSUN it
# was, tfr_file tells; see _preset.)
_CLOUD = {
    "bucket_name_prefix", "exp_name", "log_dir", "region", "tfds_data_dir", "tfr_file", "tpu_name"
}  # fmt: skip


def config_from_kwargs(kwargs: Mapping[str, Any]) -> Config:
    """The config of a run of the original.

    What the original does not write down, such as the number of steps, is that of the preset of
    the same data set; for LSUN, the name of `tfr_file` tells which.

    Args:
        kwargs: what the run's `kwargs.json` holds.

    Raises:
        ValueError: a key that the original's scripts do not write, or do not go without, or a
            network, data set or value that they do not have.
    """
    _require(kwargs, {"loss_type"})
    noisepred = _choose(kwargs, "loss_type", ("noisepred", "mse", "kl")) == "noisepred"
    fields = {**_FIELDS, **(_FIRST_CLASS if noisepred else _SECOND_CLASS)}
    required = {*fields, "model_name", "loss_type", "randflip"}
    _require(kwargs, required)
    _refuse_others(kwargs, required | set(_OPTIONAL) | _CLOUD)
    fields |= {key: field for key, field in _OPTIONAL.items() if kwargs.get(key) is not None}
    values = {field: kwargs[key] for key, field in fields.items()}
    if noisepred:
        values |= {"model_mean_type": "eps", "model_var_type": "fixedsmall", "loss_type": "mse"}
    else:
        values["loss_type"] = kwargs["loss_type"]
    values["random_flip"] = bool(_choose(kwargs, "randflip", (0, 1)))
    network = PRESETS[_NETWORKS[_choose(kwargs, "model_name", tuple(_NETWORKS))]]()
    values |= {name: getattr(network, name) for name in _NETWORK_FIELDS}
    preset = _preset(kwargs)
    # The original passes over heights that no resolution has; here they are refused.
    block_size = whole(values.get("block_size", 1), "block_size", 1)
    finest = PRESETS[preset]().image_shape[0] // block_size
    heights = [finest >> level for level in range(len(network.ch_mult))]
    values["attn_resolutions"] = tuple(h for h in network.attn_resolutions if h in heights)
    return get_config(preset, **values)


def kwargs_from_config(config: Config) -> dict[str, Any] | None:
    """The `kwargs.json` of a run, with which the original's scripts evaluate it.

    What says where its cloud kept things is left out, so they cannot train with it.

    Returns:
        What `config_from_kwargs` takes back to the run, up to seed, precision and number of steps;
        None if the original has no such run.
    """
    categories = [name for name in _CATEGORIES if PRESETS[f"lsun_{name}"]().steps == config.steps]
    # The scripts of the large images have the first class alone.
    classes = (_SECOND_CLASS,) if config.dataset == "cifar10" else (_FIRST_CLASS, _SECOND_CLASS)
    for network, class_fields in itertools.product(_NETWORKS, classes):
        fields = {**_FIELDS, **class_fields, **_OPTIONAL}
        kwargs = {key: getattr(config, field) for key, field in fields.items()}
        kwargs |= {"model_name": network, "randflip": int(config.random_flip)}
        kwargs["loss_type"] = "noisepred" if class_fields is _FIRST_CLASS else config.loss_type
        if categories:
            kwargs["tfr_file"] = f"{categories[0]}.tfrecords"
        if _describes(kwargs, config):
            return kwargs
    return None


def _describes(kwargs: Mapping[str, Any], config: Config) -> bool:
    try:
        described = config_from_kwargs(kwargs)
    except ValueError:
        return False
    unsaid = {name: getattr(described, name) for name in ("seed", "dtype", "tf32")}
    return not described.differences(dataclasses.replace(config, **unsaid))


def read_config(path: str) -> Config:
    """The config in a file, or in a folder that holds a run of this project or of the original.

    Args:
        path: a folder with `config.json` or `kwargs.json`, or a file; one that is named
            `kwargs.json` is the original's, any other is a config.

    Raises:
        FileNotFoundError: nothing there, or a folder without a run.
        OSError: a file that cannot be read, or is not a regular one.
        ValueError: what the file holds is not a config.
    """
    is_file = os.path.exists(path) and not os.path.isdir(path)  # a pipe is told what it is
    return _read_file(path) if is_file else read_folder(path)


def read_folder(folder: str) -> Config:
    """The config in a folder that holds a run; see `read_config`."""
    for name in ("config.json", "kwargs.json"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return _read_file(path)
    if not folder:
        raise FileNotFoundError("The path of the run is empty; name its folder.")
    if os.path.isfile(folder):
        raise FileNotFoundError(
            f"{folder} holds no run: it is a file, and a run is a folder with a config.json and"
            " checkpoints; give that folder."
        )
    raise FileNotFoundError(
        f"{folder} holds no run (no config.json); train one with {command_name('train')}"
        f" --workdir={folder}."
    )


def _read_file(path: str) -> Config:
    if os.path.basename(path) == "kwargs.json":
        return config_from_kwargs(read_json_object(path))
    return Config.load(path)


def _preset(kwargs: Mapping[str, Any]) -> str:
    """The preset of the same data set."""
    dataset = _choose(kwargs, "dataset", ("cifar10", "celebahq256", "lsun"))
    if dataset != "lsun":
        return dataset
    file = os.path.basename(str(kwargs.get("tfr_file")))
    for name in _CATEGORIES:
        if file.startswith(name):
            return f"lsun_{name}"
    raise ValueError(
        f"kwargs.json has tfr_file {kwargs.get('tfr_file')!r}; the name of that file must start"
        " with bedroom, cat or church, which tells the number of training steps."
    )


def _require(kwargs: Mapping[str, Any], required: set[str]) -> None:
    missing = sorted(required - set(kwargs))
    if missing:
        raise ValueError(
            f"kwargs.json lacks {', '.join(missing)}; give the file as the original wrote it."
        )


def _refuse_others(kwargs: Mapping[str, Any], known: set[str]) -> None:
    others = sorted(set(kwargs) - known)
    if others:
        raise ValueError(
            f"kwargs.json holds {', '.join(others)}, which no script of the original writes with"
            f" loss_type {kwargs['loss_type']!r}; remove it, or give the file as it was."
        )


def _choose(kwargs: Mapping[str, Any], key: str, choices: tuple) -> Any:
    if kwargs[key] not in choices:
        listed = ", ".join(map(str, choices))
        raise ValueError(f"kwargs.json has {key} {kwargs[key]!r}; it must be one of {listed}.")
    return kwargs[key]
