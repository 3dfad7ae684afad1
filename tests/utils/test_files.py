"""Files are replaced whole or not at all."""

import errno
import itertools
import os

import pytest

from diffusion_tf.utils.files import (
    delete_leftovers,
    is_empty,
    replacing,
    replacing_alone,
    replacing_folder,
    write_json,
)
from diffusion_tf.utils.json_files import read_json_object
from helpers.file_operations import FAILED, FINISHED, KILLED, SURVIVED, stopped_at
from helpers.rows import mostly_slow


def test_a_finished_file_takes_its_place(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_folder_takes_its_place(tmp_path):
    path = tmp_path / "new" / "folder"
    for text in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / text).write_text(text)
            assert text == "first" or (path / "first").exists()
        assert [p.name for p in path.iterdir()] == [text]
    with pytest.raises(RuntimeError), replacing_folder(path) as temporary:
        (temporary / "half").write_text("")
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["second"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(FileNotFoundError), replacing_folder(path) as temporary:
        temporary.rmdir()  # so that there is nothing to rename
    assert (path / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_written_in_order_and_read_again(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "\u00e9"})
    assert (tmp_path / "a.json").read_text().index('"a"') < 10
    assert read_json_object(tmp_path / "a.json") == {"a": "\u00e9", "b": [1, None]}


def write(path, text="new"):
    with replacing(path) as temporary, open(temporary, "w") as file:
        file.write(text)


def write_folder(path, text="new"):
    with replacing_folder(path) as temporary:
        (temporary / "in").mkdir()
        for name in ("a", "in/b"):
            (temporary / name).write_text(text)


def write_alone(path, text="new"):
    with replacing_alone(path) as temporary:
        (temporary.parent / "own").write_text(text)
        temporary.write_text(text)


def content(path):
    """Of a file, or of a folder of `write_folder`; None if there is nothing."""
    if not path.is_dir():
        return path.read_text() if path.exists() else None
    assert sorted(path.rglob("*")) == [path / "a", path / "in", path / "in/b"]
    texts = {(path / name).read_text() for name in ("a", "in/b")}
    assert len(texts) == 1
    return texts.pop()


WRITERS = pytest.mark.parametrize("writer", [write, write_folder, write_alone])
BEFORE = pytest.mark.parametrize("before", [None, "old"])


def stopped_everywhere(tmp_path, writer, before, **how):
    """Writes, and stops at one operation after the other; yields the path and how it ended."""
    for number in itertools.count():
        path = tmp_path / str(number) / "x.txt"
        path.parent.mkdir()
        if before:
            writer(path, before)
        ended = stopped_at(number, path.parent, lambda path=path: writer(path), **how)
        yield path, ended
        if ended == FINISHED:
            return


@WRITERS
@BEFORE
def test_killed_at_any_operation_there_is_all_or_nothing_and_the_next_one_clears_up(
    tmp_path, writer, before
):
    endings = []
    for path, ended in stopped_everywhere(tmp_path, writer, before):
        endings.append(ended)
        between = writer is write_folder and before and content(path) is None
        assert content(path) in (before, "new") or between
        if between:
            delete_leftovers(path)
            assert content(path) == before
        writer(path, "newer")
        assert content(path) == "newer"
        assert list(path.parent.iterdir()) == [path]
    assert endings == [KILLED] * (len(endings) - 1) + [FINISHED] and len(endings) > 4


@WRITERS
@pytest.mark.parametrize(
    "error, before",
    mostly_slow([(errno.ENOSPC, "old"), (errno.EIO, "old"), (28, None)], lambda *row: row[1]),
)
def test_an_error_at_any_operation_leaves_what_was_there_and_nothing_else(
    tmp_path, writer, before, error
):
    endings = []
    for path, ended in stopped_everywhere(tmp_path, writer, before, error=error):
        endings.append(ended)
        if ended in (FINISHED, SURVIVED):  # what was to be deleted may be left
            assert content(path) == "new"
            continue
        # A file that was there is gone as soon as the new one has its name.
        assert content(path) == before or (writer is not write_folder and content(path) == "new")
        assert list(path.parent.iterdir()) == ([path] if content(path) else [])
    assert endings.count(FAILED) >= 4


@pytest.mark.parametrize(
    "name",
    ["a[1]", "*?.png", " ", "two\nlines.npz", "-rf", "\u00e9\u4e2d.png", "\udcff", "x" * 255,
     "y" * 251 + ".npz", "z." + "z" * 253, ".hidden", "..."],
)  # fmt: skip
@WRITERS
def test_any_name_will_do(tmp_path, writer, name):
    path = tmp_path / "in[1] *" / name
    ended = stopped_at(3, tmp_path, lambda: writer(path))
    assert ended == KILLED and content(path) is None and any(path.parent.iterdir())
    for text in ("old", "new"):
        writer(path, text)
        assert content(path) == text
        assert list(path.parent.iterdir()) == [path]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    for name, ending in {"a.png": ".png", "b": "", "c.safetensors": ".safetensors"}.items():
        with replacing(tmp_path / name) as temporary:
            assert temporary.suffix == ending and temporary.parent == tmp_path


@pytest.mark.parametrize("writer", [write, write_folder])
def test_what_another_process_is_writing_is_no_leftover(tmp_path, writer):
    path = tmp_path / "x"
    with (replacing if writer is write else replacing_folder)(path) as temporary:
        assert stopped_at(-1, tmp_path, lambda: writer(path, "other")) == FINISHED
        assert temporary.exists() and content(path) == "other"
        if writer is write:
            temporary.write_text("mine")
        else:
            temporary.rmdir()
            write_folder(temporary, "mine")
    assert content(path) == "mine"
    assert list(tmp_path.iterdir()) == [path]


@WRITERS
def test_process_ids_that_repeat_do_no_harm(tmp_path, writer, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in every container
    path = tmp_path / "x"
    assert stopped_at(3, tmp_path, lambda: writer(path)) == KILLED
    writer(path)
    assert content(path) == "new" and list(tmp_path.iterdir()) == [path]


DEAD = 2**22 + 1  # more than any process has


@pytest.mark.parametrize("name", ["config.json", "a[1].npz", "*.\n.png"])
def test_leftovers_with_process_ids_of_earlier_versions_go(tmp_path, name):
    path, (stem, ending) = tmp_path / name, os.path.splitext(name)
    others = [f".{stem}.{os.getpid()}{ending}", f".{stem}.{DEAD}.txt", f".{stem}.a{ending}", ".7"]
    for other in (f".{stem}.{DEAD}{ending}", f".{name}.{DEAD}.new", *others):
        (tmp_path / other).touch()
    write(path)
    assert sorted(os.listdir(tmp_path)) == sorted([name, *others])


def test_a_folder_that_an_earlier_version_took_away_comes_back(tmp_path):
    path, old = tmp_path / "x.txt", tmp_path / f".x.txt.{DEAD}.old"
    for there in (False, True):
        write_folder(old, "old")
        write_folder(tmp_path / f".x.txt.{DEAD}.new", "half")
        write_folder(path, "new") if there else None
        delete_leftovers(path)
        assert content(path) == ("new" if there else "old")
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("writer", [write, write_folder])
def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, writer, monkeypatch):
    path, events = tmp_path / "new" / "x", []

    def told(name, function):
        def wrapper(*arguments):
            where = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "sync" else arguments[1]
            events.append((name, os.path.relpath(where, path.parent).split("/", 1)[-1]))
            return function(*arguments)

        return wrapper

    for name, function in {"fsync": "sync", "rename": "rename", "replace": "rename"}.items():
        monkeypatch.setattr(os, name, told(function, getattr(os, name)))
    writer(path)
    renamed = events.index(("rename", "x"))
    assert events[0] == ("sync", "..")  # the name of the folder that was made
    assert events[renamed + 1 :] == [("sync", ".")]
    synced = [name for _, name in events[1:renamed]]
    assert len(synced) == (1 if writer is write else 4)
    assert writer is write or sorted(synced[:3]) == ["a", "in", "in/b"]


def test_a_hidden_file_does_not_make_a_folder_something(tmp_path):
    (tmp_path / ".lock").touch()
    assert is_empty(tmp_path)
    (tmp_path / "a").touch()
    assert not is_empty(tmp_path)
