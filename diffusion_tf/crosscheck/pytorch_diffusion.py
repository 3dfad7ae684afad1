"""pesser/pytorch_diffusion beside us: its Model and its Diffusion, from a checkout."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_tf.config import Config
from diffusion_tf.convert.pytorch_diffusion import NAMES
from diffusion_tf.crosscheck.counterpart import Counterpart, Model
from diffusion_tf.crosscheck.networks import attn_resolutions, load_ours, submodules
from diffusion_tf.crosscheck.optional import needs, split_options, translate
from diffusion_tf.crosscheck.torch_side import moments
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.image_sizes import shown_size

if TYPE_CHECKING:
    import torch

_SAME = {name: name for name in ("fixedsmall", "fixedlarge")}


def make_counterpart(
    config: Config, unet: UNet, *, checkout: str | None, options: Mapping[str, Any] | None = None
) -> Counterpart:
    """The port's Diffusion, whose Model gets our weights.

    Args:
        config: of the process.
        unet: ours.
        checkout: folder of the repository, which is not a package.
        options: arguments of Model and keys of `diffusion_config` that replace those that make them
            ours.

    Raises:
        ValueError: no checkout, a package is missing, an unknown option, or what the port does not
            have.
        FileNotFoundError: the checkout holds no such package.
    """
    needs("torch", "torch")
    if config.model_mean_type != "eps":
        raise ValueError(
            f"model_mean_type is {config.model_mean_type!r}; pytorch_diffusion has eps alone."
        )
    if not isinstance(config.image_size, int):
        raise ValueError(
            f"image_size is {shown_size(config.image_size)}, and pytorch_diffusion's Model takes"
            " square images alone; compare with another implementation."
        )
    with _importable(checkout):
        diffusion_module = needs("pytorch_diffusion.diffusion", "requests tqdm")
    diffusion_config = {
        "beta_schedule": config.beta_schedule,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "num_diffusion_timesteps": config.num_diffusion_timesteps,
        "model_var_type": translate(
            "model_var_type", config.model_var_type, _SAME, "pytorch_diffusion"
        ),
    }
    model_config = {
        "ch": unet.ch,
        "out_ch": unet.out_ch,
        "ch_mult": unet.ch_mult,
        "num_res_blocks": unet.num_res_blocks,
        "attn_resolutions": attn_resolutions(unet, config.image_shape[0]),
        "dropout": unet.dropout_rate,
        "resamp_with_conv": unet.resamp_with_conv,
        "in_channels": config.channels,
        "resolution": config.image_size,
    }
    options = dict(options or {})
    diffusion_config |= {key: options.pop(key) for key in diffusion_config if key in options}
    (of_model,) = split_options(options, diffusion_module.Model.__init__)
    diffusion = diffusion_module.Diffusion(diffusion_config, model_config | of_model, device="cpu")
    load_ours(diffusion.model, unet, "pytorch_diffusion", "pytorch_diffusion's Model")
    return Counterpart(
        name="pesser/pytorch_diffusion: Diffusion and its Model",
        network=diffusion.model.eval(),
        process=PortProcess(diffusion, diffusion_module.denoising_step),
        names=NAMES,
        submodules=submodules(unet, "pytorch_diffusion"),
    )


@contextlib.contextmanager
def _importable(checkout: str | None) -> Iterator[None]:
    """The checkout on the path of imports inside the block."""
    if not checkout:
        raise ValueError(
            "pytorch_diffusion is not a package; name the folder of a checkout of"
            " github.com/pesser/pytorch_diffusion with --checkout."
        )
    if not (Path(checkout) / "pytorch_diffusion" / "diffusion.py").is_file():
        raise FileNotFoundError(
            f"{checkout} holds no pytorch_diffusion/diffusion.py; name the folder of a checkout of"
            " github.com/pesser/pytorch_diffusion."
        )
    for name in [name for name in sys.modules if name.split(".")[0] == "pytorch_diffusion"]:
        del sys.modules[name]  # of another checkout
    importlib.invalidate_caches()
    sys.path.insert(0, str(Path(checkout).resolve()))
    try:
        yield
    finally:
        sys.path.pop(0)


class PortProcess:
    """The port's Diffusion as a `Process`; it has no q(x_t | x_0) and no loss."""

    def __init__(self, diffusion: Any, denoising_step: Any):
        self._step = denoising_step
        self.betas = 1 - diffusion.alphas
        names = (
            "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
            "posterior_mean_coef1", "posterior_mean_coef2",
        )  # fmt: skip
        self._coefficients = {name: getattr(diffusion, name) for name in names}
        self.__dict__.update(self._coefficients)
        self._logvar = diffusion.logvar

    def p_mean_variance(
        self, model: Model, x: torch.Tensor, t: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """`mean`, `log_variance` and `pred_xstart`."""
        mean, log_variance = moments(lambda x, t: self.p_sample(model, x, t), x, t)
        _, pred_xstart = self._sample(model, x, t)
        return {"mean": mean, "log_variance": log_variance, "pred_xstart": pred_xstart}

    def p_sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_{t-1}."""
        return self._sample(model, x, t)[0]

    def _sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> tuple:
        return self._step(
            x, t, model=model, logvar=self._logvar, return_pred_xstart=True, **self._coefficients
        )
