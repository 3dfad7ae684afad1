"""What the process accepts: one sentence for each mistake that a caller can make."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import tensorflow as tf

from diffusion_tf.utils.literals import Mix
from diffusion_tf.utils.numbers import INT32_MAX, is_whole, outside, whole
from diffusion_tf.utils.random_numbers import unseeded_normal

MIXES: tuple[Mix, ...] = get_args(Mix)
PIXEL = 20.0  # more than noise of variance 1 ever reaches; images that have it are pixels


def check_option(name: str, value: str, options: Sequence[str]) -> None:
    """Raises ValueError, listing the options, unless value is one of them."""
    if value not in options:
        raise ValueError(f"Unknown {name} {value!r}; choose one of {', '.join(options)}.")


def checked_betas(betas: np.ndarray) -> np.ndarray:
    """betas as float64 [T]; ValueError if they are not a list of variances."""
    betas = np.asarray(betas)
    if betas.dtype.kind not in "iuf":
        raise ValueError(f"betas has dtype {betas.dtype}; it must hold real numbers.")
    betas = betas.astype(np.float64)
    if betas.ndim != 1 or len(betas) == 0:
        raise ValueError(f"betas has shape {betas.shape}; it must be [T] with T >= 1.")
    bad = ~((1.0 - betas < 1.0) & (betas <= 1.0))  # also where not a number, or too small to count
    if bad.any():
        t = int(np.argmax(bad))
        raise ValueError(f"betas[{t}] is {betas[t]}; every beta must lie in (0, 1].")
    return betas


def as_float32(values: Any, name: str) -> tf.Tensor:
    """Real numbers as a float32 tensor; ValueError if they are none, or a tensor of another type.

    Arrays and numbers of other types are rounded.
    """
    dtype: Any = getattr(values, "dtype", None)
    if tf.is_tensor(values) and dtype != tf.float32:
        raise ValueError(f"{name} has dtype {dtype.name}; it must be float32: cast it.")
    if isinstance(dtype, np.dtype) and dtype.kind in "bcOSU":
        raise ValueError(f"{name} has dtype {dtype}; it must hold real numbers.")
    try:
        return tf.convert_to_tensor(values, tf.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers of one shape ({error}).") from None


def checked(
    x: tf.Tensor, t: tf.Tensor, num_timesteps: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """x as float32 [B, ...] and t as an integer tensor [B]; ValueError if it is none.

    With `num_timesteps`, t must lie in 0..T-1 where its values are known (eager execution). Pixels,
    0..255, are refused, as all here is about images in [-1, 1].
    """
    _refuse_pixels(x)
    x = as_float32(x, "x")
    return x, checked_timesteps(t, x.shape, num_timesteps)


def _refuse_pixels(x: Any) -> None:
    """ValueError if x is uint8, or images whose values are those of pixels (eager execution)."""
    if getattr(getattr(x, "dtype", None), "name", None) == "uint8":
        raise ValueError(
            "x has dtype uint8; data must be floats in [-1, 1]: scale 8-bit pixels by"
            " x / 127.5 - 1."
        )
    known = isinstance(x, np.ndarray) or hasattr(x, "numpy")
    if known and np.ndim(x) == 4 and np.size(x):
        low, high = float(np.min(x)), float(np.max(x))
        if low >= 0 and PIXEL < high <= 255:
            raise ValueError(
                f"x_start ranges from {low:g} to {high:g}; data must lie in [-1, 1]: scale"
                " 8-bit pixels by x / 127.5 - 1."
            )


def checked_timesteps(
    t: tf.Tensor, x_shape: tf.TensorShape, num_timesteps: int | None = None
) -> tf.Tensor:
    """Timesteps as a tensor, int32 or int64 [B]; ValueError if they are something else.

    Args:
        t: one for each example.
        x_shape: of the data, [B, ...].
        num_timesteps: T; t must lie in 0..T-1, or, if it is not given, be at least 0. Values are
            looked at only where they are known (eager execution).
    """
    x_shape = tf.TensorShape(x_shape)
    try:
        t = tf.convert_to_tensor(t)
    except (TypeError, ValueError):
        raise ValueError(f"t is {t!r}; timesteps must be int32 or int64.") from None
    if t.dtype not in (tf.int32, tf.int64):
        raise ValueError(f"t has dtype {t.dtype.name}; timesteps must be int32 or int64.")
    if not t.shape.is_compatible_with(x_shape[:1]) or x_shape.rank == 0:
        raise ValueError(
            f"t has shape {t.shape} for data of shape {x_shape}; it must be"
            f" {x_shape[:1]}, one timestep for each example."
        )
    last = INT32_MAX if num_timesteps is None else num_timesteps - 1
    wrong = outside(t.numpy(), 0, last) if hasattr(t, "numpy") else None
    if wrong is not None:
        raise ValueError(f"t has {wrong}; timesteps must lie in 0..{last}.")
    return t


def check_floating(x: tf.Tensor) -> None:
    """ValueError unless x holds floats, which a network computes with."""
    if not x.dtype.is_floating:
        raise ValueError(f"x has dtype {x.dtype.name}; it must hold floats: cast it.")


def network_output(denoise_fn: Any, x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """What a network says, float32; ValueError if it is not a function, or says something else."""
    if not callable(denoise_fn):
        raise ValueError(f"denoise_fn is {denoise_fn!r}; it must be a function of x and t.")
    return as_float32(denoise_fn(x, t), "what denoise_fn returned")


def weight_of_x1(weight: tf.Tensor, mix: Mix) -> tf.Tensor:
    """What goes with the weight of x2; ValueError where variance cannot stay (checked eagerly)."""
    check_option("mix", mix, MIXES)
    if mix == "linear":
        return 1.0 - weight
    if hasattr(weight, "numpy") and not (abs(weight.numpy()) <= 1.0).all():
        raise ValueError(
            f"lam is {weight.numpy().ravel()}; with mix 'constant_variance' every weight must lie"
            " in -1..1."
        )
    return tf.sqrt(1.0 - weight**2)


def checked_step(t: int | tf.Tensor, name: str, num_timesteps: int) -> int | tf.Tensor:
    """One timestep: a number in 0..T-1, or an integer scalar whose value is not known yet."""
    if isinstance(t, int) or not tf.is_tensor(t) or hasattr(t, "numpy"):
        return whole(t, name, 0, num_timesteps - 1)
    if t.dtype not in (tf.int32, tf.int64) or t.shape.rank not in (None, 0):
        raise ValueError(
            f"{name} has dtype {t.dtype.name} and shape {t.shape}; it must be an int32 or int64"
            " scalar."
        )
    return tf.cast(t, tf.int32)


def checked_times(keep: Sequence[int], num_timesteps: int) -> list[int]:
    """Times from T - 1 to -1 to keep x at, each once, in falling order; ValueError if others."""
    T, times = num_timesteps, list(keep) if hasattr(keep, "__iter__") else []
    if not times or not all(is_whole(time) and -1 <= time < T for time in times):
        raise ValueError(f"keep is {keep}; name one or more times from -1 to {T - 1}.")
    return sorted({int(time) for time in times}, reverse=True)


def checked_sampling_steps(
    sampling_steps: int | Sequence[int], num_timesteps: int
) -> int | np.ndarray:
    """A number of steps in 1..T, or the timesteps themselves, rising, as int32 [S]."""
    T = num_timesteps
    if isinstance(sampling_steps, int) or np.ndim(sampling_steps) == 0:
        return whole(sampling_steps, "sampling_steps", 1, T)
    steps = list(sampling_steps)
    rising = all(map(is_whole, steps)) and all(
        a < b for a, b in zip([-1, *steps], [*steps, T], strict=True)
    )
    if not steps or not rising:
        raise ValueError(f"sampling_steps is {steps}; timesteps must rise within 0..{T - 1}.")
    return np.array(steps, np.int32)


def checked_noise(noise: tf.Tensor | None, x: tf.Tensor) -> tf.Tensor:
    """The noise given, or standard normal noise shaped like x; ValueError on another shape."""
    if noise is None:
        return unseeded_normal(shape_of(x), x.dtype)
    noise = as_float32(noise, "noise")
    if not noise.shape.is_compatible_with(x.shape):
        raise ValueError(f"noise has shape {noise.shape}; it must be that of the data, {x.shape}.")
    return noise


def checked_ends(
    x1: tf.Tensor, x2: tf.Tensor, lam: float | Sequence[float] | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Two ends as float32 [B, ...], and the weights of x2 as [L, 1, 1, ...], which broadcast.

    Raises:
        ValueError: the shapes differ, lam has more than one axis, or one that is not finite.
    """
    x1, x2, lam = (as_float32(a, name) for a, name in ((x1, "x1"), (x2, "x2"), (lam, "lam")))
    if x1.shape != x2.shape:
        raise ValueError(f"x1 {x1.shape} and x2 {x2.shape} must have the same shape.")
    if lam.shape.rank > 1:
        raise ValueError(f"lam has shape {lam.shape}; it must be a number or [L].")
    if hasattr(lam, "numpy") and not np.isfinite(lam.numpy()).all():
        raise ValueError(f"lam is {lam.numpy()}; every weight must be a finite number.")
    return x1, x2, tf.reshape(lam, [-1] + [1] * x1.shape.rank)


def checked_shape(shape: Sequence[int]) -> list[int]:
    """The shape of a batch of samples as a list; ValueError unless it is [B, ...]."""
    sizes = shape.as_list() if isinstance(shape, tf.TensorShape) and shape.rank else shape
    try:
        dims = [whole(size, "a size", 0) for size in sizes]
    except (TypeError, ValueError):
        dims = []
    if not dims:
        raise ValueError(f"shape is {shape!r}; give every size, the batch first.")
    return dims


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
