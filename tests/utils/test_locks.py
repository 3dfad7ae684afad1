"""A lock keeps others out while its process lives, and not longer."""

import contextlib
import errno
import os
import signal
import socket
import stat

import pytest

from diffusion_tf.utils import locks
from diffusion_tf.utils.locks import InUse, check_free, is_held, lock_beside, lock_in, locked
from helpers.file_operations import FINISHED, KILLED, stopped_at


def in_other_process(action):
    """Runs an action in a process that then waits; yields its id. It is killed by the caller."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with action:
                os.write(tell, b"1")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"1"
    os.close(ready), os.close(tell)
    return child


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_second_one_is_told_who_is_first(tmp_path):
    path = lock_in(tmp_path)
    child = in_other_process(locked(path, tmp_path))
    try:
        with pytest.raises(InUse) as caught, locked(path, tmp_path):
            pytest.fail("two have the lock")
    finally:
        kill(child)
    assert str(caught.value) == (
        f"{tmp_path} is being written by process {child} on machine {socket.gethostname()}; wait"
        " until it ends, stop it, or choose another place."
    )
    assert path.exists() and not is_held(path)  # the killed one left it
    with locked(path, tmp_path):
        assert is_held(path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_has_it_once(tmp_path):
    with locked(lock_in(tmp_path), tmp_path):
        with (
            pytest.raises(InUse, match=f"process {os.getpid()} "),
            locked(lock_in(tmp_path), tmp_path),
        ):
            pytest.fail("two have the lock")
        assert lock_in(tmp_path).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_process_keeps_no_lock(tmp_path):
    with locked(lock_in(tmp_path), tmp_path):
        child = in_other_process(contextlib.nullcontext())
    try:
        with locked(lock_in(tmp_path), tmp_path):
            pass
    finally:
        kill(child)


def test_a_forked_process_that_leaves_the_block_ends_nothing(tmp_path):
    with locked(lock_in(tmp_path), tmp_path):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert is_held(lock_in(tmp_path))
    if not child:
        os._exit(0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("note", ["", "almost done"])
def test_a_note_is_left_by_who_did_not_finish(tmp_path, note):
    path = lock_beside(tmp_path / "x")

    def work():
        with locked(path, tmp_path / "x") as lock:
            lock.note("first")
            lock.note(note)
            os.mkdir(tmp_path / "x")

    notes = set()
    for number in range(15):
        ended = stopped_at(number, tmp_path, work)
        there = (tmp_path / "x").exists()
        with locked(path, tmp_path / "x") as lock:
            notes.add(lock.noted)
            assert ended == KILLED or not lock.noted
            assert not there or ended == FINISHED or lock.noted == note
        assert not path.exists()
        if there:
            os.rmdir(tmp_path / "x")
    assert notes == {"", "first", note}


def test_a_note_stays_after_an_error_if_there_is_something_to_finish(tmp_path):
    path = lock_beside(tmp_path / "x")

    def fail(note=""):
        with pytest.raises(RuntimeError), locked(path, tmp_path / "x") as lock:
            if note:
                lock.note(note)
            raise RuntimeError

    fail()
    assert not path.exists()
    fail("almost done")
    assert not path.exists()
    (tmp_path / "x").touch()
    fail("almost done")
    fail()  # before it has looked
    with locked(path, tmp_path / "x") as lock:
        assert lock.noted == "almost done"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_half_a_note_is_none(tmp_path):
    path = lock_beside(tmp_path / "x")
    (tmp_path / "x").touch()
    with pytest.raises(RuntimeError), locked(path, tmp_path / "x") as lock:
        lock.note("almost done")
        raise RuntimeError
    os.truncate(path, path.stat().st_size - 3)
    with locked(path, tmp_path / "x") as lock:
        assert lock.noted == ""


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 2000, b'{"pid": 1}', b"[]"])
def test_a_lock_file_of_anything_blocks_nobody(tmp_path, content):
    lock_in(tmp_path).write_bytes(content)
    with locked(lock_in(tmp_path), tmp_path):
        lock_in(tmp_path).write_bytes(content)
        with (
            pytest.raises(InUse, match="by another process; wait"),
            locked(lock_in(tmp_path), tmp_path),
        ):
            pytest.fail("two have the lock")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_deleted_while_it_is_waited_for_is_not_taken(tmp_path, monkeypatch):
    path, hold = lock_in(tmp_path), locks.hold

    def deleted_meanwhile(fd):
        monkeypatch.setattr(locks, "hold", hold)
        path.unlink()  # its owner ends between our opening it and our locking it
        return hold(fd)

    monkeypatch.setattr(locks, "hold", deleted_meanwhile)
    with locked(path, tmp_path), pytest.raises(InUse), locked(path, tmp_path):
        pytest.fail("two have the lock")


def test_folders_that_were_made_for_it_go_when_nothing_is_in_them(tmp_path):
    with locked(lock_in(tmp_path / "a" / "b"), "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(lock_in(tmp_path / "a" / "b"), "b"):
        (tmp_path / "a" / "c").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c"]


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with locked(lock_in(tmp_path), tmp_path):
        assert is_held(lock_in(tmp_path))  # as far as can be told
    assert "has no locks" in caplog.text and list(tmp_path.iterdir()) == []


def test_a_lock_that_a_link_stands_for_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    lock_in(tmp_path).symlink_to("precious")
    with pytest.raises(OSError, match="ymbolic"), locked(lock_in(tmp_path), tmp_path):
        pytest.fail("it is a link")
    assert (tmp_path / "precious").read_text() == "precious"


def test_locks_have_the_rights_of_other_files(tmp_path):
    with locked(lock_in(tmp_path), tmp_path):
        (tmp_path / "file").touch()
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("name", ["x" * 255, "a[1]*\n", "\udcff"])
def test_any_name_has_a_lock(tmp_path, name):
    with locked(lock_beside(tmp_path / name), name):
        (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_has_no_name_has_a_lock_that_nobody_holds():
    check_free(lock_beside("/"), "/")


def test_where_no_file_can_be_made_nobody_tries_for_ever():
    with (
        pytest.raises(OSError, match="/proc/a cannot be written"),
        locked("/proc/a.lock", "/proc/a"),
    ):
        pass


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(lock_beside(tmp_path / "a"))
    with pytest.raises(OSError, match="is a named pipe; name a regular file"):
        locks.has_note(lock_beside(tmp_path / "a"))
    place = locked(lock_beside(tmp_path / "a"), tmp_path / "a")
    with pytest.raises(OSError, match="a cannot be written"), place:
        pass
