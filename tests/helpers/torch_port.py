"""A PyTorch port of the network and the sampler, written for these tests.

Names, arguments and weights are those of pesser/pytorch_diffusion, so that a folder
`pytorch_diffusion` with this file as `diffusion.py` passes for a checkout of it. Tests plant faults
by changing the text of a copy.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def conv(in_ch, out_ch, size=3, **kwargs):
    return nn.Conv2d(in_ch, out_ch, size, padding=size // 2, **kwargs)


def norm(ch):
    return nn.GroupNorm(32, ch, eps=1e-6)


def attention(q, k, v):
    """One head over all pixels; q, k, v [B, C, H, W]."""
    batch, ch, height, width = q.shape
    q, k, v = (a.reshape(batch, ch, -1).transpose(1, 2) for a in (q, k, v))
    weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(ch), dim=-1)
    return (weights @ v).transpose(1, 2).reshape(batch, ch, height, width)


class ResnetBlock(nn.Module):
    def __init__(self, in_ch, out_ch, temb_ch):
        super().__init__()
        self.norm1, self.conv1 = norm(in_ch), conv(in_ch, out_ch)
        self.temb_proj = nn.Linear(temb_ch, out_ch)
        self.norm2, self.conv2 = norm(out_ch), conv(out_ch, out_ch)
        if in_ch != out_ch:
            self.nin_shortcut = conv(in_ch, out_ch, 1)

    def forward(self, x, temb):
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.temb_proj(functional.silu(temb))[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.norm = norm(ch)
        self.q, self.k, self.v, self.proj_out = (conv(ch, ch, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        return x + self.proj_out(attention(self.q(h), self.k(h), self.v(h)))


class Downsample(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.conv = nn.Conv2d(ch, ch, 3, stride=2)

    def forward(self, x):
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.conv = conv(ch, ch)

    def forward(self, x):
        return self.conv(functional.interpolate(x, scale_factor=2.0))


class Level(nn.Module):
    """The blocks of one resolution, with attention after each if it has it."""

    def __init__(self, in_chs, ch, temb_ch, attends):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(in_ch, ch, temb_ch) for in_ch in in_chs)
        self.attn = nn.ModuleList(AttnBlock(ch) for _ in in_chs if attends)

    def run(self, i, x, temb):
        x = self.block[i](x, temb)
        return self.attn[i](x) if self.attn else x


class Model(nn.Module):
    def __init__(
        self, *, ch, out_ch, ch_mult, num_res_blocks, attn_resolutions, dropout=0.0,
        resamp_with_conv=True, in_channels, resolution,
    ):  # fmt: skip
        super().__init__()
        assert resamp_with_conv
        self.ch, temb_ch = ch, 4 * ch
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(ch, temb_ch), nn.Linear(temb_ch, temb_ch)])
        self.conv_in = conv(in_channels, ch)
        chs, skips, top = [ch * mult for mult in ch_mult], [ch], len(ch_mult) - 1
        attends = [resolution >> i in attn_resolutions for i in range(len(chs))]
        self.down = nn.ModuleList()
        for i, level_ch in enumerate(chs):
            in_chs = [skips[-1]] + [level_ch] * (num_res_blocks - 1)
            self.down.append(Level(in_chs, level_ch, temb_ch, attends[i]))
            skips += [level_ch] * num_res_blocks
            if i < top:
                self.down[i].downsample = Downsample(level_ch)
                skips.append(level_ch)
        self.mid = nn.Module()
        self.mid.block_1 = ResnetBlock(chs[-1], chs[-1], temb_ch)
        self.mid.attn_1 = AttnBlock(chs[-1])
        self.mid.block_2 = ResnetBlock(chs[-1], chs[-1], temb_ch)
        up, x_ch = [], chs[-1]
        for i, level_ch in reversed(list(enumerate(chs))):
            in_chs = [x + skips.pop() for x in [x_ch] + [level_ch] * num_res_blocks]
            up.insert(0, Level(in_chs, level_ch, temb_ch, attends[i]))
            if i:
                up[0].upsample = Upsample(level_ch)
            x_ch = level_ch
        self.up = nn.ModuleList(up)
        self.norm_out, self.conv_out = norm(ch * ch_mult[0]), conv(ch * ch_mult[0], out_ch)

    def forward(self, x, t):
        half = self.ch // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        angles = t.float()[:, None] * frequencies
        sin, cos = torch.sin(angles), torch.cos(angles)
        temb = self.temb.dense[0](torch.cat([sin, cos], dim=1))
        temb = self.temb.dense[1](functional.silu(temb))
        hs = [self.conv_in(x)]
        for level in self.down:
            for i in range(len(level.block)):
                hs.append(level.run(i, hs[-1], temb))
            if hasattr(level, "downsample"):
                hs.append(level.downsample(hs[-1]))
        h = self.mid.attn_1(self.mid.block_1(hs[-1], temb))
        h = self.mid.block_2(h, temb)
        for level in reversed(self.up):
            for i in range(len(level.block)):
                h = level.run(i, torch.cat([h, hs.pop()], dim=1), temb)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        return self.conv_out(functional.silu(self.norm_out(h)))


def at(coefficients, t):
    return torch.tensor(coefficients).float()[t.long()].reshape(-1, 1, 1, 1)


def denoising_step(
    x, t, *, model, logvar, sqrt_recip_alphas_cumprod, sqrt_recipm1_alphas_cumprod,
    posterior_mean_coef1, posterior_mean_coef2, return_pred_xstart=False,
):  # fmt: skip
    """Draws x_{t-1}."""
    x_0 = at(sqrt_recip_alphas_cumprod, t) * x - at(sqrt_recipm1_alphas_cumprod, t) * model(x, t)
    x_0 = x_0.clamp(-1, 1)
    mean = at(posterior_mean_coef1, t) * x_0 + at(posterior_mean_coef2, t) * x
    noise = torch.randn_like(x) * (t > 0).float().reshape(-1, 1, 1, 1)
    sample = mean + torch.exp(at(logvar, t) / 2) * noise
    return (sample, x_0) if return_pred_xstart else sample


class Diffusion:
    def __init__(self, diffusion_config, model_config, device=None):
        self.model = Model(**model_config)
        self.model_var_type = diffusion_config["model_var_type"]
        assert diffusion_config["beta_schedule"] == "linear"
        betas = np.linspace(
            diffusion_config["beta_start"],
            diffusion_config["beta_end"],
            diffusion_config["num_diffusion_timesteps"],
        )
        self.alphas = 1 - betas
        alphas_cumprod = np.cumprod(self.alphas)
        previous = np.append(1, alphas_cumprod[:-1])
        variance = betas * (1 - previous) / (1 - alphas_cumprod)
        self.sqrt_recip_alphas_cumprod = alphas_cumprod**-0.5
        self.sqrt_recipm1_alphas_cumprod = (1 / alphas_cumprod - 1) ** 0.5
        self.posterior_mean_coef1 = betas * previous**0.5 / (1 - alphas_cumprod)
        self.posterior_mean_coef2 = (1 - previous) * self.alphas**0.5 / (1 - alphas_cumprod)
        self.logvar = {
            "fixedlarge": np.log(np.append(variance[1], betas[1:])),
            "fixedsmall": np.log(np.maximum(variance, 1e-20)),
        }[self.model_var_type]
