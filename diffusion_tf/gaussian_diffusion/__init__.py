"""The diffusion process: its one class, and beside it noise, chains, fewer steps."""

from diffusion_tf.gaussian_diffusion.process import (
    DISTANCES,
    LOSS_TYPES,
    GaussianDiffusion,
    get_diffusion,
)

__all__ = ["DISTANCES", "LOSS_TYPES", "GaussianDiffusion", "get_diffusion"]
