"""A Ctrl-C that nobody listens for ends a command in a sentence; commands import this before all.

Imports and the parsing of flags take longer than one thinks before a Ctrl-C.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

SENTENCE = "Stopped by Ctrl-C."
EXIT_CODE = 130  # 128 + SIGINT, as shells count; the module signal takes longer to import than this


def _answer(kind: type[BaseException], error: BaseException, trace: "TracebackType | None") -> None:
    """Of what nobody caught, says a Ctrl-C in a sentence and all else as before."""
    if not issubclass(kind, KeyboardInterrupt):
        _before(kind, error, trace)
        return
    if sys.stderr is not None:  # it is None where it was closed before the start
        sys.stderr.write(f"{SENTENCE}\n")
    sys.exit(EXIT_CODE)


_before, sys.excepthook = sys.excepthook, _answer
