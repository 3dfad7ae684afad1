"""The U-Net of the paper's appendix B.

Layers carry the original's scope names: `model/down_0/block_0/conv1/kernel` here is
`model/down_0/block_0/conv1/W` there (kernel is W, bias is b, the rest is the same).
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from diffusion_tf.gaussian_diffusion.checks import check_floating, checked_timesteps
from diffusion_tf.models.blocks import (
    NUM_GROUPS,
    AttnBlock,
    Downsample,
    ResnetBlock,
    Shape,
    TimeEmbedding,
    Upsample,
    conv3x3,
    group_norm,
)
from diffusion_tf.models.conditioning import add_condition, get_condition_embedding
from diffusion_tf.models.inputs import TakesInputs, check_dtype
from diffusion_tf.utils.image_sizes import Size, as_size, shown_size, sides
from diffusion_tf.utils.keras_backend import keras, layers
from diffusion_tf.utils.numbers import INT32_MAX, MAX_RES_BLOCKS, check_rate, whole, whole_numbers

RunLayer = Callable[..., tf.Tensor]  # of `UNet.walk`


def run_layer(name: str, layer: layers.Layer, inputs: Any, **options: Any) -> tf.Tensor:
    """Calls a layer: what `UNet.walk` does with each unless it is told something else."""
    del name  # for those who look at a stage
    return layer(inputs, **options)


class Scope(layers.Layer):
    """Layers that share a scope of the original (`down_0`, `mid`, `up_1`, ...), by name."""

    def add(self, layer: layers.Layer, input_shape: Shape | Sequence[Shape]) -> layers.Layer:
        """Builds the layer inside this scope, keeps it as the attribute of its name, returns it."""
        with keras.name_scope(self.name, caller=self):
            layer.build(input_shape)
        setattr(self, layer.name, layer)
        self.built = True
        return layer


@keras.saving.register_keras_serializable("diffusion_tf")
class UNet(TakesInputs):
    """The denoising network (the original's `unet.model`), channels last.

    `unet([x, t])`, or `unet(x, t)`, with x float [B, H, W, C] and t int [B] returns float32
    [B, H, W, out_ch]. A conditional network, which the original has not, is called as
    `unet([x, t, y])`; the embedding of y is added to that of t (see `conditioning`).

    Where attention goes depends on the image size, which is fixed when the network is built: by
    its first call, or by `build([(None, H, W, C), (None,)])`.

    Args:
        ch: channels at full resolution, a multiple of 32.
        out_ch: channels of the output; twice those of x for a learned variance.
        ch_mult: multiple of ch at each resolution, finest first; each resolution has half the
            height and width of the one before. The finest has H / block_size and W / block_size.
        num_res_blocks: residual blocks per resolution on the way down; one more on the way up.
        attn_resolutions: heights, in pixels, at which every block is followed by attention. The
            middle always has attention.
        dropout: rate inside the residual blocks.
        resamp_with_conv: use convolutions when halving and doubling the resolution.
        block_size: to save memory, blocks of this many pixels squared become the channels of one
            pixel before the network, and pixels again after it (the `block_size` of the original's
            `run_celebahq.py` and `run_lsun.py`); `attn_resolutions` count what is left.
        num_classes: y are labels, int [B], each in 0..num_classes-1 or -1 for none.
        cond_dim: y are vectors, float [B, cond_dim], or NaN for none.
        name: first part of every variable's path, `model` as in the original.
        dtype: a dtype policy such as `mixed_bfloat16`; that which Keras is set to has no influence.
        **kwargs: of `keras.Model`.

    Attributes:
        image_size: of the images, once the network is built: one number where they are square,
            (H, W) where not. None lets it take every size that it can halve: so it is for weights
            from elsewhere, which tell the resolutions with attention but not their heights.

    Raises:
        ValueError: weights in another dtype than float32, channels that 32 does not divide, no
            resolution or no block, a block size below 1, a dropout rate outside [0, 1); when
            built: an image whose height or width the block size and the resolutions do not divide,
            or attention at a height that no resolution has; when called: t or a condition that is
            not one for each example.
    """

    def __init__(
        self,
        *,
        ch: int,
        out_ch: int,
        ch_mult: Sequence[int] = (1, 2, 4, 8),
        num_res_blocks: int,
        attn_resolutions: Sequence[int],
        dropout: float = 0.0,
        resamp_with_conv: bool = True,
        block_size: int = 1,
        num_classes: int = 0,
        cond_dim: int = 0,
        name: str = "model",
        dtype: str | keras.DTypePolicy = "float32",
        **kwargs: Any,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        check_dtype(self.dtype_policy)
        ch, num_res_blocks, block_size = (  # what is too small is said below, in context
            whole(value, name_, -INT32_MAX)
            for value, name_ in (
                (ch, "ch"), (num_res_blocks, "num_res_blocks"), (block_size, "block_size")
            )
        )  # fmt: skip
        ch_mult = whole_numbers(ch_mult, "ch_mult", -INT32_MAX)
        whole(num_res_blocks, "num_res_blocks", -INT32_MAX, MAX_RES_BLOCKS)
        check_rate(dropout, "dropout")
        for mult in ch_mult:
            if ch < 1 or mult < 1 or ch * mult % NUM_GROUPS or ch % NUM_GROUPS:
                raise ValueError(
                    f"ch is {ch} with ch_mult {tuple(ch_mult)}; every number of channels must be"
                    f" a multiple of {NUM_GROUPS}, the number of groups of the normalization."
                )
        if not ch_mult or num_res_blocks < 1:
            raise ValueError(
                f"ch_mult is {tuple(ch_mult)} and num_res_blocks is {num_res_blocks}; there must"
                " be at least one resolution and one block."
            )
        if block_size < 1:
            raise ValueError(f"block_size is {block_size}; it must be at least 1.")
        self.ch = ch
        self.out_ch = whole(out_ch, "out_ch", 1)
        self.ch_mult = ch_mult
        self.num_res_blocks = num_res_blocks
        self.attn_resolutions = whole_numbers(attn_resolutions, "attn_resolutions", 1)
        self.dropout_rate = dropout
        self.resamp_with_conv = resamp_with_conv
        self.block_size = block_size
        self.num_classes = whole(num_classes, "num_classes", 0)
        self.cond_dim = whole(cond_dim, "cond_dim", 0)
        self.image_size: Size | None = None

    def get_config(self) -> dict:
        """The arguments that make this network again."""
        return {
            **super().get_config(),
            "ch": self.ch,
            "out_ch": self.out_ch,
            "ch_mult": self.ch_mult,
            "num_res_blocks": self.num_res_blocks,
            "attn_resolutions": self.attn_resolutions,
            "dropout": self.dropout_rate,
            "resamp_with_conv": self.resamp_with_conv,
            "block_size": self.block_size,
            "num_classes": self.num_classes,
            "cond_dim": self.cond_dim,
        }

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates all layers for images of shape [B, H, W, C] (and t of shape [B])."""
        x_shape = tuple(input_shape[0])
        self._check_image(x_shape)
        self._check_attention(x_shape)
        self.image_size = as_size(*x_shape[1:3])
        size, pixels_per_block = self._at(x_shape, 0), self.block_size**2
        top = len(self.ch_mult) - 1
        dtype = self.dtype_policy

        self.temb = TimeEmbedding(self.ch, name="temb", dtype=dtype)
        self.temb.build((None,))
        self.cond = get_condition_embedding(
            self.ch * 4, self.num_classes, self.cond_dim, dtype=dtype
        )
        self.conv_in = conv3x3(self.ch, "conv_in", dtype=dtype)
        self.conv_in.build((None, *size, x_shape[-1] * pixels_per_block))

        channels = self.ch
        skips = [channels]  # channels of what the way down leaves for the way up
        self.down = []
        for level, mult in enumerate(self.ch_mult):
            scope = Scope(name=f"down_{level}", dtype=dtype)
            self.down.append(scope)
            for i in range(self.num_res_blocks):
                channels = self._add_block(scope, i, size, channels, self.ch * mult)
                skips.append(channels)
            if level != top:
                downsample = Downsample(self.resamp_with_conv, name="downsample", dtype=dtype)
                scope.add(downsample, (None, *size, channels))
                size = self._at(x_shape, level + 1)
                skips.append(channels)

        self.mid = Scope(name="mid", dtype=dtype)
        self._add_resnet(self.mid, "block_1", size, channels, channels)
        self.mid.add(AttnBlock(name="attn_1", dtype=dtype), (None, *size, channels))
        self._add_resnet(self.mid, "block_2", size, channels, channels)

        self.up = []  # in the order of their use: the coarsest resolution, up_{top}, first
        for level, mult in reversed(list(enumerate(self.ch_mult))):
            scope = Scope(name=f"up_{level}", dtype=dtype)
            self.up.append(scope)
            for i in range(self.num_res_blocks + 1):
                channels = self._add_block(scope, i, size, channels + skips.pop(), self.ch * mult)
            if level != 0:
                upsample = Upsample(self.resamp_with_conv, name="upsample", dtype=dtype)
                scope.add(upsample, (None, *size, channels))
                size = self._at(x_shape, level - 1)

        self.norm_out = group_norm("norm_out", swish=True, dtype=dtype)
        self.norm_out.build((None, *size, channels))
        out_ch = self.out_ch * pixels_per_block
        self.conv_out = conv3x3(out_ch, "conv_out", init_scale=0.0, dtype=dtype)
        self.conv_out.build((None, *size, channels))

    def _at(self, x_shape: Shape, level: int) -> tuple[int, int]:
        """Height and width at a resolution, 0 being the finest."""
        height, width = (side // self.block_size >> level for side in x_shape[1:3])
        return height, width

    def _add_resnet(
        self, scope: Scope, name: str, size: tuple[int, int], in_ch: int, out_ch: int
    ) -> None:
        block = ResnetBlock(out_ch, dropout=self.dropout_rate, name=name, dtype=self.dtype_policy)
        scope.add(block, [(None, *size, in_ch), (None, self.ch * 4)])

    def _add_block(
        self, scope: Scope, i: int, size: tuple[int, int], in_ch: int, out_ch: int
    ) -> int:
        """Adds block i and, at the resolutions that have it, its attention; returns out_ch."""
        self._add_resnet(scope, f"block_{i}", size, in_ch, out_ch)
        if size[0] in self.attn_resolutions:
            attn = AttnBlock(name=f"attn_{i}", dtype=self.dtype_policy)
            scope.add(attn, (None, *size, out_ch))
        return out_ch

    def get_build_config(self) -> dict:
        """What makes the layers again: the shapes, and whether the network takes all sizes."""
        return {**super().get_build_config(), "all_sizes": self.image_size is None}

    def build_from_config(self, config: dict) -> None:
        """Creates all layers from what `get_build_config` says."""
        self.build(config["input_shape"])
        if config.get("all_sizes"):
            self.image_size = None

    def call(self, inputs: Sequence[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """See the class."""
        return self.walk(inputs, training=training)

    def walk(
        self,
        inputs: Sequence[tf.Tensor],
        *,
        training: bool | None = None,
        run: RunLayer = run_layer,
    ) -> tf.Tensor:
        """Computes what `call` does, with a hook that runs each layer.

        Args:
            inputs, training: as in `call`.
            run: `run(name, layer, inputs, **options)` returns what comes out of a layer. Names are
                the original's scopes, in the order of their use: `temb`, `conv_in`,
                `down_0/block_0`, ...

        Returns:
            The output, float32 [B, H, W, out_ch].
        """
        x, t, *condition = inputs
        check_floating(x)
        if self.image_size is None:
            self._check_image(tuple(x.shape))
        elif x.shape[1:3] != sides(self.image_size):
            raise ValueError(
                f"x has shape {x.shape}; this network was built for images of"
                f" {shown_size(sides(self.image_size))} pixels."
            )
        t = checked_timesteps(t, x.shape)
        temb = add_condition(run("temb", self.temb, t), condition, self.cond)

        def run_in(scope: Scope, name: str, inputs: Any, **options: Any) -> tf.Tensor:
            return run(f"{scope.name}/{name}", getattr(scope, name), inputs, **options)

        def run_block(scope: Scope, i: int, h: tf.Tensor) -> tf.Tensor:
            h = run_in(scope, f"block_{i}", [h, temb], training=training)
            return run_in(scope, f"attn_{i}", h) if hasattr(scope, f"attn_{i}") else h

        if self.block_size > 1:
            x = tf.nn.space_to_depth(x, self.block_size)
        hs = [run("conv_in", self.conv_in, x)]
        for scope in self.down:
            for i in range(self.num_res_blocks):
                hs.append(run_block(scope, i, hs[-1]))
            if hasattr(scope, "downsample"):
                hs.append(run_in(scope, "downsample", hs[-1]))

        h = run_block(self.mid, 1, hs[-1])
        h = run_block(self.mid, 2, h)

        for scope in self.up:
            for i in range(self.num_res_blocks + 1):
                h = run_block(scope, i, tf.concat([h, hs.pop()], axis=-1))
            if hasattr(scope, "upsample"):
                h = run_in(scope, "upsample", h)

        output = tf.cast(self.norm_out.before(self.conv_out, h), tf.float32)
        return tf.nn.depth_to_space(output, self.block_size) if self.block_size > 1 else output

    def _check_attention(self, x_shape: Shape) -> None:
        heights = [self._at(x_shape, level)[0] for level in range(len(self.ch_mult))]
        if not set(self.attn_resolutions) <= set(heights):
            raise ValueError(
                f"attn_resolutions is {self.attn_resolutions}; for images of {_shown(x_shape)}"
                f" pixels, with ch_mult {self.ch_mult} and block_size {self.block_size}, it must be"
                f" some of {', '.join(map(str, heights))}, or empty."
            )

    def _check_image(self, x_shape: Shape) -> None:
        halvings = len(self.ch_mult) - 1
        divisor = self.block_size * 2**halvings
        blocks = f"cut into blocks of {self.block_size} and " if self.block_size > 1 else ""
        if len(x_shape) != 4 or None in x_shape[1:]:
            raise ValueError(f"x has shape {x_shape}; it must be [B, H, W, C], images of one size.")
        if any(side % divisor for side in x_shape[1:3]):
            raise ValueError(
                f"images of {_shown(x_shape)} pixels cannot be {blocks}halved {halvings} times;"
                f" with ch_mult {self.ch_mult} and block_size {self.block_size} height and width"
                f" must be a multiple of {divisor}."
            )


def _shown(x_shape: Shape) -> str:
    return shown_size(as_size(*x_shape[1:3]))
