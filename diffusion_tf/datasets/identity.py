"""Which files data were read from: told by names, sizes and some of the content, not by times."""

import hashlib
import os
from collections.abc import Sequence

from diffusion_tf.utils.regular_files import open_regular

_BLOCK = 1024  # bytes that are looked at together
_BLOCKS = 256  # of all files together, but for the next
_LEAST_BLOCKS = 3  # of each file: its beginning, its middle, its end


def digest_of_files(paths: Sequence[str]) -> str:
    """Tells files from others: hexadecimal, and the same for their copies in another folder.

    What counts is their names below the folder of them all, their sizes, and a few blocks of each:
    reading terabytes would take hours. The name of a file that is alone does not count.

    Raises:
        OSError: one cannot be read.
    """
    blocks = max(_LEAST_BLOCKS, _BLOCKS // max(len(paths), 1))
    root = os.path.commonpath([os.path.dirname(os.path.abspath(p)) for p in paths] or [os.curdir])
    digest = hashlib.sha256()
    for path in paths:
        name = os.path.relpath(path, root) if len(paths) > 1 else ""
        digest.update(f"{name.replace(os.sep, '/')!r} ".encode())
        _add_file(digest, path, blocks)
    return digest.hexdigest()


def _add_file(digest: "hashlib._Hash", path: str, blocks: int) -> None:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(f"{size} ".encode())
        last = max(size - _BLOCK, 0)
        for start in sorted({last * i // (blocks - 1) for i in range(blocks)}):
            file.seek(start)
            digest.update(file.read(_BLOCK))
