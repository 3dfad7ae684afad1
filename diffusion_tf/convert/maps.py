"""Maps between this project's weights and PyTorch's, as data: one rule for each type of layer.

Weights go about as `{path: array}`, with the paths and the layout of the variables here and without
the network's own name: `down_0/block_0/conv1/kernel`. A state dict is `{name: array}` with the
names and the layout of the other implementation.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from diffusion_tf.models.unet import UNet

Weights = dict[str, np.ndarray]
_SHOWN = 5  # names in an error message


@dataclass(frozen=True)
class LayerType:
    """How a type of layer keeps its parameters there.

    Attributes:
        parameters: name here and name there of each parameter; all but `kernel` are vectors.
        axes: of the kernel here, in their order there.
        ones: axes of length 1 that the kernel has there after these.
    """

    parameters: Mapping[str, str]
    axes: tuple[int, ...] = ()
    ones: int = 0

    def to_there(self, parameter: str, value: np.ndarray) -> np.ndarray:
        """The parameter in the layout of there, contiguous."""
        if parameter == "kernel":
            value = value.transpose(self.axes)
            value = value.reshape(*value.shape, *[1] * self.ones)
        return np.ascontiguousarray(value)

    def to_here(self, parameter: str, value: np.ndarray) -> np.ndarray | None:
        """The inverse of `to_there`; None if the value has another number of axes."""
        axes = self.axes if parameter == "kernel" else (0,)
        ones = self.ones if parameter == "kernel" else 0
        if value.ndim != len(axes) + ones or value.shape[len(axes) :] != (1,) * ones:
            return None
        value = value.reshape(value.shape[: len(axes)])
        return np.ascontiguousarray(value.transpose(np.argsort(axes)))


_WEIGHT = {"kernel": "weight", "bias": "bias"}
CONV = LayerType(_WEIGHT, (3, 2, 0, 1))  # HWIO here, OIHW there
DENSE = LayerType(_WEIGHT, (1, 0))  # IO here, OI there
NIN = LayerType(_WEIGHT, (1, 0), ones=2)  # a matrix here, a 1x1 convolution there
NORM = LayerType({"gamma": "weight", "beta": "bias"})

# Layers of a scope: (name here, name there, type).
Layers = Sequence[tuple[str, str, LayerType]]


class Place(NamedTuple):
    """Where a tensor is on the other side.

    Attributes:
        name: its name there, or its path here.
        parameter: its own name here: kernel, bias, gamma or beta.
        layer_type: of its layer.
    """

    name: str
    parameter: str
    layer_type: LayerType


class NameMap:
    """The names of a U-Net's weights in another implementation, in both directions."""

    def __init__(self, scopes: Sequence[tuple[str, str, Layers]]):
        """Takes the map as data.

        Args:
            scopes: name here, name there, and layers of each scope. Names may hold `{i}` and `{j}`,
                numbers that are the same on both sides, and `{r}`, a resolution that is counted
                from the other end there, the last one being the largest `{i}` or `{r}`. Of two
                names there for the same place the first is written, and both are read.
        """
        self._here, self._there = [], []
        for scope, scope_there, layers in scopes:
            for name, name_there, layer_type in layers:
                for parameter, parameter_there in layer_type.parameters.items():
                    here = "/".join(filter(None, (scope, name, parameter)))
                    there = ".".join(filter(None, (scope_there, name_there, parameter_there)))
                    self._here.append((_pattern(here), Place(there, parameter, layer_type)))
                    self._there.append((_pattern(there), Place(here, parameter, layer_type)))

    def names(self, paths: Iterable[str]) -> dict[str, Place]:
        """The place there of each path here.

        Raises:
            ValueError: a path that has no place there.
        """
        found, others = _translate(paths, self._here)
        if others:
            raise ValueError(f"There is no name for {listed(others)} in that format.")
        return found

    def paths(self, names: Iterable[str]) -> dict[str, Place]:
        """The place here of each name there.

        Raises:
            ValueError: names that have no place here, or two that have the same.
        """
        found, others = _translate(names, self._there)
        if others:
            raise ValueError(
                f"The weights hold {listed(others)}, which this network does not have; give those"
                " of a DDPM U-Net."
            )
        seen: dict[str, str] = {}
        for name, place in found.items():
            if other := seen.get(place.name):
                raise ValueError(f"The weights hold both {other} and {name}; remove one.")
            seen[place.name] = name
        return found

    def state_dict(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Weights in the names and the layout of there."""
        return {
            name: layer_type.to_there(parameter, weights[path])
            for path, (name, parameter, layer_type) in self.names(weights).items()
        }

    def weights(self, state: Mapping[str, np.ndarray]) -> Weights:
        """A state dict's tensors in the names and the layout of here.

        Raises:
            ValueError: a name that has no place here, or a tensor with the wrong number of axes.
        """
        weights = {}
        for name, (path, parameter, layer_type) in self.paths(state).items():
            value = np.asarray(state[name])
            here = layer_type.to_here(parameter, value)
            if here is None:
                raise ValueError(f"{name} has shape {value.shape}, which such a layer cannot have.")
            weights[path] = here
        return weights


def weights_of(unet: UNet) -> Weights:
    """The values of all variables by path."""
    return {path: variable.numpy() for path, variable in variables_of(unet).items()}


def variables_of(unet: UNet) -> dict:
    """The variables by path, without the network's own name."""
    return {v.path.removeprefix(f"{unet.name}/"): v for v in unet.trainable_variables}


def assign(unet: UNet, weights: Mapping[str, np.ndarray], name_map: NameMap | None = None) -> None:
    """Sets every variable of a network; if anything does not fit, none.

    Args:
        unet: built.
        weights: for all variables, and nothing else.
        name_map: whose names errors use; those of here if not given.

    Raises:
        ValueError: what is missing, left over, or of another shape.
    """
    variables = variables_of(unet)
    spelled = {path: path for path in (*variables, *weights)}
    if name_map:
        spelled = {path: place.name for path, place in name_map.names(spelled).items()}
    missing = listed([spelled[path] for path in variables if path not in weights])
    left_over = listed([spelled[path] for path in weights if path not in variables])
    if missing or left_over:
        lack = f"lack {missing}" if missing else ""
        hold = f"hold {left_over}, which the network does not have" if left_over else ""
        raise ValueError(
            "The weights are of another architecture: they"
            f" {' and '.join(filter(None, (lack, hold)))}."
        )
    for path, variable in variables.items():
        if weights[path].shape != tuple(variable.shape):
            raise ValueError(
                f"The weights are of another architecture: {spelled[path]} has shape"
                f" {weights[path].shape} and the network's {tuple(variable.shape)}, both in the"
                " layout of TensorFlow."
            )
    for path, variable in variables.items():
        variable.assign(weights[path])


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names)} in all)"


def _pattern(template: str) -> re.Pattern:
    """Matches a name, with a group for each number in it."""
    return re.compile(re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(template)))


def _translate(
    names: Iterable[str], rules: Sequence[tuple[re.Pattern, Place]]
) -> tuple[dict[str, Place], list[str]]:
    """The place of each name on the other side, and the names that no rule is for."""
    matches: dict[str, tuple[Place, dict[str, int]]] = {}
    others = []
    for name in names:
        for pattern, place in rules:
            if match := pattern.fullmatch(name):
                indices = {key: int(number) for key, number in match.groupdict().items()}
                matches[name] = place, indices
                break
        else:
            others.append(name)
    top = max((i.get(key, 0) for _, i in matches.values() for key in "ir"), default=0)
    found = {}
    for name, (place, indices) in matches.items():
        if "r" in indices:
            indices["r"] = top - indices["r"]
        found[name] = place._replace(name=place.name.format(**indices))
    return found, others
