"""Denoising Diffusion Probabilistic Models in TensorFlow 2 and Keras 3."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusion_tf.config import Config, get_config
    from diffusion_tf.convert.formats import load_unet
    from diffusion_tf.convert.loading import load_model
    from diffusion_tf.datasets import get_dataset
    from diffusion_tf.gaussian_diffusion import GaussianDiffusion, get_diffusion
    from diffusion_tf.models import get_model
    from diffusion_tf.models.unet import UNet
    from diffusion_tf.runs import Run, load, sample, train
    from diffusion_tf.schedules import get_beta_schedule
    from diffusion_tf.training.trainer import Trainer

# TensorFlow imports Keras, whose backend would be the one that keras.json chooses for all projects
# of this machine. A choice in the variable stays, and `utils.keras_backend` refuses it.
if "keras" not in sys.modules and not os.environ.get("KERAS_BACKEND"):
    os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.1.0"  # setup.py reads it here

_HOME = {  # where the names that people use most live; imported when first asked for
    "Config": "config",
    "GaussianDiffusion": "gaussian_diffusion",
    "Run": "runs",
    "Trainer": "training.trainer",
    "UNet": "models.unet",
    "get_beta_schedule": "schedules",
    "get_config": "config",
    "get_dataset": "datasets",
    "get_diffusion": "gaussian_diffusion",
    "get_model": "models",
    "load": "runs",
    "load_model": "convert.loading",
    "load_unet": "convert.formats",
    "sample": "runs",
    "train": "runs",
}
__all__ = [  # written out for type checkers
    "Config", "GaussianDiffusion", "Run", "Trainer", "UNet", "get_beta_schedule", "get_config",
    "get_dataset", "get_diffusion", "get_model", "load", "load_model", "load_unet", "sample",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
