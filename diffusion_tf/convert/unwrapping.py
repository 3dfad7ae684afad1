"""Weights in what trainers save: found below keys and prefixes, told apart as raw or averaged.

A checkpoint may hold them at its top, as `{"state_dict": ...}`, as `{"model": ..., "ema": ...}`, as
ermongroup/ddim's list, or under names that a wrapper put something before (`module.`, `_orig_mod.`,
`net.`, ...). Averages may come as a list in the order of the parameters.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusion_tf.convert.maps import listed
from diffusion_tf.convert.nameless import names_in_order

# What the first block of each known network is called, after whatever wrappers put before it.
_FIRST_BLOCKS = (
    r"down\.0\.block\.0",  # pesser/pytorch_diffusion and ermongroup/ddim
    r"down_blocks\.0\.resnets\.0",  # diffusers
    r"downsamples\.level_0\.0",  # tqch/ddpm-torch
    r"downblocks\.0",  # w86763777/pytorch-ddpm
)
# What torch puts into the names of modules that it compiles or wraps one by one.
_WRAPPER = r"(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
_OF_FIRST_BLOCK = re.compile(
    rf"((?:.*?\.)??)(?:{'|'.join(_FIRST_BLOCKS)})\.".replace(r"\.", rf"\.(?:{_WRAPPER})*")
)
# Words in keys and prefixes; the innermost counts, as in ['ema'] with prefix online_model.
_AVERAGED = re.compile(r"(?<![a-z])(?:ema|ewma|swa|shadow|polyak|avg|averag[a-z]*)(?![a-z])")
_RAW = re.compile(r"(?<![a-z])(?:online|raw)(?![a-z])")
_IN_WORDS = {"ema": "averaged weights", "raw": "raw weights"}
_MAX_DEPTH = 6  # of dicts and lists in each other
_DDIM_LENGTH = 5  # of ermongroup/ddim's list: network, optimizer, epoch, step, averages

Keys = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class WeightSet:
    """The weights of one network in a checkpoint.

    Attributes:
        keys: that lead to them, from the outside in.
        prefix: of their names there, which is removed.
        kind: `ema` or `raw` as far as keys and prefix tell, else None.
        tensors: by their names without the prefix.
        left_out: names of other tensors that stand beside them.
        in_order: whether they had no names, and got those of the port's parameters in their order.
    """

    keys: Keys
    prefix: str
    kind: str | None
    tensors: Mapping[str, Any]
    left_out: Sequence[str] = ()
    in_order: bool = False

    @property
    def place(self) -> str:
        """Where they were found, in words: `['ema'], prefix module.`; "" for the top itself."""
        prefix = f"prefix {self.prefix}" if self.prefix else ""
        return ", ".join(filter(None, (_shown(self.keys), prefix)))

    @property
    def report(self) -> str:
        """What was done to get them, for the log; "" if nothing was."""
        if not (self.keys or self.prefix or self.left_out):
            return ""
        text = f"taken from {_shown(self.keys) or 'the top'}"
        text += f", prefix {self.prefix} removed" if self.prefix else ""
        text += ", named in the order of the parameters" if self.in_order else ""
        return f"{text}, left out {listed(self.left_out)}" if self.left_out else text


def find_sets(values: Any) -> list[WeightSet]:
    """All sets of weights that have the names of a known network.

    Args:
        values: what a file holds: dicts and lists in each other, with tensors of NumPy or torch.
    """
    is_ddim = isinstance(values, list | tuple) and len(values) == _DDIM_LENGTH
    found = []
    for keys, tensors in _walk(values):
        if isinstance(tensors, dict):
            for prefix, names, left_out in _split(list(tensors)):
                kind = _kind(keys, prefix) or ("ema" if is_ddim and keys == (4,) else None)
                own = {name: tensors[there] for name, there in names.items()}
                found.append(
                    WeightSet(keys=keys, prefix=prefix, kind=kind, tensors=own, left_out=left_out)
                )
    return found


def find_lists(values: Any) -> list[tuple[Keys, list[Any]]]:
    """The lists of averaged weights without names, with the keys that lead to them."""
    return [
        (keys, tensors)
        for keys, tensors in _walk(values)
        if isinstance(tensors, list) and _kind(keys, "") == "ema" and _is_of_weights(keys)
    ]


def listed_sets(values: Any) -> list[WeightSet]:
    """The lists of averaged weights that have the shapes of a known network in its order.

    Raises:
        ValueError: a list that has not.
    """
    found = []
    for keys, tensors in find_lists(values):
        names = names_in_order([tuple(tensor.shape) for tensor in tensors])
        if names is None:
            raise ValueError(
                f"The averaged weights in {_shown(keys)} are a list of {len(tensors)} tensors"
                " without names: their shapes are not those of the parameters of ermongroup/ddim's"
                " or pesser/pytorch_diffusion's Model, and no weights by name stand beside them;"
                " save the averages by name."
            )
        own = dict(zip(names, tensors, strict=True))
        found.append(WeightSet(keys=keys, prefix="", kind="ema", tensors=own, in_order=True))
    return found


def named_list(keys: Keys, tensors: list[Any], sets: Sequence[WeightSet]) -> WeightSet:
    """A list of averaged weights with the names of raw ones, whose order it has.

    Args:
        keys: that lead to the list.
        tensors: of the list.
        sets: by name, in the same file.

    Raises:
        ValueError: none of the sets has as many tensors of the same shapes.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors]
    for one in sets:
        if one.kind != "ema" and shapes == [tuple(t.shape) for t in one.tensors.values()]:
            own = dict(zip(one.tensors, tensors, strict=True))
            return WeightSet(keys=keys, prefix="", kind="ema", tensors=own)
    raise ValueError(
        f"The averaged weights in {_shown(keys)} are a list of {len(tensors)} tensors without"
        " names, and no weights by name in the same number and shapes stand beside them; save the"
        " averages by name."
    )


def by_kind(
    sets: Sequence[WeightSet], is_same: Callable[[WeightSet, WeightSet], bool]
) -> dict[str, WeightSet]:
    """The sets by what they are: `ema` the averaged ones, `raw` those that the optimizer moves.

    A set of which nothing tells is raw beside averages, and either where it is the only one.

    Args:
        sets: at least one.
        is_same: whether two sets hold the same numbers, as copies do.

    Raises:
        ValueError: two sets that both could be meant; names them.
    """
    told = {one.kind for one in sets} - {None}
    groups: dict[str, list[WeightSet]] = {"ema": [], "raw": []}
    for one in sets:
        groups[one.kind or "raw"].append(one)
    chosen = {kind: group[0] for kind, group in groups.items() if group}
    for kind, group in groups.items():
        if any(not is_same(group[0], other) for other in group[1:]):
            what = _IN_WORDS[kind] if told else "weights"
            places = "; ".join(one.place or "the top" for one in group)
            raise ValueError(
                f"It is not clear which {what} are meant, as there are several sets: {places}; save"
                " the one to convert in a file of its own."
            )
    return chosen if told else {"ema": chosen["raw"], "raw": chosen["raw"]}


def is_tensor(value: Any) -> bool:
    """Whether a value is an array of NumPy or a tensor of torch."""
    return hasattr(value, "dtype") and hasattr(value, "__array__") and hasattr(value, "reshape")


def _walk(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, dict[str, Any] | list[Any]]]:
    """The tensors of every dict and of every list of tensors, with the keys that lead to them."""
    if len(keys) > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        tensors = {str(name): item for name, item in value.items() if is_tensor(item)}
        if tensors:
            yield keys, tensors
        items = list(value.items())
    elif isinstance(value, list | tuple):
        if value and all(map(is_tensor, value)):
            yield keys, list(value)
        items = list(enumerate(value))
    else:
        return
    for key, item in items:
        yield from _walk(item, (*keys, key))


def _split(names: list[str]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Names by their prefix: the prefix, `{name without it: name}`, and names of nobody."""
    matches = (_OF_FIRST_BLOCK.match(name) for name in names)
    prefixes = dict.fromkeys(match[1] for match in matches if match)
    groups: dict[str, dict[str, str]] = {prefix: {} for prefix in prefixes}
    others = []
    for name in names:
        fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
        if fitting:
            prefix = max(fitting, key=len)
            groups[prefix][re.sub(_WRAPPER, "", name.removeprefix(prefix))] = name
        else:
            others.append(name)
    for group in list(groups.values()):
        for prefix, own in _without_dots(group, others):
            groups[prefix] = own
            others = [name for name in others if name not in own.values()]
    for prefix, group in groups.items():
        yield prefix, group, others


def _without_dots(group: dict[str, str], others: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Averages of a group that are kept as buffers, whose names have lost their dots."""
    plain = {name.replace(".", ""): name for name in group}
    first = next(iter(plain))
    there = set(others)
    for prefix in [name.removesuffix(first) for name in others if name.endswith(first)]:
        if all(f"{prefix}{name}" in there for name in plain):
            yield prefix, {name: f"{prefix}{short}" for short, name in plain.items()}


def _kind(keys: Keys, prefix: str) -> str | None:
    for part in reversed([*map(str, keys), *prefix.split(".")]):
        if _AVERAGED.search(part.lower()):
            return "ema"
        if _RAW.search(part.lower()):
            return "raw"
    return None


def _is_of_weights(keys: Keys) -> bool:
    """Whether a list below these keys is one of weights, by its own name."""
    name = next((key.lower() for key in reversed(keys) if isinstance(key, str)), "")
    if "collected" in name:  # copies of raw ones, while averages are in use
        return False
    return bool(_AVERAGED.search(name)) or "param" in name or "weight" in name


def _shown(keys: Keys) -> str:
    return "".join(f"[{key!r}]" for key in keys)
