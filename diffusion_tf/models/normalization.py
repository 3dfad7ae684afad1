"""Group normalization and swish in few passes over the images, with a gradient of their own."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from diffusion_tf.models.products import Conv2D, add_bias
from diffusion_tf.models.recomputation import custom_gradient, recomputed_gradient
from diffusion_tf.utils.keras_backend import keras, layers


@keras.saving.register_keras_serializable("diffusion_tf")
class GroupNormalization(layers.GroupNormalization):
    """Keras's layer, its variables and arguments, for images with the channels last.

    With `swish`, x sigmoid(x) of the normalized x follows. For the gradient only x is saved; the
    rest, and what `before` and `then` compute after it, is recomputed.

    `call(x [B, H, W, C], offset [B, C]) -> [B, H, W, C]`, computed in float32 whatever the dtype of
    x. The offset, if there is one, is added to all pixels of an image first: as it only moves the
    channels' means, this takes no pass over the image.

    Keras reduces over height, width and the channels of a group at once, which is slow, and sums in
    one go. Here moments are taken of each channel first, row by row, then combined: the error at
    256x256 pixels is a hundredth of Keras's, and stays small where the mean is far from 0.
    """

    def __init__(self, *args: Any, swish: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.swish = swish

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """Creates a weight, which is used as it is stored: Keras before 3.15 would round it."""
        return super().add_weight(*args, **{**kwargs, "autocast": False})

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "swish": self.swish}

    def call(self, inputs: tf.Tensor, offset: tf.Tensor | None = None) -> tf.Tensor:
        """See the class."""
        return tf.cast(self.then(tf.identity, inputs, offset=offset), self.compute_dtype)

    def before(
        self,
        conv: Conv2D,
        x: tf.Tensor,
        offset: tf.Tensor | None = None,
        dropout: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    ) -> tf.Tensor:
        """conv(dropout(self(x, offset))), of which nothing but x is kept for the gradient.

        Args:
            conv: the layer that follows.
            x: [B, H, W, C], of the dtype in which the layers compute.
            offset: [B, C].
            dropout: computed once more for the gradient: its random numbers must be drawn before.
        """

        def convolve(h: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            return conv.convolution_op(dropout(h), kernel)

        return add_bias(self.then(convolve, x, conv.kernel, offset=offset), conv.bias)

    def then(
        self,
        function: Callable[..., tf.Tensor],
        x: tf.Tensor,
        *weights: tf.Tensor | keras.Variable,
        offset: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """function(self(x, offset), *weights); for the gradient only x and the weights are kept.

        Args:
            function: computed once more for the gradient, which is by no other tensors.
            x: [B, H, W, C], of the dtype in which the function computes.
            *weights: further arguments.
            offset: [B, C].
        """
        if offset is None:
            offset = tf.zeros([1, x.shape[-1]])
        variables = [tf.convert_to_tensor(v) for v in (self.gamma, self.beta, *weights)]
        how = {"groups": self.groups, "epsilon": self.epsilon, "swish": self.swish}
        return _normalize_then(function, x, offset, *variables, **how)


def _normalize_then(
    function: Callable[..., tf.Tensor],
    x: tf.Tensor,
    *operands: tf.Tensor,
    groups: int,
    epsilon: float,
    swish: bool,
) -> tf.Tensor:
    """One affine map for each image and channel; swish; the function. Has a gradient of few passes.

    Args:
        function: `function(h, *weights)`.
        x: [B, H, W, C].
        *operands: offset [B or 1, C]; gamma and beta [C]; weights of the function.
        groups, epsilon, swish: see the layer.
    """

    def activate(y: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.nn.silu(y) if swish else y, x.dtype)

    @custom_gradient
    def normalize_then(
        x: tf.Tensor, offset: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        x32 = tf.cast(x, tf.float32)
        norm = _Normalization(x32, offset, gamma, beta, groups, epsilon)

        def gradient(dresult: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # What is large is computed again when it is needed, rather than kept until then.
            with tf.control_dependencies([dresult]):
                h = activate(norm(tf.cast(x, tf.float32)))
            dh, *dweights = recomputed_gradient(function, [h, *weights], dresult)
            dy = tf.cast(dh, tf.float32)
            if swish:
                with tf.control_dependencies([dy]):
                    y = norm(tf.cast(x, tf.float32))
                sigmoid = tf.sigmoid(y)
                dy *= sigmoid + tf.raw_ops.SigmoidGrad(y=sigmoid, dy=y)  # s + y s (1 - s)
            with tf.control_dependencies([dy]):
                x32 = tf.cast(x, tf.float32)
            dx, doffset, dgamma, dbeta = norm.gradient(x32, dy)
            return tf.cast(dx, x.dtype), tf.cast(doffset, offset.dtype), dgamma, dbeta, *dweights

        return function(activate(norm(x32)), *weights), gradient

    return normalize_then(x, *operands)


class _Normalization:
    """y = gamma z + beta of z = (x + offset - mean) inverse, as one affine map of x.

    `call(x float32 [B, H, W, C]) -> y`, with the moments of the x that it was made of. Numbers of
    groups are [B, groups, 1], those of channels [B or 1, groups, C / groups].
    """

    def __init__(
        self,
        x: tf.Tensor,
        offset: tf.Tensor,
        gamma: tf.Tensor,
        beta: tf.Tensor,
        groups: int,
        epsilon: float,
    ):
        # Constants that all use, as every norm would otherwise have many of its own.
        self._group_shape = tf.constant([-1, groups, x.shape[-1] // groups])
        self._pixel_shape = tf.constant([-1, 1, 1, x.shape[-1]])
        self._ones = tf.ones([x.shape[-1] // groups])
        image_mean = _mean_of_image(x)
        squares = tf.math.squared_difference(x, image_mean[:, None, None, :])
        offset, self._gamma = self._by_group(tf.cast(offset, tf.float32)), self._by_group(gamma)
        channel_mean = self._by_group(image_mean) + offset
        channel_variance = self._by_group(_mean_of_image(squares))
        mean = _mean_of_group(channel_mean)
        self._deviation = channel_mean - mean
        variance = _mean_of_group(channel_variance + tf.square(self._deviation))
        self._inverse = tf.math.rsqrt(variance + epsilon)
        self._center = mean - offset  # what is to be taken from x
        self._scale = self._inverse * self._gamma
        self._scale_by_pixel = self._by_pixel(self._scale)
        self._shift_by_pixel = self._by_pixel(self._by_group(beta) - self._center * self._scale)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x * self._scale_by_pixel + self._shift_by_pixel

    def gradient(self, x: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The gradient by x, offset, gamma and beta, from that by y.

        dz = gamma dy and dx = inverse (dz - <dz> - z <z dz>), with averages <> over the group.
        """
        mean_dy = self._by_group(_mean_of_image(dy))
        mean_x_dy = self._by_group(_mean_of_image(x * dy))
        mean_z_dy = (mean_x_dy - self._center * mean_dy) * self._inverse
        mean_dz = _mean_of_group(self._gamma * mean_dy)
        slope = _mean_of_group(self._gamma * mean_z_dy) * self._inverse
        dx = dy * self._scale_by_pixel - x * self._by_pixel(slope * self._inverse)
        dx += self._by_pixel((self._center * slope - mean_dz) * self._inverse)
        mean_dx = mean_dy * self._scale - (self._deviation * slope + mean_dz) * self._inverse
        pixels = tf.cast(tf.size(x) // tf.size(mean_dy), tf.float32)
        doffset = tf.reshape(mean_dx * pixels, [-1, x.shape[-1]])
        dgamma, dbeta = (
            tf.reshape(tf.reduce_sum(a, axis=0) * pixels, [-1]) for a in (mean_z_dy, mean_dy)
        )
        return dx, doffset, dgamma, dbeta

    def _by_group(self, a: tf.Tensor) -> tf.Tensor:
        """[B or 1, C] -> [B or 1, groups, C / groups]"""
        return tf.reshape(a, self._group_shape)

    def _by_pixel(self, a: tf.Tensor) -> tf.Tensor:
        """[B, groups, C / groups or 1] -> [B, 1, 1, C]"""
        return tf.reshape(a * self._ones, self._pixel_shape)


def _mean_of_group(a: tf.Tensor) -> tf.Tensor:
    """[B, groups, C / groups] -> [B, groups, 1]"""
    return tf.reduce_mean(a, axis=2, keepdims=True)


def _mean_of_image(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, C]. Row by row, as one long float32 sum would lose digits."""
    return tf.reduce_mean(tf.reduce_mean(x, axis=2), axis=1)
