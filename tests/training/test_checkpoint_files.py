"""The files of checkpoints: whole or not there, whatever stops their writer."""

import errno
import os
from pathlib import Path

import pytest

from diffusion_tf.training import checkpoint_files
from diffusion_tf.utils.locks import InUse
from helpers.file_operations import FAILED, FINISHED, KILLED, SURVIVED, stopped_at


def writer(text):
    """Writes files of a checkpoint that holds a text."""

    def write(prefix):
        for ending in ("index", "data-00000-of-00001"):
            Path(f"{prefix}.{ending}").write_text(f"{text} {ending}")

    return write


def save(folder, number, keep=2, text=None):
    checkpoint_files.write(str(folder), number, writer(text or number), keep)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def of(number, text=None):
    """The files of a checkpoint."""
    endings = ("index", "data-00000-of-00001")
    return {f"ckpt-{number}.{ending}": f"{text or number} {ending}" for ending in endings}


def state(*numbers):
    lines = [f'model_checkpoint_path: "ckpt-{numbers[-1]}"']
    lines += [f'all_model_checkpoint_paths: "ckpt-{number}"' for number in numbers]
    return {"checkpoint": "\n".join(lines) + "\n"}


@pytest.fixture
def folder(tmp_path):
    """A folder with the checkpoints 20 and 30, of which two are kept."""
    for number in (10, 20, 30):
        save(tmp_path / "run" / "checkpoints", number)
    return tmp_path / "run" / "checkpoints"


def test_the_newest_are_kept(folder):
    assert contents(folder) == of(20) | of(30) | state(20, 30)
    save(folder, 40, keep=1)
    assert contents(folder) == of(40) | state(40)


def stopped_save(folder, operation, number, text, error):
    """Saves after 20 and 30, and stops before an operation; how it ended, and what was found."""
    for earlier in (20, 30):
        save(folder, earlier)
    how = stopped_at(operation, folder, lambda: save(folder, number, text=text), error=error)
    return how, checkpoint_files.find(str(folder))


# Their numbers begin with each other's: 3, 30, 300; and 30 is there already.
@pytest.mark.parametrize(
    "number", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (30, 300))]
)
@pytest.mark.parametrize("error", [None, pytest.param(errno.ENOSPC, marks=pytest.mark.slow)])
def test_a_save_that_is_stopped_anywhere_takes_nothing_with_it(tmp_path, number, error):
    text = 30 if number == 30 else "new"  # a step is trained to the same weights again
    ways = []
    while (len(ways) < 30) if error else (FINISHED not in ways):
        folder = tmp_path / str(len(ways)) / "checkpoints"
        how, found = stopped_save(folder, len(ways), number, text, error)
        ways.append(how)
        assert set(found.complete) in ({20, 30}, {20, 30, number}, {30, number})
        assert found.lacking in ([], [20])  # it was about to go
        assert contents(folder).items() >= of(30).items()
        if number in found.complete:
            assert contents(folder).items() >= of(number, text).items()
        # The next process finishes it, also if it is not to save anything itself, and goes on.
        checkpoint_files.clear(str(folder), found.complete[-1], 2)
        kept = found.complete[-2:]
        files = state(*kept)
        for n in kept:
            files |= of(n, text if n == number else n)
        assert contents(folder) == files
        assert {path.name for path in folder.iterdir()} == set(files)
        save(folder, 400)
        assert checkpoint_files.find(str(folder)) == ([found.complete[-1], 400], [])
    assert set(ways) == ({FINISHED, SURVIVED, FAILED} if error else {FINISHED, KILLED})
    assert len(ways) >= 14


def test_after_an_error_nothing_of_the_save_is_left(folder):
    before = contents(folder)

    def half(prefix):
        Path(f"{prefix}.data-00000-of-00001").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        checkpoint_files.write(str(folder), 3, half, 2)
    assert contents(folder) == before
    assert {path.name for path in folder.iterdir()} == set(before)


def test_the_first_save_cut_short_is_no_loss(tmp_path):
    for leftover in (".saving", "_temp"):  # TensorFlow's own manager left the latter
        folder = tmp_path / leftover
        (folder / f"ckpt-10{leftover}").mkdir(parents=True)
        (folder / "ckpt-10.data-00000-of-00001").write_text("half")
        found = checkpoint_files.find(str(folder))
        assert found == ([], []) and checkpoint_files.doubts_about(str(folder), found) == []
        checkpoint_files.clear(str(folder), None)
        assert list(folder.iterdir()) == []


def test_what_is_not_a_checkpoint_of_the_run_stays(folder):
    others = [
        "ckpt-5",
        "ckpt-5.index.txt",
        "ckpt-05.index",
        "best-5.index",
        "ckpt-x.index",
        "notes",
    ]
    for name in others:
        (folder / name).write_text("mine")
    save(folder, 40)
    assert set(others) <= {path.name for path in folder.iterdir()}


def test_later_checkpoints_and_unreadable_ones_do_not_take_the_place_of_good_ones(folder):
    checkpoint_files.write(str(folder), 25, writer(25), 2)
    assert checkpoint_files.find(str(folder)).complete == [20, 25, 30]
    checkpoint_files.write(str(folder), 40, writer(40), 2, unreadable={30})
    assert checkpoint_files.find(str(folder)).complete == [25, 30, 40]


def test_clearing_counts_what_can_be_read_and_touches_nothing_else(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    checkpoint_files.clear(str(folder), 30, 2)
    checkpoint_files.clear(str(folder), None)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    checkpoint_files.clear(str(folder), 20, 1, unreadable={30})
    assert contents(folder) == of(20) | of(30) | state(20)


def test_several_data_files_belong_to_one_checkpoint(tmp_path):
    names = ["ckpt-7.index", "ckpt-7.data-00000-of-00002", "ckpt-7.data-00001-of-00002"]
    for i, name in enumerate(names):
        (tmp_path / name).write_text("")
        found = checkpoint_files.find(str(tmp_path))
        assert found == (([7], []) if i == 2 else ([], [7]))


def test_a_state_file_that_cannot_be_written_is_only_a_warning(folder, caplog):
    (folder / "checkpoint").unlink()
    (folder / "checkpoint").mkdir()
    save(folder, 40)
    assert checkpoint_files.find(str(folder)).complete == [30, 40]
    assert "checkpoint could not be written" in caplog.text


def test_two_processes_never_mix_their_files(tmp_path):
    children = []
    for who in ("one", "other"):
        child = os.fork()
        if child == 0:
            try:
                for number in range(1, 200):
                    try:
                        save(tmp_path, number, text=f"{who} {number}")
                    except InUse:
                        continue
                os._exit(0)
            finally:
                os._exit(3)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    there = contents(tmp_path)
    complete = checkpoint_files.find(str(tmp_path)).complete
    assert complete
    for number in complete:
        assert len({there[name].rsplit(" ", 1)[0] for name in of(number)}) == 1


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_a_pipe_is_not_a_file_of_a_checkpoint(folder, ending):
    (folder / f"ckpt-30.{ending}").unlink()
    os.mkfifo(folder / f"ckpt-30.{ending}")
    assert checkpoint_files.find(str(folder)) == ([20], [30])


def test_a_state_file_that_is_a_pipe_is_not_waited_for(folder):
    (folder / "checkpoint").unlink()
    os.mkfifo(folder / "checkpoint")
    found = checkpoint_files.find(str(folder))
    (doubt,) = checkpoint_files.doubts_about(str(folder), found)
    assert doubt.endswith("is a named pipe; name a regular file)")
    save(folder, 40)
    assert contents(folder) == of(30) | of(40) | state(30, 40)
