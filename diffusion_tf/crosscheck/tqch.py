"""tqch/ddpm-torch beside us: its UNet and its GaussianDiffusion, from a checkout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.convert.ddpm_torch import ATTN, BLOCK, RESAMPLE
from diffusion_tf.convert.maps import CONV, DENSE, NORM, Layers, NameMap, weights_of
from diffusion_tf.crosscheck.checkouts import check_checkout, import_file, importable
from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.networks import attending_levels, load_state
from diffusion_tf.crosscheck.optional import needs, split_options, translate
from diffusion_tf.crosscheck.recipe_process import betas_of
from diffusion_tf.models.unet import UNet

if TYPE_CHECKING:
    import torch

REPOSITORY = "github.com/tqch/ddpm-torch"
MEANS = {"eps": "eps", "xstart": "x_0", "xprev": "mean"}
VARIANCES = {"fixedlarge": "fixed-large", "fixedsmall": "fixed-small"}
LOSSES = {"mse": "mse", "kl": "kl"}


def make_counterpart(
    config: Config, unet: UNet, *, checkout: str | None, options: Mapping[str, Any] | None = None
) -> Counterpart:
    """Its UNet with our weights, and its GaussianDiffusion; both sides get its betas.

    Args:
        config: of the process.
        unet: ours.
        checkout: folder of the repository.
        options: arguments of its UNet and GaussianDiffusion that replace those that make them ours.

    Raises:
        ValueError: no checkout, torch is missing, an unknown option, or what it does not have.
        FileNotFoundError: the checkout holds no such file.
    """
    torch = needs("torch", "torch")
    folder = check_checkout(checkout, REPOSITORY, "ddpm_torch/diffusion.py")
    package = folder / "ddpm_torch"
    with importable(folder, "ddpm_torch"):
        # Its package imports data sets and metrics first; these files do without them.
        _as_package(package)
        import_file(package / "functions.py", "ddpm_torch.functions")
        import_file(package / "modules.py", "ddpm_torch.modules")
        diffusion = import_file(package / "diffusion.py", "ddpm_torch.diffusion")
        model = import_file(package / "models" / "unet.py", "ddpm_torch.models.unet")
    its = diffusion.GaussianDiffusion
    network_options, process_options = split_options(
        options or {}, model.UNet.__init__, its.__init__
    )
    process = {
        "betas": torch.tensor(betas_of(config)),
        "model_mean_type": translate("model_mean_type", config.model_mean_type, MEANS, REPOSITORY),
        "model_var_type": translate("model_var_type", config.model_var_type, VARIANCES, REPOSITORY),
        "loss_type": translate("loss_type", config.loss_type, LOSSES, REPOSITORY),
    }
    network = model.UNet(**_arguments(config, unet) | network_options)
    names, submodules = _names(unet)
    state = _joined(names.state_dict(weights_of(unet)))
    load_state(network, state, "its UNet")
    return Counterpart(
        name=f"{REPOSITORY}: UNet and GaussianDiffusion",
        network=network.eval(),
        process=PortProcess(its(**process | process_options)),
        submodules=submodules,
        drops=True,
    )


def _as_package(folder: Any) -> None:
    """Empty packages of its names, in which its files find one another."""
    import sys
    from types import ModuleType

    for name, path in (("ddpm_torch", folder), ("ddpm_torch.models", folder / "models")):
        module = ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module


def _arguments(config: Config, unet: UNet) -> dict[str, Any]:
    attending = attending_levels(unet)
    return {
        "in_channels": config.channels,
        "hid_channels": unet.ch,
        "out_channels": unet.out_ch,
        "ch_multipliers": list(unet.ch_mult),
        "num_res_blocks": unet.num_res_blocks,
        "apply_attn": [i in attending for i in range(len(unet.ch_mult))],
        "drop_rate": unet.dropout_rate,
        "resample_with_conv": unet.resamp_with_conv,
    }


def _names(unet: UNet) -> tuple[NameMap, dict[str, str]]:
    """Names of the weights there, and the submodules whose outputs are stages."""
    scopes: list[tuple[str, str, Layers]] = [
        ("", "", (("conv_in", "in_conv", CONV),)),
        ("temb", "embed", (("dense0", "0", DENSE), ("dense1", "2", DENSE))),
        ("", "out_conv", (("norm_out", "0", NORM), ("conv_out", "2", CONV))),
        ("mid/block_1", "middle.0", BLOCK),
        ("mid/attn_1", "middle.1", ATTN),
        ("mid/block_2", "middle.2", BLOCK),
    ]
    submodules = {"sinusoids": "embed.0:input", "temb": "embed.2", "conv_in": "in_conv"}
    for level in (*unet.down, *unet.up):
        there = level.name.replace("down_", "downsamples.level_").replace("up_", "upsamples.level_")
        blocks = sorted(name for name in vars(level) if name.startswith("block_"))
        for i, block in enumerate(blocks):
            attn = f"attn_{i}"
            both = hasattr(level, attn)
            scopes.append((f"{level.name}/{block}", f"{there}.{i}{'.0' if both else ''}", BLOCK))
            if both:
                scopes.append((f"{level.name}/{attn}", f"{there}.{i}.1", ATTN))
        for name in ("downsample", "upsample"):
            if hasattr(level, name):
                scopes.append((f"{level.name}/{name}", f"{there}.{len(blocks)}", RESAMPLE))
    submodules |= {here: place for here, place, _ in scopes if "/" in here}
    return NameMap(scopes), submodules


def _joined(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state with q, k and v of each attention in one layer."""
    joined: dict[str, np.ndarray] = {}
    for name, value in state.items():
        scope, found, rest = name.partition(".project_in.q.")
        if found:
            parts = [state[f"{scope}.project_in.{part}.{rest}"] for part in "qkv"]
            joined[f"{scope}.project_in.{rest}"] = np.concatenate(parts)
        elif ".project_in." not in name:
            joined[name] = value
    return joined


class PortProcess:
    """Its GaussianDiffusion as a `Process`."""

    def __init__(self, diffusion: Any):
        self._diffusion = diffusion
        for ours, its in _ATTRIBUTES.items():
            setattr(self, ours, getattr(diffusion, its))

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_t."""
        return self._diffusion.q_sample(x_start, t, noise=noise)

    def q_posterior_mean_variance(
        self, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, variance and log-variance of q(x_{t-1} | x_t, x_0)."""
        return self._diffusion.q_posterior_mean_var(x_start, x_t, t)

    def p_mean_variance(
        self, model: Model, x: torch.Tensor, t: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """`mean`, `log_variance` and `pred_xstart`."""
        mean, _, log_variance, pred = self._diffusion.p_mean_var(
            model, x, t, clip_denoised=True, return_pred=True
        )
        return {"mean": mean, "log_variance": log_variance, "pred_xstart": pred}

    def p_sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_{t-1}."""
        return self._diffusion.p_sample_step(model, x, t)

    def p_sample_loop(self, model: Model, shape: tuple[int, ...]) -> torch.Tensor:
        """x_0, by its own loop."""
        return self._diffusion.p_sample(model, shape)

    def training_losses(
        self, model: Model, x_start: torch.Tensor, t: torch.Tensor, *, noise: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each example, [B]."""
        return self._diffusion.train_losses(model, x_start, t, noise=noise)

    def _vb_terms_bpd(
        self, model: Model, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """The terms of the bound, [B]."""
        return self._diffusion._loss_term_bpd(
            model, x_0=x_start, x_t=x_t, t=t, clip_denoised=True, return_pred=False
        )


_ATTRIBUTES = {
    "betas": "betas",
    "alphas_cumprod": "alphas_bar",
    "sqrt_alphas_cumprod": "sqrt_alphas_bar",
    "sqrt_one_minus_alphas_cumprod": "sqrt_one_minus_alphas_bar",
    "sqrt_recip_alphas_cumprod": "sqrt_recip_alphas_bar",
    "sqrt_recipm1_alphas_cumprod": "sqrt_recip_m1_alphas_bar",
    "posterior_variance": "posterior_var",
    "posterior_log_variance_clipped": "posterior_logvar_clipped",
    "posterior_mean_coef1": "posterior_mean_coef1",
    "posterior_mean_coef2": "posterior_mean_coef2",
}
