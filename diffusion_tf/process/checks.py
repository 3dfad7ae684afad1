"""What the process accepts: one sentence for each mistake that a caller can make."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from diffusion_tf.random_numbers import unseeded_normal


def check_option(name: str, value: str, options: Sequence[str]) -> None:
    """Raises ValueError, listing the options, unless value is one of them."""
    if value not in options:
        raise ValueError(f"Unknown {name} {value!r}; choose one of {', '.join(options)}.")


def checked_betas(betas: np.ndarray) -> np.ndarray:
    """betas as float64 [T]; ValueError if they are no list of variances."""
    betas = np.asarray(betas, dtype=np.float64)
    if betas.ndim != 1 or len(betas) == 0:
        raise ValueError(f"betas has shape {betas.shape}; it must be [T] with T >= 1.")
    bad = ~((1.0 - betas < 1.0) & (betas <= 1.0))  # also where not a number, or too small to count
    if bad.any():
        t = int(np.argmax(bad))
        raise ValueError(f"betas[{t}] is {betas[t]}; every beta must lie in (0, 1].")
    return betas


def checked(x: tf.Tensor, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """x as float32 [B, ...] and t as an integer tensor [B]; ValueError if t is neither."""
    x, t = tf.convert_to_tensor(x, tf.float32), tf.convert_to_tensor(t)
    if t.dtype not in (tf.int32, tf.int64):
        raise ValueError(f"t has dtype {t.dtype.name}; timesteps must be int32 or int64.")
    if not t.shape.is_compatible_with(x.shape[:1]) or x.shape.rank == 0:
        raise ValueError(
            f"t has shape {t.shape} for data of shape {x.shape}; it must be"
            f" {x.shape[:1]}, one timestep for each example."
        )
    return x, t


def checked_noise(noise: tf.Tensor | None, x: tf.Tensor) -> tf.Tensor:
    """The noise given, or standard normal noise shaped like x; ValueError on another shape."""
    if noise is None:
        return unseeded_normal(shape_of(x), x.dtype)
    noise = tf.convert_to_tensor(noise, x.dtype)
    if not noise.shape.is_compatible_with(x.shape):
        raise ValueError(f"noise has shape {noise.shape}; it must be that of the data, {x.shape}.")
    return noise


def checked_shape(shape: Sequence[int]) -> list[int]:
    """The shape of a batch of samples as a list; ValueError unless it is [B, ...]."""
    dims = tf.TensorShape(shape)
    if dims.rank in (None, 0) or not dims.is_fully_defined():
        raise ValueError(f"shape is {shape!r}; give every size, the batch first.")
    return dims.as_list()


def check_range(x: tf.Tensor, name: str) -> None:
    """ValueError if x leaves [-1, 1]; looks only where values are known (eager execution)."""
    if not hasattr(x, "numpy"):
        return
    low, high = float(tf.reduce_min(x)), float(tf.reduce_max(x))
    if not (low >= -1.0 and high <= 1.0):
        raise ValueError(
            f"{name} ranges from {low:g} to {high:g}; data must lie in [-1, 1]: scale 8-bit"
            " pixels by x / 127.5 - 1."
        )


def shape_of(x: tf.Tensor) -> list[int] | tf.Tensor:
    """The static shape where it is known, else the dynamic one."""
    return x.shape.as_list() if x.shape.is_fully_defined() else tf.shape(x)
