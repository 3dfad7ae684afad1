"""The loss curve of a run, and TensorBoard's events: neither may stop a training."""

import contextlib
import os
import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.models import get_model
from diffusion_tf.sampling.pictures import write_pictures
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training.events import EventLog
from diffusion_tf.training.log import RunLog, events_dir, load_losses
from diffusion_tf.training.losses import LossFile, read_losses
from helpers.small_training import SMALL

CONFIG = get_config("digits", **SMALL, steps=100)


@contextlib.contextmanager
def full_disk(size):
    """No file grows beyond a size, in bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def log(workdir, first_step, losses):
    with RunLog(str(workdir), CONFIG, first_step=first_step) as run_log:
        run_log.write(first_step, {"loss": np.float32(losses)}, 1.0)


def losses_of(workdir):
    steps, losses = load_losses(str(workdir))
    return dict(zip(steps.tolist(), losses.tolist(), strict=True))


def test_the_later_value_of_a_step_counts(tmp_path):
    log(tmp_path, 0, [1.0, 2.0, 3.0])
    log(tmp_path, 1, [4.0])
    assert losses_of(tmp_path) == {0: 1.0, 1: 4.0, 2: 3.0}


def test_every_float32_comes_back(tmp_path):
    values = np.random.default_rng(0).integers(1, 2**31 - 2**24, 1000, np.int32).view(np.float32)
    values = values[np.isfinite(values)]
    log(tmp_path, 0, values)
    np.testing.assert_array_equal(np.float32(load_losses(str(tmp_path))[1]), values)


def test_every_way_of_cutting_the_file_leaves_whole_lines(tmp_path):
    path = tmp_path / "losses.csv"
    log(tmp_path, 0, [0.125, 0.25])
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = {
            step: loss for step, loss in {0: 0.125, 1: 0.25}.items() if _ends(data, step) <= size
        }
        assert losses_of(tmp_path) == whole
        log(tmp_path, 5, [0.5])
        assert losses_of(tmp_path) == {**whole, 5: 0.5}
        shutil.rmtree(tmp_path / "tensorboard")


def _ends(data, step):
    return data.index(b"\n", data.index(f"\n{step},".encode()) + 1) + 1


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\n1,2\n", b"step,loss\n1,e\n-1,2\nx,y\n1,1,1\n"]
)
def test_lines_that_are_none_are_passed_over(tmp_path, content):
    (tmp_path / "losses.csv").write_bytes(content)
    assert losses_of(tmp_path) == ({1: 2.0} if b"1,2\n" in content and b"x" not in content else {})


def test_on_a_full_disk_losses_are_kept_until_there_is_room(tmp_path, caplog):
    path = tmp_path / "losses.csv"
    file = LossFile(str(path), {0: 1.0})
    with full_disk(path.stat().st_size + 7):
        for step in (1, 2, 3):
            file.write([step, step + 100], [0.5, 0.5])
        file.sync()
    assert caplog.text.count("cannot be written") == 1
    file.write([4], [4.0])  # there is room again
    file.close()
    kept = {step: 0.5 for step in (1, 101, 2, 102, 3, 103)}
    assert read_losses(str(path)) == {0: 1.0, **kept, 4: 4.0}
    assert "could not be written" not in caplog.text


@pytest.mark.parametrize("last", ["sync", "close"])
def test_what_is_kept_is_written_at_the_end_at_last(tmp_path, last):
    path = tmp_path / "losses.csv"
    file = LossFile(str(path), {})
    with full_disk(path.stat().st_size):
        file.write([0], [0.5])
    getattr(file, last)()
    assert read_losses(str(path)) == {0: 0.5}
    file.close()


def test_what_is_lost_in_the_end_is_counted(tmp_path, caplog):
    path = tmp_path / "losses.csv"
    file = LossFile(str(path), {})
    with full_disk(path.stat().st_size):
        file.write([0, 1], [0.5, 0.5])
        file.close()
    assert "The last 2 losses could not be written" in caplog.text


def test_a_loss_file_that_could_not_be_made_is_made_later(tmp_path, caplog):
    path = tmp_path / "losses.csv"
    with full_disk(3):
        file = LossFile(str(path), {0: 1.0})
    assert caplog.text.count("cannot be written") == 1
    file.write([1], [0.5])
    file.close()
    assert read_losses(str(path)) == {0: 1.0, 1: 0.5}


def test_on_a_full_disk_events_end_with_one_warning(tmp_path, caplog):
    events = EventLog(str(tmp_path / "events"))
    with full_disk(200):
        for step in range(20):
            with events.writing():
                tf.summary.scalar("x", 1.0, step=step)
        events.close()
    assert caplog.text.count("cannot be written") == 1
    assert not tf.summary.scalar("x", 1.0, step=0)  # no writer is left behind as the default


def test_where_no_folder_can_be_made_the_log_is_only_missed(caplog):
    with RunLog("/proc/nowhere", CONFIG, first_step=0) as run_log:
        run_log.write(0, {"loss": np.float32([1.0])}, 1.0)
        run_log.sync()
    assert "losses cannot be written" in caplog.text and "events cannot be written" in caplog.text


def test_something_else_in_the_place_of_events_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("mine")
    with pytest.raises(NotADirectoryError, match="tensorboard is not a folder.*move it"):
        RunLog(str(tmp_path), CONFIG, first_step=0)
    assert (tmp_path / "tensorboard").read_text() == "mine"


def older(workdir):
    """Makes a run one from before losses had a file of their own."""
    (workdir / "losses.csv").unlink()


def test_the_losses_of_an_older_run_are_those_of_its_events(tmp_path):
    log(tmp_path, 0, [1.0, 2.0])
    older(tmp_path)
    assert losses_of(tmp_path) == {0: 1.0, 1: 2.0}
    log(tmp_path, 1, [3.0, 4.0])  # resumed
    shutil.rmtree(events_dir(str(tmp_path)))
    assert losses_of(tmp_path) == {0: 1.0, 1: 3.0, 2: 4.0}


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_events_that_cannot_be_read_are_missed_by_older_runs_alone(tmp_path, content):
    log(tmp_path, 0, [1.0])
    for path in (tmp_path / "tensorboard").iterdir():
        path.write_bytes(content)
    assert losses_of(tmp_path) == {0: 1.0}
    older(tmp_path)
    assert losses_of(tmp_path) == {}


@pytest.mark.slow
def test_pictures_are_made_without_the_losses(tmp_path, caplog):
    config = get_config("digits", **SMALL, ch=32, num_res_blocks=1)
    sampler = Sampler.of_run(config, get_model(config), jit_compile=False)
    nothing = load_losses(str(tmp_path))
    written = write_pictures(str(tmp_path), config, sampler, get_dataset(config), nothing)
    names = {"samples.png", "trajectory.gif", "trajectory.png", "interpolation.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert len(written) == len(names)
    assert "No loss.png" in caplog.text


def test_a_pipe_is_not_waited_for(tmp_path, caplog):
    os.mkfifo(tmp_path / "losses.csv")
    assert len(load_losses(str(tmp_path))[0]) == 0
    assert "The losses cannot be read (" in caplog.text and "is a named pipe" in caplog.text
