"""Folders of diffusers: a `UNet2DModel`, alone or with a `DDPMScheduler` as a `DDPMPipeline`."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.convert import diffusers
from diffusion_tf.convert.architecture import build_from_config
from diffusion_tf.convert.contents import Contents, needed_config
from diffusion_tf.convert.diffusers_files import WEIGHTS_NAME, weight_files
from diffusion_tf.convert.maps import Weights, assign
from diffusion_tf.convert.state_files import read_weights, tensor_names, write_state_dict
from diffusion_tf.models.unet import UNet
from diffusion_tf.schedules import BETA_SCHEDULES, get_beta_schedule
from diffusion_tf.utils.files import write_json
from diffusion_tf.utils.json_files import read_json_object
from diffusion_tf.utils.literals import BetaSchedule
from diffusion_tf.utils.numbers import is_real, shown
from diffusion_tf.utils.weight_sets import WeightsKind, check_weights, no_such_weights

_VERSION = "0.15.0"  # of diffusers, the first with the names that are written here

# Fields of Config, names of DDPMScheduler, and what each value is called there.
_MEAN_TYPES = {"eps": "epsilon", "xstart": "sample", "v": "v_prediction"}
_VAR_TYPES = {"fixedsmall": "fixed_small", "fixedlarge": "fixed_large"}
_SCHEDULES = {
    "linear": "linear",
    "quad": "scaled_linear",
    "cosine": "squaredcos_cap_v2",
    "sigmoid": "sigmoid",
}
_DDPM = ("DDPMScheduler", "DDPMParallelScheduler")
# Of other schedulers the process is taken. Their betas where the file is silent.
_BETAS, _LATENT_BETAS = (1e-4, 0.02, "linear"), (0.00085, 0.012, "linear")
_OTHERS = {
    **dict.fromkeys(
        (
            "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler", "PNDMScheduler",
            "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
            "DPMSolverMultistepInverseScheduler", "DEISMultistepScheduler", "SASolverScheduler",
            "UniPCMultistepScheduler", "EulerDiscreteScheduler", "LMSDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
        ),
        _BETAS,
    ),
    **dict.fromkeys(
        (
            "DPMSolverSDEScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
        ),
        _LATENT_BETAS,
    ),
}  # fmt: skip
# What no process of here has.
_NEVER = {"rescale_betas_zero_snr": (False, False), "use_flow_sigmas": (False, False)}
# What the sampler here does always, and diffusers' own defaults where the file is silent.
_FIXED = {
    "clip_sample_range": (1.0, 1.0),
    "rescale_betas_zero_snr": (False, False),
    "thresholding": (False, False),
}


def scheduler_config(config: Config) -> dict[str, Any]:
    """The `scheduler_config.json` of the `DDPMScheduler` that samples as `sampling` does.

    Fewer steps are spaced as `RespacedDiffusion` spaces them. A schedule that diffusers does not
    have by name is written as `trained_betas`.

    Raises:
        ValueError: the network predicts x_{t-1} or a log-variance, which DDPMScheduler cannot use.
    """
    for name, value, known in (
        ("model_mean_type", config.model_mean_type, _MEAN_TYPES),
        ("model_var_type", config.model_var_type, _VAR_TYPES),
    ):
        if value not in known:
            raise ValueError(
                f"{name} is {value!r}, which diffusers' DDPMScheduler cannot use, only"
                f" {' and '.join(known)}; choose another format."
            )
    betas = None
    if config.beta_schedule not in _SCHEDULES:
        betas = list(_betas(config.beta_schedule, dataclasses.asdict(config)))
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": _VERSION,
        **{name: value for name, (value, _) in _FIXED.items()},
        "clip_sample": config.clip_denoised,
        "beta_end": config.beta_end,
        "beta_schedule": _SCHEDULES.get(config.beta_schedule, "linear"),
        "beta_start": config.beta_start,
        "num_train_timesteps": config.num_diffusion_timesteps,
        "prediction_type": _MEAN_TYPES[config.model_mean_type],
        "steps_offset": 0,
        "timestep_spacing": "linspace",
        "trained_betas": betas,
        "variance_type": _VAR_TYPES[config.model_var_type],
    }


def process_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Config` that a `scheduler_config.json` says; the reverse of the above.

    Of a scheduler other than DDPMScheduler betas and prediction type are taken, and the variance
    and whether it clips if it says so; how it samples is left out.

    Raises:
        ValueError: an unknown class of scheduler, another process than those of here, or a
            DDPMScheduler that samples differently.
    """
    kind = values.get("_class_name")
    if kind in _DDPM:
        start, end, schedule = _BETAS
        others = diffusers.differing(_without_unused(values), _FIXED)
    elif kind in _OTHERS:
        start, end, schedule = _OTHERS[kind]
        others = diffusers.differing(values, _NEVER)
        logging.info(
            "scheduler_config.json is of a %s: its betas and prediction type are taken, and the"
            " scheduler itself is left out; the command sample has samplers of its own.", kind
        )  # fmt: skip
    else:
        raise ValueError(
            f"scheduler_config.json is of a {kind}, whose process is not known here; give one of a"
            " DDPMScheduler, or delete the file and name a config with --config."
        )
    if others:
        raise ValueError(
            f"scheduler_config.json is of another sampler: {others}; change it, or"
            " delete the file and name a config with --config."
        )
    fields = {
        "num_diffusion_timesteps": values.get("num_train_timesteps", 1000),
        "beta_start": values.get("beta_start", start),
        "beta_end": values.get("beta_end", end),
        "model_mean_type": _inverse(_MEAN_TYPES, values, "prediction_type", "epsilon"),
    }
    if kind in _DDPM or values.get("variance_type") is not None:
        fields["model_var_type"] = _inverse(_VAR_TYPES, values, "variance_type", "fixed_small")
    if not _clips(values):
        fields["clipping"] = "off"
    if values.get("trained_betas") is None:
        fields["beta_schedule"] = _inverse(_SCHEDULES, values, "beta_schedule", schedule)
    else:
        fields["beta_schedule"] = _schedule_with(_trained_betas(values), fields)
    return fields


def save_pipeline(folder: str, unet: UNet, config: Config) -> None:
    """Writes a folder from which `DDPMPipeline.from_pretrained` loads and samples.

    Args:
        folder: where to; made if it is not there. Files of the same names are replaced.
        unet: with the weights to write.
        config: of its run.

    Raises:
        ValueError: a network or process that diffusers does not have; nothing is written then.
        OSError: safetensors is not installed, or a file cannot be written.
    """
    unet_config = diffusers.unet_config(unet, config.image_size)
    scheduler = scheduler_config(config)
    write_state_dict(os.path.join(folder, "unet", WEIGHTS_NAME), diffusers.state_dict_of(unet))
    write_json(os.path.join(folder, "unet", "config.json"), unet_config)
    write_json(os.path.join(folder, "scheduler", "scheduler_config.json"), scheduler)
    pipeline = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": _VERSION,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    write_json(os.path.join(folder, "model_index.json"), pipeline)


def recognizes(path: str) -> bool:
    """Whether a path is a folder of diffusers, or the file with the weights of one.

    Raises:
        ValueError, OSError: a file that cannot be read; see `state_files.tensor_names`.
    """
    if not os.path.isdir(path):
        return any(name.startswith("down_blocks.0.") for name in tensor_names(path))
    if os.path.isfile(os.path.join(path, "model_index.json")):
        return True
    configs = [
        config
        for folder in ("", "unet", "unet_ema")
        if os.path.isfile(config := os.path.join(path, folder, "config.json"))
    ]
    return any("_class_name" in read_json_object(config) for config in configs)


def write(target: str, contents: Contents, config: Config | None) -> None:
    """Writes weights and process into a folder; see `save_pipeline`.

    Args:
        target: a new folder.
        contents: with the weights as `ema`.
        config: of the run.

    Raises:
        ValueError: no config, weights of another network than the config's, or a network or
            process that diffusers does not have.
        OSError: safetensors is not installed, or a file cannot be written.
    """
    config = needed_config(contents, config)
    save_pipeline(target, build_from_config(config, contents.weights["ema"]), config)


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network in a pipeline's folder, or in that of a `UNet2DModel`.

    Args:
        path: of the folder, or of its file with the weights.
        weights: `ema` or `raw`, which are the same where there is one set.

    Raises:
        FileNotFoundError: there is none, or it has no weights.
        ValueError: damaged files, another network than the one here, weights that are not its, or
            `weights` that are unknown or not there.
        OSError: the package that reads the weights is not installed.
    """
    check_weights(weights)
    unet, sets = _read_unet(path)
    if weights not in sets:
        raise no_such_weights(path, weights, sets)
    assign(unet, sets[weights], diffusers.NAMES)
    return unet


def read(path: str) -> Contents:
    """Everything that a folder holds, including what its scheduler says about the process.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `build_unet`; a scheduler that this
            project does not have.
    """
    unet, sets = _read_unet(path)
    for values in {id(values): values for values in sets.values()}.values():
        assign(unet, values, diffusers.NAMES)  # which checks them
    fields = {"channels": unet.conv_in.kernel.shape[2]}
    if unet.image_size is not None:
        fields["image_size"] = unet.image_size
    # In the oldest folders all files lie side by side.
    scheduler = _first(path, ("scheduler/scheduler_config.json", "scheduler_config.json"))
    if scheduler is not None:
        fields |= process_fields(read_json_object(scheduler))
    return Contents(path=path, weights=sets, fields=fields)


def _read_unet(path: str) -> tuple[UNet, dict[str, Weights]]:
    """The network of a folder without its weights, and the weights."""
    if not os.path.isdir(path):
        return _unet_in(os.path.dirname(path)), read_weights(path, diffusers.NAMES.weights)
    raw, averages = os.path.join(path, "unet"), os.path.join(path, "unet_ema")
    if not os.path.isdir(averages):  # of the folder checkpoint-N of a training
        return _read_folder(raw if os.path.isdir(raw) else path)
    unet, sets = _read_folder(averages)
    weights = {"ema": _one(sets, "ema")}
    if os.path.isdir(raw):
        weights["raw"] = _one(_read_folder(raw)[1], "raw")
        logging.info("%s: weights (ema) taken from unet_ema, (raw) from unet.", path)
    return unet, weights


def _read_folder(folder: str) -> tuple[UNet, dict[str, Weights]]:
    """The network in the folder of a `UNet2DModel`, and its weights."""
    files = weight_files(folder)
    unet = _unet_in(folder, bool(files))
    sets = {kind: read_weights(file, diffusers.NAMES.weights) for kind, file in files.items()}
    return unet, sets["ema"] | ({"raw": _one(sets["raw"], "raw")} if "raw" in sets else {})


def _one(sets: Mapping[str, Weights], kind: str) -> Weights:
    """The set of a kind, or the only one that there is."""
    return sets[kind] if kind in sets else next(iter(sets.values()))


def _unet_in(folder: str, has_weights: bool = True) -> UNet:
    config = os.path.join(folder, "config.json")
    if not os.path.isfile(config) or not has_weights:
        raise FileNotFoundError(
            f"{folder} holds no UNet2DModel: config.json, and {WEIGHTS_NAME} or another file that"
            " save_pretrained writes."
        )
    return diffusers.unet_from_config(read_json_object(config))


def _betas(beta_schedule: BetaSchedule, fields: Mapping[str, Any]) -> np.ndarray:
    arguments = ("beta_start", "beta_end", "num_diffusion_timesteps")
    return get_beta_schedule(beta_schedule, **{name: fields[name] for name in arguments})


def _trained_betas(values: Mapping[str, Any]) -> np.ndarray:
    betas = values["trained_betas"]
    if not (isinstance(betas, list) and all(map(is_real, betas))):
        raise ValueError(
            f"scheduler_config.json has trained_betas {shown(betas)}; it must be a list of numbers."
        )
    return np.asarray(betas, np.float64)


def _schedule_with(betas: np.ndarray, fields: Mapping[str, Any]) -> str:
    """The schedule that gives these variances."""
    for name in BETA_SCHEDULES:
        known = _betas(name, fields)
        # Beyond what float32 does to the numbers, no two schedules are as close.
        if known.shape == betas.shape and np.allclose(known, betas, rtol=1e-5, atol=0):
            return name
    raise ValueError(
        "scheduler_config.json has trained_betas of no schedule known here; delete the file and"
        " name a config with --config."
    )


def _clips(values: Mapping[str, Any]) -> bool:
    """Whether predictions are clipped, as they are here and there where nothing is said."""
    clips = values.get("clip_sample", True)
    if not isinstance(clips, bool):
        raise ValueError(
            f"scheduler_config.json has clip_sample {shown(clips)}; it must be true or false."
        )
    return clips


def _without_unused(values: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's values without the range of clipping, where nothing is clipped."""
    unused = () if _clips(values) else ("clip_sample_range",)
    return {name: value for name, value in values.items() if name not in unused}


def _inverse(known: Mapping[str, str], values: Mapping[str, Any], name: str, default: str) -> str:
    """What a value of diffusers is called here."""
    value = values.get(name, default)
    for here, there in known.items():
        if value == there:
            return here
    raise ValueError(
        f"scheduler_config.json has {name} {value!r}; it must be one of"
        f" {', '.join(known.values())}."
    )


def _first(folder: str, names: Sequence[str]) -> str | None:
    """The path of the first of some files that is there."""
    paths = [os.path.join(folder, name) for name in names]
    return next((path for path in paths if os.path.isfile(path)), None)
