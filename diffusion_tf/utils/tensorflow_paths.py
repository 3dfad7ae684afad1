"""Paths as TensorFlow takes them: it reads some characters as patterns and knows no bytes."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

_PATTERN = re.compile(r"[\[\]*?\\]")


@contextlib.contextmanager
def for_tensorflow(folder: str) -> Iterator[str]:
    """A path of a folder in which TensorFlow finds checkpoints, whatever the folder's name is.

    TensorFlow looks for a checkpoint's files by a pattern, in which brackets do not stand for
    themselves, and takes names in UTF-8 alone. Where the path has anything of the kind it is
    reached by way of a symbolic link, which goes when the block ends.

    Raises:
        OSError: the link cannot be made in the system's folder for temporary files.
    """
    if _is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as home:
        link = os.path.join(home, "folder")
        os.symlink(os.path.abspath(folder), link)
        yield link


def _is_plain(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return not _PATTERN.search(path)
