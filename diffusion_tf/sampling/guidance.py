"""What samples are conditioned on, labels or vectors, and how strongly: guidance."""

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.datasets.arrays import checked_vectors, read_npy, read_npz
from diffusion_tf.datasets.labels import listing
from diffusion_tf.models.conditioning import (
    as_condition,
    check_condition,
    check_labels,
    no_condition,
)
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.numbers import finite, shown, whole_array
from diffusion_tf.utils.sentences import shown_text

Network = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions for any number of samples: sample i has number i modulo their number.

    Attributes:
        values: labels int32 [K], or vectors float32 [K, C]; -1 or NaN for none. Labels may come in
            any integer type, vectors in any of real numbers.
        guidance_scale: 1 is the conditional model, 0 the unconditional one, more than 1 goes beyond
            the conditional one.

    Raises:
        ValueError: values of another shape or type, none, labels that are less than -1 or beyond
            int32, vectors with infinite numbers; a guidance scale that is not finite.
    """

    values: np.ndarray
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _checked_values(np.asarray(self.values)))
        scale = finite(self.guidance_scale, "guidance_scale")
        object.__setattr__(self, "guidance_scale", scale)

    def check(self, model: keras.Model) -> None:
        """Raises a ValueError if a network of here is not conditioned on such values."""
        num_classes, cond_dim = (getattr(model, n, 0) for n in ("num_classes", "cond_dim"))
        if num_classes or cond_dim:
            check_condition(tf.constant(self.values), num_classes, cond_dim)

    def rows(self, start: int, number: int) -> np.ndarray:
        """Those of samples start, start + 1, ...: [number] or [number, C]."""
        return self.values[np.arange(start, start + number) % len(self.values)]

    def describe(self) -> dict[str, Any]:
        """What tells samples with other conditions apart, in values of JSON."""
        sha256 = hashlib.sha256(repr((self.values.shape, self.values.dtype)).encode())
        sha256.update(np.ascontiguousarray(self.values).data)
        return {
            "conditions_sha256": sha256.hexdigest()[:16],
            "guidance_scale": self.guidance_scale,
        }


def get_conditions(
    config: Config,
    text: str | None = None,
    guidance_scale: float = 1.0,
    *,
    class_names: Sequence[str] | None = None,
) -> Conditions | None:
    """The conditions that a person asks for.

    Args:
        config: of the trained network.
        text: labels `3,5`, or the names of classes `cat,dog`; vectors `1,0,0;0.5,0.5,0`; a file,
            `*.npy` or `*.npz` with `y`; `none`. If not given, all labels in turn.
        guidance_scale: see `Conditions`.
        class_names: of labels 0, 1, ..., where they have names.

    Returns:
        None for an unconditional network.

    Raises:
        ValueError: conditions or guidance for an unconditional network, none for one that is
            conditioned on vectors, values that it does not take, or a file that holds none.
        FileNotFoundError: no such file.
    """
    if not config.conditional:
        if text is not None or guidance_scale != 1.0:
            what = "guidance" if text is None else f"conditions ({text})"
            raise ValueError(f"The network of this run is unconditional; it takes no {what}.")
        return None
    if config.cond_drop_prob == 0 and (guidance_scale != 1.0 or text == "none"):
        logging.warning(
            "This run never learned to do without conditions (cond_drop_prob 0), which %s needs:"
            " samples will mean little.",
            "--conditions=none" if text == "none" else f"a guidance_scale of {guidance_scale:g}",
        )
    values = _default(config) if text is None else _parse(text, config, class_names)
    if len(values) == 0:
        raise ValueError(f"{text} holds no conditions; give at least one.")
    try:
        _check_fit(values, config)
    except ValueError as error:
        where = "--conditions" if text is None else shown_text(text, 100)
        raise ValueError(f"{where} cannot be the conditions of this network: {error}") from None
    return Conditions(values, guidance_scale)


def get_one_condition(
    config: Config,
    text: str | None,
    guidance_scale: float = 1.0,
    *,
    class_names: Sequence[str] | None = None,
) -> Conditions | None:
    """One condition for all that is drawn between real images.

    Args:
        config, text, guidance_scale, class_names: see `get_conditions`; but if no text is given,
            none, where the network has learned to do without.

    Raises:
        ValueError: several, or none for a network that always had one; see also `get_conditions`.
        FileNotFoundError: no such file.
    """
    if config.conditional and text is None:
        if not config.cond_drop_prob:
            raise ValueError(
                "The network of this run never learned to do without a condition (cond_drop_prob"
                " is 0); name one with --conditions."
            )
        text = "none"
    conditions = get_conditions(config, text, guidance_scale, class_names=class_names)
    if conditions is not None and len(conditions.values) > 1:
        raise ValueError(
            f"--conditions={shown_text(text or '', 100)} holds {len(conditions.values)} conditions;"
            " give one, for all images."
        )
    return conditions


def _check_fit(values: np.ndarray, config: Config) -> None:
    if config.num_classes:
        check_labels(values, config.num_classes)
    else:
        check_condition(tf.constant(values), config.num_classes, config.cond_dim)


def _checked_values(values: np.ndarray) -> np.ndarray:
    """Labels as int32 [K], vectors as float32 [K, C]; whole floats [K] stay, for no network."""
    good = values.ndim in (1, 2) and values.dtype.kind in "iuf"
    if good and values.ndim == 1 and values.dtype.kind == "f":
        good = not np.any(values % 1)  # also where they are not finite
    if not good:
        raise ValueError(
            f"conditions have dtype {values.dtype} and shape {values.shape}; they must be labels,"
            " integers [K], or vectors, real numbers [K, C]."
        )
    if not len(values):
        raise ValueError("conditions are none; give at least one.")
    if values.dtype.kind != "f" and values.ndim == 1:
        return whole_array(values, "the array of conditions", -1)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
        vectors = values.astype(np.float32)
    if np.isinf(vectors).any():
        raise ValueError("conditions have infinite numbers; each must be finite, or NaN for none.")
    return vectors


def _default(config: Config) -> np.ndarray:
    if config.num_classes:
        return np.arange(config.num_classes, dtype=np.int32)
    raise ValueError(
        f"This network is conditioned on vectors of {config.cond_dim} numbers; give them with"
        " --conditions: 0.5,1,...;0,1,... or a file, *.npy or *.npz."
    )


def _parse(text: str, config: Config, class_names: Sequence[str] | None) -> np.ndarray:
    if text == "none":
        y = tf.zeros([1, config.cond_dim]) if config.cond_dim else tf.zeros([1], tf.int32)
        return no_condition(y).numpy()
    if class_names and config.num_classes and not _is_file(text, class_names):
        return labels_of_names(text.split(","), class_names)
    if text.lower().endswith((".npy", ".npz")):
        return _read(text, config)
    try:
        if config.num_classes:
            return np.array([int(label) for label in text.split(",")])
        return np.array(
            [[float(number) for number in vector.split(",")] for vector in text.split(";")],
            np.float32,
        )
    except ValueError:
        form = "labels: 3,5" if config.num_classes else "vectors of one length: 1,0;0.5,0.5"
        raise ValueError(
            f"{shown(text)} is not a list of conditions; give {form}, a file, *.npy or *.npz,"
            " or none."
        ) from None


def _is_file(text: str, class_names: Sequence[str]) -> bool:
    return text.lower().endswith((".npy", ".npz")) and text not in class_names


def labels_of_names(words: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """The labels of classes by name; those of classes whose names are not all numbers also by
    number.

    Args:
        words: what a person wrote.
        class_names: of labels 0, 1, ...

    Returns:
        int32 [N].

    Raises:
        ValueError: a word that is neither.
    """
    numbers = {name: label for label, name in enumerate(class_names)}
    if not all(name.isdecimal() for name in class_names):
        numbers = {str(label): label for label in range(len(class_names))} | numbers
    words = [word if word in numbers else word.strip() for word in words]
    unknown = [word for word in words if word not in numbers]
    if unknown:
        close = difflib.get_close_matches(unknown[0], class_names, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"{shown(unknown[0])} is not a class of this run{hint}; it has {listing(class_names)}."
        )
    return np.array([numbers[word] for word in words], np.int32)


def _read(path: str, config: Config) -> np.ndarray:
    """The array of a *.npy file, or `y` of an npz file."""
    try:
        array = read_npz(path, ["y"])[0] if path.lower().endswith(".npz") else read_npy(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {path!r} of conditions; check it.") from None
    if config.cond_dim:
        return checked_vectors(array, path)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(
            f"{path} has dtype {array.dtype} and shape {array.shape}; it must hold labels:"
            " integers [N]."
        )
    return array


def denoise_fn(
    model: keras.Model, y: tf.Tensor | None = None, guidance_scale: float = 1.0
) -> Network:
    """The network as the diffusion classes call it, without dropout.

    An infinite output becomes NaN: clipping the predicted x_0 would make it black or white, as if
    nothing had overflown.

    With a guidance scale other than 0 and 1, eps_uncond + scale (eps_cond - eps_uncond) of one call
    with both halves (Ho & Salimans 2022, eq. 6, whose w is scale - 1). A learned variance is the
    conditional one.

    Args:
        model: called as `model([x, t])` or `model([x, t, y])`.
        y: of a conditional network, one for each example of the batch.
        guidance_scale: see `Conditions`.

    Raises:
        ValueError: labels beyond int32 (where they are known), a guidance scale that is not finite.
    """
    guidance_scale = finite(guidance_scale, "guidance_scale")
    network = _network(model, y, guidance_scale)

    def finite_or_nan(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        output = network(x, t)
        return tf.where(tf.math.is_finite(output), output, tf.constant(np.nan, output.dtype))

    return finite_or_nan


def _network(model: keras.Model, y: tf.Tensor | None, guidance_scale: float) -> Network:
    if y is None:
        return lambda x, t: model([x, t], training=False)
    y = as_condition(y)
    if guidance_scale in (0.0, 1.0):  # one half of the call is enough
        given = y if guidance_scale == 1.0 else no_condition(y)
        return lambda x, t: model([x, t, given], training=False)
    both = tf.concat([y, no_condition(y)], axis=0)

    def guided(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        output = model([tf.concat([x, x], 0), tf.concat([t, t], 0), both], training=False)
        conditional, unconditional = tf.split(output, 2)
        channels = x.shape[-1]  # what follows them is a learned variance
        difference = conditional[..., :channels] - unconditional[..., :channels]
        guided = unconditional[..., :channels] + guidance_scale * difference
        return tf.concat([guided, conditional[..., channels:]], axis=-1)

    return guided
