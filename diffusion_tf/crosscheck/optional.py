"""Helpers for optional dependencies: is a package there, which arguments does it know."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def needs(module: str, pip: str) -> ModuleType:
    """Imports a module.

    Args:
        module: its name.
        pip: what follows `pip install` to get it.

    Raises:
        ValueError: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{module} cannot be imported ({error}); pip install {pip}") from error


def split_options(
    options: Mapping[str, Any], *functions: Callable[..., Any]
) -> tuple[dict[str, Any], ...]:
    """Gives each function those of the options that are its parameters.

    Raises:
        ValueError: an option that none of them takes, named with the closest one that one does.
    """
    parameters = [set(inspect.signature(function).parameters) - {"self"} for function in functions]
    known = sorted(set().union(*parameters))
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"The other implementation has no argument {name!r}.{hint}")
    return tuple({k: v for k, v in options.items() if k in own} for own in parameters)


def translate(option: str, value: str, names: Mapping[str, str], whose: str) -> str:
    """Another implementation's name for one of our options.

    Raises:
        ValueError: it has none.
    """
    if value not in names:
        raise ValueError(f"{whose} has no {option} {value!r}; choose one of {', '.join(names)}.")
    return names[value]


def guarded(what: str, function: Callable[[], Any]) -> Any:
    """Calls code of the other side, which may raise anything.

    Raises:
        ValueError: it raised something; the sentence begins with `what`.
    """
    try:
        return function()
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{what}: {type(error).__name__}: {error}.") from error
