"""Our network stage by stage: with other choices, and with the other side's values going in."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from diffusion_tf.crosscheck import varied_layers as varied
from diffusion_tf.crosscheck.choices import (
    NETWORK_FIELDS,
    ORIGINAL,
    Choices,
    are_original,
    in_layer,
)
from diffusion_tf.models.blocks import AttnBlock, Downsample, ResnetBlock, TimeEmbedding, Upsample
from diffusion_tf.models.unet import UNet
from diffusion_tf.nn import get_timestep_embedding
from diffusion_tf.utils.keras_backend import layers

_KINDS = {"block": "block", "attn": "attention", "downsample": "downsample", "upsample": "upsample"}


def kind_of(stage: str) -> str:
    """What kind of stage it is: block, attention, downsample, upsample, or its own name."""
    match = re.fullmatch(r".*/(block|attn|downsample|upsample)(_\d+)?", stage)
    return _KINDS[match[1]] if match else stage


class _Reached(Exception):
    """Ends a walk at the stage that was asked for."""


@dataclass
class Walk:
    """One way through the network.

    Attributes:
        unet: built, with block_size 1.
        T: number of timesteps.
        choices: what to do differently.
        theirs: values of the other side, NHWC; what follows a stage gets these instead of ours.
        until: the last stage that is computed.
    """

    unet: UNet
    T: int = 1000
    choices: Choices = ORIGINAL
    theirs: Mapping[str, tf.Tensor] = dataclasses.field(default_factory=dict)
    until: str | None = None

    def stages(self, x: tf.Tensor, t: tf.Tensor, *condition: Any) -> dict[str, tf.Tensor]:
        """What comes out of every stage, by its scope's name, in the order of its use.

        Args:
            x, t: see `UNet`.

        Returns:
            `sinusoids` [B, ch], `temb` [B, 4 ch], `conv_in`, `down_0/block_0`, ..., each
            [B, H, W, C], and `output`; with the original's choices that of `unet([x, t])` itself.
        """
        self._stages: dict[str, tf.Tensor] = {}
        self._x, self._last = x, x
        try:
            with tf.name_scope("walk"):
                result = self.unet.walk([x, t, *condition], run=self._run)
            self._stages["output"] = self._output(result)
        except _Reached:
            pass
        return self._stages

    def _run(self, name: str, layer: layers.Layer, inputs: Any, **options: Any) -> tf.Tensor:
        if self._is_given(name) and self.until != "sinusoids":
            self._last = self.theirs[name]
            return self._last
        if isinstance(layer, TimeEmbedding):
            inputs = self._done("sinusoids", self._sinusoids(inputs, layer.ch))
        return self._done(name, self._of(name, layer, inputs, options))

    def _sinusoids(self, t: tf.Tensor, ch: int) -> tf.Tensor:
        c = in_layer(self.choices, "sinusoids", "sinusoids")
        if are_original(c, NETWORK_FIELDS[1:]):
            return get_timestep_embedding(t, ch)
        return varied.sinusoids(t, ch, self.T, c)

    def _is_given(self, name: str) -> bool:
        """Whether a stage need not be computed on the way to the one that is asked for."""
        return self.until not in (None, name) and name in self.theirs

    def _done(self, name: str, value: tf.Tensor) -> tf.Tensor:
        """Keeps the value of a stage, and gives what the next one gets."""
        self._stages[name] = value
        if name == self.until:
            raise _Reached
        value = self.theirs.get(name, value)
        self._last = value
        return value

    def _of(self, name: str, layer: layers.Layer, inputs: Any, options: Any) -> tf.Tensor:
        """What a layer computes, with the choices that hold in it."""
        c = in_layer(self.choices, kind_of(name), name)
        if are_original(c, NETWORK_FIELDS[1:]):
            return layer.project(inputs) if isinstance(layer, TimeEmbedding) else layer(
                inputs, **options
            )  # fmt: skip
        if isinstance(layer, TimeEmbedding):
            return varied.time_embedding(layer, inputs, c)
        if isinstance(layer, ResnetBlock):
            skip = inputs[0].shape[-1] - self._last.shape[-1] if name.startswith("up") else 0
            x, temb = inputs
            return varied.resnet_block(layer, x, temb, c, skip)
        if isinstance(layer, AttnBlock):
            return varied.attention(layer, inputs, c)
        if isinstance(layer, Downsample):
            return varied.downsample(layer, inputs, c)
        if isinstance(layer, Upsample):
            return varied.upsample(layer, inputs, c)
        scale, offset = c.input_scale
        return varied.conv(layer, scale * inputs + offset, c)

    def _output(self, result: tf.Tensor) -> tf.Tensor:
        """The output; computed again where it is not the original's."""
        c = in_layer(self.choices, "output", "output")
        if are_original(c, NETWORK_FIELDS[1:]):
            return result
        unet = self.unet
        return varied.output(unet.norm_out, unet.conv_out, self._last, self._x, c)


def unet_stages(
    unet: UNet, x: tf.Tensor, t: tf.Tensor, choices: Choices = ORIGINAL, T: int = 1000
) -> dict[str, tf.Tensor]:
    """The stages of a network with the choices; see `Walk.stages`."""
    return Walk(unet, T, choices).stages(x, t)
