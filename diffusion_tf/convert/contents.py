"""What a checkpoint of any format holds, in the names and the layout of here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.config import PRESETS, Config, get_config
from diffusion_tf.convert.architecture import Architecture
from diffusion_tf.convert.maps import Weights
from diffusion_tf.utils.weight_sets import (
    WeightsKind,
    check_weights,
    no_such_weights,
    own_name,
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a checkpoint holds.

    Attributes:
        path: where it was read.
        weights: by their names, see `utils.weight_sets`. A format that holds one set of weights
            has it as `ema` and `raw`.
        slots: the optimizer's state, by the names that TensorFlow 1 gives it: `Adam` and `Adam_1`
            are the moments m and v. Empty if there is none.
        step: number of updates made, None if nothing tells.
        fields: of the config, as far as they are known; all of them if the run's config is.
    """

    path: str
    weights: Mapping[str, Weights]
    slots: Mapping[str, Weights] = field(default_factory=dict)
    step: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, weights: WeightsKind) -> Weights:
        """One set of weights.

        Raises:
            ValueError: unknown weights, or weights that the checkpoint does not hold.
        """
        check_weights(weights)
        name = own_name(weights, self.config.averages) if self.config else weights
        if name not in self.weights:
            raise no_such_weights(self.path, weights, self.weights)
        return self.weights[name]

    @property
    def architecture(self) -> Architecture:
        """The network that the weights are of."""
        return Architecture.of_weights(next(iter(self.weights.values())))

    @property
    def config(self) -> Config | None:
        """The run's config, if all of it is known."""
        known = set(self.fields) == {f.name for f in dataclasses.fields(Config)}
        return Config.from_dict(self.fields) if known else None


def own_config_error(path: str) -> ValueError:
    """The error for a config that nobody needs."""
    return ValueError(f"{path} has its own config; leave out --config.")


def known_config(contents: Contents, base: Config | None = None) -> Config | None:
    """The config of the run that a checkpoint came from, None if it cannot be known.

    Args:
        contents: of the checkpoint.
        base: says what the checkpoint does not; its network and whatever else the checkpoint knows
            must be the checkpoint's.

    Raises:
        ValueError: `base` is not needed, or of another network or process.
    """
    architecture, config = contents.architecture, contents.config
    if base is not None:
        if config is not None:
            raise own_config_error(contents.path)
        differing = {k: v for k, v in contents.fields.items() if getattr(base, k) != v}
        if differing:
            listed = "; ".join(f"{k} {v!r}, not {getattr(base, k)!r}" for k, v in differing.items())
            raise ValueError(f"{contents.path} says otherwise than --config: {listed}.")
        config = base
    elif config is None and {"image_size", "beta_schedule"} <= set(contents.fields):
        known = {**architecture.config_fields(contents.fields["image_size"]), **contents.fields}
        marks = {k: v for k, v in known.items() if k != "clipping"}  # which no preset chooses
        fitting = [n for n, preset in PRESETS.items() if _agrees(preset(), architecture, marks)]
        name = fitting[0] if len(fitting) == 1 else "folder"
        logging.info("The training settings, which are not said, become those of preset %s.", name)
        config = get_config(name, **known)
    if config is not None:
        architecture.check_config(config)
    return config


def config_of(contents: Contents, base: Config | None = None) -> Config:
    """`known_config`, where one is needed.

    Raises:
        ValueError: it cannot be known, and as for `known_config`.
    """
    return needed_config(contents, known_config(contents, base))


def needed_config(contents: Contents, config: Config | None) -> Config:
    """A config, where one is needed.

    Args:
        contents: of the checkpoint that it is needed for.
        config: None if it is not known.

    Raises:
        ValueError: it is not known.
    """
    if config is None:
        fitting = [n for n, preset in PRESETS.items() if contents.architecture.is_of(preset())]
        hint = f"; the network fits {', '.join(fitting)}" if fitting else ""
        sized = "image_size" in contents.fields or "data_dim" in contents.fields
        what = "neither the image size nor" if not sized else "nothing of"
        raise ValueError(
            f"{contents.path} says {what} the diffusion process; name a preset or a config.json"
            f" with --config{hint}."
        )
    return config


def _agrees(config: Config, architecture: Architecture, known: Mapping[str, Any]) -> bool:
    return architecture.is_of(config) and all(getattr(config, k) == v for k, v in known.items())


def same_bits(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    """Whether two sets of arrays are the same to the bit."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype
        and a[name].shape == b[name].shape
        and a[name].tobytes() == b[name].tobytes()
        for name in a
    )
