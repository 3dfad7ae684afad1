"""The training loop: what it saves, logs and survives."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffusion_tf.datasets import RandomAccess, get_dataset
from diffusion_tf.models import get_model
from diffusion_tf.training import loop
from diffusion_tf.training.checkpoints import Checkpoints
from diffusion_tf.training.log import events_dir, load_losses
from diffusion_tf.training.loop import train
from diffusion_tf.utils.interruption import Interrupted
from helpers.small_training import make_trainer


def run(workdir, **fields):
    """Trains a small network on digits; returns the trainer."""
    trainer = make_trainer(**fields)
    train(trainer, get_dataset(trainer.config), str(workdir))
    return trainer


def saved_steps(workdir):
    return sorted(int(p.stem[5:]) for p in workdir.glob("checkpoints/ckpt-*.index"))


def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path):
    fields = {"model_fn": get_model, "dropout": 0.1}
    whole = run(tmp_path / "whole", steps=6, **fields)
    run(tmp_path / "parts", steps=3, **fields)
    resumed = run(tmp_path / "parts", steps=6, **fields)
    for ours, theirs in (
        (resumed.model, whole.model),
        (resumed.ema_model, whole.ema_model),
        (resumed.optimizer, whole.optimizer),
    ):
        for a, b in zip(ours.variables, theirs.variables, strict=True):
            if "seed_generator" not in a.path:  # set anew at every step
                np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    steps, losses = load_losses(str(tmp_path / "parts"))
    np.testing.assert_array_equal(steps, np.arange(6))
    np.testing.assert_array_equal(losses, load_losses(str(tmp_path / "whole"))[1])


def test_a_workdir_of_another_run_is_refused_and_left_alone(tmp_path):
    run(tmp_path / "run", steps=1, lr=0.25)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"another config \(lr 0.25 there, 0.5 here\)"):
        run(tmp_path / "run", steps=1, lr=0.5)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="something other than a run"):
        run(tmp_path, steps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run(tmp_path, steps=2, checkpoint_steps=2)
    trainer = make_trainer(steps=4)
    trainer.diffusion.sqrt_alphas_cumprod = np.full(20, np.nan)
    with pytest.raises(FloatingPointError, match=r"loss is nan .* at step 2;.*ckpt-2:"):
        train(trainer, get_dataset(trainer.config), str(tmp_path))
    assert saved_steps(tmp_path) == [2]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    trainer = make_trainer(steps=1, lr=3e38, warmup=0)  # loss and gradient of step 0 are fine
    with pytest.raises(FloatingPointError, match="weights are .* at step 1; .* is None"):
        train(trainer, get_dataset(trainer.config), str(tmp_path / "run"))
    assert saved_steps(tmp_path / "run") == []


def test_steps_are_logged_for_good_before_a_checkpoint_follows_on_them(tmp_path, monkeypatch):
    logged, save = [], Checkpoints.save

    def look_and_save(checkpoints):
        logged.append(load_losses(str(tmp_path / "run"))[0].tolist())
        save(checkpoints)

    monkeypatch.setattr(Checkpoints, "save", look_and_save)
    run(tmp_path / "run", steps=2, checkpoint_steps=1)
    assert logged == [[0], [0, 1]]


def test_checkpoints_by_steps(tmp_path):
    run(tmp_path / "run", steps=9, checkpoint_steps=4, checkpoint_minutes=0, keep_checkpoints=9)
    assert saved_steps(tmp_path / "run") == [4, 8, 9]


def test_checkpoints_by_time(tmp_path, monkeypatch):
    # However slow this machine is, calls are not cut short for the sake of a person's patience.
    monkeypatch.setattr(loop, "CALL_SECONDS", 1e9)
    # Every call of the devices takes longer than that; the first call is one step.
    fields = {"checkpoint_minutes": 1e-9, "steps_per_call": 3, "keep_checkpoints": 9}
    run(tmp_path / "run", steps=9, **fields)
    assert saved_steps(tmp_path / "run") == [1, 4, 7, 9]


def test_curves_speed_and_grids_are_in_tensorboard(tmp_path):
    run(tmp_path / "run", lr=2e-3, steps=6, log_steps=2, grid_steps=3)
    events = EventAccumulator(events_dir(str(tmp_path / "run")), size_guidance={"tensors": 0})
    events.Reload()
    steps = {tag: [e.step for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    for name in ("loss", "gnorm", "pnorm", "lr"):
        assert steps[f"train/{name}"] == [0, 2, 4, 5]
    assert steps["samples/ema"] == [3, 6]
    rates, images = (
        [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(f"speed/{unit}_per_second")]
        for unit in ("steps", "images")
    )
    assert min(rates) > 0
    np.testing.assert_allclose(images, 8 * np.array(rates), rtol=1e-6)
    learning_rates = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("train/lr")]
    np.testing.assert_allclose(learning_rates, [0, 2e-3, 2e-3, 2e-3])


def test_a_warm_start_takes_over_everything_and_leaves_the_source_alone(tmp_path):
    source = run(tmp_path / "source", steps=3)
    before = {p: p.read_bytes() for p in (tmp_path / "source").rglob("*") if p.is_file()}
    fields = {"warm_start": str(tmp_path / "source"), "lr": 1e-3}
    warm = make_trainer(steps=4, **fields)
    checkpoints = checkpoints_of(warm, tmp_path / "warm")
    assert checkpoints.restore_from(str(tmp_path / "source")) == 3
    for a, b in zip(
        [*source.model.variables, *source.ema_model.variables, *source.optimizer.variables],
        [*warm.model.variables, *warm.ema_model.variables, *warm.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    run(tmp_path / "warm", steps=5, **fields)
    np.testing.assert_array_equal(load_losses(str(tmp_path / "warm"))[0], [3, 4])
    assert {p: p.read_bytes() for p in (tmp_path / "source").rglob("*") if p.is_file()} == before
    # Resumed, the run goes on from its own checkpoint and no longer needs the other.
    shutil.rmtree(tmp_path / "source")
    run(tmp_path / "warm", steps=6, **fields)
    np.testing.assert_array_equal(load_losses(str(tmp_path / "warm"))[0], [3, 4, 5])


def test_a_warm_start_beyond_the_end_is_refused(tmp_path):
    run(tmp_path / "source", steps=3)
    with pytest.raises(ValueError, match="is at step 3, .* steps is 3; set steps to more"):
        run(tmp_path / "warm", steps=3, warm_start=str(tmp_path / "source"))


def test_a_warm_start_from_nowhere_or_from_another_network_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere has no checkpoint"):
        run(tmp_path / "warm", steps=3, warm_start=str(tmp_path / "nowhere"))
    run(tmp_path / "source", steps=1, optimizer="rmsprop")
    with pytest.raises(ValueError, match="ckpt-1 does not fit this config"):
        run(tmp_path / "other", steps=3, warm_start=str(tmp_path / "source"))


def test_a_signal_saves_and_leaves(tmp_path):
    trainer = make_trainer(steps=1000, steps_per_call=1)
    dataset = get_dataset(trainer.config)
    train_batches = dataset.train_batches

    def stop_at_the_fourth(i):
        if i == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    def signalling(i, batch):
        tf.numpy_function(stop_at_the_fourth, [i], [])
        return batch

    dataset.train_batches = lambda *args, **kwargs: (
        train_batches(*args, **kwargs).enumerate().map(signalling)
    )
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"Stopped at step (\d+) of 1000 and saved") as caught:
        train(trainer, dataset, str(tmp_path / "run"))
    assert caught.value.exit_code == 143
    assert saved_steps(tmp_path / "run") == [int(trainer.step)]
    assert int(trainer.step) < 100
    assert signal.getsignal(signal.SIGTERM) is handler


TESTS = str(Path(__file__).parents[1])
FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from functools import partial
from helpers.small_training import make_trainer, pixelwise
from diffusion_tf.datasets import RandomAccess, get_dataset
from diffusion_tf.training.loop import train

wide = partial(pixelwise, kernel_size=201)
trainer = make_trainer(wide, steps=int(sys.argv[2]), checkpoint_steps=1)
if sys.argv[3] == "full":
    # No file may grow any more beyond this size, which is less than a checkpoint's.
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
train(trainer, get_dataset(trainer.config), "run")
"""


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path):
    def process(*arguments):
        return subprocess.run(
            [sys.executable, "-c", FULL_DISK, TESTS, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    assert process("1", "empty").returncode == 0
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    failed = process("2", "full")
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert "OSError: The checkpoint of step 2 could not be written" in last
    assert "the last good one is run/checkpoints/ckpt-1. Make room" in last
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == names
    assert process("2", "empty").returncode == 0
    np.testing.assert_array_equal(load_losses(str(tmp_path / "run"))[0], [0, 1])


def checkpoints_of(trainer, workdir):
    return Checkpoints(
        str(workdir),
        model=trainer.model,
        ema_model=trainer.ema_model,
        optimizer=trainer.optimizer,
        step=trainer.step,
        keep=2,
    )


def test_data_that_cannot_be_read_are_named(tmp_path):
    def read(index):
        if index == 11:
            raise ValueError("photos/11.png is damaged; restore it.")
        return np.zeros([8, 8, 1], np.uint8)

    trainer = make_trainer(steps=50)
    with pytest.raises(ValueError, match="^photos/11.png is damaged; restore it.$"):
        train(trainer, RandomAccess(read, 100, (8, 8, 1), files=[]), str(tmp_path / "run"))
