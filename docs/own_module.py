"""An example for `scripts/crosscheck.py --module`: own PyTorch code beside this project's.

python scripts/crosscheck.py --module=docs/own_module.py:OwnDiffusion
python scripts/crosscheck.py --module=docs/own_module.py:Both --ch=64 --ch_mult=1,2
python scripts/crosscheck.py --module=docs/own_module.py:make_network --ch=64 --ch_mult=1,2
"""

import torch
from diffusers import UNet2DModel

from diffusion_tf.convert.diffusers import state_dict_of


class OwnDiffusion:
    """A diffusion object: whichever methods of `crosscheck.counterpart.Process` it has.

    It is called with the `Config` that the flags describe.
    """

    def __init__(self, config):
        self.betas = torch.linspace(
            config.beta_start, config.beta_end, config.num_diffusion_timesteps, dtype=torch.float64
        )
        self.alphas_cumprod = torch.cumprod(1 - self.betas, 0)

    def q_sample(self, x_start, t, noise):
        alphas_cumprod = self.alphas_cumprod
        return at(alphas_cumprod.sqrt(), t) * x_start + at((1 - alphas_cumprod).sqrt(), t) * noise

    def p_sample(self, model, x, t):
        alphas_cumprod, betas = self.alphas_cumprod, self.betas
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        x_start = at((1 / alphas_cumprod).sqrt(), t) * x
        x_start -= at((1 / alphas_cumprod - 1).sqrt(), t) * model(x, t)
        mean = at(betas * previous.sqrt() / (1 - alphas_cumprod), t) * x_start.clamp(-1, 1)
        mean += at((1 - previous) * (1 - betas).sqrt() / (1 - alphas_cumprod), t) * x
        noise = torch.randn_like(x)  # the first draw of the step
        return mean + (t > 0).reshape(-1, 1, 1, 1) * at(betas.sqrt(), t) * noise


def at(coefficients, t):
    """Coefficients at t, [B, 1, 1, 1]."""
    return coefficients[t].float().reshape(-1, 1, 1, 1)


class Wrapped(torch.nn.Module):
    """A network whose weights go by names of its own."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, t):
        return self.unet(x, t).sample


class Both:
    """An adapter: a network, how it takes this project's weights, a process, an optimizer."""

    # Where stages of the network come out, of those that one wants to see.
    submodules = {"temb": "unet.time_embedding", "conv_in": "unet.conv_in"}  # noqa: RUF012

    def __init__(self, config):
        self.network = Wrapped(make_network(config))
        self.process = OwnDiffusion(config)

    def load_weights(self, unet):
        state = {name: torch.from_numpy(value) for name, value in state_dict_of(unet).items()}
        self.network.unet.load_state_dict(state)


def make_network(config):
    """A network whose weights have names that are known: it needs no adapter."""
    attends = [
        config.image_shape[0] // 2**i in config.attn_resolutions for i in range(len(config.ch_mult))
    ]
    return UNet2DModel(
        sample_size=config.image_size,
        in_channels=config.channels,
        out_channels=config.channels,
        layers_per_block=config.num_res_blocks,
        block_out_channels=[config.ch * mult for mult in config.ch_mult],
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        attention_head_dim=None,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
