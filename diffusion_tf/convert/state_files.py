"""Files that hold a PyTorch state dict: safetensors, or what `torch.save` writes.

torch is needed for the latter alone, and reads them with `weights_only=True`, so that a file with
code in it is refused and nothing of it runs.
"""

import importlib
import math
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from absl import logging

from diffusion_tf.convert import unwrapping
from diffusion_tf.convert.maps import listed
from diffusion_tf.convert.unwrapping import WeightSet, is_tensor
from diffusion_tf.utils.archives import open_zip
from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.json_files import read_json_object
from diffusion_tf.utils.regular_files import open_regular

StateDict = dict[str, np.ndarray]
_T = TypeVar("_T")
_NO_STATES = {
    ".npz": "a file of arrays, such as samples",
    ".npy": "an array",
    ".onnx": "an export, which is not read back",
    ".tflite": "an export, which is not read back",
}


def read_state_dict(path: str) -> StateDict:
    """The tensors of a file, float32; the averaged ones where it holds raw ones, too.

    Args:
        path: `*.safetensors`, a file of `torch.save` with any other ending, or the `*.json` that
            says in which of several such files each tensor is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds something else than tensors by name, or a tensor that
            is complex or not finite in float32.
        OSError: the package that reads it is not installed.
    """
    return next(iter(read_weights(path, dict).values()))


def read_weights(path: str, to_here: Callable[[StateDict], _T]) -> dict[str, _T]:
    """The weights of a file, `ema` the averaged and `raw` the others, as far as they are there.

    A file with one set of which nothing tells what it is has it as both; see `unwrapping`.

    Args:
        path: see `read_state_dict`.
        to_here: what each set is turned into.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `read_state_dict`; it is not clear which of
            several sets is meant; what `to_here` raises.
    """
    sets = _sets(_load(path), path)
    read: dict[int, _T] = {}
    for one in {id(one): one for one in sets.values()}.values():
        if one.report:
            kinds = " and ".join(kind for kind, its in sets.items() if its is one)
            logging.info("%s: weights (%s) %s.", path, kinds, one.report)
        read[id(one)] = to_here(_as_float32(one, path))
    return {kind: read[id(one)] for kind, one in sets.items()}


def tensor_names(path: str) -> list[str]:
    """The names of the tensors of a file, as `read_weights` has them; none if it is not a file.

    Raises:
        ValueError: the file is damaged, or holds something else than tensors by name.
        OSError: the package that reads it is not installed.
    """
    if not os.path.isfile(path):
        return []
    return [name for one in _found(_load(path), path) for name in one.tensors]


def _sets(values: Any, path: str) -> dict[str, WeightSet]:
    found = _found(values, path)
    if any(one.in_order for one in found):  # the lists are all that there is
        return unwrapping.by_kind(found, lambda a, b: _is_same(a, b, path))
    _check_lists(values, path)
    for keys, listed_tensors in unwrapping.find_lists(values):
        found.append(unwrapping.named_list(keys, listed_tensors, found))
    return unwrapping.by_kind(found, lambda a, b: _is_same(a, b, path))


def _found(values: Any, path: str) -> list[WeightSet]:
    """The sets of weights in a file: those of known networks, or all that is at the top.

    Lists of averages are left to `_sets`, unless there is nothing else.
    """
    found = unwrapping.find_sets(values)
    if not found and isinstance(values, Mapping) and all(map(is_tensor, values.values())):
        tensors = {str(name): value for name, value in values.items()}
        found = [WeightSet(keys=(), prefix="", kind=None, tensors=tensors)]
    if not found:
        _check_lists(values, path)
        found = unwrapping.listed_sets(values)
    for one in found:
        for name, value in one.tensors.items():
            _check_dense(value, f"{one.prefix}{name} in {path}", path)
    if not found:
        raise ValueError(
            f"{path} holds no state dict, a tensor for each name, of a DDPM U-Net that is known"
            " here; save that alone."
        )
    return found


def _check_lists(values: Any, path: str) -> None:
    for keys, tensors in unwrapping.find_lists(values):
        for tensor in tensors:
            _check_dense(tensor, f"a tensor of the list {list(keys)} in {path}", path)


def _is_same(a: WeightSet, b: WeightSet, path: str) -> bool:
    if a.tensors.keys() != b.tensors.keys():
        return False
    first, second = _as_float32(a, path), _as_float32(b, path)
    return all(np.array_equal(first[name], second[name]) for name in first)


def _as_float32(one: WeightSet, path: str) -> StateDict:
    return {
        name: _float32(value, f"{one.prefix}{name} in {path}")
        for name, value in one.tensors.items()
    }


def _load(path: str) -> Any:
    """What a file holds: dicts and lists in each other, with tensors of NumPy or torch."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is not a file; name one with a state dict.")
    if path.lower().endswith(".json"):
        return _load_shards(path)
    ending = os.path.splitext(path)[1].lower()
    if ending in _NO_STATES:
        raise ValueError(
            f"{path} is {_NO_STATES[ending]}; name a run, or a file of tensors such as *.pt or"
            " *.safetensors."
        )
    is_safe = ending == ".safetensors"
    package = _package("safetensors.numpy" if is_safe else "torch", path)
    try:
        if is_safe:
            return package.load_file(path)
        _check_expansion(path)
        return package.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign file can make them raise has no common class
        raise ValueError(
            f"{path} is not a file of tensors alone ({_reason(error)}); nothing in it was run."
        ) from None


def _load_shards(path: str) -> dict[str, Any]:
    """The tensors of all files that an index names, each from the file that it says."""
    files = read_json_object(path).get("weight_map")
    if not (isinstance(files, dict) and files and all(map(_is_name, files.values()))):
        raise ValueError(
            f"{path} has no weight_map with the name of a file beside it for each tensor; name"
            " another file."
        )
    folder = os.path.dirname(path)
    tensors: dict[str, Any] = {}
    for file in dict.fromkeys(files.values()):
        there = _load(os.path.join(folder, file))
        asked = [name for name, its in files.items() if its == file]
        missing = [name for name in asked if not isinstance(there, dict) or name not in there]
        if missing:
            raise ValueError(
                f"{file} lacks {listed(missing)}, which {path} says are in it; copy it anew."
            )
        for name in asked:
            _check_dense(there[name], f"{name} in {file}", os.path.join(folder, file))
        tensors |= {name: there[name] for name in asked}
    return tensors


def _is_name(name: object) -> bool:
    """Whether a value is the name of a file of tensors in the same folder."""
    if not isinstance(name, str) or os.path.basename(name) != name:
        return False
    return name.endswith((".safetensors", ".bin", ".pt", ".pth"))


def write_state_dict(path: str, state: StateDict) -> None:
    """Writes tensors into a file, or leaves it as it was; see `read_state_dict` for its ending.

    Raises:
        OSError: the package that writes it is not installed, or it cannot be written.
    """
    is_safe = path.lower().endswith(".safetensors")
    package = _package("safetensors.numpy" if is_safe else "torch", path)
    with replacing(path) as temporary:
        try:
            if is_safe:
                package.save_file(state, temporary, metadata={"format": "pt"})
            else:
                tensors = {name: package.from_numpy(value) for name, value in state.items()}
                with open(temporary, "wb") as file:  # by name, it would write the name, too
                    package.save(tensors, file)
        except Exception as error:  # each package has its own
            raise OSError(f"{path} could not be written ({_first_sentence(error)}).") from error


def _float32(tensor: Any, name: str) -> np.ndarray:
    """The values of a tensor of NumPy or torch, of any real type."""
    if isinstance(tensor, np.ndarray):
        return as_float32(tensor, name)
    if tensor.is_complex():
        raise ValueError(f"{name} has dtype {tensor.dtype}; weights are real numbers.")
    # float64 holds what any other type does, so nothing overflows unseen.
    return as_float32(tensor.detach().double().numpy(), name)


def _check_expansion(path: str) -> None:
    """Refuses an archive that is not stored as it is, as torch stores it, and would fill memory."""
    with open_regular(path) as file:
        if zipfile.is_zipfile(file):
            open_zip(file).close()


def _check_dense(tensor: Any, name: str, path: str) -> None:
    """Refuses tensors of torch whose numbers do not lie in the file, one after the other."""
    if not hasattr(tensor, "layout"):  # of NumPy, or not a tensor at all
        return
    kind = None
    if tensor.is_quantized:
        kind = "quantized"
    elif tensor.is_nested or str(tensor.layout) != "torch.strided":
        kind = "nested" if tensor.is_nested else "sparse"
    elif tensor.device.type != "cpu":
        kind = f"on the device {tensor.device.type!r}, without numbers"
    elif tensor.numel() * tensor.element_size() > _size(path):
        kind = f"of {tensor.numel():,} numbers, more than its file holds"
    if kind:
        raise ValueError(f"{name} is {kind}; save it as a dense tensor on the CPU.")


def _size(path: str) -> float:
    """Bytes of a file; those of an index are not where its tensors are, which were looked at."""
    return math.inf if path.endswith(".json") else os.path.getsize(path)


def _package(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise OSError(f"{path} needs the package {package}; pip install {package}.") from None


def _reason(error: Exception) -> str:
    """Why torch or safetensors did not read a file; for a foreign object, of which class it is."""
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
    if foreign:
        return f"it holds an object of {foreign[1]}, for which code would run; save tensors alone"
    return _first_sentence(error)


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")
