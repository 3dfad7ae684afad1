"""Dropout, told by statistics over many masks of what the first block gives in training."""

from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.crosscheck import varied_layers as varied
from diffusion_tf.crosscheck.choices import Choices
from diffusion_tf.crosscheck.varied_network import Walk
from diffusion_tf.models.unet import UNet

BLOCK = "down_0/block_0"
EXAMPLE, REPEATS = 2, 64  # which of x_t, and how often


def statistics(dropped: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Numbers that masks of one kind share.

    Args:
        dropped: the output with other masks each time, [REPEATS, H, W, C].
        without: the output without dropout, [1, H, W, C].

    Returns:
        float64 [5]: the share of the output that is left on average; the deviations' variance,
        relative to the output's; 1 + the correlation of a pixel with the one beside it; the
        kurtosis, which is large where a number is dropped itself, and 3 where it is a sum of many;
        and how far the mean is off, over what so many masks explain.
    """
    dropped, without = dropped.astype(np.float64), without.astype(np.float64)
    mean = dropped.mean(axis=0)
    left = (mean * without).sum() / np.square(without).sum()
    off = dropped - mean
    variance = np.square(off).mean(axis=0)
    spread = variance.mean() / np.square(without).mean()
    if spread < 1e-12:
        return np.array([left, 0.0, 1.0, 3.0, 1.0])
    beside = (off[:, :, 1:] * off[:, :, :-1]).mean() / variance.mean()
    fourth = np.power(off, 4).mean() / np.square(variance).mean()
    bias = np.square(mean - without).mean() / (variance.mean() / (len(dropped) - 1))
    return np.array([left, spread, 1 + beside, fourth, bias**0.5])


def of_network(
    unet: UNet, T: int, x: np.ndarray, t: np.ndarray, choices: Choices
) -> dict[str, Any]:
    """The statistics of our first block, with masks of our own.

    Args:
        unet: the network.
        T: number of timesteps.
        x, t: x_t [B, H, W, C] and t [B].
        choices: what is done differently.
    """
    one = slice(EXAMPLE, EXAMPLE + 1)
    stages = Walk(unet, T, choices, until="conv_in").stages(
        tf.constant(x[one]), tf.constant(t[one])
    )
    block, rate = unet.down[0].block_0, choices.dropout_rate
    rate = unet.dropout_rate if rate is None else rate
    random = np.random.default_rng(0)

    def drop(place: str, h: tf.Tensor) -> tf.Tensor:
        if place != choices.dropout_at or not rate:
            return h
        shape = list(h.shape)
        shape[1:3] = [1, 1] if choices.dropout_channels else shape[1:3]
        kept = random.uniform(size=shape) >= rate
        return h * tf.constant(kept / (1 - rate if choices.dropout_scaled else 1), tf.float32)

    def run(repeats: int, drop: varied.Drop) -> np.ndarray:
        h, temb = (tf.repeat(stages[name], repeats, axis=0) for name in ("conv_in", "temb"))
        return varied.resnet_block(block, h, temb, choices, drop=drop).numpy()

    return {"dropout": statistics(run(REPEATS, drop), run(1, lambda _, h: h))}
