"""Code of a checkout that is no package: found, imported under a name of its own, described."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from diffusion_tf.crosscheck.optional import guarded


def check_checkout(checkout: str | None, repository: str, file: str) -> Path:
    """The folder of a checkout.

    Args:
        checkout: as it was given.
        repository: its address, for the error.
        file: one that it must hold.

    Raises:
        ValueError: none was given.
        FileNotFoundError: it does not hold the file.
    """
    if not checkout:
        raise ValueError(
            f"{repository} is not a package; name the folder of a checkout of it with --checkout."
        )
    if not (Path(checkout) / file).is_file():
        raise FileNotFoundError(
            f"{checkout} holds no {file}; name the folder of a checkout of {repository}."
        )
    return Path(checkout).resolve()


def import_file(path: Path, name: str) -> ModuleType:
    """Runs a file as a module under a name of its own.

    Raises:
        ValueError: it raises something.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    guarded(f"{path} cannot be imported", lambda: loader.exec_module(module))
    return module


@contextlib.contextmanager
def importable(folder: Path, package: str) -> Iterator[None]:
    """A folder on the path of imports in the block; a package of another one is forgotten."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
