"""The architecture of a U-Net, read off its weights."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diffusion_tf.config import Config
from diffusion_tf.config.sizes import unet_of, unet_weights
from diffusion_tf.convert.maps import Weights, assign
from diffusion_tf.models import get_model
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.image_sizes import Size, as_size, sides
from diffusion_tf.utils.memory import check_memory


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What weights tell about their network.

    The image size is not among it, so attention is known by its resolutions' numbers, not their
    heights; nor are the dropout rate and the block size, which has multiplied the channels.

    Attributes:
        in_channels, out_channels: of the first and of the last convolution.
        ch, ch_mult, num_res_blocks, resamp_with_conv: see `UNet`.
        attention: the resolutions that have it; 0 is the finest.
    """

    in_channels: int
    out_channels: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attention: tuple[int, ...]
    resamp_with_conv: bool

    @classmethod
    def of_weights(cls, weights: Mapping[str, np.ndarray]) -> "Architecture":
        """Reads the architecture off names and shapes.

        Args:
            weights: by the paths of here.

        Raises:
            ValueError: weights of no U-Net.
        """
        widths: list[int] = []
        while (kernel := weights.get(f"down_{len(widths)}/block_0/conv1/kernel")) is not None:
            widths.append(kernel.shape[-1])
        first, last = weights.get("conv_in/kernel"), weights.get("conv_out/kernel")
        if not widths or first is None or last is None or not first.ndim == last.ndim == 4:
            raise ValueError("The weights are of no DDPM U-Net: first or last layers are missing.")
        ch = first.shape[-1]
        if any(width % ch for width in widths):
            raise ValueError(
                f"The weights have {ch} channels after conv_in and {widths} at the resolutions;"
                " a DDPM U-Net has multiples."
            )
        blocks = [re.fullmatch(r"down_0/block_(\d+)/conv1/kernel", path) for path in weights]
        return cls(
            in_channels=first.shape[2],
            out_channels=last.shape[3],
            ch=ch,
            ch_mult=tuple(width // ch for width in widths),
            num_res_blocks=sum(block is not None for block in blocks),
            attention=tuple(
                level for level in range(len(widths)) if f"down_{level}/attn_0/q/kernel" in weights
            ),
            # One resolution is never halved; the UNet's default then.
            resamp_with_conv=len(widths) == 1 or "down_0/downsample/conv/kernel" in weights,
        )

    @classmethod
    def of_config(cls, config: Config) -> "Architecture":
        """The architecture that a config describes."""
        return cls(**unet_of(config))

    def is_of(self, config: Config) -> bool:
        """Whether a config describes this architecture."""
        return _is_plain(config) and self == Architecture.of_config(config)

    def check_config(self, config: Config) -> None:
        """Raises a ValueError if a config describes another architecture."""
        check_known_elsewhere(config)
        theirs = asdict(Architecture.of_config(config))
        differing = [
            f"{name} {value}, not {theirs[name]}"
            for name, value in asdict(self).items()
            if theirs[name] != value
        ]
        if differing:
            raise ValueError(
                f"The weights are of another network than the config: {'; '.join(differing)};"
                " choose another config."
            )

    def config_fields(self, image_size: Size) -> dict[str, Any]:
        """The fields of `Config` that describe this network for images of a size."""
        return {
            "image_size": image_size,
            "channels": self.in_channels,
            "ch": self.ch,
            "ch_mult": self.ch_mult,
            "num_res_blocks": self.num_res_blocks,
            "attn_resolutions": tuple(sides(image_size)[0] >> level for level in self.attention),
            "resamp_with_conv": self.resamp_with_conv,
            "block_size": 1,
        }

    def build(
        self, image_size: Size | None = None, *, dropout: float = 0.0, block_size: int = 1
    ) -> UNet:
        """A new network of this architecture.

        Args:
            image_size: of the images; if None, the network takes all sizes that can be halved as
                often as it halves them.
            dropout: see `UNet`.
            block_size: see `UNet`; it has multiplied the channels.

        Raises:
            ValueError: channels that the network cannot have, or an image size that cannot be
                halved often enough.
        """
        # Without a size, one at which the finest attention is at 16 pixels, as in the paper.
        halvings = len(self.ch_mult) - 1
        finest = max(16 << min(self.attention, default=halvings), 1 << halvings)
        size = image_size or finest * block_size
        height, width = sides(size)
        blocks = as_size(height // block_size, width // block_size)
        fields = {**self.config_fields(blocks), "block_size": block_size}
        for name in ("image_size", "channels"):
            del fields[name]
        check_memory(
            4 * unet_weights(**asdict(self)),
            f"The network of {self.ch} channels, ch_mult {self.ch_mult} and {self.num_res_blocks}"
            " blocks per resolution",
            "take a smaller one",
        )
        pixels = block_size**2
        unet = UNet(out_ch=self.out_channels // pixels, dropout=dropout, **fields)
        unet.build([(None, height, width, self.in_channels // pixels), (None,)])
        if image_size is None:
            unet.image_size = None
        return unet


def build_from_weights(weights: Weights, block_size: int = 1) -> UNet:
    """The network that weights are of, with them, for all image sizes.

    Args:
        weights: by the paths of here.
        block_size: see `UNet`; no weights tell it.

    Raises:
        ValueError: weights that are missing, left over or of impossible shapes.
    """
    unet = Architecture.of_weights(weights).build(block_size=block_size)
    assign(unet, weights)
    return unet


def build_from_config(config: Config, weights: Weights) -> UNet:
    """The network of a config, with given weights.

    Raises:
        ValueError: the weights are of another network.
    """
    Architecture.of_weights(weights).check_config(config)
    unet = get_model(config)
    assign(unet, weights)
    return unet


def check_known_elsewhere(config: Config) -> None:
    """Raises a ValueError if only this project has the network of a config."""
    if not _is_plain(config):
        raise ValueError(
            "The run's network is an MLP or has conditions; other formats know unconditional U-Nets"
            " only, so it cannot be converted, compared or measured beside them."
        )


def _is_plain(config: Config) -> bool:
    return config.model == "unet" and not config.conditional
