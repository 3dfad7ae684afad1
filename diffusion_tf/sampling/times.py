"""What pictures call the times of a chain: the timestep of training, however many steps it has."""

from collections.abc import Iterable

from diffusion_tf.gaussian_diffusion import GaussianDiffusion
from diffusion_tf.gaussian_diffusion.fewer_steps import RespacedDiffusion


def timesteps_to_mix_at(T: int) -> list[int]:
    """How far images are diffused before they are mixed, where nobody says: T/8, T/4 and T/2."""
    return sorted({T // 8, T // 4, T // 2})


def training_times(process: GaussianDiffusion, times: Iterable[int]) -> list[int]:
    """The timesteps of training, 0 to T - 1, behind those of a process.

    Args:
        process: of training, or one that goes through some of its timesteps.
        times: from 0 to its number of steps less 1; -1, after the last step, stays -1.
    """
    if not isinstance(process, RespacedDiffusion):
        return [int(t) for t in times]
    return [int(process.timesteps[t]) if t >= 0 else -1 for t in times]


def time_labels(process: GaussianDiffusion, times: Iterable[int]) -> list[str]:
    """Words for times, see `training_times`: `t=999`, and `sample` for -1."""
    return [f"t={t}" if t >= 0 else "sample" for t in training_times(process, times)]
