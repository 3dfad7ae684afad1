"""denoising_diffusion_pytorch beside us: its GaussianDiffusion. Its Unet is another network."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.optional import needs, split_options, translate
from diffusion_tf.crosscheck.stages import COEFFICIENTS

if TYPE_CHECKING:
    import torch

PIP = "torch einops && pip install --no-deps denoising-diffusion-pytorch"
SCHEDULES = {"linear": "linear", "cosine": "cosine", "sigmoid": "sigmoid"}
OBJECTIVES = {"eps": "pred_noise", "xstart": "pred_x0"}
# What its Trainer takes from modules that its GaussianDiffusion does without.
_OF_TRAINER = {
    "torchvision": ("transforms", "utils"),
    "accelerate": ("Accelerator",),
    "ema_pytorch": ("EMA",),
}


def make_counterpart(config: Config, *, options: Mapping[str, Any] | None = None) -> Counterpart:
    """GaussianDiffusion with the process of a config.

    Args:
        config: of the process; beta_start and beta_end it has of its own.
        options: arguments of GaussianDiffusion that replace those that make it ours.

    Raises:
        ValueError: a package is missing, an argument that it does not have, or what it does not
            have.
    """
    its = "denoising_diffusion_pytorch"
    package = import_package()
    arguments = {
        "image_size": config.image_size,
        "timesteps": config.num_diffusion_timesteps,
        "beta_schedule": translate("beta_schedule", config.beta_schedule, SCHEDULES, its),
        "objective": translate("model_mean_type", config.model_mean_type, OBJECTIVES, its),
    }
    (options,) = split_options(options or {}, package.GaussianDiffusion.__init__)
    diffusion = package.GaussianDiffusion(
        function_model(config.channels), **{**arguments, **options}
    )
    return Counterpart(
        name=f"{its} {_version()}: GaussianDiffusion",
        process=PackageProcess(diffusion),
    )


def import_package() -> ModuleType:
    """denoising_diffusion_pytorch, without what only its Trainer needs where that is missing.

    Raises:
        ValueError: it cannot be imported.
    """
    needs("torch", PIP)
    with _without_trainer():
        return needs("denoising_diffusion_pytorch", PIP)


@contextlib.contextmanager
def _without_trainer() -> Iterator[None]:
    """Lets the package be imported where modules are missing that only its Trainer uses.

    Empty modules stand in for them inside the block, and are gone after it. torchvision is the one
    that matters: next to a CPU build of torch, the one from PyPI breaks `import diffusers`.
    """
    absent = [name for name in _OF_TRAINER if importlib.util.find_spec(name) is None]
    if absent:
        logging.info(
            "Importing denoising_diffusion_pytorch without %s, which only its Trainer uses.",
            ", ".join(absent),
        )
    for name in absent:
        sys.modules[name] = module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(dict.fromkeys(_OF_TRAINER[name]))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _version() -> str:
    return importlib.metadata.version("denoising-diffusion-pytorch")


def function_model(channels: int) -> torch.nn.Module:
    """A network for GaussianDiffusion that calls whatever its attribute `function` is."""
    import torch

    class Function(torch.nn.Module):
        function: Model

        def __init__(self) -> None:
            super().__init__()
            self.channels = self.out_dim = channels
            self.self_condition = False

        def forward(
            self, x: torch.Tensor, t: torch.Tensor, x_self_cond: torch.Tensor | None = None
        ) -> torch.Tensor:
            return self.function(x, t)

    return Function()


class PackageProcess:
    """Its GaussianDiffusion as a `Process`; the network is an attribute of it there."""

    def __init__(self, diffusion: Any):
        self._diffusion = diffusion
        for name in ("betas", *COEFFICIENTS):
            setattr(self, name, getattr(diffusion, name))

    def _with(self, model: Model) -> Any:
        self._diffusion.model.function = model
        return self._diffusion

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_t."""
        return self._diffusion.q_sample(x_start, t, noise=noise)

    def q_posterior_mean_variance(
        self, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, variance and log-variance of q(x_{t-1} | x_t, x_0)."""
        return self._diffusion.q_posterior(x_start=x_start, x_t=x_t, t=t)

    def p_mean_variance(
        self, model: Model, x: torch.Tensor, t: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """`mean`, `log_variance` and `pred_xstart`."""
        mean, _, log_variance, pred_xstart = self._with(model).p_mean_variance(x=x, t=t)
        return {"mean": mean, "log_variance": log_variance, "pred_xstart": pred_xstart}

    def p_sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_{t-1}, for one t."""
        return self._with(model).p_sample(x, int(t[0]))[0]

    def training_losses(
        self, model: Model, x_start: torch.Tensor, t: torch.Tensor, *, noise: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each example, [B]."""
        return self._with(model).p_losses(x_start, t, noise=noise, loss_reduction="none")
