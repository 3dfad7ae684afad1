"""The building blocks of the U-Net.

Sub-layers carry the original's scope names: kernel is W there, bias is b.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.models.normalization import GroupNormalization
from diffusion_tf.models.products import Conv2D, Dense, add_bias, conv2d_transpose, matmul
from diffusion_tf.nn import default_init, get_timestep_embedding
from diffusion_tf.utils.keras_backend import keras, layers
from diffusion_tf.utils.numbers import check_rate

NUM_GROUPS = 32

# Of 3 entries along an axis, 4 sums of those that meet the same pixel; of 3x3, 4x4.
SUMS_ALONG_AXIS = [[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]
SUMS_OF_ENTRIES = np.kron(SUMS_ALONG_AXIS, SUMS_ALONG_AXIS)

Shape = Sequence[int | Any]  # sizes; Any for None, of the batch and before all are known


def conv3x3(
    filters: int, name: str, *, stride: int = 1, init_scale: float = 1.0, **kwargs: Any
) -> Conv2D:
    """3x3 convolution that keeps height and width, or divides them by the stride."""
    return Conv2D(
        filters, 3, stride, "same", kernel_initializer=default_init(init_scale), name=name, **kwargs
    )


def conv3x3_of_repeated_pixels(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, 2H, 2W, C']: repeats each pixel 2x2, then convolves with a 3x3 kernel.

    In 4/9 of the operations: of the nine entries, those that meet the same pixel are added first.
    What is left is a transposed convolution, 4x4 with stride 2.
    """
    batch, height, width, channels = tf.unstack(tf.shape(x))
    filters = kernel.shape[3]
    kernel = tf.reshape(tf.transpose(kernel, [0, 1, 3, 2]), [9, -1])
    kernel = tf.matmul(tf.constant(SUMS_OF_ENTRIES, kernel.dtype), kernel)
    kernel = tf.reshape(kernel, [4, 4, filters, channels])
    size = [batch, 2 * height, 2 * width, filters]
    return add_bias(conv2d_transpose(x, kernel, size, 2, "SAME"), bias)


def dense(units: int, name: str, *, init_scale: float = 1.0, **kwargs: Any) -> Dense:
    """Dense layer over the last axis; on images, the original's 1x1 `nin`."""
    return Dense(units, kernel_initializer=default_init(init_scale), name=name, **kwargs)


def nin(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """x kernel + bias at every pixel, as one product of matrices, which takes the bias along."""
    y = add_bias(matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), bias)
    return tf.reshape(y, [-1, *x.shape[1:-1], kernel.shape[-1]])


def group_norm(name: str, **kwargs: Any) -> GroupNormalization:
    """Group normalization with the original's 32 groups and epsilon; `swish=True`: then swish."""
    return GroupNormalization(NUM_GROUPS, epsilon=1e-6, name=name, **kwargs)


class ResnetBlock(layers.Layer):
    """Residual block: norm, swish, conv, plus time embedding, norm, swish, dropout, conv.

    `call([x [B, H, W, C], temb [B, E]]) -> [B, H, W, out_ch]` (the original's `resnet_block`).

    Args:
        out_ch: channels of the result; those of x if not given.
        conv_shortcut: where the number of channels changes, use a 3x3 convolution rather than a
            1x1 one on the shortcut.
        dropout: rate of dropout before the second convolution.
    """

    def __init__(
        self,
        out_ch: int | None = None,
        *,
        conv_shortcut: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.out_ch = out_ch
        self.conv_shortcut = conv_shortcut
        check_rate(dropout, "dropout")
        self.dropout_rate = dropout

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates the layers for x of shape [B, H, W, C] and temb of shape [B, E]."""
        x_shape, temb_shape = input_shape
        in_ch, dtype = x_shape[-1], self.dtype_policy
        out_ch = self.out_ch or in_ch
        h_shape = (*x_shape[:-1], out_ch)
        self.norm1 = group_norm("norm1", swish=True, dtype=dtype)
        self.conv1 = conv3x3(out_ch, "conv1", dtype=dtype)
        self.temb_proj = dense(out_ch, "temb_proj", dtype=dtype)
        self.norm2 = group_norm("norm2", swish=True, dtype=dtype)
        self.dropout = layers.Dropout(self.dropout_rate, name="dropout", dtype=dtype)
        self.conv2 = conv3x3(out_ch, "conv2", init_scale=0.0, dtype=dtype)
        self.norm1.build(x_shape)
        self.conv1.build(x_shape)
        self.temb_proj.build(temb_shape)
        self.norm2.build(h_shape)
        self.conv2.build(h_shape)
        self.shortcut = None
        if in_ch != out_ch:
            if self.conv_shortcut:
                self.shortcut = conv3x3(out_ch, "conv_shortcut", dtype=dtype)
            else:
                self.shortcut = dense(out_ch, "nin_shortcut", dtype=dtype)
            self.shortcut.build(x_shape)

    def call(self, inputs: Sequence[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """See the class."""
        x, temb = inputs
        h = self.norm1.before(self.conv1, x)
        offset = self.temb_proj(tf.nn.silu(temb))
        h = self.norm2.before(self.conv2, h, offset, self._dropout(tf.shape(h), training))
        if self.shortcut is None:
            return x + h
        if self.conv_shortcut:
            return self.shortcut(x) + h
        return nin(x, self.shortcut.kernel, self.shortcut.bias) + h

    def _dropout(self, shape: tf.Tensor, training: bool | None) -> Callable[[tf.Tensor], tf.Tensor]:
        """Dropout of an array of that shape; its random numbers are drawn now."""
        if not training or not self.dropout_rate:
            return tf.identity
        numbers = keras.random.uniform(shape, dtype="float32", seed=self.dropout.seed_generator)
        kept = numbers >= self.dropout_rate
        return lambda h: tf.where(kept, h * (1 / (1 - self.dropout_rate)), 0)


class AttnBlock(layers.Layer):
    """Residual self-attention over all pixels, one head (the original's `attn_block`).

    `call(x [B, H, W, C]) -> [B, H, W, C]`

    In two products per pixel rather than the four of q, k, v and proj_out, as kernels that follow
    one upon the other are multiplied first: with q = h Q + b, k = h K + c, v = h V + d,

    q k^T = (h Q K^T + b K^T) h^T + (h Q + b) c, whose last term the softmax over keys ignores;
    (softmax v) P = (softmax h) V P + d P, as a softmax adds up to 1.
    """

    def build(self, input_shape: Shape) -> None:
        """Creates the layers for x of shape [B, H, W, C]."""
        channels, dtype = input_shape[-1], self.dtype_policy
        self.norm = group_norm("norm", dtype=dtype)
        self.q = dense(channels, "q", dtype=dtype)
        self.k = dense(channels, "k", dtype=dtype)
        self.v = dense(channels, "v", dtype=dtype)
        self.proj_out = dense(channels, "proj_out", init_scale=0.0, dtype=dtype)
        for layer in (self.norm, self.q, self.k, self.v, self.proj_out):
            layer.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return x + self.norm.then(_attend, x, *self._query(), *self._projection())

    def _query(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias from h to what is multiplied by h^T: Q K^T and b K^T, over sqrt(C)."""
        scale = self.k.units**-0.5
        bias = tf.linalg.matvec(self.k.kernel, scale * self.q.bias)
        bias += 0 * self.k.bias  # without influence: its gradient is 0, not None
        return tf.matmul(scale * self.q.kernel, self.k.kernel, transpose_b=True), bias

    def _projection(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias from (softmax h) to the result: V P and d P + the bias of proj_out."""
        bias = tf.linalg.matvec(self.proj_out.kernel, self.v.bias, transpose_a=True)
        return tf.matmul(self.v.kernel, self.proj_out.kernel), bias + self.proj_out.bias


def _attend(
    h: tf.Tensor,
    query_kernel: tf.Tensor,
    query_bias: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
) -> tf.Tensor:
    """Of h [B, H, W, C]: softmax(q h^T) h kernel + bias, where q = h query_kernel + query_bias."""
    shape, h = tf.shape(h), tf.reshape(h, [-1, h.shape[1] * h.shape[2], h.shape[3]])
    scores = matmul(nin(h, query_kernel, query_bias), h, transpose_b=True)
    return tf.reshape(nin(matmul(tf.nn.softmax(scores), h), kernel, bias), shape)


class Downsample(layers.Layer):
    """Halves height and width: 3x3 convolution with stride 2, or 2x2 average pooling.

    `call(x [B, H, W, C]) -> [B, H/2, W/2, C]`. The convolution pads bottom and right only.
    """

    def __init__(self, with_conv: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.with_conv = with_conv

    def build(self, input_shape: Shape) -> None:
        """Creates the layer for x of shape [B, H, W, C]."""
        dtype = self.dtype_policy
        if self.with_conv:
            self.conv = conv3x3(input_shape[-1], "conv", stride=2, dtype=dtype)
            self.conv.build(input_shape)
        else:
            self.pool = layers.AveragePooling2D(
                2, padding="same", data_format="channels_last", name="pool", dtype=dtype
            )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return self.conv(x) if self.with_conv else self.pool(x)


class Upsample(layers.Layer):
    """Doubles height and width by repeating pixels, then a 3x3 convolution if asked for.

    `call(x [B, H, W, C]) -> [B, 2H, 2W, C]`
    """

    def __init__(self, with_conv: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.with_conv = with_conv

    def build(self, input_shape: Shape) -> None:
        """Creates the layers for x of shape [B, H, W, C]."""
        batch, height, width, channels = input_shape
        self.repeat = layers.UpSampling2D(
            2, data_format="channels_last", name="repeat", dtype=self.dtype_policy
        )
        if self.with_conv:
            self.conv = conv3x3(channels, "conv", dtype=self.dtype_policy)
            self.conv.build((batch, height * 2, width * 2, channels))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """See the class."""
        if not self.with_conv:
            return self.repeat(x)
        if x.shape[1] * x.shape[2] < 8 * 8:  # adding up the kernel's entries would cost more
            return self.conv(self.repeat(x))
        return conv3x3_of_repeated_pixels(x, self.conv.kernel, self.conv.bias)


class TimeEmbedding(layers.Layer):
    """Sinusoids of t through two dense layers: `call(t int [B]) -> [B, 4 ch]`."""

    def __init__(self, ch: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.ch = ch

    def build(self, input_shape: Shape) -> None:
        """Creates the layers; `input_shape` is that of t, [B]."""
        self.dense0 = dense(self.ch * 4, "dense0", dtype=self.dtype_policy)
        self.dense1 = dense(self.ch * 4, "dense1", dtype=self.dtype_policy)
        self.dense0.build((None, self.ch))
        self.dense1.build((None, self.ch * 4))

    def call(self, t: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return self.project(get_timestep_embedding(t, self.ch))

    def project(self, sinusoids: tf.Tensor) -> tf.Tensor:
        """What `call` does with the sinusoids [B, ch] of t: [B, 4 ch]."""
        return self.dense1(tf.nn.silu(self.dense0(sinusoids)))
