"""Dictionaries of lists and arrays of bytes in pickle's format, read without running any of it.

Pickle is a language: its opcodes import what they name and call it. Here they are interpreted, and
nothing is imported. Texts, bytes, numbers, lists, tuples and dictionaries become what they are; of
NumPy only arrays of bytes (uint8) are known, as its versions write them. Everything else is refused
by its name.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffusion_tf.utils.numbers import shown


class NotPlain(ValueError):
    """It is not such a pickle; the message says why, a few words to go into a sentence."""


@dataclass
class _Name:
    """Something that the pickle would import."""

    name: str


@dataclass
class _Array:
    """An array on its way."""

    value: np.ndarray | None = None


@dataclass
class _Dtype:
    """The type of an array's numbers."""

    name: str


_MARK = object()
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_KNOWN = {
    **{f"{module}._reconstruct": "reconstruct" for module in _MODULES},
    **{f"{module}._frombuffer": "frombuffer" for module in _NUMERIC},
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
    "builtins.bytes": "bytes",
    "__builtin__.bytes": "bytes",
}
_VALUES = {  # opcodes that stand for a value; genops reads old texts as latin-1
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT",
}  # fmt: skip
_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2, which are bytes
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_SKIPPED = {"PROTO", "FRAME", "STOP"}


def read_plain(data: bytes) -> Any:
    """The value that a pickle of plain things stands for.

    Args:
        data: the pickle, of any protocol.

    Raises:
        NotPlain: it is damaged, or needs something else.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
        return _finished(machine.stack.pop())
    except NotPlain:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise NotPlain(f"it is damaged: {type(error).__name__}: {shown(str(error))}") from None


@dataclass
class _Machine:
    """The stack and the memory of a pickle."""

    stack: list[Any] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Does what an opcode means."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _TEXTS:
            self.stack.append(argument.encode("latin-1"))
        elif name in _BYTES:
            self.stack.append(bytes(argument))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _PUT or name == "MEMOIZE":
            self.memory[len(self.memory) if argument is None else argument] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memory[argument])
        elif name not in _SKIPPED:
            self._combine(name, argument)

    def _combine(self, name: str, argument: Any) -> None:
        """Opcodes that take something from the stack."""
        if name in _TUPLES:
            self.stack[-_TUPLES[name] :] = [tuple(self.stack[-_TUPLES[name] :])]
        elif name in ("TUPLE", "LIST"):
            items = self._since_mark()
            self.stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "DICT":
            items = self._since_mark()
            self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        elif name in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if name == "APPEND" else self._since_mark()
            _of(list, self.stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else _pop(self.stack, 2)
            _of(dict, self.stack[-1]).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument)
        elif name == "REDUCE":
            function, arguments = _pop(self.stack, 2)
            self.stack.append(_call(function, arguments))
        elif name == "BUILD":
            (state,) = _pop(self.stack, 1)
            _build(self.stack[-1], state)
        else:
            raise NotPlain(f"it has the opcode {name}, which arrays and lists do not need")

    def _name(self, argument: str | None) -> None:
        module, _, name = (argument or "").partition(" ")
        if argument is None:
            module, name = _pop(self.stack, 2)
        if f"{module}.{name}" not in _KNOWN:
            raise NotPlain(f"it asks for {shown(f'{module}.{name}')}, which is not run")
        self.stack.append(_Name(_KNOWN[f"{module}.{name}"]))

    def _since_mark(self) -> list[Any]:
        at = len(self.stack) - 1  # from the end, where the last one is: the stack may be long
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("a mark is missing")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items


def _pop(stack: list[Any], number: int) -> list[Any]:
    if len(stack) < number:
        raise IndexError("the stack is empty")
    items = stack[-number:]
    del stack[-number:]
    return items


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {kind.__name__} is missing")
    return value


def _call(function: Any, arguments: Any) -> Any:
    """What a name of `_KNOWN` gives for its arguments."""
    name = _of(_Name, function).name
    if name == "reconstruct" and arguments[0] == _Name("ndarray"):
        return _Array()
    if name == "dtype" and isinstance(arguments[0], str | bytes):
        text = arguments[0]
        return _Dtype(text.decode("latin-1") if isinstance(text, bytes) else text)
    if name == "encode" and arguments[1:] in (("latin1",), ("latin-1",)):
        return _of(str, arguments[0]).encode("latin-1")
    if name == "bytes" and arguments == ():
        return b""
    if name == "frombuffer":
        data, dtype, shape, order = arguments
        return _Array(_array(data, dtype, shape, order == "F"))
    raise NotPlain(f"it calls {name} in another way than arrays of bytes need")


def _build(target: Any, state: Any) -> None:
    """Gives an array its content; what there is to say of uint8 was said."""
    if isinstance(target, _Dtype):
        return
    _, shape, dtype, is_fortran, data = state
    _of(_Array, target).value = _array(data, dtype, shape, is_fortran)


def _array(data: Any, dtype: Any, shape: Any, is_fortran: Any) -> np.ndarray:
    if _of(_Dtype, dtype).name not in ("u1", "uint8", "|u1", "B"):
        raise NotPlain(f"it holds an array of {shown(dtype.name)}; only bytes (uint8) are read")
    flat = np.frombuffer(_of(bytes, data), np.uint8)
    return flat.reshape(_of(tuple, shape), order="F" if is_fortran else "C")


def _finished(value: Any) -> Any:
    """Arrays where they were on their way, in a dictionary."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items() if not isinstance(item, dict)}
    return value
