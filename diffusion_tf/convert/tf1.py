"""Checkpoints of the original code, `model.ckpt-*`: read and written by its names.

The original's `tf.train.Saver` keeps a variable as `model/down_0/block_0/conv1/W`, its average with
`/ExponentialMovingAverage` after it, the optimizer's state with `/Adam` and `/Adam_1` (or
`/RMSProp` and `/RMSProp_1`), and by themselves `global_step` and the powers of Adam's betas.
"""

import contextlib
import dataclasses
import glob
import os
import re
import weakref
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.config import Config
from diffusion_tf.config.original import kwargs_from_config, read_config
from diffusion_tf.convert.architecture import build_from_config, build_from_weights
from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.maps import Weights, listed
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.files import replacing, write_json
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.numbers import INT64_MAX, whole
from diffusion_tf.utils.tensorflow_paths import for_tensorflow
from diffusion_tf.utils.weight_sets import (
    WEIGHTS,
    WeightsKind,
    check_weights,
    no_such_weights,
)

_EMA = "ExponentialMovingAverage"
_SLOTS = ("Adam", "Adam_1", "RMSProp", "RMSProp_1")
_BETAS = {"beta1_power": 0.9, "beta2_power": 0.999}
_PARAMETERS = {"kernel": "W", "bias": "b"}  # here and there; gamma and beta are the same


def newest(path: str) -> str:
    """The checkpoint that a path means, without the endings of its files.

    Args:
        path: a folder with checkpoints, of which the file `checkpoint` names the newest (without
            it, that of the most steps counts); a checkpoint `.../model.ckpt-5`; or one of its
            files.

    Raises:
        FileNotFoundError: no checkpoint there.
    """
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path)
    if os.path.exists(f"{prefix}.index"):
        return prefix
    if os.path.isdir(path):
        # Its path may be that of another machine, so only the name counts.
        name = os.path.basename(_named(path))
        if name and os.path.exists(_index(path, name)):
            return os.path.join(path, name)
        found = glob.glob(os.path.join(glob.escape(path), "model.ckpt-*.index"))
        if found:
            return max((p.removesuffix(".index") for p in found), key=_number)
    raise FileNotFoundError(
        f"{path} holds no checkpoint of the original (no model.ckpt-*.index); give its folder or"
        " .../model.ckpt-NUMBER."
    )


def _named(folder: str) -> str:
    """What the file `checkpoint` of a folder names; "" if it cannot be read."""
    with for_tensorflow(folder) as plain:
        try:
            state = tf.train.get_checkpoint_state(plain)
        except UnicodeDecodeError:
            return ""
    return state.model_checkpoint_path if state else ""


def is_checkpoint(path: str) -> bool:
    """Whether a path means a checkpoint of the original; see `newest`."""
    try:
        return bool(newest(path))
    except FileNotFoundError:
        return False


def recognizes(path: str) -> bool:
    """Whether a path means a checkpoint of the original, or a run of it without a checkpoint yet.

    Where there is a config.json instead of a checkpoint, the run is not the original's.
    """
    if is_checkpoint(path):
        return True
    kwargs, config = (os.path.join(path, name) for name in ("kwargs.json", "config.json"))
    return os.path.exists(kwargs) and not os.path.exists(config)


def newest_number(path: str) -> int:
    """The number in the name of the newest checkpoint, its step; 0 if there is none."""
    return _number(newest(path)) if is_checkpoint(path) else 0


def read(path: str) -> Contents:
    """Everything that a checkpoint holds, and the config that its run's `kwargs.json` says.

    Args:
        path: see `newest`.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it is damaged, or holds what the original's do not, or tensors that are complex
            or not finite in float32; or a `kwargs.json` that the original does not write.
    """
    checkpoint = _Checkpoint(path)
    sets = {kind: checkpoint.read(kind) for kind in checkpoint.names}
    return Contents(
        path=checkpoint.prefix,
        weights={kind: sets[kind] for kind in WEIGHTS if kind in sets},
        slots={slot: sets[slot] for slot in _SLOTS if slot in sets},
        step=checkpoint.step(),
        fields=dataclasses.asdict(config) if (config := _config_beside(checkpoint.prefix)) else {},
    )


def read_weights(path: str, weights: WeightsKind) -> tuple[Weights, int | None]:
    """The weights `ema` or `raw` of a checkpoint, and its step.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: there are no such weights, or as for `read`.
    """
    check_weights(weights)
    checkpoint = _Checkpoint(path)
    if weights not in checkpoint.names:
        raise no_such_weights(checkpoint.prefix, weights, checkpoint.names)
    return checkpoint.read(weights), checkpoint.step()


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network of a checkpoint; for all image sizes if there is no `kwargs.json` beside it.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: there are no such weights, or as for `read`; a network that is not the run's.
    """
    values, _ = read_weights(path, weights)
    config = _config_beside(newest(path))
    return build_from_config(config, values) if config else build_from_weights(values)


def write(target: str, contents: Contents, config: Config | None = None) -> str:
    """Writes a checkpoint that the original can restore, and the file `checkpoint` naming it.

    Args:
        target: folder; made if it is not there. A checkpoint of the same step is replaced.
        contents: to write; the step counts as 0 if it is not known.
        config: of the run, which becomes its `kwargs.json`, if it is known and the original has
            such a run.

    Returns:
        The checkpoint's path, without the endings of its files.

    Raises:
        OSError: it cannot be written.
    """
    prefix = _write_checkpoint(target, contents)
    kwargs = kwargs_from_config(config) if config else None
    if kwargs is None:
        logging.info("Without kwargs.json: the original has no run of this config.")
    else:
        write_json(os.path.join(target, "kwargs.json"), kwargs)
    return prefix


def _write_checkpoint(folder: str, contents: Contents) -> str:
    step = contents.step or 0
    tensors: dict[str, Any] = {"global_step": np.int64(step)}
    for kind, values in {**contents.weights, **contents.slots}.items():
        tensors |= {_name(path, kind): value for path, value in values.items()}
    if "Adam" in contents.slots:
        tensors |= {name: _power(beta, step + 1) for name, beta in _BETAS.items()}
    os.makedirs(folder, exist_ok=True)
    prefix = os.path.join(folder, f"model.ckpt-{step}")
    try:
        with for_tensorflow(folder) as plain:
            tf.raw_ops.SaveV2(
                prefix=os.path.join(plain, os.path.basename(prefix)),
                tensor_names=list(tensors),
                shape_and_slices=[""] * len(tensors),
                tensors=[tf.constant(value) for value in tensors.values()],
            )
    except tf.errors.OpError as error:
        raise OSError(f"{prefix} could not be written ({_first_line(error)}).") from error
    name = os.path.basename(prefix)
    with replacing(os.path.join(folder, "checkpoint")) as temporary:
        temporary.write_text(
            f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
        )
    return prefix


def _config_beside(prefix: str) -> Config | None:
    """The config of the run that a checkpoint is of, None if there is no `kwargs.json`."""
    kwargs = os.path.join(os.path.dirname(prefix), "kwargs.json")
    return read_config(kwargs) if os.path.exists(kwargs) else None


class _Checkpoint:
    """A checkpoint that is open for reading.

    Attributes:
        prefix: its path, without the endings of its files.
        names: of its tensors, by kind (`raw`, `ema` or a slot) and by path of here.
    """

    def __init__(self, path: str):
        self.prefix = newest(path)
        folder, name = os.path.split(self.prefix)
        links = contextlib.ExitStack()
        weakref.finalize(self, links.close)  # the reader opens more files later
        plain = links.enter_context(for_tensorflow(folder or "."))
        try:
            self._reader = tf.train.load_checkpoint(os.path.join(plain, name))
        except (tf.errors.OpError, RuntimeError) as error:
            raise self._damaged(error) from None
        self.names: dict[str, dict[str, str]] = {}
        others = []
        for name in sorted(self._reader.get_variable_to_shape_map()):
            stem, _, last = name.rpartition("/")
            kind = "ema" if last == _EMA else last if last in _SLOTS else "raw"
            stem = name if kind == "raw" else stem
            if stem.startswith("model/"):
                self.names.setdefault(kind, {})[_path(stem)] = name
            elif name != "global_step" and name not in _BETAS:
                others.append(name)
        if others or not set(WEIGHTS) & set(self.names):
            held = listed(others) if others else "no model/..."
            raise ValueError(f"{self.prefix} is not a checkpoint of the original; it holds {held}.")
        paths = {path for names in self.names.values() for path in names}
        lacking = [
            _name(path, kind) for kind, names in self.names.items() for path in paths - set(names)
        ]
        if lacking:
            raise ValueError(f"{self.prefix} is not complete; it lacks {listed(sorted(lacking))}.")

    def read(self, kind: str) -> Weights:
        """All tensors of a kind, by path of here; raises a ValueError if one is not finite."""
        return {
            path: as_float32(self._tensor(name), f"{name} in {self.prefix}")
            for path, name in self.names[kind].items()
        }

    def step(self) -> int | None:
        """Number of updates made, None if it does not say."""
        if not self._reader.has_tensor("global_step"):
            return None
        return whole(self._tensor("global_step"), f"global_step in {self.prefix}", 0, INT64_MAX)

    def _tensor(self, name: str) -> np.ndarray:
        try:
            return self._reader.get_tensor(name)
        except (tf.errors.OpError, RuntimeError, IndexError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ValueError:
        return ValueError(
            f"Checkpoint {self.prefix} is damaged ({_first_line(error)}); copy it anew."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _name(path: str, kind: str) -> str:
    """`down_0/block_0/conv1/kernel` -> `model/down_0/block_0/conv1/W`, with the kind after it."""
    *scopes, parameter = path.split("/")
    suffix = {"raw": [], "ema": [_EMA]}.get(kind, [kind])
    return "/".join(["model", *scopes, _PARAMETERS.get(parameter, parameter), *suffix])


def _path(name: str) -> str:
    """The inverse of `_name` for raw weights."""
    _, *scopes, parameter = name.split("/")
    inverse = {there: here for here, there in _PARAMETERS.items()}
    return "/".join([*scopes, inverse.get(parameter, parameter)])


def _power(beta: float, exponent: int) -> np.float32:
    """The product that TensorFlow 1 has multiplied up in float32, one factor a step.

    It does not change any more long before a million factors.
    """
    return np.multiply.accumulate(np.full(min(exponent, 10**6), beta, np.float32))[-1]


def _index(folder: str, name: str) -> str:
    return os.path.join(folder, f"{name}.index")


def _number(prefix: str) -> int:
    digits = re.search(r"\d+$", prefix)
    return int(digits.group()) if digits else -1
