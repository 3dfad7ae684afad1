"""Where something is written: what may be replaced, and what takes its place once it is checked."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from diffusion_tf.convert.exports import Export
from diffusion_tf.convert.formats import Format
from diffusion_tf.utils.files import delete_leftovers, replacing_alone, replacing_folder
from diffusion_tf.utils.locks import has_note, lock_beside, locked

_EXISTS = "{} exists; choose another --target, or add --overwrite."


class Work(NamedTuple):
    """What is to be written: `write(path)` does it, `is_right(path)` says whether it went well."""

    write: Callable[[str], None]
    is_right: Callable[[str], bool]


def put(
    source: str,
    target: str,
    format: str,
    row: Format | Export,
    asked: list,
    overwrite: bool,
    prepare: Callable[[], Work],
) -> None:
    """Writes something, and checks it before it takes its place.

    What a process put there that was killed before it could say so is checked as well.

    Args:
        source: what it is made of, a path.
        target: its place.
        format, row: its name, and what is written for it.
        asked: all that decides what is written.
        overwrite: replace what is there.
        prepare: reads the source, with the target locked.

    Raises:
        ValueError: a target that exists, or that may not be replaced.
        InUse: another process is writing the target.
        OSError: it cannot be written, or is not what it was to be.
    """
    check_target(source, target, format, row, overwrite or has_note(lock_beside(target)))
    request = hashlib.sha256(repr(asked).encode()).hexdigest()
    with locked(lock_beside(target), target) as lock:
        delete_leftovers(target)
        # Put there by a process that was killed before it could say so; it is compared below.
        finished = not overwrite and lock.noted == request and os.path.exists(target)
        check_target(source, target, format, row, overwrite or finished)
        work = prepare()
        if not finished:
            with _replacing(target, row) as temporary:
                work.write(temporary)
                if not work.is_right(temporary):
                    raise OSError(
                        f"What was written differs from {source}; nothing was kept of it."
                    )
                lock.note("" if overwrite else request)
        elif not work.is_right(target):
            raise ValueError(_EXISTS.format(target))


def check_target(
    source: str, target: str, format: str, row: Format | Export, overwrite: bool
) -> None:
    """Raises a ValueError if a target may not be written, or not be replaced; see `put`."""
    if not os.path.lexists(target):
        return
    if os.path.islink(target):
        raise ValueError(f"{target} is a link; give what it leads to, or another --target.")
    if os.path.isdir(target) != (row.files is not None):
        raise ValueError(
            f"{target} exists, and {format} is written into a"
            f" {'folder' if row.files else 'file'}; choose another --target."
        )
    if not overwrite:
        raise ValueError(_EXISTS.format(target))
    if f"{os.path.realpath(source)}/".startswith(f"{os.path.realpath(target)}/"):
        raise ValueError(f"{target} holds the source; choose another --target.")
    if row.files is not None:
        others = [n for n in sorted(os.listdir(target)) if not re.fullmatch(row.files, n)]
        if others:
            raise ValueError(
                f"{target} holds {others[0]}, which is not written for {format}; choose another"
                " --target."
            )


@contextlib.contextmanager
def _replacing(target: str, row: Format | Export) -> Iterator[str]:
    with (replacing_alone if row.files is None else replacing_folder)(target) as temporary:
        yield str(temporary)
