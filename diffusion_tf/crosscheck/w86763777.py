"""w86763777/pytorch-ddpm beside us: its UNet, its sampler and its trainer, from a checkout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffusion_tf.config import Config
from diffusion_tf.convert.maps import CONV, DENSE, NORM, Layers, NameMap, weights_of
from diffusion_tf.convert.pytorch_ddpm import ATTN, BLOCK, RESAMPLE
from diffusion_tf.crosscheck.checkouts import check_checkout, import_file
from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.denoising_diffusion import function_model
from diffusion_tf.crosscheck.networks import attending_levels, load_state
from diffusion_tf.crosscheck.optional import needs, split_options, translate
from diffusion_tf.models.unet import UNet

if TYPE_CHECKING:
    import torch

REPOSITORY = "github.com/w86763777/pytorch-ddpm"
VARIANCES = {name: name for name in ("fixedlarge", "fixedsmall")}
# Its check of the mean type, a list in which a comma is missing, lets `epsilon` through, and of the
# other two only "xprevxstart", which nothing else there knows.
MEANS = {"eps": "epsilon"}


def make_counterpart(
    config: Config, unet: UNet, *, checkout: str | None, options: Mapping[str, Any] | None = None
) -> Counterpart:
    """Its UNet with our weights, its GaussianDiffusionSampler and GaussianDiffusionTrainer.

    Args:
        config: of the process.
        unet: ours.
        checkout: folder of the repository.
        options: arguments of its UNet and its sampler that replace those that make them ours.

    Raises:
        ValueError: no checkout, torch is missing, an unknown option, or what it does not have.
        FileNotFoundError: the checkout holds no such file.
    """
    needs("torch", "torch")
    folder = check_checkout(checkout, REPOSITORY, "diffusion.py")
    model = import_file(folder / "model.py", "_crosscheck_w86763777_model")
    diffusion = import_file(folder / "diffusion.py", "_crosscheck_w86763777_diffusion")
    if config.beta_schedule != "linear":
        raise ValueError(f"{REPOSITORY} has no beta_schedule {config.beta_schedule!r}; use linear.")
    process = {
        "beta_1": config.beta_start,
        "beta_T": config.beta_end,
        "T": config.num_diffusion_timesteps,
        "mean_type": translate("model_mean_type", config.model_mean_type, MEANS, REPOSITORY),
        "var_type": translate("model_var_type", config.model_var_type, VARIANCES, REPOSITORY),
    }
    network_options, process_options = split_options(
        options or {}, model.UNet.__init__, diffusion.GaussianDiffusionSampler.__init__
    )
    network = model.UNet(**_arguments(config, unet) | network_options)
    names, submodules = _names(unet)
    load_state(network, names.state_dict(weights_of(unet)), "its UNet", ignore=_is_table)
    return Counterpart(
        name=f"{REPOSITORY}: UNet, GaussianDiffusionSampler and GaussianDiffusionTrainer",
        network=network.eval(),
        process=PortProcess(diffusion, config.channels, process | process_options),
        names=names,
        submodules=submodules,
        drops=True,
    )


def _is_table(name: str) -> bool:
    """Whether it is the table of sinusoids, which is made and not learned."""
    return name == "time_embedding.timembedding.0.weight"


def _arguments(config: Config, unet: UNet) -> dict[str, Any]:
    return {
        "T": config.num_diffusion_timesteps,
        "ch": unet.ch,
        "ch_mult": list(unet.ch_mult),
        "attn": attending_levels(unet),
        "num_res_blocks": unet.num_res_blocks,
        "dropout": unet.dropout_rate,
    }


def _names(unet: UNet) -> tuple[NameMap, dict[str, str]]:
    """Names of the weights there, and the submodules whose outputs are stages."""
    scopes: list[tuple[str, str, Layers]] = [
        ("", "", (("conv_in", "head", CONV),)),
        ("temb", "time_embedding.timembedding", (("dense0", "1", DENSE), ("dense1", "3", DENSE))),
        ("", "tail", (("norm_out", "0", NORM), ("conv_out", "2", CONV))),
    ]
    submodules = {
        "sinusoids": "time_embedding.timembedding.1:input",
        "temb": "time_embedding.timembedding.3",
        "conv_in": "head",
    }
    for scope, blocks in (("down", unet.down), ("mid", [unet.mid]), ("up", unet.up)):
        number = 0
        for level in blocks:
            for name in _layers(level):
                there = f"{_LISTS[scope]}.{number}"
                path = f"{level.name}/{name}"
                attn = path.replace("block_", "attn_")
                scopes.append((path, there, RESAMPLE if "sample" in name else BLOCK))
                submodules[path] = there
                if hasattr(level, name.replace("block_", "attn_")) and "block_" in name:
                    scopes.append((attn, there, ATTN))
                    submodules |= {path: f"{there}.attn:input", attn: there}
                number += 1
    return NameMap(scopes), submodules


_LISTS = {"down": "downblocks", "mid": "middleblocks", "up": "upblocks"}


def _layers(level: Any) -> list[str]:
    """Names of the blocks of a scope in the order of their use, and of its resampling."""
    blocks = sorted(name for name in vars(level) if name.startswith("block_"))
    return blocks + [name for name in ("downsample", "upsample") if hasattr(level, name)]


class PortProcess:
    """Its sampler and trainer as a `Process`; what they have no method for is not compared."""

    def __init__(self, module: Any, channels: int, arguments: dict[str, Any]):
        self._model = function_model(channels)
        self._sampler = module.GaussianDiffusionSampler(self._model, **arguments)
        process = {name: arguments[name] for name in ("beta_1", "beta_T", "T")}
        self._trainer = module.GaussianDiffusionTrainer(self._model, **process)
        for ours, its in _ATTRIBUTES.items():
            owner = self._sampler if hasattr(self._sampler, its) else self._trainer
            setattr(self, ours, getattr(owner, its))

    def q_posterior_mean_variance(
        self, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, None, torch.Tensor]:
        """Mean and log-variance of q(x_{t-1} | x_t, x_0)."""
        mean, log_variance = self._sampler.q_mean_variance(x_start, x_t, t)
        return mean, None, log_variance

    def p_mean_variance(
        self, model: Model, x: torch.Tensor, t: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """`mean` and `log_variance`; it keeps its x_0 to itself."""
        self._model.function = model
        mean, log_variance = self._sampler.p_mean_variance(x, t)
        return {"mean": mean, "log_variance": log_variance}

    def p_sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_{t-1}, as its loop has it, with the first noise from torch's generator."""
        import torch

        p = self.p_mean_variance(model, x, t)
        noise = torch.randn_like(x) if int(t[0]) > 0 else 0
        sample = p["mean"] + torch.exp(0.5 * p["log_variance"]) * noise
        return sample if int(t[0]) > 0 else sample.clip(-1, 1)  # after its last step

    def p_sample_loop(self, model: Model, shape: tuple[int, ...]) -> torch.Tensor:
        """x_0, by its own loop."""
        import torch

        self._model.function = model
        return self._sampler(torch.randn(shape))


_ATTRIBUTES = {
    "betas": "betas",
    "sqrt_alphas_cumprod": "sqrt_alphas_bar",
    "sqrt_one_minus_alphas_cumprod": "sqrt_one_minus_alphas_bar",
    "sqrt_recip_alphas_cumprod": "sqrt_recip_alphas_bar",
    "sqrt_recipm1_alphas_cumprod": "sqrt_recipm1_alphas_bar",
    "posterior_variance": "posterior_var",
    "posterior_log_variance_clipped": "posterior_log_var_clipped",
    "posterior_mean_coef1": "posterior_mean_coef1",
    "posterior_mean_coef2": "posterior_mean_coef2",
}
