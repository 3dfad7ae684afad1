"""The samplers by name: the list from which flags, messages and documentation are made.

A new sampler is a class that takes a process and a number of steps, and a row here. Classes are
named, not imported, so that flags can be read without TensorFlow.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffusion_tf.utils.numbers import check_eta, whole

if TYPE_CHECKING:
    from diffusion_tf.gaussian_diffusion import GaussianDiffusion


@dataclass(frozen=True)
class Entry:
    """A sampler.

    Attributes:
        cls: `module:class` of a process that is made from that of training and a number of steps.
        help: what it is, in a few words.
        options: what else the class takes, with a sentence for each.
    """

    cls: str
    help: str
    options: Mapping[str, str]


_FEWER_STEPS = "diffusion_tf.gaussian_diffusion.fewer_steps"
SAMPLERS: dict[str, Entry] = {
    "ancestral": Entry(f"{_FEWER_STEPS}:RespacedDiffusion", "the paper's (Algorithm 2)", {}),
    "respaced": Entry(
        f"{_FEWER_STEPS}:RespacedDiffusion", "the same with betas for fewer steps", {}
    ),
    "ddim": Entry(
        f"{_FEWER_STEPS}:DDIM",
        "DDIM",
        {"eta": "noise of --sampler=ddim, from 0 to 1; 0: none after x_T [0]"},
    ),
    "dpmpp_2m": Entry(
        f"{_FEWER_STEPS}:DPMSolver", "DPM-Solver++(2M), of second order without noise", {}
    ),
    "noisy_end": Entry(
        "diffusion_tf.gaussian_diffusion.noisy_end:NoisyEnd",
        "the paper's, with noise after the last step, too, as tutorials have it",
        {},
    ),
}


def get_sampling_process(
    diffusion: "GaussianDiffusion",
    sampler: str = "ancestral",
    sampling_steps: int | None = None,
    **options: Any,
) -> "GaussianDiffusion":
    """The process that draws samples from a network.

    Args:
        diffusion: the process that the network was trained with.
        sampler: one of `SAMPLERS`. `ancestral` becomes `respaced` where it has fewer steps.
        sampling_steps: number of steps, spread evenly over the T of training; all T if None.
        **options: of the sampler, such as `eta` of `ddim`; None where it is not given.

    Raises:
        ValueError: an unknown sampler, a number of steps that is not in 1..T, an option that the
            sampler does not have or a value that it does not take.
    """
    steps, given = checked_choices(diffusion.num_timesteps, sampler, sampling_steps, **options)
    if sampler == "ancestral" and steps == diffusion.num_timesteps:
        return diffusion
    module, cls = SAMPLERS[sampler].cls.split(":")
    return getattr(importlib.import_module(module), cls)(diffusion, steps, **given)


def checked_choices(
    T: int, sampler: str, sampling_steps: int | None, **options: Any
) -> tuple[int, dict[str, Any]]:
    """The number of steps, and the options that are given; see `get_sampling_process`.

    Args:
        T: steps of training.
        sampler, sampling_steps, **options: as there.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"Unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}.")
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in SAMPLERS[sampler].options:
            having = [repr(n) for n, entry in SAMPLERS.items() if name in entry.options]
            raise ValueError(
                f"{name} is {value!r}, which sampler {sampler!r} does not have, only"
                f" {', '.join(having)}."
                if having
                else f"{name} is {value!r}, an option that no sampler has."
            )
    if "eta" in given:
        check_eta(given["eta"])
    steps = T
    if sampling_steps is not None:
        steps = whole(sampling_steps, "sampling_steps", 1, steps)
    return steps, given
