"""The loss on the test split: what it is, when it is measured, and that it changes nothing."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffusion_tf.config import get_config
from diffusion_tf.datasets import RandomAccess, get_dataset, get_test_split
from diffusion_tf.training.log import events_dir, load_losses
from diffusion_tf.training.loop import train
from diffusion_tf.training.validation import NUM_BATCHES, validation_loss
from diffusion_tf.utils.images import from_pixels
from diffusion_tf.utils.random_numbers import fold_in, normal, stream
from helpers.small_training import SMALL, make_trainer


def events(workdir):
    accumulator = EventAccumulator(events_dir(str(workdir)), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def test_it_is_the_mean_loss_of_the_first_examples():
    trainer = make_trainer(accumulation_steps=2)  # 8 examples, in two portions
    dataset = get_dataset(trainer.config, split="test")
    for variable in trainer.ema_model.trainable_variables:
        variable.assign(variable + 0.1)
    expected = []
    for k in range(2 * NUM_BATCHES):
        x = from_pixels(dataset.examples[4 * k : 4 * k + 4])
        seed = fold_in(stream(trainer.config.seed, "validation"), k)
        t = tf.random.stateless_uniform([4], fold_in(seed, 0), 0, 20, tf.int32, alg="philox")
        noise = normal(x.shape, fold_in(seed, 1))
        denoise = lambda x, t: trainer.ema_model([x, t])  # noqa: E731
        expected += list(trainer.diffusion.p_losses(denoise, x, t, noise=noise).numpy())
    measure = validation_loss(trainer, dataset)
    assert measure() == pytest.approx(np.mean(expected), rel=1e-5)
    assert measure() == measure()
    trainer.ema_model.set_weights(trainer.model.get_weights())
    assert measure() != pytest.approx(np.mean(expected), rel=1e-3)


def test_a_run_is_the_same_with_and_without_it(tmp_path):
    fields = {"steps": 6, "grid_steps": 2}
    trainers = []
    for name in ("with", "without"):
        trainer = make_trainer(**fields)
        test = get_dataset(trainer.config, split="test") if name == "with" else None
        train(trainer, get_dataset(trainer.config), str(tmp_path / name), test=test)
        trainers.append(trainer)
    for model in ("model", "ema_model", "optimizer"):
        ours, theirs = (getattr(trainer, model).variables for trainer in trainers)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    curves = [load_losses(str(tmp_path / name))[1] for name in ("with", "without")]
    np.testing.assert_array_equal(*curves)
    measured = events(tmp_path / "with").Tensors("validation/loss")
    assert [event.step for event in measured] == [2, 4, 6]
    assert "validation/loss" not in events(tmp_path / "without").Tags()["tensors"]


def test_an_image_that_cannot_be_read_is_told_before_the_first_step(tmp_path):
    def read(index):
        if index == 20:
            raise ValueError("20.png is damaged; delete it.")
        return np.zeros([8, 8, 1], np.uint8)

    trainer = make_trainer(steps=4, grid_steps=2)
    test = RandomAccess(read, 30, (8, 8, 1), files=[])
    with pytest.raises(ValueError, match="20.png is damaged"):
        train(trainer, get_dataset(trainer.config), str(tmp_path), test=test)
    assert trainer.step == 0


def test_scalars_are_described(tmp_path):
    trainer = make_trainer(steps=2, grid_steps=2)
    test = get_dataset(trainer.config, split="test")
    train(trainer, get_dataset(trainer.config), str(tmp_path), test=test)
    accumulator = events(tmp_path)
    for tag in accumulator.Tags()["tensors"]:
        said = accumulator.SummaryMetadata(tag).summary_description
        assert len(said) > 15 and said.endswith("."), tag


def test_data_without_a_test_split_have_no_loss_of_it(tmp_path, caplog):
    assert get_test_split(get_config("sprites")) is None
    config = get_config("folder", test_dir=str(tmp_path / "absent"))
    assert get_test_split(config, str(tmp_path)) is None
    assert "The test split cannot be read" in caplog.text
    assert len(get_test_split(get_config("digits", **SMALL))) == 299
