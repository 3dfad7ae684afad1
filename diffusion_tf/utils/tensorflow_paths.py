"""Paths as TensorFlow takes them: it reads some characters as patterns and knows no bytes."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

_CHECKPOINT = re.compile(r"checkpoint|.*\.index|.*\.data-\d+-of-\d+", re.DOTALL)
_PATTERN = re.compile(r"[\[\]*?\\]")


@contextlib.contextmanager
def for_tensorflow(folder: str) -> Iterator[str]:
    """A path of a folder in which TensorFlow finds checkpoints, whatever the folder's name is.

    TensorFlow looks for a checkpoint's files by a pattern, in which brackets do not stand for
    themselves, and takes names in UTF-8 alone. Where the path has anything of the kind it is
    reached by way of a symbolic link, which goes when the block ends.

    Raises:
        OSError: the link cannot be made in the system's folder for temporary files; or a file of a
            checkpoint is a pipe or a device, which TensorFlow would read for ever.
    """
    _check_regular(folder)
    if _is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as home:
        link = os.path.join(home, "folder")
        os.symlink(os.path.abspath(folder), link)
        yield link


def _check_regular(folder: str) -> None:
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        is_special = os.path.exists(entry.path) and not (entry.is_file() or entry.is_dir())
        if is_special and _CHECKPOINT.fullmatch(entry.name):
            raise OSError(f"{entry.path} is a pipe or a device; a checkpoint is in regular files.")


def _is_plain(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return not _PATTERN.search(path)
