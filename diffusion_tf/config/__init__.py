"""Configs: everything that determines a run, and presets of it."""

from diffusion_tf.config.fields import Config
from diffusion_tf.config.presets import PRESETS, get_config

__all__ = ["PRESETS", "Config", "get_config"]
