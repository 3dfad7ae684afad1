"""A folder that passes for a checkout of w86763777/pytorch-ddpm, written for these tests.

Its network is `other_ports.PyTorchDDPM`; its process clips x_0 where nothing is made of it any
more, and the last sample.
"""

from pathlib import Path

import torch
from torch import nn

from helpers.other_ports import PyTorchDDPM


class UNet(PyTorchDDPM):
    """With the arguments of that port, whose dropout needs no other rate here."""

    def __init__(self, T, ch, ch_mult, attn, num_res_blocks, dropout):
        super().__init__(
            ch=ch, ch_mult=ch_mult, num_res_blocks=num_res_blocks, attention=attn, timesteps=T
        )


class Process(nn.Module):
    """The coefficients that its sampler and its trainer share."""

    def __init__(self, model, beta_1, beta_T, T):
        super().__init__()
        self.model, self.T = model, T
        self.betas = torch.linspace(beta_1, beta_T, T, dtype=torch.float64)
        self.signal = torch.cumprod(1 - self.betas, 0)

    def at(self, coefficients, t):
        return coefficients[t].float().reshape(-1, 1, 1, 1)


class GaussianDiffusionTrainer(Process):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.sqrt_alphas_bar = self.signal.sqrt()
        self.sqrt_one_minus_alphas_bar = (1 - self.signal).sqrt()


class GaussianDiffusionSampler(Process):
    def __init__(self, model, beta_1, beta_T, T, mean_type="epsilon", var_type="fixedlarge"):
        super().__init__(model, beta_1, beta_T, T)
        before = torch.cat([torch.ones(1).double(), self.signal[:-1]])
        self.sqrt_recip_alphas_bar = (1 / self.signal).sqrt()
        self.sqrt_recipm1_alphas_bar = (1 / self.signal - 1).sqrt()
        self.posterior_var = self.betas * (1 - before) / (1 - self.signal)
        self.posterior_log_var_clipped = self.log_variance(self.posterior_var)
        self.posterior_mean_coef1 = self.betas * before.sqrt() / (1 - self.signal)
        self.posterior_mean_coef2 = (1 - before) * (1 - self.betas).sqrt() / (1 - self.signal)
        large = self.log_variance(self.betas)
        of_type = {"fixedlarge": large, "fixedsmall": self.posterior_log_var_clipped}
        self.of_step = of_type[var_type]

    def log_variance(self, variance):
        return torch.log(torch.cat([self.posterior_var[1:2], variance[1:]]))

    def q_mean_variance(self, x_0, x_t, t):
        mean = self.at(self.posterior_mean_coef1, t) * x_0
        mean += self.at(self.posterior_mean_coef2, t) * x_t
        return mean, self.at(self.posterior_log_var_clipped, t)

    def p_mean_variance(self, x_t, t):
        x_0 = self.at(self.sqrt_recip_alphas_bar, t) * x_t
        x_0 = x_0 - self.at(self.sqrt_recipm1_alphas_bar, t) * self.model(x_t, t)
        mean, _ = self.q_mean_variance(x_0, x_t, t)
        x_0 = x_0.clip(-1, 1)  # too late
        return mean, self.at(self.of_step, t)

    def forward(self, x):
        for step in reversed(range(self.T)):
            mean, log_variance = self.p_mean_variance(x, torch.full((len(x),), step))
            x = mean + (torch.exp(0.5 * log_variance) * torch.randn_like(x) if step else 0)
        return x.clip(-1, 1)


def checkout(folder: Path) -> str:
    """The folder, with the two files that are looked for."""
    for file, names in {
        "model.py": "UNet",
        "diffusion.py": "GaussianDiffusionSampler, GaussianDiffusionTrainer",
    }.items():
        (folder / file).write_text(f"from helpers.pytorch_ddpm_port import {names}\n")
    return str(folder)
