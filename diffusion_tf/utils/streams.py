"""Standard streams that stop nothing: where nobody can hear it any more, what is said is lost."""

import contextlib
import os
import sys
from typing import Any, TextIO


class Unfailing:
    """A text stream that takes everything, also when its terminal, pipe or disk does not.

    Everything else than writing is as the stream has it.
    """

    def __init__(self, stream: TextIO | None):
        """Wraps a stream; None, as Python has it for one that is closed, is like /dev/null."""
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def write(self, text: str) -> int:
        """Writes a text, or as much of it as there is room for."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hands on what was written, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def secure() -> None:
    """Makes the standard streams of this process unfailing.

    A stream that was closed before the start gets its descriptor back, as /dev/null: the next file
    to be opened would have it otherwise, and what libraries say would go into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = Unfailing(sys.stdout), Unfailing(sys.stderr)
