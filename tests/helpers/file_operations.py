"""A process that is killed, or told of an error, at its n-th file operation below a folder."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

FINISHED, FAILED, SURVIVED, KILLED = 0, 1, 2, 9
_CHANGES = {"os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.link": 1}
_FUNCTIONS = ("fsync", "pwrite", "ftruncate")  # of `os`; no audit event tells of them


def stopped_at(
    number: int, folder: Path, action: Callable[[], object], *, error: int | None = None
) -> int:
    """Runs an action in a fork of this process, which ends before its n-th file operation.

    Args:
        number: of the operation, from 0. They are opening for writing, renaming, deleting, making
            folders, syncing, and what locks write.
        folder: operations elsewhere do not count.
        action: what to run.
        error: the operation fails with this errno; without it, the process ends on the spot.

    Returns:
        FINISHED (there was no such operation), SURVIVED (its failure did not matter), FAILED with
        OSError, or KILLED.
    """
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(300)  # a fork that calls TensorFlow waits for threads that it does not have
        try:
            count = _watch(number, str(folder), error)
            action()
            os._exit(SURVIVED if 0 <= number < count() else FINISHED)
        except OSError:
            os._exit(FAILED)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _watch(number: int, folder: str, error: int | None) -> Callable[[], int]:
    """Stops this process as `stopped_at` says; a function that counts operations."""
    count = 0

    def happens(path: str) -> None:
        nonlocal count
        if not os.path.abspath(path).startswith(folder):
            return
        count += 1
        if count == number + 1 and error is None:
            os._exit(KILLED)
        if count == number + 1:
            raise OSError(error, os.strerror(error))

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and (arguments[2] or 0) & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            happens(_path(arguments[0]))
        elif event in _CHANGES:
            happens(_path(arguments[_CHANGES[event]], *arguments[len(arguments) - 1 :]))

    for name in _FUNCTIONS:
        setattr(os, name, _told(getattr(os, name), happens))
    sys.addaudithook(hook)
    return lambda: count


def _path(path: object, directory: int = -1) -> str:
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    path = os.fsdecode(path)
    return os.path.join(os.readlink(f"/proc/self/fd/{directory}"), path) if directory > 0 else path


def _told(function: Callable, happens: Callable[[str], None]) -> Callable:
    def wrapper(fd: int, *arguments: object) -> object:
        happens(_path(fd))
        return function(fd, *arguments)

    return wrapper
