"""float32 is float32 wherever numbers are measured, compared or drawn; training has a choice."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging

from diffusion_tf.config import Config, get_config
from diffusion_tf.config.original import kwargs_from_config
from diffusion_tf.convert import convert
from diffusion_tf.crosscheck import crosscheck
from diffusion_tf.datasets import get_dataset
from diffusion_tf.evaluation.likelihood import measure_likelihood
from diffusion_tf.evaluation.options import Request
from diffusion_tf.evaluation.run import evaluate_images, evaluate_run
from diffusion_tf.sampling.files import write_samples
from diffusion_tf.sampling.filling_in import fill_in, read_mask
from diffusion_tf.sampling.pictures import draw_interpolations, write_pictures
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.walks import draw_ddim_walk
from diffusion_tf.training.loop import train
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.devices import tf32, tf32_is_allowed

CONFIG = get_config(
    "s_curve",
    ch=16,
    num_res_blocks=1,
    num_diffusion_timesteps=2,
    batch_size=4,
    steps=1,
    log_steps=1,
)
DIGITS = get_config(
    "digits", ch_mult=(1,), num_diffusion_timesteps=2, batch_size=4, steps=1, log_steps=1,
    grid_steps=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def as_tensorflow_comes():
    """The tests run without TF32; here it is allowed, as it is to scripts."""
    with tf32(True):
        yield
        assert tf32_is_allowed(), "it is not as it was before"


class Network:
    """What is needed of a network; it writes down whether TF32 is allowed when it is traced."""

    def __init__(self):
        self.seen = []

    def __call__(self, inputs, training):
        self.seen.append(tf32_is_allowed())
        return 0.1 * inputs[0]

    def get_weights(self):
        return []


def make_sampler(model):
    return Sampler.of_run(DIGITS, model)


def draw_samples(model, folder):
    write_samples(
        str(folder / "samples.npz"), make_sampler(model), num_samples=2, batch_size=2, origin={},
        progressive=1, trajectory=[-1],
    )  # fmt: skip


def interpolate(model, folder):
    x = np.zeros([1, 8, 8, 1], np.uint8)
    draw_interpolations(make_sampler(model), x, x, timesteps=[1], num_lambdas=2)


def walk(model, folder):
    draw_ddim_walk(make_sampler(model), np.zeros([2, 8, 8, 1], np.uint8), num_lambdas=2)


def fill(model, folder):
    image = np.zeros([8, 8, 1], np.uint8)
    fill_in(make_sampler(model), image, read_mask("top", image.shape), number=1)


def measure(model, folder):
    measure_likelihood(
        make_sampler(model), get_dataset(DIGITS).first(2), batch_size=2,
        partial_path=folder / "sums.npz", origin={},
    )  # fmt: skip


@pytest.mark.parametrize("work", [draw_samples, interpolate, walk, fill, measure])
def test_what_is_drawn_and_measured(work, tmp_path):
    model = Network()
    work(model, tmp_path)
    assert set(model.seen) == {False}


def test_what_is_compared():
    seen = []

    class Watched(Config):
        def __getattribute__(self, name):
            if name == "block_size":
                seen.append(tf32_is_allowed())
            return super().__getattribute__(name)

    with pytest.raises(ValueError, match="block_size is 2"):
        crosscheck(Watched(block_size=2), against="diffusers")
    assert seen.pop() is False  # before, when it was made, it was allowed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on digits."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    trainer = Trainer(DIGITS, tf.distribute.get_strategy(), jit_compile=False)
    train(trainer, get_dataset(DIGITS), str(workdir))
    return workdir


@pytest.mark.slow
def test_what_is_converted(run, tmp_path):
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(tf32_is_allowed())
    absl_logging.get_absl_logger().addHandler(handler)
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        convert(str(run), str(tmp_path / "tf1"), format="tf1")
    finally:
        absl_logging.set_verbosity(verbosity)
        absl_logging.get_absl_logger().removeHandler(handler)
    assert seen and set(seen) == {False}


@pytest.mark.slow
def test_an_evaluation_says_which_it_was(run, tmp_path):
    request = Request(
        metrics=("fid",), splits=("test",), num_samples=4, num_images=4, pictures=False,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    of_run = evaluate_run(tmp_path / "evaluation", str(run), request)
    samples = tmp_path / "evaluation" / "samples.npz"
    of_images = evaluate_images(tmp_path / "images", samples, DIGITS, request)
    assert of_run["device"]["tf32"] is of_images["device"]["tf32"] is False
    assert of_run["source"]["config"]["tf32"] is True  # that of the training


@pytest.mark.parametrize("allowed", [True, False])
def test_training_does_as_its_config_says(allowed, tmp_path):
    config, seen = dataclasses.replace(CONFIG, tf32=allowed), []
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    loss = trainer.diffusion.p_losses

    def watched(*args, **kwargs):
        seen.append(tf32_is_allowed())
        return loss(*args, **kwargs)

    trainer.diffusion.p_losses = watched
    with tf32(not allowed):
        train(trainer, get_dataset(config), str(tmp_path / "run"))
        assert tf32_is_allowed() is not allowed
    assert seen and set(seen) == {allowed}
    path = tmp_path / "run" / "config.json"
    assert json.loads(path.read_text())["tf32"] is allowed

    # Another choice is another run; configs from before there was a choice are of TensorFlow's.
    other = dataclasses.replace(config, tf32=not allowed)
    with pytest.raises(ValueError, match=f"tf32 {allowed} there, {not allowed} here"):
        train(
            Trainer(other, tf.distribute.get_strategy(), jit_compile=False),
            get_dataset(config),
            str(tmp_path / "run"),
        )
    written = json.loads(path.read_text())
    del written["tf32"]
    assert Config.from_dict(written).tf32


@pytest.mark.slow
def test_pictures_at_the_end_of_a_run(run):
    model = Network()
    losses = np.arange(2), np.ones(2)
    write_pictures(str(run), DIGITS, make_sampler(model), get_dataset(DIGITS), losses)
    assert set(model.seen) == {False}


def test_the_original_says_nothing_of_it():
    config = get_config("cifar10")
    expected = kwargs_from_config(config)
    assert expected and kwargs_from_config(dataclasses.replace(config, tf32=False)) == expected
