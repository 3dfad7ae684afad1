"""Denoising Diffusion Probabilistic Models in TensorFlow 2 and Keras 3."""

import importlib
from typing import Any

_HOME = {  # where the names that people use most live; imported when first asked for
    "Config": "config",
    "GaussianDiffusion": "gaussian_diffusion",
    "Trainer": "training.trainer",
    "UNet": "models.unet",
    "get_beta_schedule": "schedules",
    "get_config": "config",
    "get_dataset": "datasets",
    "get_diffusion": "gaussian_diffusion",
    "get_model": "models",
    "load_model": "convert.loading",
    "load_unet": "convert",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
