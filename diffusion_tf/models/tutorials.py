"""Three small networks of the kind that DDPM is taught with: points, sprites, embeddings.

They are as such lessons have them, not as this package would build them; `docs/learn` says where
they differ from the paper's, and what it costs. Weights begin as PyTorch's layers do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.gaussian_diffusion.checks import check_floating, checked_timesteps
from diffusion_tf.models.blocks import Shape
from diffusion_tf.models.conditioning import check_condition
from diffusion_tf.models.inputs import TakesInputs
from diffusion_tf.utils.keras_backend import keras, layers
from diffusion_tf.utils.numbers import whole

_GROUPS, _EPSILON = 8, 1e-5


def _gelu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=False)


def _uniform(fan_in: int) -> dict[str, Any]:
    """Weights and biases in +- 1 / sqrt(fan_in)."""
    limit = fan_in**-0.5
    initializer = keras.initializers.RandomUniform
    return {
        "kernel_initializer": initializer(-limit, limit),
        "bias_initializer": initializer(-limit, limit),
    }


def _dense(in_dim: int, units: int, name: str, dtype: keras.DTypePolicy) -> layers.Dense:
    layer = layers.Dense(units, name=name, dtype=dtype, **_uniform(in_dim))
    layer.build((None, in_dim))
    return layer


def _conv(
    in_ch: int, filters: int, name: str, dtype: keras.DTypePolicy, *, size: int = 3
) -> layers.Conv2D:
    layer = layers.Conv2D(
        filters, size, padding="same", name=name, dtype=dtype, **_uniform(size**2 * in_ch)
    )
    layer.build((None, None, None, in_ch))
    return layer


def _upsampling(
    in_ch: int, filters: int, times: int, name: str, dtype: keras.DTypePolicy
) -> layers.Conv2DTranspose:
    """Each pixel becomes a square of `times` times `times` of its own."""
    layer = layers.Conv2DTranspose(
        filters, times, times, name=name, dtype=dtype, **_uniform(times**2 * filters)
    )
    layer.build((None, None, None, in_ch))
    return layer


def _norm(channels: int, name: str, dtype: keras.DTypePolicy) -> layers.GroupNormalization:
    layer = layers.GroupNormalization(_GROUPS, epsilon=_EPSILON, name=name, dtype=dtype)
    layer.build((None, None, None, channels))
    return layer


class _Two(layers.Layer):
    """Dense, GELU, dense."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        """Creates the layers for x of shape [B, in_dim]."""
        self.dense0 = _dense(input_shape[-1], self.units, "dense0", self.dtype_policy)
        self.dense1 = _dense(self.units, self.units, "dense1", self.dtype_policy)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, in_dim] -> [B, units]."""
        return self.dense1(_gelu(self.dense0(x)))


class _ConvBlock(layers.Layer):
    """Twice convolution, group norm and GELU; residual: the mean of both results, times sqrt(2)."""

    def __init__(self, filters: int, *, residual: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.residual = filters, residual

    def build(self, input_shape: Shape) -> None:
        """Creates the layers for x of shape [B, H, W, in_ch]."""
        filters, dtype = self.filters, self.dtype_policy
        self.conv0 = _conv(input_shape[-1], filters, "conv0", dtype)
        self.norm0 = _norm(filters, "norm0", dtype)
        self.conv1 = _conv(filters, filters, "conv1", dtype)
        self.norm1 = _norm(filters, "norm1", dtype)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, H, W, in_ch] -> [B, H, W, filters]."""
        first = _gelu(self.norm0(self.conv0(x)))
        second = _gelu(self.norm1(self.conv1(first)))
        return (first + second) / np.sqrt(2.0, dtype=np.float32) if self.residual else second


def _two(in_dim: int, units: int, name: str, dtype: keras.DTypePolicy) -> _Two:
    layer = _Two(units, name=name, dtype=dtype)
    layer.build((None, in_dim))
    return layer


def _conv_block(
    in_ch: int, filters: int, name: str, dtype: keras.DTypePolicy, **kwargs: Any
) -> _ConvBlock:
    layer = _ConvBlock(filters, name=name, dtype=dtype, **kwargs)
    layer.build((None, None, None, in_ch))
    return layer


class Tutorial(TakesInputs):
    """What the three share: `call([x, t])`, or `call([x, t, y])` with vectors for conditions.

    Args:
        out_dim: channels of the output, or its length.
        num_timesteps: T.
        cond_dim: length of the conditions; 0 for none. A condition of NaN stands for none.
        name: first part of every variable's path.
        dtype: a dtype policy such as `mixed_bfloat16`.
        **kwargs: of `keras.Model`.

    Raises:
        ValueError: sizes that the network cannot have; when called: x of another shape; t is not
            one for each example, or outside 0..T-1; a condition is missing, or does not fit.
    """

    def __init__(
        self,
        *,
        out_dim: int,
        num_timesteps: int,
        cond_dim: int = 0,
        name: str = "model",
        dtype: str | keras.DTypePolicy = "float32",
        **kwargs: Any,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.out_dim = whole(out_dim, "out_dim", 1)
        self.num_timesteps = whole(num_timesteps, "num_timesteps", 1)
        self.cond_dim = whole(cond_dim, "cond_dim", 0)

    def get_config(self) -> dict:
        """The arguments that make this network again."""
        names = ("out_dim", "num_timesteps", "cond_dim")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def call(self, inputs: Sequence[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """See the class."""
        x, t, *condition = inputs
        check_floating(x)
        t = checked_timesteps(t, x.shape, self.num_timesteps)
        x = tf.cast(x, self.compute_dtype)
        return tf.cast(self.denoise(x, t, self._known(condition)), tf.float32)

    def denoise(self, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """The network itself; y has zeros for no condition."""
        raise NotImplementedError

    def _known(self, condition: list[tf.Tensor]) -> tf.Tensor | None:
        if bool(condition) != bool(self.cond_dim):
            inputs = "[x, t, y]" if self.cond_dim else "[x, t]"
            raise ValueError(f"Call this network with {inputs}; its cond_dim is {self.cond_dim}.")
        if not condition:
            return None
        y = tf.convert_to_tensor(condition[0])
        check_condition(y, 0, self.cond_dim)
        return tf.cast(tf.where(tf.math.is_finite(y), y, tf.zeros_like(y)), self.compute_dtype)


@keras.saving.register_keras_serializable("diffusion_tf")
class TableMLP(Tutorial):
    """Dense layers with ReLU; a table of all t is added after each, the last one excepted.

    x float [B, D], without conditions. Of 2 dimensions, width 128 and T = 100 it has 72,066
    weights.

    Args:
        ch: width of the hidden layers.
        **kwargs: see `Tutorial`.
    """

    def __init__(self, *, ch: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.ch = whole(ch, "ch", 1)
        if self.cond_dim:
            raise ValueError(f"cond_dim is {self.cond_dim}; this network takes no conditions: 0.")

    def get_config(self) -> dict:
        """The arguments that make this network again."""
        return {**super().get_config(), "ch": self.ch}

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates all layers for x of shape [B, D] (and t of shape [B])."""
        dtype, width = self.dtype_policy, input_shape[0][-1]
        self.hidden, self.tables = [], []
        for i in range(3):
            self.hidden.append(_dense(width, self.ch, f"dense{i}", dtype))
            table = layers.Embedding(
                self.num_timesteps,
                self.ch,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
                name=f"table{i}",
                dtype=dtype,
            )
            table.build()
            self.tables.append(table)
            width = self.ch
        self.out = _dense(width, self.out_dim, "out", dtype)

    def denoise(self, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """[B, D] -> [B, out_dim]."""
        for layer, table in zip(self.hidden, self.tables, strict=True):
            x = tf.nn.relu(layer(x) + table(t))
        return self.out(x)


@keras.saving.register_keras_serializable("diffusion_tf")
class ContextUNet(Tutorial):
    """A U-Net that multiplies by the condition and adds the time on its way up.

    x float [B, H, W, C] with H = W, divisible by 4: two halvings, one vector for the whole image,
    and up again. The time enters as (t + 1) / T, one number, through two dense layers.

    Args:
        ch: features at full resolution, a multiple of 8.
        **kwargs: see `Tutorial`.
    """

    def __init__(self, *, ch: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.ch = whole(ch, "ch", _GROUPS)
        if ch % _GROUPS:
            raise ValueError(f"ch is {ch}; it must be a multiple of {_GROUPS}.")

    def get_config(self) -> dict:
        """The arguments that make this network again."""
        return {**super().get_config(), "ch": self.ch}

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates all layers for x of shape [B, H, W, C] (and t of shape [B])."""
        _, height, width, channels = input_shape[0]
        if height != width or not height or height % 4:
            raise ValueError(
                f"Images are {height}x{width}; this network needs squares whose side is divisible"
                " by 4."
            )
        ch, dtype = self.ch, self.dtype_policy
        self.first = _conv_block(channels, ch, "first", dtype, residual=True)
        self.down = [
            [_conv_block(a, b, f"down{i}_0", dtype), _conv_block(b, b, f"down{i}_1", dtype)]
            for i, (a, b) in enumerate([(ch, ch), (ch, 2 * ch)])
        ]
        self.pool = layers.MaxPooling2D(2, name="pool", dtype=dtype)
        self.time = [_two(1, n, f"time{i}", dtype) for i, n in enumerate([2 * ch, ch])]
        self.context = [
            _two(self.cond_dim, n, f"context{i}", dtype)
            for i, n in enumerate([2 * ch, ch] if self.cond_dim else [])
        ]
        self.bottom = _upsampling(2 * ch, 2 * ch, height // 4, "bottom", dtype)
        self.bottom_norm = _norm(2 * ch, "bottom_norm", dtype)
        self.up = [
            [
                _upsampling(a, ch, 2, f"up{i}", dtype),
                _conv_block(ch, ch, f"up{i}_0", dtype),
                _conv_block(ch, ch, f"up{i}_1", dtype),
            ]
            for i, a in enumerate([4 * ch, 2 * ch])
        ]
        self.last = _conv(2 * ch, ch, "last", dtype)
        self.last_norm = _norm(ch, "last_norm", dtype)
        self.out = _conv(ch, self.out_dim, "out", dtype)

    def denoise(self, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """[B, H, W, C] -> [B, H, W, out_dim]."""
        time = tf.cast(t + 1, tf.float32)[:, None] / float(self.num_timesteps)
        h = first = self.first(x)
        downs = []
        for blocks in self.down:
            for block in blocks:
                h = block(h)
            h = self.pool(h)
            downs.append(h)
        h = _gelu(tf.reduce_mean(h, axis=(1, 2), keepdims=True))
        h = tf.nn.relu(self.bottom_norm(self.bottom(h)))
        for i, skip in enumerate(reversed(downs)):
            if y is not None:
                h = self.context[i](y)[:, None, None] * h
            h = h + self.time[i](time)[:, None, None]
            h = tf.concat([h, skip], axis=-1)
            for layer in self.up[i]:
                h = layer(h)
        h = self.last(tf.concat([h, first], axis=-1))
        return self.out(tf.nn.relu(self.last_norm(h)))


@keras.saving.register_keras_serializable("diffusion_tf")
class ScaleShiftMLP(Tutorial):
    """Two blocks that scale and shift x by what the time and the condition say.

    x float [B, D], conditions float [B, C]. The time becomes C numbers, and the condition is added
    to them as it is. Without `mixes` no dense layer stands between x and the output: each
    dimension is scaled and shifted alone.

    Args:
        mixes: whether each block begins with a dense layer.
        **kwargs: see `Tutorial`; out_dim must be that of x.
    """

    def __init__(self, *, mixes: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.mixes = mixes
        if self.cond_dim < 4:
            raise ValueError(
                f"cond_dim is {self.cond_dim}; this network needs conditions of at least 4 numbers."
            )

    def get_config(self) -> dict:
        """The arguments that make this network again."""
        return {**super().get_config(), "mixes": self.mixes}

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Creates all layers for x of shape [B, D] (and t of shape [B])."""
        width, dtype = input_shape[0][-1], self.dtype_policy
        if width != self.out_dim:
            raise ValueError(
                f"x has {width} numbers and out_dim is {self.out_dim}; they must be as many."
            )
        self.time = _two(self.cond_dim, self.cond_dim, "time", dtype)
        self.scales = [_dense(self.cond_dim, 2 * width, f"scale{i}", dtype) for i in range(2)]
        self.mixing = [
            _dense(width, width, f"mix{i}", dtype) for i in range(2 if self.mixes else 0)
        ]

    def denoise(self, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """[B, D] -> [B, D]."""
        embedding = tf.cast(cut_sinusoids(t, self.cond_dim), x.dtype)
        embedding = tf.nn.silu(self.time(embedding) + y)
        for i, layer in enumerate(self.scales):
            scale, shift = tf.split(layer(embedding), 2, axis=-1)
            h = self.mixing[i](x) if self.mixes else x
            x = (scale + 1.0) * h + shift
        return x


def cut_sinusoids(t: tf.Tensor, length: int) -> tf.Tensor:
    """Sines, then cosines, of length // 2 + 1 frequencies from 1 to 1/10000; the last are cut off.

    Args:
        t: int [B].
        length: at least 4.

    Returns:
        float32 [B, length].
    """
    half = length // 2 + 1
    frequencies = 10_000.0 ** (-np.arange(half) / (half - 1))
    angles = tf.cast(t, tf.float32)[:, None] * tf.constant(frequencies, tf.float32)
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=1)[:, :length]
