"""Files that matter are written beside their place and renamed into it."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` if the block succeeds.

    Missing folders are made. After an error the temporary file is gone and `path` is as it was.
    The temporary name keeps the ending, which tells image writers their format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yields a new, empty folder beside `path`; gives it that name if the block succeeds.

    A folder that is there before goes when the new one is in its place. After an error the new one
    is gone and `path` is as it was.
    """
    path = Path(os.path.abspath(path))
    new, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    new.mkdir(parents=True)
    try:
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in (old, new):
            shutil.rmtree(leftover, ignore_errors=True)


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON object, its keys in order."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
