"""Weights in and out: the original's checkpoints, PyTorch's state dicts, diffusers' folders.

`load_unet(path)` is the network in any of them, `convert(source, target, format=...)` takes one
into another, `export(source, target)` writes files for other programs. What needs TensorFlow is
imported when first asked for.
"""

import importlib
from typing import Any

_HOME = {
    "EXPORTS": "exports",
    "FORMATS": "formats",
    "Format": "formats",
    "convert": "converting",
    "detect": "formats",
    "export": "exporting",
    "load_model": "loading",
    "load_unet": "formats",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
