"""What is written is on the disk before it gets its name: a power failure loses nothing."""

import errno
import os
from pathlib import Path

# What file systems answer that cannot do this for folders, which then need nothing of the kind.
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def sync(path: str | Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: they are not there, or the disk has failed.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS or not os.path.isdir(path):
            raise
    finally:
        os.close(fd)


def sync_tree(folder: str | Path) -> None:
    """Waits until a folder and everything in it are on the disk.

    Raises:
        OSError: see `sync`.
    """
    for parent, _, names in os.walk(folder, topdown=False, onerror=_raise):
        for name in names:
            sync(os.path.join(parent, name))
        sync(parent)


def make_folders(path: str | Path) -> list[Path]:
    """Makes a folder and those above it, as far as they are not there, and syncs their names.

    Returns:
        The folders that were made, the innermost first.

    Raises:
        OSError: they cannot be made.
    """
    path = Path(os.path.abspath(path))
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
    return missing


def _raise(error: OSError) -> None:
    raise error
