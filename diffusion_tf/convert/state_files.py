"""Files that hold a PyTorch state dict: safetensors, or what `torch.save` writes.

torch is needed for the latter alone, and reads them with `weights_only=True`, so that a file with
code in it is refused and nothing of it runs.
"""

import importlib
import os
import zipfile
from types import ModuleType
from typing import Any

import numpy as np

from diffusion_tf.utils.archives import open_zip
from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.regular_files import open_regular


def read_state_dict(path: str) -> dict[str, np.ndarray]:
    """The tensors of a file, float32.

    Args:
        path: `*.safetensors`, or a file of `torch.save` with any other ending.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds something else than tensors by name, or a tensor that
            is complex or not finite in float32.
        OSError: the package that reads it is not installed.
    """
    return {name: _float32(value, f"{name} in {path}") for name, value in _load(path).items()}


def tensor_names(path: str) -> list[str]:
    """The names of the tensors of a file; none if the path is not one of a file.

    Raises:
        ValueError: the file is damaged, or holds something else than tensors by name.
        OSError: the package that reads it is not installed.
    """
    return list(_load(path)) if os.path.isfile(path) else []


def _load(path: str) -> dict[str, Any]:
    """The tensors of a file, of NumPy or torch."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is not a file; name one with a state dict.")
    is_safe = path.endswith(".safetensors")
    package = _package("safetensors.numpy" if is_safe else "torch", path)
    try:
        if is_safe:
            state = package.load_file(path)
        else:
            _check_expansion(path)
            state = package.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign file can make them raise has no common class
        raise ValueError(
            f"{path} is not a file of tensors alone ({_first_sentence(error)}); nothing in it was"
            " run."
        ) from None
    for name, value in state.items() if isinstance(state, dict) else ():
        _check_dense(value, f"{name} in {path}", os.path.getsize(path))
    values = state.values() if isinstance(state, dict) else [None]
    if not all(hasattr(value, "dtype") and hasattr(value, "shape") for value in values):
        raise ValueError(f"{path} holds no state dict, a tensor for each name; save that alone.")
    return {str(name): value for name, value in state.items()}


def write_state_dict(path: str, state: dict[str, np.ndarray]) -> None:
    """Writes tensors into a file, or leaves it as it was; see `read_state_dict` for its ending.

    Raises:
        OSError: the package that writes it is not installed, or it cannot be written.
    """
    is_safe = path.endswith(".safetensors")
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


def _check_dense(tensor: Any, name: str, file_size: int) -> None:
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
    elif tensor.numel() * tensor.element_size() > file_size:
        kind = f"of {tensor.numel():,} numbers, more than its file holds"
    if kind:
        raise ValueError(f"{name} is {kind}; save it as a dense tensor on the CPU.")


def _package(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise OSError(f"{path} needs the package {package}; pip install {package}.") from None


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")
