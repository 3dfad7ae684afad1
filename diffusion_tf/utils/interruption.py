"""SIGTERM, Ctrl-C and SIGHUP as a request: work ends at a point where nothing is lost."""

import signal
import threading
from typing import Any


class Interrupted(Exception):
    """Work ended early because a signal asked for it.

    Attributes:
        exit_code: for the process, 128 + the number of the signal, as shells count.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignals:
    """While it is entered, the first signal is remembered; a second one acts at once.

    The signals are SIGTERM, Ctrl-C and SIGHUP, which comes when a terminal is closed. Where SIGHUP
    is ignored, as under nohup, it stays so. It comes several times, from the shell and from the
    system: after the first signal it is ignored.

    Only the main thread of a program can listen; in another, nothing is ever received.

    Attributes:
        received: the signal, None so far.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[int, Any] = {}  # what `signal.signal` takes

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def raise_if_received(self, what: str) -> None:
        """Raises Interrupted, "Stopped by SIGTERM" and what, if a signal was received."""
        if self.received:
            raise Interrupted(f"Stopped by {self.received.name}{what}", self.received)

    def _remember(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number)
        for other, handler in self._previous.items():
            signal.signal(other, signal.SIG_IGN if other == signal.SIGHUP else handler)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
