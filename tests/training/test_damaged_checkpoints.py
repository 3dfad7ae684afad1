"""Workdirs whose checkpoints are not as a run leaves them: nothing is lost that need not be."""

import os
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.training.checkpoint_reading import by_path, read_one
from diffusion_tf.training.checkpoints import newest_number, restore_run
from helpers.checkpoints import checkpoints_of, save_checkpoint
from helpers.small_training import make_trainer, pixelwise

INDEX, DATA = "checkpoints/ckpt-30.index", "checkpoints/ckpt-30.data-00000-of-00001"
STATE = "checkpoints/checkpoint"


def set_to(trainer, step):
    """Puts a trainer at a step, with weights that say which."""
    trainer.step.assign(step)
    for model in (trainer.model, trainer.ema_model):
        model.set_weights([np.full_like(w, step) for w in model.get_weights()])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A workdir with the checkpoints 20 and 30."""
    workdir, trainer = tmp_path_factory.mktemp("source") / "run", make_trainer()
    for step in (20, 30):
        set_to(trainer, step)
        save_checkpoint(workdir, trainer)
    return workdir


@pytest.fixture
def workdir(tmp_path, source):
    return shutil.copytree(source, tmp_path / "run")


@pytest.fixture
def trainer():
    trainer = make_trainer()
    set_to(trainer, 0)
    return trainer


def files(workdir):
    return {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}


def assert_at(trainer, step):
    assert int(trainer.step) == step
    for weights in trainer.model.get_weights():
        np.testing.assert_array_equal(weights, np.full_like(weights, step))


def flip(data, place):
    i = int(len(data) * place)
    return data[:i] + bytes([data[i] ^ 0x10]) + data[i + 1 :]


def change(path, change):
    path.write_bytes(change(path.read_bytes()))


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


STATES = {
    "gone": (lambda path: path.unlink(), "checkpoint is missing"),
    "empty": (lambda path: path.write_bytes(b""), "checkpoint is damaged"),
    "cut": (lambda path: change(path, lambda d: d[:20]), "checkpoint is damaged"),
    "garbage": (lambda path: path.write_bytes(b"\x00\xff {{{"), "checkpoint cannot be read"),
    "folder": (replace_by_folder, "checkpoint cannot be read"),
    "later": (lambda path: change(path, lambda d: d.replace(b"30", b"999")), "names ckpt-999"),
    "elsewhere": (
        lambda path: path.write_text('model_checkpoint_path: "/elsewhere/ckpt-30"\n'),
        "/elsewhere/ckpt-30, which lies elsewhere",
    ),
    "above": (
        lambda path: path.write_text('model_checkpoint_path: "../ckpt-30"\n'),
        "../ckpt-30, which lies elsewhere",
    ),
    "other": (
        lambda path: path.write_text('model_checkpoint_path: "model.ckpt-5"\n'),
        "names model.ckpt-5, which is not",
    ),
}


@pytest.mark.parametrize("kind", STATES)
def test_the_checkpoints_count_and_not_the_file_that_names_them(workdir, trainer, caplog, kind):
    damage, words = STATES[kind]
    damage(workdir / STATE)
    checkpoints = checkpoints_of(workdir, trainer)
    assert checkpoints.restore() == 30
    assert_at(trainer, 30)
    assert words in caplog.text and "Taking ckpt-30" in caplog.text
    set_to(trainer, 40)
    checkpoints.save()
    assert newest_number(str(workdir)) == 40


def test_nothing_is_said_where_nothing_is_wrong(workdir, trainer, caplog):
    checkpoints = checkpoints_of(workdir, trainer)
    checkpoints.clear()
    assert checkpoints.restore() == 30
    change(workdir / STATE, lambda data: data.replace(b"30", b"20"))  # cut short after ckpt-30
    assert checkpoints.restore() == 30
    path = bytes(workdir / "checkpoints")  # as older versions wrote it
    change(workdir / STATE, lambda data: data.replace(b"ckpt", path + b"/ckpt"))
    assert checkpoints.restore() == 30
    assert caplog.text == ""


def test_what_the_state_names_elsewhere_is_not_touched(tmp_path, workdir, trainer):
    others = shutil.copytree(workdir, tmp_path / "other")
    before = files(others)
    paths = [f"{others}/checkpoints/ckpt-{n}" for n in (20, 30)] + [
        "../../other/checkpoints/ckpt-20"
    ]
    (workdir / STATE).write_text(
        f'model_checkpoint_path: "{paths[1]}"\n'
        + "".join(f'all_model_checkpoint_paths: "{path}"\n' for path in paths)
    )
    checkpoints = checkpoints_of(workdir, trainer, keep=1)
    checkpoints.clear()
    checkpoints.restore()
    for step in (40, 50):
        set_to(trainer, step)
        checkpoints.save()
    assert files(others) == before


DAMAGES = {
    "data cut": (DATA, lambda path: change(path, lambda d: d[: len(d) // 2])),
    "data empty": (DATA, lambda path: path.write_bytes(b"")),
    "data flipped": (DATA, lambda path: change(path, lambda d: flip(d, 0.5))),
    "data gone": (DATA, lambda path: path.unlink()),
    "data a folder": (DATA, replace_by_folder),
    "index cut": (INDEX, lambda path: change(path, lambda d: d[: len(d) // 2])),
    "index empty": (INDEX, lambda path: path.write_bytes(b"")),
    "index flipped": (INDEX, lambda path: change(path, lambda d: flip(d, 0.5))),
    "index gone": (INDEX, lambda path: path.unlink()),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_of_a_damaged_checkpoint_the_one_before_is_taken(workdir, trainer, caplog, kind):
    name, damage = DAMAGES[kind]
    damage(workdir / name)
    before = files(workdir)
    checkpoints = checkpoints_of(workdir, trainer)
    checkpoints.clear()
    assert checkpoints.restore() == 20
    assert_at(trainer, 20)
    assert "ckpt-30" in caplog.text and "after step 20, if anything did, is lost" in caplog.text
    assert files(workdir) == before
    if not (workdir / name).is_dir():
        set_to(trainer, 30)  # the run comes by again
        checkpoints.save()
        set_to(trainer, 0)
        assert checkpoints_of(workdir, trainer).restore() == 30


@pytest.mark.parametrize("place", [0.05, 0.3, 0.6, 0.95])
def test_who_reads_a_part_of_a_checkpoint_learns_of_damage_to_another(workdir, trainer, place):
    change(workdir / DATA, lambda d: flip(d, place))
    for part, model in (("ema", trainer.ema_model), ("model", trainer.model)):
        with pytest.raises(ValueError, match="ckpt-30 cannot be read: it is damaged.*use ckpt-20"):
            read_one(
                str(workdir), {part: by_path(model.trainable_variables)}, trainer.step, whole=False
            )


@pytest.mark.parametrize("kind", DAMAGES)
def test_where_no_checkpoint_is_left_a_run_does_not_begin_anew(workdir, trainer, kind):
    name, damage = DAMAGES[kind]
    for number in ("20", "30"):
        damage(workdir / name.replace("30", number))
    before = files(workdir)
    checkpoints = checkpoints_of(workdir, trainer)
    checkpoints.clear()
    with pytest.raises((ValueError, FileNotFoundError), match="ckpt-30.* copy, or choose another"):
        checkpoints.restore()
    assert files(workdir) == before


def test_checkpoints_that_are_gone_are_missed(workdir, trainer):
    for path in workdir.glob("checkpoints/ckpt-*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="names ckpt-30, which is not there"):
        checkpoints_of(workdir, trainer).restore()


def test_others_than_the_run_are_told_of_damage(workdir, trainer):
    change(workdir / DATA, lambda data: flip(data, 0.5))
    before = files(workdir)
    run = (trainer.parts, trainer.step)
    for read in (
        lambda: restore_run(str(workdir), *run),
        lambda: checkpoints_of(workdir.with_name("new"), trainer).restore_from(str(workdir)),
    ):
        with pytest.raises(ValueError, match=r"ckpt-30 .*damaged .*elsewhere to use ckpt-20\.$"):
            read()
    assert files(workdir) == before
    for name in (INDEX, DATA):
        (workdir / name).rename(workdir.with_name(os.path.basename(name)))
    restore_run(str(workdir), *run)  # as was advised
    assert_at(trainer, 20)


def test_a_checkpoint_that_does_not_fit_is_left_alone(workdir):
    before = files(workdir)
    for other in (make_trainer(optimizer="rmsprop"), make_trainer(lambda c: pixelwise(c, 5))):
        weights = other.model.get_weights()
        checkpoints = checkpoints_of(workdir, other)
        checkpoints.clear()
        for restore in (checkpoints.restore, lambda c=checkpoints: c.restore_from(str(workdir))):
            with pytest.raises(ValueError, match="ckpt-30 does not fit this config .*as it was"):
                restore()
        for before_it, after_it in zip(weights, other.model.get_weights(), strict=True):
            np.testing.assert_array_equal(before_it, after_it)
    assert files(workdir) == before


def test_a_checkpoint_under_the_name_of_another_is_refused(workdir, trainer):
    for name in (INDEX, DATA):
        (workdir / name).rename(workdir / name.replace("30", "70"))
    with pytest.raises(ValueError, match="ckpt-70 .* holds step 30; give it the name ckpt-30"):
        checkpoints_of(workdir, trainer).restore()


def test_checkpoints_of_older_versions(tmp_path, workdir, trainer):
    shutil.rmtree(workdir / "checkpoints")
    set_to(trainer, 20)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(
            model={v.path: v.value for v in trainer.model.trainable_variables},
            ema={v.path: v.value for v in trainer.ema_model.trainable_variables},
            optimizer={v.path: v.value for v in trainer.optimizer.variables},
            step=trainer.step,
        ),
        str(workdir / "checkpoints"),
        max_to_keep=2,
    )
    manager.save(checkpoint_number=20)
    set_to(trainer, 0)
    checkpoints = checkpoints_of(workdir, trainer)
    assert checkpoints.restore() == 20
    assert_at(trainer, 20)


def test_tensorflow_finds_and_reads_what_is_written(workdir):
    newest = tf.train.latest_checkpoint(str(workdir / "checkpoints"))
    assert newest == str(workdir / "checkpoints" / "ckpt-30")
    step = tf.Variable(0, dtype=tf.int64)
    tf.train.Checkpoint(step=step).restore(newest).assert_existing_objects_matched()
    assert int(step) == 30


NAMES = ["a[1]", "*", "?", "with space", "two\nlines", "Läufe 走", "-dash", "back\\slash", "{a,b}"]
NAMES += [os.fsdecode(b"not\xffutf8")]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_workdir_has_any_name(tmp_path, trainer, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    set_to(trainer, 20)
    save_checkpoint(name, trainer)
    set_to(trainer, 0)
    assert checkpoints_of(name, trainer).restore() == newest_number(name) == 20
    assert_at(trainer, 20)
    assert os.listdir(tmp_path) == [name]


def test_who_reads_while_a_run_saves_finds_a_checkpoint(tmp_path, trainer):
    writer = make_trainer()
    set_to(writer, 0)
    checkpoints = save_checkpoint(tmp_path / "run", writer, keep=1)
    failed, done = [], threading.Event()

    def save_again_and_again():
        try:
            for step in range(1, 60):
                set_to(writer, step)
                checkpoints.save()
        except Exception as error:
            failed.append(error)
        done.set()

    thread = threading.Thread(target=save_again_and_again)
    thread.start()
    run = (trainer.parts, trainer.step)
    while not done.is_set():
        restore_run(str(tmp_path / "run"), *run)
        assert_at(trainer, int(trainer.step))
    thread.join()
    assert not failed
