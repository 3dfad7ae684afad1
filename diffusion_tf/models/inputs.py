"""The ways to hand a network its inputs: one list, one dict, or x, t and y by place or name."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from diffusion_tf.models.recomputation import plain_gradients
from diffusion_tf.models.saving import Saved
from diffusion_tf.utils.keras_backend import keras

_NAMES = ("x", "t", "y")
_WEIGHTS = "float32"  # dtype in which normalization, optimizer and averages have weights


class TakesInputs(Saved):
    """A network whose `call` takes [x, t], or [x, t, y], and that can be called in other ways, too.

    `network([x, t])`, `network(x, t)`, `network(x=x, t=t)` and `network({"x": x, "t": t})` are the
    same. With `training=False` gradients are TensorFlow's own, see `recomputation`.
    """

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """See the class; `training` and other options are those of Keras."""
        named = {name: options.pop(name) for name in _NAMES if name in options}
        places = list(inputs)
        if named or (places and (len(places) > 1 or not isinstance(places[0], (list, tuple)))):
            places = [gathered(places, named)]
        with plain_gradients(options.get("training") is False):
            return super().__call__(*places, **options)


def gathered(inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """x, t and perhaps y as the list that networks take.

    Args:
        inputs: by their place; or one dict with all of them by name.
        named: by their name.

    Raises:
        ValueError: one is missing, is given twice, or is not x, t or y.
    """
    if len(inputs) == 1 and _is_dict(inputs[0]):
        inputs, named = [], {**inputs[0], **named}
    by_name = {**dict(zip(_NAMES, inputs, strict=False)), **named}
    if by_name.get("y", by_name) is None:
        del by_name["y"]
    number = len(inputs) + len(named) - ("y" in named and named["y"] is None)
    if len(by_name) != number or not {"x", "t"} <= by_name.keys() <= set(_NAMES):
        given = [*(f"input {i}" for i in range(len(inputs))), *named]
        raise ValueError(
            f"A network was called with {', '.join(given) or 'nothing'}; it takes x and t, and y"
            " where it has conditions: network(x, t), network([x, t]) or network(x=x, t=t)."
        )
    return [_tensor(by_name[name]) for name in _NAMES if name in by_name]


def _tensor(value: Any) -> Any:
    """Lists and numbers as tensors; Keras takes them for something else than inputs."""
    return tf.convert_to_tensor(value) if isinstance(value, (list, tuple, int)) else value


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def check_dtype(policy: keras.DTypePolicy) -> None:
    """Refuses to keep weights in another dtype than float32.

    Raises:
        ValueError: names the dtypes that can be chosen.
    """
    if policy.variable_dtype != _WEIGHTS:
        raise ValueError(
            f"dtype is {policy.name!r}, whose weights are {policy.variable_dtype}; choose float32,"
            " or mixed_bfloat16 or mixed_float16, which compute in 16 bits and keep weights in 32."
        )
