"""A residual MLP, the denoiser for vectors."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from diffusion_tf.gaussian_diffusion.checks import check_floating, checked_timesteps
from diffusion_tf.models.blocks import Shape, TimeEmbedding, dense
from diffusion_tf.models.conditioning import add_condition, get_condition_embedding
from diffusion_tf.models.inputs import TakesInputs, check_dtype
from diffusion_tf.utils.keras_backend import keras, layers
from diffusion_tf.utils.numbers import INT32_MAX, MAX_RES_BLOCKS, check_rate, whole


class MLPBlock(layers.Layer):
    """Residual block: swish, dense, scaled and shifted by the time, swish, dense.

    `call([x [B, C], temb [B, E]]) -> [B, C]`: the U-Net's block for vectors, without normalization,
    which would hide how far a point is from the origin. The embedding enters by scale and shift
    (Dhariwal & Nichol 2021, section 3).

    Args:
        dropout: rate of dropout before the second dense layer.
    """

    def __init__(self, *, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        check_rate(dropout, "dropout")
        self.dropout_rate = dropout

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates the layers for x of shape [B, C] and temb of shape [B, E]."""
        h_shape, temb_shape = input_shape
        width, dtype = h_shape[-1], self.dtype_policy
        self.dense1 = dense(width, "dense1", dtype=dtype)
        self.temb_proj = dense(2 * width, "temb_proj", dtype=dtype)
        self.dropout = layers.Dropout(self.dropout_rate, name="dropout", dtype=dtype)
        self.dense2 = dense(width, "dense2", init_scale=0.0, dtype=dtype)
        self.temb_proj.build(temb_shape)
        self.dense1.build(h_shape)
        self.dense2.build(h_shape)

    def call(self, inputs: Sequence[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """See the class."""
        x, temb = inputs
        scale, shift = tf.split(self.temb_proj(tf.nn.silu(temb)), 2, axis=-1)
        h = self.dense1(tf.nn.silu(x))
        h = tf.nn.silu(h * (1.0 + scale) + shift)
        return x + self.dense2(self.dropout(h, training=training))


@keras.saving.register_keras_serializable("diffusion_tf")
class MLP(TakesInputs):
    """The denoising network for vectors.

    `mlp([x, t])` with x float [B, D] and t int [B] returns float32 [B, out_dim]; a conditional
    network is called as `mlp([x, t, y])` (see `conditioning`).

    Args:
        ch: width of the hidden layers and of the embeddings, a multiple of 4 and at least 16.
        out_dim: length of the output; twice D for a learned variance.
        num_res_blocks: number of blocks.
        dropout: rate inside the blocks.
        num_timesteps: T, for an embedding that is learned for each step; None: sinusoids of t.
        num_classes, cond_dim: see `UNet`.
        name: first part of every variable's path.
        dtype: a dtype policy such as `mixed_bfloat16`; that which Keras is set to has no influence.
        **kwargs: of `keras.Model`.

    Raises:
        ValueError: a width that does not fit, no block, a dropout rate outside [0, 1); when
            called: x is not [B, D]; t is not one for each example, or outside 0..T-1; a condition
            is missing, or does not fit.
    """

    def __init__(
        self,
        *,
        ch: int,
        out_dim: int,
        num_res_blocks: int,
        dropout: float = 0.0,
        num_timesteps: int | None = None,
        num_classes: int = 0,
        cond_dim: int = 0,
        name: str = "model",
        dtype: str | keras.DTypePolicy = "float32",
        **kwargs: Any,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        check_dtype(self.dtype_policy)
        ch, num_res_blocks = (  # what is too small is said below
            whole(value, name_, -INT32_MAX)
            for value, name_ in ((ch, "ch"), (num_res_blocks, "num_res_blocks"))
        )
        whole(num_res_blocks, "num_res_blocks", -INT32_MAX, MAX_RES_BLOCKS)
        check_rate(dropout, "dropout")
        if ch < 16 or ch % 4 or num_res_blocks < 1:
            raise ValueError(
                f"ch is {ch} and num_res_blocks is {num_res_blocks}; ch must be a multiple of 4, at"
                " least 16, and there must be a block."
            )
        self.ch = ch
        self.out_dim = whole(out_dim, "out_dim", 1)
        self.num_res_blocks = num_res_blocks
        self.dropout_rate = dropout
        self.num_timesteps = num_timesteps
        if num_timesteps is not None:
            self.num_timesteps = whole(num_timesteps, "num_timesteps", 1)
        self.num_classes = whole(num_classes, "num_classes", 0)
        self.cond_dim = whole(cond_dim, "cond_dim", 0)

    def get_config(self) -> dict:
        """The arguments that make this network again."""
        return {
            **super().get_config(),
            "ch": self.ch,
            "out_dim": self.out_dim,
            "num_res_blocks": self.num_res_blocks,
            "dropout": self.dropout_rate,
            "num_timesteps": self.num_timesteps,
            "num_classes": self.num_classes,
            "cond_dim": self.cond_dim,
        }

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates all layers for x of shape [B, D] (and t of shape [B])."""
        x_shape = tuple(input_shape[0])
        if len(x_shape) != 2 or x_shape[1] is None:
            raise ValueError(f"x has shape {x_shape}; it must be [B, D], vectors.")
        dtype, h_shape = self.dtype_policy, (None, self.ch)
        if self.num_timesteps is None:
            self.temb = TimeEmbedding(self.ch // 4, name="temb", dtype=dtype)  # gives ch numbers
        else:
            self.temb = layers.Embedding(self.num_timesteps, self.ch, name="temb", dtype=dtype)
        self.temb.build((None,))
        self.cond = get_condition_embedding(self.ch, self.num_classes, self.cond_dim, dtype=dtype)
        # With biases of 0 all units would bend at the origin, about which the data are.
        self.dense_in = layers.Dense(
            self.ch,
            kernel_initializer="he_normal",
            bias_initializer=keras.initializers.RandomUniform(-1.0, 1.0),
            name="dense_in",
            dtype=dtype,
        )
        self.dense_in.build(x_shape)
        self.blocks = []
        for i in range(self.num_res_blocks):
            block = MLPBlock(dropout=self.dropout_rate, name=f"block_{i}", dtype=dtype)
            block.build([h_shape, h_shape])
            self.blocks.append(block)
        self.dense_out = dense(self.out_dim, "dense_out", init_scale=0.0, dtype=dtype)
        self.dense_out.build(h_shape)

    def call(self, inputs: Sequence[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """See the class."""
        x, t, *condition = inputs
        check_floating(x)
        t = checked_timesteps(t, x.shape, self.num_timesteps)
        temb = add_condition(self.temb(t), condition, self.cond)
        h = self.dense_in(x)
        for block in self.blocks:
            h = block([h, temb], training=training)
        return tf.cast(self.dense_out(tf.nn.silu(h)), tf.float32)
