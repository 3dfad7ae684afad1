"""Runs that are stopped in every way are, once resumed, the run that was never stopped."""

import random
import shlex
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.training.checkpoints import load_config
from diffusion_tf.training.log import load_losses
from helpers.processes import (
    SCRIPTS,
    TINY,
    newest_step,
    run,
    sentence,
    start,
    start_workers,
    wait_for_step,
)

RUN = ["--workdir=run", *TINY, "--dropout=0.1", "--random_flip", "--checkpoint_steps=10"]
RUN += ["--deterministic", "--keep_checkpoints=3"]


STEPS = 500


def train_to_the_end(cwd, steps):
    assert start("train", *RUN, f"--steps={steps}", cwd=cwd, log="train.log").wait(1800) == 0, (
        cwd / "train.log"
    ).read_text()


def everything(folder, steps):
    """All that the last checkpoint holds."""
    reader = tf.train.load_checkpoint(str(folder / "checkpoints" / f"ckpt-{steps}"))
    names = [name for name in reader.get_variable_to_shape_map() if "CHECKPOINTABLE" not in name]
    # The counter of saves is the manager's own; what else is there belongs to the run.
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


def assert_the_same_run(one, other, steps):
    ours, theirs = everything(one, steps), everything(other, steps)
    assert ours.keys() == theirs.keys()
    assert {name.split("/")[0] for name in ours} == {"model", "ema", "optimizer", "step"}
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    for a, b in zip(load_losses(str(one)), load_losses(str(other)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(load_losses(str(one))[0]) == steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train_to_the_end(folder, STEPS)
    return folder / "run"


@pytest.mark.slow
def test_killed_at_five_random_moments(tmp_path, whole):
    moments = random.Random(0)
    for _ in range(5):
        before = newest_step(tmp_path / "run")
        process = start("train", *RUN, f"--steps={STEPS}", cwd=tmp_path, log="train.log")
        wait_for_step(tmp_path / "run", before + 10, process)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert 50 <= newest_step(tmp_path / "run") < STEPS
    train_to_the_end(tmp_path, STEPS)
    assert_the_same_run(tmp_path / "run", whole, STEPS)


@pytest.mark.slow
@pytest.mark.usefixtures("listening_to_its_terminal")
def test_asked_to_stop(tmp_path, whole):
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
        before = newest_step(tmp_path / "run")
        process = start("train", *RUN, f"--steps={STEPS}", cwd=tmp_path, log="train.log")
        wait_for_step(tmp_path / "run", before // 10 * 10 + 20, process)
        process.send_signal(number)
        assert process.wait(600) == code
        step = newest_step(tmp_path / "run")
        log = (tmp_path / "train.log").read_text()
        assert f"Stopped at step {step} of {STEPS} and saved; the same command goes on" in log
        assert "Traceback" not in log
    train_to_the_end(tmp_path, STEPS)
    assert_the_same_run(tmp_path / "run", whole, STEPS)


@pytest.mark.slow
def test_a_second_training_in_one_workdir_is_refused(tmp_path):
    process = start("train", *RUN, "--steps=100000", cwd=tmp_path, log="train.log")
    wait_for_step(tmp_path / "run", 10, process)
    said = sentence(run("train", *RUN, "--steps=100001", cwd=tmp_path))
    assert (
        f"run is being written by process {process.pid} on machine {socket.gethostname()}" in said
    )
    assert load_config(str(tmp_path / "run")).steps == 100000
    process.kill()
    process.wait()
    train_to_the_end(tmp_path, newest_step(tmp_path / "run") + 1)  # its lock blocks nobody


@pytest.mark.slow
@pytest.mark.parametrize("listener", ["2>&1 | head -1", "2>&-"])
def test_a_run_that_nobody_listens_to_goes_on(tmp_path, listener):
    command = [sys.executable, str(SCRIPTS / "train.py"), *RUN, "--steps=30"]
    shell = f"set -o pipefail; {shlex.join(command)} {listener}"
    assert subprocess.run(["bash", "-c", shell], cwd=tmp_path, timeout=900).returncode == 0
    assert newest_step(tmp_path / "run") == 30
    assert (tmp_path / "run" / "loss.png").exists()


def finish(workers, cwd):
    for i, worker in enumerate(workers):
        assert worker.wait(1800) == 0, (cwd / f"worker{i}.log").read_text()


@pytest.mark.slow
def test_two_machines(tmp_path):
    """One is killed, both are resumed; one is asked to stop, both are resumed."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    arguments = ["train", *RUN, "--steps=120"]
    finish(start_workers(*arguments, cwd=whole), whole)

    for victim in (1, 0):
        workers = start_workers(*arguments, cwd=stopped)
        wait_for_step(stopped / "run", newest_step(stopped / "run") + 10, workers[0])
        workers[victim].kill()
        assert workers[1 - victim].wait(600) == 1  # rather than never
        log = (stopped / f"worker{1 - victim}.log").read_text()
        assert "Another machine of this run stopped or cannot be reached" in log
        assert "Traceback" not in log

    workers = start_workers(*arguments, cwd=stopped)
    wait_for_step(stopped / "run", newest_step(stopped / "run") + 10, workers[0])
    workers[1].terminate()
    assert [worker.wait(600) for worker in workers] == [143, 143]
    assert newest_step(stopped / "run") < 120

    finish(start_workers(*arguments, cwd=stopped), stopped)
    assert_the_same_run(stopped / "run", whole / "run", 120)
    assert len(list((stopped / "run" / "tensorboard").iterdir())) == 4  # the chief's alone
