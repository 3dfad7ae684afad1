"""The files of a run's checkpoints: which are complete, how one comes into its place, which go.

A checkpoint is `ckpt-NUMBER.index` and the `ckpt-NUMBER.data-*` that belong to it. The complete
ones in the folder are the truth. The file `checkpoint`, in which TensorFlow's tools look for the
newest, is written for them and not believed.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from absl import logging

from diffusion_tf.utils.command_names import command_name
from diffusion_tf.utils.files import delete_leftovers, replacing
from diffusion_tf.utils.locks import lock_in, locked
from diffusion_tf.utils.regular_files import read_regular
from diffusion_tf.utils.syncing import sync, sync_tree

_FILE = re.compile(r"ckpt-(0|[1-9]\d*)\.(?:index|data-(\d{5})-of-(\d{5}))")
_MAX_BYTES = 2**24  # of the file `checkpoint`; it names checkpoints, one a line
_UNFINISHED = re.compile(r"ckpt-(\d+)(?:\.saving|_temp)")  # the latter is TensorFlow's own
_NAMED = re.compile(r'^model_checkpoint_path:\s*"(.*)"\s*$', re.MULTILINE)


class Found(NamedTuple):
    """The numbers of the checkpoints in a folder, in ascending order.

    Attributes:
        complete: those of which every file is there, and a regular one.
        lacking: those of which some are not, other than of a save that was cut short.
    """

    complete: list[int]
    lacking: list[int]


def checkpoint_dir(workdir: str) -> str:
    """Where a workdir keeps its checkpoints."""
    return os.path.join(workdir, "checkpoints")


def name_of(number: int) -> str:
    """The name of a checkpoint, with which those of its files begin."""
    return f"ckpt-{number}"


def find(folder: str) -> Found:
    """Looks which checkpoints a folder holds; none if it is not there.

    Raises:
        OSError: it cannot be read.
    """
    names = _names(folder)
    shards: dict[int, set] = {}
    for match in filter(None, map(_FILE.fullmatch, names)):
        shard = shards.setdefault(int(match[1]), set())
        if not _is_special(os.path.join(folder, match[0])):
            shard.add(match.groups()[1:])
    complete = {number for number, there in shards.items() if _is_complete(there)}
    return Found(sorted(complete), sorted(shards.keys() - complete - _unfinished(names)))


def write(
    folder: str,
    number: int,
    write_to: Callable[[str], object],
    keep: int,
    unreadable: Container[int] = (),
) -> None:
    """Puts a checkpoint into a folder as a whole; then the oldest may go.

    It is on the disk before it gets its name. After an error everything is as it was.

    Args:
        folder: is made if it is not there.
        number: of the checkpoint.
        write_to: writes its files to a path, to which it adds their endings.
        keep: how many are kept of those up to this one; later ones always are.
        unreadable: those that do not count as kept.

    Raises:
        OSError: it cannot be written.
    """
    with locked(lock_in(folder), folder):
        with _saving(folder, number) as saving:
            write_to(os.path.join(saving, name_of(number)))
            sync_tree(saving)
            _put_in_place(saving, folder, number)
        _finish(folder, number, keep, unreadable)


def clear(
    folder: str, restored: int | None, keep: int = 1, unreadable: Container[int] = ()
) -> None:
    """Deletes what saves left behind that were cut short, and finishes the newest.

    Args:
        folder: of the checkpoints.
        restored: the checkpoint that is sure to be good; without one nothing is finished.
        keep, unreadable: see `write`.

    Raises:
        OSError: somebody is saving there, or it cannot be deleted.
    """
    if not os.path.isdir(folder):
        return
    with locked(lock_in(folder), folder):
        complete = find(folder).complete
        for number in sorted(_unfinished(_names(folder))):
            for name in _files_of(folder, number) if number not in complete else ():
                os.remove(os.path.join(folder, name))
            for name in (f"{name_of(number)}.saving", f"{name_of(number)}_temp"):
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        delete_leftovers(_state_path(folder))
        if restored in complete:
            _finish(folder, restored, keep, unreadable)
        elif complete:
            _delete_before(complete[0], folder)


def doubts_about(folder: str, found: Found) -> list[str]:
    """What is not as a run leaves it: sentences without a full stop, none if all is well.

    Args:
        folder: of the checkpoints.
        found: in it.
    """
    newest = found.complete[-1] if found.complete else -1
    lost = [
        f"of {name_of(n)} in {folder} some files are missing" for n in found.lacking if n > newest
    ]
    if not found.complete and not os.path.lexists(_state_path(folder)):
        return lost  # a run that has not saved yet
    doubt = _doubt_about_state(folder, newest)
    return [*lost, doubt] if doubt else lost


def _doubt_about_state(folder: str, newest: int) -> str | None:
    path = _state_path(folder)
    try:
        named = _NAMED.search(read_regular(path, _MAX_BYTES).decode())
    except FileNotFoundError:
        return f"{path} is missing"
    except (OSError, ValueError) as error:
        return f"{path} cannot be read ({str(error).rstrip('.')})"
    if not named:
        return f"{path} is damaged: it names no checkpoint"
    parent, name = os.path.split(named[1])
    if parent and not _is_same(parent, folder):
        return f"{path} names {named[1]}, which lies elsewhere and is not touched"
    match = _FILE.fullmatch(f"{name}.index")
    if not match:
        return f"{path} names {named[1]}, which is not a checkpoint of a run"
    return f"{path} names {name}, which is not there as a whole" if int(match[1]) > newest else None


def _is_same(parent: str, folder: str) -> bool:
    return os.path.realpath(os.path.join(folder, parent)) == os.path.realpath(folder)


def _is_special(path: str) -> bool:
    """Whether a pipe or the like is there, for which TensorFlow would wait; not if it is gone."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _state_path(folder: str) -> str:
    return os.path.join(folder, "checkpoint")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _unfinished(names: list[str]) -> set[int]:
    """Numbers of the saves that are going on, or were cut short."""
    return {int(match[1]) for match in map(_UNFINISHED.fullmatch, names) if match}


def _is_complete(shards: set[tuple]) -> bool:
    """Of (None, None) for the index and ("00000", "00001") for the first of one data file."""
    totals = {total for _, total in shards if total}
    return (None, None) in shards and any(
        all((f"{i:05}", total) in shards for i in range(int(total))) for total in totals
    )


def _files_of(folder: str, number: int) -> list[str]:
    """Names of the files of a checkpoint, the index first."""
    matches = filter(None, map(_FILE.fullmatch, _names(folder)))
    names = [match[0] for match in matches if int(match[1]) == number]
    return sorted(names, key=lambda name: (not name.endswith(".index"), name))


@contextlib.contextmanager
def _saving(folder: str, number: int) -> Iterator[str]:
    """A new folder for what is being saved; it goes when the block ends."""
    saving = os.path.join(folder, f"{name_of(number)}.saving")
    shutil.rmtree(saving, ignore_errors=True)
    os.mkdir(saving)
    try:
        yield saving
    finally:
        shutil.rmtree(saving, ignore_errors=True)


def _put_in_place(saving: str, folder: str, number: int) -> None:
    """Gives the files their names, the index last: without it they are not a checkpoint."""
    index, *data = _files_of(saving, number)
    try:
        for name in data:
            os.replace(os.path.join(saving, name), os.path.join(folder, name))
        sync(folder)
        os.replace(os.path.join(saving, index), os.path.join(folder, index))
        sync(folder)
    except OSError:
        if not os.path.lexists(os.path.join(folder, index)):
            for name in data:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(folder, name))
        raise


def _finish(folder: str, number: int, keep: int, unreadable: Container[int]) -> None:
    """Names a checkpoint that is in its place, and deletes those that are too old."""
    good = [n for n in find(folder).complete if n <= number and n not in unreadable]
    kept = good[-keep:]
    _name_in_state(folder, kept)
    _delete_before(kept[0], folder)


def _name_in_state(folder: str, numbers: list[int]) -> None:
    """Writes the file `checkpoint`, unless it says so; the run can do without it."""
    lines = [f'model_checkpoint_path: "{name_of(numbers[-1])}"']
    lines += [f'all_model_checkpoint_paths: "{name_of(number)}"' for number in numbers]
    text = "\n".join(lines) + "\n"
    if _says(_state_path(folder), text):
        return
    try:
        with replacing(_state_path(folder)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        logging.warning(
            "%s could not be written (%s); the run does not need it, TensorFlow's own tools do.",
            _state_path(folder),
            error,
        )


def _says(path: str, text: str) -> bool:
    """Whether a file holds a text; one that cannot be read does not."""
    try:
        return read_regular(path, _MAX_BYTES) == text.encode()
    except (OSError, ValueError):
        return False


def _delete_before(number: int, folder: str) -> None:
    """Deletes the checkpoints before one, and what is left of such; the index goes first."""
    matches = filter(None, map(_FILE.fullmatch, _names(folder)))
    for older in sorted({int(match[1]) for match in matches if int(match[1]) < number}):
        for name in _files_of(folder, older):
            try:
                os.remove(os.path.join(folder, name))
            except OSError as error:
                logging.warning("An old checkpoint could not be deleted (%s).", error)


def newest(workdir: str) -> int:
    """The number of the newest whole checkpoint of a run; a warning says what is wrong with others.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = checkpoint_dir(workdir)
    found = find(folder)
    doubts = doubts_about(folder, found)
    if found.complete:
        if doubts:
            logging.warning("%s", explained(doubts, found.complete[-1]))
        return found.complete[-1]
    if doubts:
        raise nothing_complete(workdir, doubts)
    raise FileNotFoundError(
        f"{workdir} has no checkpoint; train there with {command_name('train')} until it has"
        " written one."
    )


def of_step(workdir: str, step: int) -> int:
    """The number of the checkpoint of a step.

    Raises:
        FileNotFoundError: it is not there.
    """
    complete = find(checkpoint_dir(workdir)).complete
    if step in complete:
        return step
    there = ", ".join(map(str, complete)) or "none"
    raise FileNotFoundError(
        f"{workdir} has no checkpoint of step {step} (there: {there}); choose one of these."
    )


def explained(doubts: list[str], number: int) -> str:
    """What was found, and which checkpoint is taken."""
    return (
        f"{'; '.join(doubts)}. Taking {name_of(number)}, the newest that is whole; what came after"
        f" step {number}, if anything did, is lost."
    )


def nothing_complete(workdir: str, doubts: list[str]) -> FileNotFoundError:
    """The error of a run that had checkpoints and has none now."""
    return FileNotFoundError(
        f"{workdir} has no complete checkpoint ({'; '.join(doubts)}); restore its files from a"
        " copy, or choose another --workdir to begin anew."
    )
