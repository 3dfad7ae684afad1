"""improved-diffusion beside us: its GaussianDiffusion, from a checkout or an installed package."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.crosscheck.checkouts import check_checkout, importable
from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.optional import needs, split_options, translate
from diffusion_tf.crosscheck.recipe_process import betas_of

if TYPE_CHECKING:
    import torch

ITS = "improved_diffusion"
REPOSITORY = "github.com/openai/improved-diffusion"
MEANS = {"eps": "EPSILON", "xstart": "START_X", "xprev": "PREVIOUS_X"}
VARIANCES = {
    "fixedlarge": "FIXED_LARGE", "fixedsmall": "FIXED_SMALL", "learned": "LEARNED",
    "learned_range": "LEARNED_RANGE",
}  # fmt: skip
LOSSES = {"mse": "MSE", "kl": "KL", "rescaled_kl": "RESCALED_KL", "hybrid": "RESCALED_MSE"}


def make_counterpart(
    config: Config, *, checkout: str | None, options: Mapping[str, Any] | None = None
) -> Counterpart:
    """GaussianDiffusion with the process of a config; its network is another one.

    Linear and cosine betas are its own, for T steps; others are ours.

    Args:
        config: of the process.
        checkout: folder of the repository, if it is not installed.
        options: arguments of GaussianDiffusion that replace those that make it ours.

    Raises:
        ValueError: torch or the package is missing, an unknown option, or what it does not have.
        FileNotFoundError: the checkout holds no such file.
    """
    needs("torch", "torch")
    folder = Path()
    if checkout:
        folder = check_checkout(checkout, REPOSITORY, f"{ITS}/gaussian_diffusion.py")
    with importable(folder, ITS) if checkout else contextlib.nullcontext():
        its = needs(f"{ITS}.gaussian_diffusion", f"git+https://{REPOSITORY}; or name --checkout")
        respace = needs(f"{ITS}.respace", f"git+https://{REPOSITORY}; or name --checkout")
        resample = needs(f"{ITS}.resample", f"git+https://{REPOSITORY}; or name --checkout")
    arguments = {
        "betas": _betas(config, its),
        "model_mean_type": its.ModelMeanType[_of(config, "model_mean_type", MEANS)],
        "model_var_type": its.ModelVarType[_of(config, "model_var_type", VARIANCES)],
        "loss_type": its.LossType[_of(config, "loss_type", LOSSES)],
    }
    (options,) = split_options(options or {}, its.GaussianDiffusion.__init__)
    return Counterpart(
        name=f"{REPOSITORY}: GaussianDiffusion",
        process=PackageProcess(its, respace, arguments | options),
        training=PackageTraining(resample),
    )


class PackageProcess:
    """Its GaussianDiffusion, and its SpacedDiffusion for fewer steps, as a `Process`."""

    def __init__(self, its: Any, respace: Any, arguments: Mapping[str, Any]):
        self._diffusion = its.GaussianDiffusion(**arguments)
        self._respace, self._arguments = respace, arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._diffusion, name)

    def p_sample_loop(self, model: Model, shape: tuple[int, ...]) -> torch.Tensor:
        """x_0."""
        return self._diffusion.p_sample_loop(model, shape, device="cpu")

    def timesteps(self, spacing: str, number: int) -> list[int] | None:
        """Its ddimN is `leading`, its N `linspace`; `trailing` it does not have."""
        names: dict[str, Any] = {"leading": f"ddim{number}", "linspace": [number]}
        if spacing not in names:
            return None
        T = self._diffusion.num_timesteps
        return sorted(self._respace.space_timesteps(T, names[spacing]))

    def respaced(self, timesteps: Sequence[int]) -> Any:
        """The process on some timesteps."""
        return self._respace.SpacedDiffusion(use_timesteps=timesteps, **self._arguments)

    def ddim_chain(
        self, model: Model, x: torch.Tensor, spacing: str, number: int
    ) -> torch.Tensor | None:
        """x_0 by DDIM."""
        timesteps = self.timesteps(spacing, number)
        if timesteps is None:
            return None
        spaced = self.respaced(timesteps)
        return spaced.ddim_sample_loop(model, tuple(x.shape), noise=x, device="cpu")


class PackageTraining:
    """Its LossSecondMomentResampler."""

    def __init__(self, resample: Any):
        self._resample = resample

    def timestep_probabilities(self, losses: torch.Tensor) -> np.ndarray:
        """With which timesteps it draws."""
        T = losses.shape[1]
        if not hasattr(np, "int"):
            # A name that NumPy 1.24 took away, and that its constructor asks for.
            np.int = int  # type: ignore[attr-defined]
        sampler = self._resample.LossSecondMomentResampler(SimpleNamespace(num_timesteps=T))
        for of_round in losses.tolist():
            sampler.update_with_all_losses(range(T), of_round)
        weights = sampler.weights()
        return weights / weights.sum()


def _of(config: Config, option: str, names: Mapping[str, str]) -> str:
    return translate(option, getattr(config, option), names, ITS)


def _betas(config: Config, its: Any) -> Any:
    """Its own, where it has them and they are for the range of the config."""
    scale = 1000 / config.num_diffusion_timesteps
    its_range = config.beta_start == scale * 1e-4 and config.beta_end == scale * 0.02
    if config.beta_schedule == "cosine" or (config.beta_schedule == "linear" and its_range):
        return its.get_named_beta_schedule(config.beta_schedule, config.num_diffusion_timesteps)
    return betas_of(config)
