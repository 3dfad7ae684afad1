"""Networks with the names and the arithmetic of two public ports, written for these tests.

`DDPMTorch` has those of tqch/ddpm-torch, `PyTorchDDPM` those of w86763777/pytorch-ddpm. The latter
takes the paper's frequencies and padding instead of its own if asked for.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from helpers.torch_port import attention, conv


def sinusoids(t, ch, intervals):
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(ch // 2) / intervals)
    return torch.sin(angles), torch.cos(angles)


def shortcut(in_ch, out_ch):
    return nn.Identity() if in_ch == out_ch else conv(in_ch, out_ch, 1)


def channels(ch, ch_mult, num_res_blocks):
    """Channels in and out of the blocks of each resolution, on the way down and on the way up."""
    skips, down, up, x_ch = [ch], [], [], ch
    for i, mult in enumerate(ch_mult):
        ins = [skips[-1]] + [ch * mult] * (num_res_blocks - 1)
        down.append([(in_ch, ch * mult) for in_ch in ins])
        skips += [ch * mult] * (num_res_blocks + (i + 1 < len(ch_mult)))
    x_ch = ch * ch_mult[-1]
    for mult in reversed(ch_mult):
        ins = [x + skips.pop() for x in [x_ch] + [ch * mult] * num_res_blocks]
        up.append([(in_ch, ch * mult) for in_ch in ins])
        x_ch = ch * mult
    return down, up


# --- tqch/ddpm-torch


def norm(ch):
    return nn.GroupNorm(32, ch, eps=1e-6)


class FusedAttention(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.norm, self.project_in, self.project_out = (
            norm(ch),
            conv(ch, 3 * ch, 1),
            conv(ch, ch, 1),
        )

    def forward(self, x, temb):
        return x + self.project_out(attention(*self.project_in(self.norm(x)).chunk(3, dim=1)))


class Residual(nn.Module):
    def __init__(self, in_ch, out_ch, temb_ch):
        super().__init__()
        self.norm1, self.conv1, self.fc = (
            norm(in_ch),
            conv(in_ch, out_ch),
            nn.Linear(temb_ch, out_ch),
        )
        self.norm2, self.conv2 = norm(out_ch), conv(out_ch, out_ch)
        self.skip = shortcut(in_ch, out_ch)

    def forward(self, x, temb):
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.fc(functional.silu(temb))[:, :, None, None]
        return self.skip(x) + self.conv2(functional.silu(self.norm2(h)))


class Both(nn.Sequential):
    def forward(self, x, temb):
        for module in self:
            x = module(x, temb)
        return x


class DDPMTorch(nn.Module):
    def __init__(self, *, ch, ch_mult, num_res_blocks, attention, in_ch=3, out_ch=3, resample=True):
        super().__init__()
        self.ch, self.num_res_blocks = ch, num_res_blocks
        self.embed = nn.Sequential(nn.Linear(ch, 4 * ch), nn.SiLU(), nn.Linear(4 * ch, 4 * ch))
        self.in_conv = conv(in_ch, ch)
        down, up = channels(ch, ch_mult, num_res_blocks)

        def block(level, ins):
            alone = Residual(*ins, 4 * ch)
            return Both(alone, FusedAttention(ins[1])) if level in attention else alone

        def level_of(level, pairs, last):
            modules = [block(level, ins) for ins in pairs]
            return nn.ModuleList(modules if last is None else [*modules, last])

        halves = [
            nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(ch * m, ch * m, 3, stride=2))
            if resample else nn.AvgPool2d(2)
            for m in ch_mult[:-1]
        ]  # fmt: skip
        doubles = [
            nn.Sequential(
                nn.Upsample(scale_factor=2), *([conv(ch * m, ch * m)] if resample else [])
            )
            for m in ch_mult[1:]
        ]
        levels = range(len(ch_mult))
        self.downsamples = nn.ModuleDict(
            {f"level_{i}": level_of(i, down[i], [*halves, None][i]) for i in levels}
        )
        mid = ch * ch_mult[-1]
        self.middle = Both(
            Residual(mid, mid, 4 * ch), FusedAttention(mid), Residual(mid, mid, 4 * ch)
        )
        self.upsamples = nn.ModuleDict(
            {f"level_{i}": level_of(i, up[::-1][i], [None, *doubles][i]) for i in levels}
        )
        self.out_conv = nn.Sequential(norm(ch * ch_mult[0]), nn.SiLU(), conv(ch, out_ch))

    def forward(self, x, t):
        temb = self.embed(torch.cat(sinusoids(t, self.ch, self.ch // 2 - 1), dim=1))
        hs = [self.in_conv(x)]
        for level in self.downsamples.values():
            for j, layer in enumerate(level):
                hs.append(layer(hs[-1], temb) if j < self.num_res_blocks else layer(hs[-1]))
        h = self.middle(hs[-1], temb)
        for level in reversed(self.upsamples.values()):
            for j, layer in enumerate(level):
                if j <= self.num_res_blocks:
                    h = layer(torch.cat([h, hs.pop()], dim=1), temb)
                else:
                    h = layer(h)
        return self.out_conv(h)


class InBlocks(nn.Module):
    """The network on the pixels of blocks, as that port wraps it."""

    def __init__(self, model, block_size):
        super().__init__()
        self._model, self.block_size = model, block_size

    def forward(self, x, t):
        output = self._model(functional.pixel_unshuffle(x, self.block_size), t)
        return functional.pixel_shuffle(output, self.block_size)


# --- w86763777/pytorch-ddpm


class Attention(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.group_norm = nn.GroupNorm(32, ch)
        self.proj_q, self.proj_k, self.proj_v, self.proj = (conv(ch, ch, 1) for _ in range(4))

    def forward(self, x):
        h = self.group_norm(x)
        return x + self.proj(attention(self.proj_q(h), self.proj_k(h), self.proj_v(h)))


class Block(nn.Module):
    def __init__(self, in_ch, out_ch, temb_ch, attends):
        super().__init__()
        self.block1 = nn.Sequential(nn.GroupNorm(32, in_ch), nn.SiLU(), conv(in_ch, out_ch))
        self.temb_proj = nn.Sequential(nn.SiLU(), nn.Linear(temb_ch, out_ch))
        self.block2 = nn.Sequential(
            nn.GroupNorm(32, out_ch), nn.SiLU(), nn.Dropout(0.1), conv(out_ch, out_ch)
        )
        self.shortcut = shortcut(in_ch, out_ch)
        self.attn = Attention(out_ch) if attends else nn.Identity()

    def forward(self, x, temb):
        h = self.block1(x) + self.temb_proj(temb)[:, :, None, None]
        return self.attn(self.shortcut(x) + self.block2(h))


class Half(nn.Module):
    def __init__(self, ch, all_sides):
        super().__init__()
        self.main = nn.Conv2d(ch, ch, 3, stride=2)
        self.sides = (1, 1, 1, 1) if all_sides else (0, 1, 0, 1)

    def forward(self, x, temb):
        return self.main(functional.pad(x, self.sides))


class Double(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.main = conv(ch, ch)

    def forward(self, x, temb):
        return self.main(functional.interpolate(x, scale_factor=2))


class PyTorchDDPM(nn.Module):
    def __init__(
        self, *, ch, ch_mult, num_res_blocks, attention, timesteps=1000,
        papers_frequencies=False, papers_padding=False,
    ):  # fmt: skip
        super().__init__()
        sines, cosines = sinusoids(torch.arange(timesteps), ch, ch // 2 - papers_frequencies)
        table = torch.stack([sines, cosines], dim=2).reshape(timesteps, ch)
        self.time_embedding = nn.Module()
        self.time_embedding.timembedding = nn.Sequential(
            nn.Embedding.from_pretrained(table),
            nn.Linear(ch, 4 * ch), nn.SiLU(), nn.Linear(4 * ch, 4 * ch),
        )  # fmt: skip
        self.head = conv(3, ch)
        down, up = channels(ch, ch_mult, num_res_blocks)
        self.downblocks, self.upblocks = nn.ModuleList(), nn.ModuleList()
        for i, pairs in enumerate(down):
            self.downblocks.extend(Block(*pair, 4 * ch, i in attention) for pair in pairs)
            if i + 1 < len(down):
                self.downblocks.append(Half(pairs[-1][1], not papers_padding))
        mid = ch * ch_mult[-1]
        self.middleblocks = nn.ModuleList(Block(mid, mid, 4 * ch, b) for b in (True, False))
        for i, pairs in reversed(list(enumerate(up[::-1]))):
            self.upblocks.extend(Block(*pair, 4 * ch, i in attention) for pair in pairs)
            if i:
                self.upblocks.append(Double(pairs[-1][1]))
        self.tail = nn.Sequential(nn.GroupNorm(32, ch), nn.SiLU(), conv(ch, 3))

    def forward(self, x, t):
        temb = self.time_embedding.timembedding(t)
        hs = [self.head(x)]
        for layer in self.downblocks:
            hs.append(layer(hs[-1], temb))
        h = hs[-1]
        for layer in self.middleblocks:
            h = layer(h, temb)
        for layer in self.upblocks:
            h = layer(torch.cat([h, hs.pop()], dim=1) if isinstance(layer, Block) else h, temb)
        return self.tail(h)


def randomised(module, seed=0):
    """Random weights in every tensor that is learned."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.requires_grad:
                centre = 1.0 if value.ndim == 1 and name.endswith("weight") else 0.0
                value.copy_(centre + 0.05 * torch.randn(value.shape, generator=generator))
    return module
