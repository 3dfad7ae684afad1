"""Locks that end with their process, so that no two processes write the same thing at once.

A lock is `flock` on an open file. The system releases it when the process ends, in whatever way: a
file that a killed process left behind is held by nobody and blocks nobody. Network file systems:
NFS passes these locks on to its server (Linux 2.6.12 and later; not with the mount options `nolock`
and `local_lock=flock`, where they hold on one machine only), and the server releases those of a
machine that died after its lease, about 90 seconds. CephFS, GPFS and Lustre with `-o flock` lock
across machines, too. On a file system without any locks a warning says so, and the work goes on.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from diffusion_tf.utils.regular_files import open_regular
from diffusion_tf.utils.syncing import make_folders

IN_FOLDER = ".lock"  # the name of the lock of a folder, inside it
_HEADER_BYTES = 512  # of a lock file: who holds it; after them what it noted, one line
_ATTEMPTS = 100  # to make a file in a folder that others delete
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_held: set[int] = set()  # file descriptors of this process


class InUse(OSError):
    """Another process is writing the same thing; the message names it and its machine."""


class Lock:
    """A lock that this process holds.

    Attributes:
        noted: what was noted with `note`, here or by an owner before that did not finish; "" if
            nothing was.
    """

    def __init__(self, fd: int):
        self._fd = fd
        self.noted = _read_note(fd)

    def note(self, text: str) -> None:
        """Leaves a line for the next owner, should this one not finish; "" takes it back.

        Raises:
            OSError: it cannot be written.
        """
        if text == self.noted:
            return
        os.ftruncate(self._fd, _HEADER_BYTES)
        if text:
            _write(self._fd, f"{text}\n", _HEADER_BYTES)
        os.fsync(self._fd)
        self.noted = text


@contextlib.contextmanager
def locked(path: str | Path, what: str | Path) -> Iterator[Lock]:
    """Holds a lock while the block runs.

    The file is deleted at the end. It stays if the block raises an error after something was noted
    and what is written is there. Folders that were made for it and are still empty are deleted,
    too.

    Args:
        path: of the lock file: `lock_in(what)` or `lock_beside(what)`.
        what: path of what is written meanwhile.

    Raises:
        InUse: another process holds it, or this one, in another place.
        OSError: the lock file cannot be written.
    """
    path, process, finished = Path(os.path.abspath(path)), os.getpid(), False
    fd, made = _begin(path, what)
    try:
        yield Lock(fd)
        finished = True
    finally:
        if os.getpid() == process:  # not in one that was forked meanwhile
            if finished or not (_read_note(fd) and os.path.lexists(what)):
                _delete(path, fd)
                _delete_empty(made)
            release(fd)


def check_free(path: str | Path, what: str | Path) -> None:
    """Raises InUse if another process holds a lock, without taking it; see `locked`."""
    if os.path.exists(path) and is_held(path):
        with open_regular(path) as file:
            raise _in_use(file.fileno(), what)


def has_note(path: str | Path) -> bool:
    """Whether an owner of a lock left a note, see `Lock.note`."""
    try:
        with open_regular(path) as file:
            return bool(_read_note(file.fileno()))
    except FileNotFoundError:
        return False


def lock_in(folder: str | Path) -> Path:
    """The lock file of a folder that grows, such as a run's."""
    return Path(folder, IN_FOLDER)


def lock_beside(path: str | Path) -> Path:
    """The lock file of something that is written as a whole; its name is short for any name."""
    path = Path(os.path.abspath(path))
    return path.parent / f".{short_digest(path.name)}.lock"


def short_digest(name: str) -> str:
    """16 hexadecimal digits that stand for a name, whatever is in it."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def hold(fd: int) -> bool:
    """Locks an open file until `release`, or the end of this process; False if another one has it.

    Processes that are forked meanwhile do not keep it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    _held.add(fd)
    return True


def hold_new(fd: int, path: str | Path) -> bool:
    """Locks what this process has just made, so that nobody takes it for a leftover.

    Args:
        fd: the open file or folder; `release` closes it.
        path: its name.

    Returns:
        False if somebody did so before it was locked, and deletes it.
    """
    try:
        taken = not hold(fd)
    except OSError:  # no locks here: then nothing counts as a leftover
        taken = False
    _held.add(fd)
    return not taken and is_at(fd, path)


def release(fd: int) -> None:
    """Closes a file and ends its lock, unless there is none, or this is a forked process."""
    if fd in _held:
        _held.remove(fd)
        os.close(fd)


def is_held(path: str | Path) -> bool:
    """Whether somebody holds the lock of a file or folder, or may hold it as far as can be told."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # also where a file was opened for reading
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def is_at(fd: int, path: str | Path) -> bool:
    """Whether an open file still has a name, which may be another's by now."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _begin(path: Path, what: str | Path) -> tuple[int, list[Path]]:
    """The lock file, open, held and signed, and the folders that were made for it."""
    made = []
    try:
        made = make_folders(path.parent)
        fd = _acquire(path, what)
        try:
            _write_owner(fd)
        except OSError:
            if not _read_note(fd):
                _delete(path, fd)
            release(fd)
            raise
        return fd, made
    except InUse:
        raise
    except OSError as error:
        _delete_empty(made)
        raise OSError(
            f"{what} cannot be written ({error.strerror or error}); make room, or choose another"
            " place."
        ) from error


def _acquire(path: Path, what: str | Path) -> int:
    """The lock file, open and held: also if its owner deletes it at this very moment."""
    while True:
        fd = _open(path, what)
        try:
            if not hold(fd):
                raise _in_use(fd, what)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(fd)
                raise
            logging.warning("%s has no locks (%s); let nobody else write %s.", path, error, what)
            _held.add(fd)
        if is_at(fd, path):
            return fd
        release(fd)


def _open(path: Path, what: str | Path) -> int:
    for attempt in itertools.count():
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # its folder was empty, and somebody deleted it
            if attempt == _ATTEMPTS:  # or nobody can make a file there, as in /proc
                raise
            make_folders(path.parent)
        except PermissionError:  # of another person, who left it or is at work
            with open_regular(path) as file:
                if is_held(path):
                    raise _in_use(file.fileno(), what) from None
            path.unlink(missing_ok=True)
    raise AssertionError


def _in_use(fd: int, what: str | Path) -> InUse:
    return InUse(
        f"{what} is being written by {_owner(fd)}; wait until it ends, stop it, or choose another"
        " place."
    )


def _write_owner(fd: int) -> None:
    owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()[:200]})
    _write(fd, owner.ljust(_HEADER_BYTES - 1) + "\n", 0)


def _write(fd: int, text: str, offset: int) -> None:
    data = text.encode()
    if os.pwrite(fd, data, offset) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _owner(fd: int) -> str:
    try:
        owner = json.loads(os.pread(fd, _HEADER_BYTES, 0))
        return f"process {owner['pid']} on machine {owner['host']}"
    except (ValueError, LookupError, TypeError):  # it has only just begun
        return "another process"


def _read_note(fd: int) -> str:
    """What was noted and ends with a newline: whoever noted it was not killed while it did so."""
    note, end, _ = os.pread(fd, 65536, _HEADER_BYTES).partition(b"\n")
    return note.decode(errors="replace") if end else ""


def _delete(path: Path, fd: int) -> None:
    """Deletes a lock file that nobody needs; twice, should the disk fail for a moment."""
    for attempt in range(2):
        try:
            if is_at(fd, path):
                path.unlink()
            return
        except OSError as error:
            if attempt:
                logging.warning("%s could not be deleted (%s); it blocks nothing.", path, error)


def _delete_empty(folders: list[Path]) -> None:
    """Deletes folders as far as they are empty, the innermost first."""
    for folder in folders:
        try:
            if os.listdir(folder):
                return
            folder.rmdir()
        except OSError:  # somebody else was there
            return


def _close_in_child() -> None:
    """A lock ends when all copies of its descriptor are closed; a fork must not have one."""
    for fd in _held:
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
