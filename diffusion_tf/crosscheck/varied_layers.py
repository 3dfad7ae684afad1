"""The layers of the network written out, with what implementations do differently in each."""

import math
from collections.abc import Callable

import tensorflow as tf

from diffusion_tf.crosscheck.choices import Activation, Choices
from diffusion_tf.models.blocks import AttnBlock, Downsample, ResnetBlock, TimeEmbedding, Upsample
from diffusion_tf.models.normalization import GroupNormalization
from diffusion_tf.models.products import Conv2D, Dense

Drop = Callable[[str, tf.Tensor], tf.Tensor]
ACTIVATIONS: dict[Activation, Callable[[tf.Tensor], tf.Tensor]] = {
    "swish": tf.nn.silu,
    "relu": tf.nn.relu,
    "gelu": tf.nn.gelu,
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "mish": lambda x: x * tf.tanh(tf.math.softplus(x)),
    "elu": tf.nn.elu,
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.01),
    "none": tf.identity,
    "swish twice": lambda x: tf.nn.silu(tf.nn.silu(x)),
}


def sinusoids(t: tf.Tensor, ch: int, T: int, c: Choices) -> tf.Tensor:
    """The embedding [B, ch] of t [B] (the original's `get_timestep_embedding`)."""
    scale = {"1": 1.0, "1 / T": 1 / T, "1000 / T": 1000 / T, "2 pi": 2 * math.pi, "1000": 1000.0}
    t = (tf.cast(t, tf.float32) + c.t_offset) * scale[c.t_scale]
    t = tf.math.log(t + 1) if c.t_log else t
    half = ch // 2
    order = tf.range(half, dtype=tf.float32)
    exponents = {
        "half - 1": order / (half - 1),
        "half": order / half,
        "half + 1": (order + 1) / half,
        "pairs": 2 * order / half,  # 2i / d with i already doubled
    }[c.frequencies]
    angles = t[:, None] * tf.exp(-math.log(c.max_period) * exponents)[None, :]
    parts = [tf.sin(angles), tf.cos(angles)]
    parts = parts[::-1] if c.cos_first else parts
    if c.interleaved:
        return tf.reshape(tf.stack(parts, axis=-1), [-1, 2 * half])
    return tf.concat(parts, axis=1)


def time_embedding(layer: TimeEmbedding, embedding: tf.Tensor, c: Choices) -> tf.Tensor:
    """The two dense layers: [B, ch] -> [B, 4 ch]."""
    h = ACTIVATIONS[c.activation](dense(layer.dense0, embedding, c))
    h = dense(layer.dense1, h, c)
    return ACTIVATIONS[c.activation](h) if c.temb_last_activation else h


def dense(layer: Dense, x: tf.Tensor, c: Choices) -> tf.Tensor:
    """A dense layer over the last axis."""
    kernel = layer.kernel.value
    if c.matrix_transposed and kernel.shape[0] == kernel.shape[1]:
        kernel = tf.transpose(kernel)
    h = tf.tensordot(x, kernel, 1)
    return h + layer.bias if c.bias else h


def conv(
    layer: Conv2D, x: tf.Tensor, c: Choices, stride: int = 1, pad: tuple = (1, 1)
) -> tf.Tensor:
    """A 3x3 convolution; `pad` is how many pixels go before and after, along both sides."""
    kernel = layer.kernel.value
    kernel = {
        "as it is": lambda: kernel,
        "transposed": lambda: tf.transpose(kernel, [1, 0, 2, 3]),
        "flipped": lambda: kernel[::-1, ::-1],
        "turned": lambda: tf.transpose(kernel, [1, 0, 2, 3])[::-1],
    }[c.kernel]()
    h = tf.nn.conv2d(_padded(x, pad, c.padding), kernel, stride, "VALID")
    return h + layer.bias if c.bias else h


def _padded(x: tf.Tensor, pad: tuple, how: str) -> tf.Tensor:
    before, after = pad
    if how == "circular":
        for axis in (1, 2):
            size = x.shape[axis]
            first = tf.gather(x, range(size - before, size), axis=axis)
            x = tf.concat([first, x, tf.gather(x, range(after), axis=axis)], axis)
        return x
    if how == "edge":
        how = "SYMMETRIC"  # the same for one pixel
    return tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]], how)


def norm(layer: GroupNormalization, x: tf.Tensor, c: Choices) -> tf.Tensor:
    """The normalization, without the activation after it."""
    groups = {"group": c.norm_groups, "layer": 1, "pixel": 1}.get(c.norm, c.norm_groups)
    if c.norm != "none":
        x = _normalized(x, math.gcd(groups, x.shape[-1]), c)
    gamma = 1.0 if c.norm == "not scaled" else layer.gamma
    beta = 0.0 if c.norm == "not shifted" else layer.beta
    return x * gamma + beta


def _normalized(x: tf.Tensor, groups: int, c: Choices) -> tf.Tensor:
    _, height, width, channels = x.shape
    size, axes = channels // groups, ([4] if c.norm == "pixel" else [1, 2, 4])
    shape = [-1, height, width, groups, size]
    if c.norm_interleaved:  # every groups-th channel rather than neighbours
        h = tf.transpose(tf.reshape(x, [-1, height, width, size, groups]), [0, 1, 2, 4, 3])
    else:
        h = tf.reshape(x, shape)
    mean = tf.reduce_mean(h, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(h - mean), axes, keepdims=True)
    if c.norm_unbiased:
        number = size if c.norm == "pixel" else height * width * size
        variance = variance * (number / max(number - 1, 1))
    epsilon = c.group_norm_epsilon
    if c.epsilon_outside:
        h = (h - mean) / (tf.sqrt(variance) + epsilon)
    else:
        h = (h - mean) * tf.math.rsqrt(variance + epsilon)
    if c.norm_interleaved:
        h = tf.transpose(h, [0, 1, 2, 4, 3])
    return tf.reshape(h, [-1, height, width, channels])


def resnet_block(
    layer: ResnetBlock,
    x: tf.Tensor,
    temb: tf.Tensor,
    c: Choices,
    skip: int = 0,
    drop: Drop = lambda place, h: h,
) -> tf.Tensor:
    """A residual block; the last `skip` channels of x come from the way down.

    `drop` is called with the name of each place where dropout may stand, and what is there.
    """
    x = _joined(x, skip, c)
    first = ACTIVATIONS[c.first_activation or c.activation]
    second = ACTIVATIONS[c.second_activation or c.activation]
    offset = dense(layer.temb_proj, ACTIVATIONS[c.temb_activation or c.activation](temb), c)
    offset = c.temb_sign * offset[:, None, None, :]

    def normed(its: GroupNormalization, h: tf.Tensor, act: Callable) -> tf.Tensor:
        return norm(its, act(h), c) if c.activation_first else act(norm(its, h, c))

    h = drop("before conv1", normed(layer.norm1, x, first))
    h = conv(layer.conv1, h, c)
    h = h + offset if c.temb_at in ("before norm2", "twice") else h
    h = h * (1 + offset) if c.temb_at == "as a factor" else h
    h = drop("before norm2", h)
    if c.temb_at in ("after norm2", "as a factor after norm2"):
        h = norm(layer.norm2, h, c)
        h = second(h + offset if c.temb_at == "after norm2" else h * (1 + offset))
    else:
        h = normed(layer.norm2, h, second)
    h = h + offset if c.temb_at == "before conv2" else h
    h = drop("after conv2", conv(layer.conv2, drop("before conv2", h), c))
    h = h + offset if c.temb_at in ("after conv2", "twice") else h
    return drop("after the block", _residual(layer, x, h, first, c))


def _joined(x: tf.Tensor, skip: int, c: Choices) -> tf.Tensor:
    """The channels of the way up and of the way down, in their order."""
    if not skip:
        return x
    parts = [x[..., :-skip], c.skip_scale * x[..., -skip:]]
    return tf.concat(parts[::-1] if c.skip_first else parts, axis=-1)


def _residual(
    layer: ResnetBlock, x: tf.Tensor, h: tf.Tensor, act: Callable, c: Choices
) -> tf.Tensor:
    """The block's result: h beside its input."""
    of = c.shortcut_of if layer.shortcut is not None else c.residual
    if of == "none":
        return h * c.residual_scale
    if of in ("normed", "activated"):
        x = norm(layer.norm1, x, c)
        x = act(x) if of == "activated" else x
    if layer.shortcut is not None:
        x = conv(layer.shortcut, x, c) if layer.conv_shortcut else dense(layer.shortcut, x, c)
    return (x + h) * c.residual_scale


def attention(layer: AttnBlock, x: tf.Tensor, c: Choices) -> tf.Tensor:
    """Self-attention over all pixels."""
    _, height, width, channels = x.shape
    h = norm(layer.norm, x, c) if c.attention_norm else x
    heads = c.heads or (channels // c.attention_head_dim if c.attention_head_dim else 1)
    heads = heads if channels % max(heads, 1) == 0 and heads else 1
    maps = {"q": layer.q, "k": layer.k, "v": layer.v}
    q, k, v = (_in_heads(dense(maps[name], h, c), heads, c) for name in c.attention_of)
    dim = channels // heads
    scale = {
        "root of channels": dim**-0.5,
        "root of all channels": channels**-0.5,
        "none": 1.0,
        "channels": 1 / dim,
        "root of pixels": (height * width) ** -0.5,
        "fourth root": dim**-0.25,
        "times root": dim**0.5,
    }[c.attention_scale]
    h = _merged(_weighted(q, k, v, scale, c), [-1, height, width, channels], c)
    h = dense(layer.proj_out, h, c) if c.attention_projection else h
    if c.residual == "none":
        return h * c.residual_scale
    x = norm(layer.norm, x, c) if c.residual != "x" else x
    return (x + h) * c.residual_scale


def _in_heads(h: tf.Tensor, heads: int, c: Choices) -> tf.Tensor:
    """[B, H, W, C] -> [B, heads, pixels, channels]."""
    _, height, width, channels = h.shape
    if c.attention_columns:
        h = tf.transpose(h, [0, 2, 1, 3])
    h = tf.reshape(h, [-1, height * width, heads, channels // heads])
    return tf.transpose(h, [0, 2, 1, 3])


def _merged(h: tf.Tensor, shape: list, c: Choices) -> tf.Tensor:
    """The inverse of `_in_heads`; pixels that went in by columns come out by rows."""
    del c
    return tf.reshape(tf.transpose(h, [0, 2, 1, 3]), shape)


def _weighted(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, scale: float, c: Choices) -> tf.Tensor:
    if c.softmax_over == "channels":  # attention between channels, Shen et al. 2018
        weights = tf.nn.softmax(tf.einsum("bhic,bhid->bhcd", q, k) * scale)
        return tf.einsum("bhcd,bhid->bhic", weights, v)
    scores = tf.einsum("bhid,bhjd->bhij", q, k) * scale
    if c.softmax_over == "nothing":
        return tf.einsum("bhij,bhjd->bhid", scores, v)
    axis = -2 if c.softmax_over == "queries" else -1
    return tf.einsum("bhij,bhjd->bhid", tf.nn.softmax(scores, axis=axis), v)


def downsample(layer: Downsample, x: tf.Tensor, c: Choices) -> tf.Tensor:
    """Half height and width."""
    how = c.downsample
    if not layer.with_conv:
        return tf.nn.max_pool2d(x, 2, 2, "SAME") if "max" in how else layer(x)
    if how in ("pool then conv", "max pool then conv"):
        pool = tf.nn.max_pool2d if "max" in how else tf.nn.avg_pool2d
        return conv(layer.conv, pool(x, 2, 2, "VALID"), c)
    if how in ("conv then pool", "conv then max pool"):
        pool = tf.nn.max_pool2d if "max" in how else tf.nn.avg_pool2d
        return pool(conv(layer.conv, x, c), 2, 2, "VALID")
    if how == "nearest then conv":
        return conv(layer.conv, x[:, ::2, ::2], c)
    pad = {"bottom and right": (0, 1), "all sides": (1, 1)}[how]
    return conv(layer.conv, x, c, 2, pad)


def upsample(layer: Upsample, x: tf.Tensor, c: Choices) -> tf.Tensor:
    """Twice height and width."""
    if c.upsample == "conv then nearest" and layer.with_conv:
        return _enlarged(conv(layer.conv, x, c), "nearest")
    h = _enlarged(x, c.upsample)
    return conv(layer.conv, h, c) if layer.with_conv else h


def _enlarged(x: tf.Tensor, how: str) -> tf.Tensor:
    _, height, width, _ = x.shape
    size = [2 * height, 2 * width]
    if how in ("bilinear", "bicubic"):
        return tf.compat.v2.image.resize(x, size, how)
    if how == "bilinear, corners aligned":
        return tf.compat.v1.image.resize_bilinear(x, size, align_corners=True)
    x = tf.repeat(tf.repeat(x, 2, 1), 2, 2)
    if how == "zeros between":
        mask = tf.reshape(tf.tile([1.0, 0.0], [height]), [-1, 1])
        mask = mask * tf.reshape(tf.tile([1.0, 0.0], [width]), [1, -1])
        return x * mask[None, :, :, None]
    if how == "tiled":
        return tf.tile(x[:, ::2, ::2], [1, 2, 2, 1])
    return x


def output(
    norm_out: GroupNormalization, conv_out: Conv2D, h: tf.Tensor, x: tf.Tensor, c: Choices
) -> tf.Tensor:
    """The last normalization, activation and convolution."""
    act = ACTIVATIONS[c.activation]
    h = norm(norm_out, act(h), c) if c.activation_first else act(norm(norm_out, h, c))
    h = conv(conv_out, h, c)
    return {
        "as it is": lambda: h,
        "tanh": lambda: tf.tanh(h),
        "clipped": lambda: tf.clip_by_value(h, -1.0, 1.0),
        "x - output": lambda: x - h,
        "x + output": lambda: x + h,
    }[c.output]()
