"""Files that matter are written beside their place and renamed into it."""

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from diffusion_tf.utils.locks import hold_new, is_held, release, short_digest
from diffusion_tf.utils.syncing import make_folders, sync, sync_tree

_LONGEST_ENDING = 16  # bytes; endings that mean something are shorter
_NEW, _OLD = "-", "~"  # in temporary names: what is being written, what is being replaced
_NEW_NAME = re.compile(rf"\.[0-9a-f]{{16}}{_NEW}[0-9a-f]{{16}}.*", re.DOTALL)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary file beside `path`; renames it to `path` if the block succeeds.

    Missing folders are made. After an error the temporary file is gone and `path` is as it was.
    What is renamed is on the disk. The temporary name keeps the ending, which tells image writers
    their format. What killed processes left behind while they wrote to `path` is deleted.

    Raises:
        OSError: it cannot be written; or the new file is in its place, but the disk failed when it
            was to store the name.
    """
    path = Path(path)
    make_folders(path.parent)
    with _temporary(path, _make_file, _ending(path)) as temporary:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    sync(path.parent)


@contextlib.contextmanager
def replacing_alone(path: str | Path) -> Iterator[Path]:
    """As `replacing`, for writers that make temporary files of their own beside what they write.

    Yields a path in a new folder, in which they stay if the process is killed; it has the ending of
    `path`, and nothing is there yet.
    """
    path = Path(os.path.abspath(path))
    make_folders(path.parent)
    with _temporary(path, _make_folder) as folder:
        new = folder / f"new{_ending(path)}"
        yield new
        sync(new)
        put_in_place(new, path)
        _delete(folder)


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yields a new, empty folder beside `path`; gives it that name if the block succeeds.

    A folder that is there before goes when the new one is in its place. After an error the new one
    is gone and `path` is as it was. What is renamed is on the disk. What killed processes left
    behind is deleted, and a folder that one of them had just taken from its place is put back.

    Raises:
        OSError: see `replacing`.
    """
    path = Path(os.path.abspath(path))
    make_folders(path.parent)
    with _temporary(path, _make_folder) as new:
        yield new
        sync_tree(new)
        put_in_place(new, path)


def is_empty(folder: str | Path) -> bool:
    """Whether a folder holds nothing but hidden files, such as a killed process leaves behind."""
    return all(name.startswith(".") for name in os.listdir(folder))


def delete_leftovers(path: str | Path) -> None:
    """Deletes what killed processes left behind while they wrote to `path`.

    What another process is writing stays. A folder that was taken from its place and has no
    successor there is put back. What cannot be deleted is in nobody's way; a warning names it.
    """
    path = Path(os.path.abspath(path))
    for name in sorted(os.listdir(path.parent)) if path.parent.exists() else ():
        leftover, kind = path.with_name(name), _kind_of(name, path)
        if kind and not is_held(leftover):
            try:
                _clear(leftover, path, was_taken_away=kind == _OLD)
            except FileNotFoundError:  # another process was faster
                continue
            except OSError as error:
                logging.warning("A leftover could not be deleted (%s).", error)


def delete_leftovers_in(folder: str | Path) -> None:
    """Deletes everything that killed processes left behind in a folder that this one has locked."""
    for name in os.listdir(folder):
        if _NEW_NAME.fullmatch(name) and not is_held(Path(folder, name)):
            _delete(Path(folder, name))


def _kind_of(name: str, path: Path) -> str | None:
    """Whether a name is a temporary one for `path`, and for what; None if it is another."""
    for kind in (_NEW, _OLD):
        if name.startswith(_prefix(path) + kind):
            return kind
    stem, ending, whole = (re.escape(part) for part in (path.stem, path.suffix, path.name))
    file = rf"|\.{stem}\.(?P<writer>\d+){ending}" if ending else ""
    match = re.fullmatch(rf"\.{whole}\.(?P<owner>\d+)\.(?P<kind>new|old){file}", name)
    if not match or _is_alive(int(match["owner"] or match.groupdict().get("writer") or 0)):
        return None
    return _OLD if match["kind"] == "old" else _NEW


def _is_alive(process: int) -> bool:
    """Whether there is such a process here: earlier versions had its id for a lock."""
    return os.path.exists(f"/proc/{process}")


def _clear(leftover: Path, path: Path, was_taken_away: bool) -> None:
    if was_taken_away and not os.path.lexists(path):
        leftover.rename(path)
    elif leftover.is_dir():
        shutil.rmtree(leftover)
    else:
        leftover.unlink()


@contextlib.contextmanager
def _temporary(path: Path, make: Callable[[Path], int], ending: str = "") -> Iterator[Path]:
    """Something new beside `path`, deleted after an error; that it is held tells others."""
    delete_leftovers(path)
    temporary, fd = _make(path, make, ending)
    try:
        yield temporary
    except BaseException:
        _delete(temporary)
        raise
    finally:
        release(fd)


def _make(path: Path, make: Callable[[Path], int], ending: str) -> tuple[Path, int]:
    """A new file or folder, and its descriptor, which holds it."""
    while True:
        temporary = _temporary_name(path, _NEW, ending)
        fd = make(temporary)
        if hold_new(fd, temporary):
            return temporary, fd
        release(fd)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _make_folder(path: Path) -> int:
    path.mkdir()
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        _delete(path)
        raise


def _delete(path: Path) -> None:
    """Deletes a file or folder after an error, which matters more than whether this succeeds."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def put_in_place(new: Path, path: Path) -> None:
    """Renames a file or folder that is on the disk; what is there before goes.

    Args:
        new: what to rename.
        path: its new name, on the same file system.

    Raises:
        OSError: it cannot be renamed; both are as they were.
    """
    old = _temporary_name(path, _OLD)
    with _taken_away(path, old) if path.is_dir() else contextlib.nullcontext():
        replaces_file = path.exists()
        os.replace(new, path)
        try:
            sync(path.parent)
        except OSError:
            if not replaces_file:
                path.rename(new)
            raise
    delete_leftovers(path)


@contextlib.contextmanager
def _taken_away(path: Path, old: Path) -> Iterator[None]:
    """Gives a folder a temporary name; after an error it has its own again."""
    fd = os.open(path, os.O_RDONLY)
    try:
        hold_new(fd, path)
        path.rename(old)
        try:
            yield
        except BaseException:
            old.rename(path)
            raise
    finally:
        release(fd)


def _prefix(path: Path) -> str:
    """What the temporary names for a path begin with: short, whatever its own is."""
    return f".{short_digest(path.name)}"


def _temporary_name(path: Path, kind: str, ending: str = "") -> Path:
    return path.with_name(f"{_prefix(path)}{kind}{secrets.token_hex(8)}{ending}")


def _ending(path: Path) -> str:
    return path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_ENDING else ""


def write_json(path: str | Path, values: Mapping[str, Any], *, sort_keys: bool = True) -> None:
    """Writes a JSON object, its keys in alphabetical order or in that of the mapping."""
    with replacing(path) as temporary:
        text = json.dumps(values, indent=2, sort_keys=sort_keys)
        temporary.write_text(f"{text}\n", encoding="utf-8")
