"""The training loop: what it saves, logs and survives."""

import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffusion_tf.config import get_config
from diffusion_tf.datasets import RandomAccess, get_dataset
from diffusion_tf.datasets.record import DataRecord
from diffusion_tf.models import get_model
from diffusion_tf.training import loop
from diffusion_tf.training.checkpoints import Checkpoints, claim_workdir, hold_workdir
from diffusion_tf.training.log import events_dir, load_losses
from diffusion_tf.training.loop import train
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.devices import get_strategy
from diffusion_tf.utils.interruption import Interrupted
from diffusion_tf.utils.locks import InUse
from helpers.checkpoints import checkpoints_of
from helpers.small_training import make_trainer


def run(workdir, **fields):
    """Trains a small network on digits; returns the trainer."""
    trainer = make_trainer(**fields)
    train(trainer, get_dataset(trainer.config), str(workdir))
    return trainer


def saved_steps(workdir):
    return sorted(int(p.stem[5:]) for p in workdir.glob("checkpoints/ckpt-*.index"))


@pytest.mark.parametrize("preset", ["s_curve", pytest.param("digits", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path, preset):
    fields = {
        "preset": preset, "model_fn": get_model, "dropout": 0.1, "ch": 32, "num_res_blocks": 1,
    }  # fmt: skip
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


BY_LOSS = {
    "timestep_sampling": "by_loss", "ema_decay": (0.9, 0.5), "num_diffusion_timesteps": 2,
    "dropout": 0.1, "batch_size": 16,
}  # fmt: skip


def test_a_resumed_run_has_its_history_of_losses_and_every_average(tmp_path):
    whole = run(tmp_path / "whole", steps=12, **BY_LOSS)
    run(tmp_path / "parts", steps=7, **BY_LOSS)
    resumed = run(tmp_path / "parts", steps=12, **BY_LOSS)
    assert whole.parts.keys() == {"model", "ema", "ema_0.5", "optimizer", "timesteps"}
    for part, variables in whole.parts.items():
        for name, variable in variables.items():
            np.testing.assert_array_equal(variable, resumed.parts[part][name], err_msg=name)
    assert np.min(whole.history.variables["counts"]) > 10  # the timesteps were drawn by them
    assert np.ptp(whole.history.probabilities()) > 0.01


@pytest.mark.slow
def test_timesteps_by_their_losses_train_otherwise_than_uniform_ones(tmp_path):
    by_loss, uniform = (
        run(tmp_path / name, steps=12, **{**BY_LOSS, "timestep_sampling": name}).model
        for name in ("by_loss", "uniform")
    )
    assert not np.array_equal(by_loss.trainable_variables[0], uniform.trainable_variables[0])


@pytest.mark.slow
def test_several_averages_are_those_of_runs_with_one(tmp_path):
    both = run(tmp_path / "both", steps=4, ema_decay=(0.9, 0.5))
    for name, decay in (("ema", 0.9), ("ema_0.5", 0.5)):
        one = run(tmp_path / name, steps=4, ema_decay=decay)
        for a, b in zip(both.averages[name].variables, one.ema_model.variables, strict=True):
            np.testing.assert_array_equal(a, b)
    assert both.ema_model is both.averages["ema"]


def test_a_workdir_of_another_run_is_refused_and_left_alone(tmp_path):
    run(tmp_path / "run", steps=1, lr=0.25)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"another config \(lr 0.25 there, 0.5 here\)"):
        run(tmp_path / "run", steps=1, lr=0.5)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "fields, helps",
    [
        ({"lr": 0.5}, True),
        ({"batch_size": 4}, True),
        ({"dropout": 0.5}, True),
        ({"lr": 0.5, "num_res_blocks": 2}, False),
    ],
)
def test_a_refused_run_is_told_how_to_begin_with_these_weights(tmp_path, fields, helps):
    config = get_config("digits")
    claim_workdir(str(tmp_path / "run"), config)
    with pytest.raises(ValueError, match="choose another --workdir") as error:
        claim_workdir(str(tmp_path / "run"), dataclasses.replace(config, **fields))
    assert (f"--warm_start={tmp_path / 'run'} to begin it" in str(error.value)) is helps


@pytest.fixture
def photos(tmp_path):
    """A folder of five images; returns it and a config of it."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a", "b", "c", "more/d", "more/e"):
        pixels = rng.integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos", get_config("digits", dataset="folder")


def _claim(workdir, config, folder):
    claim_workdir(str(workdir), config, DataRecord.of(get_dataset(config, str(folder))))


@pytest.mark.parametrize("limit", [10**9, 0], ids=["in memory", "decoded when needed"])
def test_a_run_goes_on_with_a_copy_of_its_data_and_with_no_others(
    tmp_path, photos, monkeypatch, limit
):
    monkeypatch.setattr("diffusion_tf.datasets.folder.MEMORY_LIMIT", limit)
    folder, config = photos
    run = tmp_path / "run"
    _claim(run, config, folder)
    _claim(run, config, folder)
    copied = shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    os.utime(copied / "a.png", (1, 1))
    _claim(run, config, copied)  # other times, another place
    before = {p: p.read_bytes() for p in run.iterdir()}
    for change in (
        lambda: (copied / "b.png").rename(copied / "z.png"),
        lambda: (copied / "c.png").unlink(),
        lambda: shutil.copyfile(copied / "a.png", copied / "more" / "d.png"),
    ):
        change()
        with pytest.raises(
            ValueError,
            match=rf"run on other data: 5 examples of .*photos \(fingerprint \w{{12}}\) there, "
            rf"\d examples of .*copied \(fingerprint \w{{12}}\) here; .*--data_dir.*"
            rf"--warm_start={run}",
        ):
            _claim(run, dataclasses.replace(config, steps=9), copied)
        assert {p: p.read_bytes() for p in run.iterdir()} == before
        shutil.rmtree(copied)
        shutil.copytree(folder, copied)


def test_training_itself_refuses_other_data(tmp_path):
    run(tmp_path / "run", steps=1)
    trainer = make_trainer(steps=2)
    other = get_dataset(trainer.config)
    other.examples[3, 4, 4] ^= 1
    with pytest.raises(ValueError, match="a run on other data: 1498 examples .fingerprint"):
        train(trainer, other, str(tmp_path / "run"))
    run(tmp_path / "run", steps=2)


def test_a_run_of_an_earlier_version_keeps_its_data_from_now_on(tmp_path):
    run(tmp_path / "run", steps=1)
    (tmp_path / "run" / "data.json").unlink()
    run(tmp_path / "run", steps=2)
    assert (tmp_path / "run" / "data.json").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"data_dir": "", "num_examples": "5", "identity": ""}',
     '{"data_dir": "", "num_examples": 5, "identity": "", "class_names": [1]}',
     '{"data_dir": "", "num_examples": 5, "identity": "", "scaling": {"mean": [0]}}'],
)  # fmt: skip
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match="data.json does not say what .*; restore it"):
        DataRecord.load(str(tmp_path))


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
    with pytest.raises(
        FloatingPointError, match="at step 1; there is no checkpoint yet: begin anew"
    ):
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
    (text,) = tf.make_ndarray(events.Tensors("config")[0].tensor_proto).ravel()
    assert b'"steps": 6' in text
    for name in ("samples.png", "loss.png"):  # to look at while it trains
        assert (tmp_path / "run" / name).stat().st_size > 100
    rates, images = (
        [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(f"speed/{unit}_per_second")]
        for unit in ("steps", "images")
    )
    assert min(rates) > 0
    np.testing.assert_allclose(images, 8 * np.array(rates), rtol=1e-6)
    learning_rates = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("train/lr")]
    np.testing.assert_allclose(learning_rates, [0, 2e-3, 2e-3, 2e-3])


def test_points_are_drawn_while_they_are_learned(tmp_path):
    config = get_config(
        "s_curve", ch=16, batch_size=8, steps=4, grid_steps=2, num_diffusion_timesteps=5,
        max_images=30,
    )  # fmt: skip
    trainer = Trainer(config, get_strategy("single"), jit_compile=False)
    train(trainer, get_dataset(config), str(tmp_path / "run"))
    events = EventAccumulator(events_dir(str(tmp_path / "run")), size_guidance={"tensors": 0})
    events.Reload()
    pictures = events.Tensors("samples/ema")
    assert [picture.step for picture in pictures] == [2, 4]
    width, height, png = tf.make_ndarray(pictures[0].tensor_proto)
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (int(width), int(height)) and min(image.size) > 400


def test_a_warm_start_takes_over_everything_and_leaves_the_source_alone(tmp_path):
    source = run(tmp_path / "source", steps=3)
    before = {p: p.read_bytes() for p in (tmp_path / "source").rglob("*") if p.is_file()}
    fields = {"warm_start": str(tmp_path / "source"), "lr": 1e-3}
    warm = make_trainer(steps=4, **fields)
    checkpoints = checkpoints_of(tmp_path / "warm", warm)
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


def test_steps_without_a_learning_rate_are_refused(tmp_path):
    falling = {"warmup": 1, "lr_decay_steps": 3}
    run(tmp_path / "a", steps=3, **falling)
    with pytest.raises(ValueError, match="lr_decay_steps=3 on .* is 0, and steps is 4: nothing"):
        run(tmp_path / "a", steps=4, **falling)
    warm = {**falling, "lr_decay_steps": 5, "warm_start": str(tmp_path / "a")}
    run(tmp_path / "warm", steps=5, **warm)  # as the error says
    np.testing.assert_array_equal(load_losses(str(tmp_path / "warm"))[0], [3, 4])


def test_a_warm_start_from_nowhere_or_from_another_network_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere has no checkpoint"):
        run(tmp_path / "warm", steps=3, warm_start=str(tmp_path / "nowhere"))
    run(tmp_path / "warm", steps=1)  # which is free, as nothing was begun there
    run(tmp_path / "source", steps=1, optimizer="rmsprop")
    with pytest.raises(ValueError, match="ckpt-1 does not fit this config"):
        run(tmp_path / "other", steps=3, warm_start=str(tmp_path / "source"))


def run_and_at_the_fourth_batch(workdir, action, **fields):
    """Trains, and does something else when the fourth batch is read."""
    trainer = make_trainer(steps=1000, steps_per_call=1, **fields)
    dataset = get_dataset(trainer.config)
    train_batches = dataset.train_batches

    def act(i, batch):
        tf.numpy_function(lambda i: action() if i == 3 else None, [i], [])
        return batch

    dataset.train_batches = lambda *args, **kwargs: (
        train_batches(*args, **kwargs).enumerate().map(act)
    )
    train(trainer, dataset, str(workdir))
    raise AssertionError("it trained to the end")


@pytest.mark.usefixtures("listening_to_its_terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_leaves(tmp_path, number):
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"Stopped at step (\d+) of 1000 and saved") as caught:
        run_and_at_the_fourth_batch(tmp_path / "run", lambda: os.kill(os.getpid(), number))
    assert caught.value.exit_code == 128 + number
    (step,) = saved_steps(tmp_path / "run")
    assert f"Stopped at step {step} of" in str(caught.value) and step < 100
    assert signal.getsignal(number) is handler
    assert {p.name for p in (tmp_path / "run").iterdir()} == WORKDIR


@pytest.mark.usefixtures("listening_to_its_terminal")
def test_a_signal_while_the_last_checkpoint_is_saved_is_not_forgotten(tmp_path, monkeypatch):
    save = Checkpoints.save

    def signalled(self):
        os.kill(os.getpid(), signal.SIGTERM)
        save(self)

    monkeypatch.setattr(Checkpoints, "save", signalled)
    with pytest.raises(Interrupted, match="Stopped at step 2 of 2 and saved"):
        run(tmp_path / "run", steps=2)
    assert saved_steps(tmp_path / "run") == [2]


WORKDIR = {"config.json", "data.json", "checkpoints", "tensorboard", "losses.csv"}


def test_a_workdir_that_is_removed_or_renamed_meanwhile_is_missed(tmp_path):
    moved = tmp_path / "moved"
    for action in (
        lambda: os.rename(tmp_path / "run", moved),
        lambda: shutil.rmtree(tmp_path / "run"),
    ):
        with pytest.raises(OSError, match="run was removed or renamed while the run went on"):
            run_and_at_the_fourth_batch(tmp_path / "run", action, checkpoint_steps=9)
        assert not (tmp_path / "run").exists()
    assert (moved / "config.json").exists()


def test_a_workdir_that_another_process_trains_in_is_refused(tmp_path):
    run(tmp_path / "run", steps=1)
    with hold_workdir(str(tmp_path / "run")):
        before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
        with pytest.raises(InUse, match=f"process {os.getpid()} on machine"):
            run(tmp_path / "run", steps=2)
        assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    run(tmp_path / "run", steps=2)
    (tmp_path / "run" / ".lock").write_text("of a process that was killed")
    run(tmp_path / "run", steps=3)
    assert {p.name for p in (tmp_path / "run").iterdir()} == WORKDIR


def test_what_a_killed_process_left_of_its_first_file_is_no_run_of_another(tmp_path):
    for name in (".config.4711.json", ".lock"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text('{"ste')
    run(tmp_path / "run", steps=1)
    assert saved_steps(tmp_path / "run") == [1]


def test_a_run_that_lost_its_checkpoints_does_not_begin_anew(tmp_path):
    run(tmp_path / "run", steps=2, checkpoint_steps=1)
    (tmp_path / "run" / "checkpoints" / "checkpoint").unlink()
    assert int(run(tmp_path / "run", steps=3).step) == 3
    for path in (tmp_path / "run" / "checkpoints").glob("*.index"):
        path.unlink()
    before = sorted((tmp_path / "run").rglob("*"))
    with pytest.raises(FileNotFoundError, match="no complete checkpoint .*choose another"):
        run(tmp_path / "run", steps=4)
    assert sorted((tmp_path / "run").rglob("*")) == before


TESTS = str(Path(__file__).parents[1])
FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from functools import partial
from helpers.checkpoints import checkpoints_of
from helpers.small_training import make_trainer, pixelwise
from diffusion_tf.datasets import RandomAccess, get_dataset
from diffusion_tf.training.loop import train
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.devices import get_strategy

wide = partial(pixelwise, kernel_size=201)
trainer = make_trainer(wide, steps=int(sys.argv[2]), checkpoint_steps=1)
if sys.argv[3] == "full":
    # No file may grow any more beyond this size, which is less than a checkpoint's.
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
train(trainer, get_dataset(trainer.config), "run")
"""


@pytest.mark.slow
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


def test_data_that_cannot_be_read_are_named(tmp_path):
    def read(index):
        if index == 11:
            raise ValueError("photos/11.png is damaged; restore it.")
        return np.zeros([8, 8, 1], np.uint8)

    trainer = make_trainer(steps=50)
    with pytest.raises(ValueError, match="^photos/11.png is damaged; restore it.$"):
        train(trainer, RandomAccess(read, 100, (8, 8, 1), files=[]), str(tmp_path / "run"))
