"""diffusers beside us: UNet2DModel and DDPMScheduler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_tf.config import Config
from diffusion_tf.convert.diffusers import NAMES, unet_config
from diffusion_tf.convert.diffusers_pipeline import scheduler_config
from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.networks import load_ours, submodules
from diffusion_tf.crosscheck.optional import needs, split_options
from diffusion_tf.crosscheck.spacings import SPACINGS
from diffusion_tf.crosscheck.torch_side import moments
from diffusion_tf.models.unet import UNet

if TYPE_CHECKING:
    import torch
    from diffusers import DDPMScheduler

# It multiplies alphas up in float32. Next to t = 0, where 1 - alphas_cumprod is 10^-4 or less,
# that leaves three digits of it.
_ROUNDED = "alphas_cumprod in float32"
_COARSE = dict.fromkeys(
    (
        "alphas_cumprod", "q_sample", "posterior mean", "posterior log variance",
        "p_mean_variance: pred_xstart", "p_mean_variance: mean", "p_mean_variance: log variance",
    ),
    (1e-4, _ROUNDED),
) | dict.fromkeys(
    ("last ten steps of sampling", "a step of DDIM", "a step of DDIM with noise",
     *(f"DDIM in fewer steps, {spacing}" for spacing in SPACINGS)),
    (1e-3, _ROUNDED),
)  # fmt: skip


def make_counterpart(
    config: Config,
    unet: UNet,
    *,
    directory: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Counterpart:
    """UNet2DModel with our weights, and DDPMScheduler.

    Args:
        config: of the process.
        unet: ours.
        directory: in diffusers' format; the network and, if it has one, the scheduler are then
            what diffusers itself reads there.
        options: arguments of UNet2DModel, DDPMScheduler and DDIMScheduler.step that replace those
            that make them ours; `timestep_spacing`, `leading` if not given, is that of DDIM in
            fewer steps.

    Raises:
        ValueError: diffusers or torch is missing, an argument that neither has, or what diffusers
            does not have.
    """
    needs("torch", "torch diffusers safetensors")
    diffusers = needs("diffusers", "diffusers")
    network_options, scheduler_options, step_options = split_options(
        options or {},
        diffusers.UNet2DModel.__init__,
        diffusers.DDPMScheduler.__init__,
        diffusers.DDIMScheduler.step,
    )
    if directory:
        network = _from_directory(diffusers, directory, network_options)
    else:
        arguments = _arguments(unet_config(unet, config.image_size))
        network = diffusers.UNet2DModel(**{**arguments, **network_options})
        load_ours(network, unet, "diffusers", "UNet2DModel")
    scheduler_at = _scheduler_folder(directory)
    if scheduler_at:
        scheduler = diffusers.DDPMScheduler.from_pretrained(scheduler_at, **scheduler_options)
    else:
        arguments = {**_arguments(scheduler_config(config)), **scheduler_options}
        scheduler = diffusers.DDPMScheduler(**arguments)
    return Counterpart(
        name=f"diffusers {diffusers.__version__}: UNet2DModel, DDPMScheduler and DDIMScheduler",
        network=network.eval(),
        process=SchedulersProcess(scheduler, _ddim(diffusers, scheduler, options), step_options),
        names=NAMES,
        submodules=submodules(unet, "diffusers"),
        drops=directory is None,  # the folder of a sampler may say nothing of dropout
    )


def _from_directory(diffusers: Any, directory: str, options: Mapping[str, Any]) -> torch.nn.Module:
    subfolder = "unet" if (Path(directory) / "unet").is_dir() else None
    return diffusers.UNet2DModel.from_pretrained(
        directory, subfolder=subfolder, low_cpu_mem_usage=False, **options
    )


def _scheduler_folder(directory: str | None) -> Path | None:
    """Where a directory keeps its scheduler: in a folder of its own, or beside the network."""
    for folder in (Path(directory) / "scheduler", Path(directory)) if directory else ():
        if (folder / "scheduler_config.json").is_file():
            return folder
    return None


def _ddim(diffusers: Any, scheduler: Any, options: Mapping[str, Any] | None) -> Any:
    """The DDIMScheduler of a configuration, with the spacing that is its own default."""
    spacing = (options or {}).get("timestep_spacing", "leading")
    return diffusers.DDIMScheduler.from_config(scheduler.config, timestep_spacing=spacing)


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those in one of diffusers' JSON files, which also hold the name of the class."""
    return {name: value for name, value in config.items() if not name.startswith("_")}


class SchedulerProcess:
    """A DDPMScheduler as a `Process`.

    It takes one timestep for a whole batch and gives samples, not means and variances; these are
    had from two samples each.
    """

    coarse = _COARSE

    def __init__(self, scheduler: DDPMScheduler):
        self._scheduler = scheduler
        self.betas = scheduler.betas
        self.alphas_cumprod = scheduler.alphas_cumprod
        self._posterior = type(scheduler).from_config(
            scheduler.config,
            prediction_type="sample",
            clip_sample=False,
            variance_type="fixed_small",
        )

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_t."""
        return self._scheduler.add_noise(x_start, noise, t)

    def q_posterior_mean_variance(
        self, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, variance and log-variance: those of a step whose network knows x_0."""
        known = iter(x_start.repeat_interleave(2, 0).split(1))  # two samples of each example
        mean, log_variance = moments(
            lambda x, t: self._posterior.step(next(known), int(t), x).prev_sample, x_t, t
        )
        return mean, log_variance.exp(), log_variance

    def p_mean_variance(
        self, model: Model, x: torch.Tensor, t: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """`mean`, `log_variance` and `pred_xstart`."""
        import torch

        mean, log_variance = moments(lambda x, t: self.p_sample(model, x, t), x, t)
        pred_xstart = [
            self._scheduler.step(
                model(x[i : i + 1], t[i : i + 1]), int(t[i]), x[i : i + 1]
            ).pred_original_sample
            for i in range(len(x))
        ]
        return {"mean": mean, "log_variance": log_variance, "pred_xstart": torch.cat(pred_xstart)}

    def p_sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_{t-1}, for one t."""
        return self._scheduler.step(model(x, t), int(t[0]), x).prev_sample


class SchedulersProcess(SchedulerProcess):
    """A DDPMScheduler and a DDIMScheduler as a `Process`."""

    def __init__(self, scheduler: DDPMScheduler, ddim: Any, step_options: Mapping[str, Any]):
        super().__init__(scheduler)
        self._ddim = ddim
        self._step_options = {"use_clipped_model_output": True, **step_options}

    def ddim_sample(
        self, model: Model, x: torch.Tensor, t: torch.Tensor, eta: float = 0.0
    ) -> torch.Tensor:
        """x_{t-1}, example by example."""
        import torch

        noise, output = torch.randn_like(x), model(x, t)
        self._ddim.set_timesteps(len(self.betas))  # the step before t is t - 1
        samples = [
            self._ddim_step(output[i : i + 1], int(t[i]), x[i : i + 1], eta, noise[i : i + 1])
            for i in range(len(x))
        ]
        return torch.cat(samples)

    def _ddim_step(
        self, output: torch.Tensor, t: int, x: torch.Tensor, eta: float, noise: torch.Tensor
    ) -> torch.Tensor:
        given = {"eta": eta, "variance_noise": noise, **self._step_options}
        return self._ddim.step(output, t, x, **given).prev_sample

    def timesteps(self, spacing: str, number: int) -> list[int] | None:
        """Those of its own spacing; None of another one."""
        if spacing != self._ddim.config.timestep_spacing:
            return None
        self._ddim.set_timesteps(number)
        return sorted(int(t) for t in self._ddim.timesteps)

    def ddim_chain(
        self, model: Model, x: torch.Tensor, spacing: str, number: int
    ) -> torch.Tensor | None:
        """x_0 by DDIM in its own spacing; None in another one."""
        import torch

        if self.timesteps(spacing, number) is None:
            return None
        for t in self._ddim.timesteps:
            output = model(x, torch.full((len(x),), int(t)))
            x = self._ddim_step(output, int(t), x, 0.0, torch.zeros_like(x))
        return x
