"""What samples and measures, compiled with XLA on several devices: the same as on one."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.evaluation.likelihood import measure_likelihood
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.sampling import pictures, shards
from diffusion_tf.sampling.files import write_samples
from diffusion_tf.sampling.guidance import Conditions
from diffusion_tf.sampling.point_pictures import write_point_pictures
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.devices import distribute
from diffusion_tf.utils.replicas import compiled
from helpers.replicas import replicas

UNET = get_config("digits", ch_mult=(1,), num_diffusion_timesteps=3)
IMAGES = get_config("digits", num_diffusion_timesteps=3)
LABELS = get_config("digits_conditional", num_diffusion_timesteps=3)
VECTORS = get_config(
    "s_curve", ch=16, num_res_blocks=1, num_diffusion_timesteps=3, cond_dim=2, cond_drop_prob=0.1
)
GUIDED = Conditions(np.array([3, -1, 8], np.int32), 2.0)
CASES = {  # a config, what its samples are conditioned on, and a number of devices
    "unconditional": pytest.param(IMAGES, None, 3, marks=pytest.mark.slow),
    "whole U-Net": pytest.param(UNET, None, 2, marks=pytest.mark.slow),
    "labels": pytest.param(
        LABELS, Conditions(np.array([3, 8], np.int32)), 2, marks=pytest.mark.slow
    ),
    "guided": (LABELS, GUIDED, 2),
    "guided vectors": pytest.param(
        VECTORS, Conditions(np.eye(2, dtype=np.float32), 3.0), 3, marks=pytest.mark.slow
    ),
}


class Small(keras.Model):
    """A network of images that XLA compiles at once; a label moves all pixels."""

    def __init__(self, num_classes):
        super().__init__(name="model")
        self.conv = keras.layers.Conv2D(1, 3, padding="same", name="conv")
        self.labels = keras.layers.Embedding(num_classes + 1, 1, name="labels")

    def call(self, inputs, training=False):
        x, t, *y = inputs
        moved = self.labels(y[0] + 1)[:, :, None, None] if y else 0.0
        return self.conv(x + moved) + 0.1 * tf.cast(t, x.dtype)[:, None, None, None]


def small(config):
    model = Small(config.num_classes)
    model.conv.build((None, *config.image_shape))
    model.labels.build()
    model.built = True
    return model


def build(config, devices):
    """A network with random weights on so many devices, and the strategy."""
    strategy = replicas(devices)
    with strategy.scope():
        model = (small if config in (IMAGES, LABELS) else get_model)(config)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model, strategy


def make_sampler(config, model, strategy, conditions=None, **choices):
    return Sampler.of_run(
        config, model, seed=0, jit_compile=True, strategy=strategy, conditions=conditions, **choices
    )


def on_several(config, measure, devices):
    """`measure(model, strategy)` on one device and on several."""
    return [measure(*build(config, number)) for number in (1, devices)]


@pytest.mark.parametrize("config, conditions, devices", CASES.values(), ids=CASES)
def test_samples(config, conditions, devices):
    def draw(model, strategy):
        # 4 shards, which neither 3 devices share evenly nor fill
        sampler = make_sampler(config, model, strategy, conditions)
        return np.concatenate(list(shards.sample(sampler, 7, 2)))

    one, several = on_several(config, draw, devices)
    assert np.isfinite(one).all() and one.shape == (7, *config.sample_shape)
    np.testing.assert_array_equal(one, several)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_fewer_steps(name):
    process = get_sampling_process(get_diffusion(IMAGES), name, 2)

    def draw(model, strategy):
        sampler = make_sampler(IMAGES, model, strategy, process=process)
        return np.concatenate(list(shards.sample(sampler, 3, 2)))

    np.testing.assert_array_equal(*on_several(IMAGES, draw, 2))


@pytest.mark.slow
def test_files_of_samples_predictions_and_trajectories(tmp_path):
    def write(model, strategy):
        folder = tmp_path / str(strategy.num_replicas_in_sync)
        folder.mkdir()
        write_samples(
            str(folder / "samples.npz"), make_sampler(LABELS, model, strategy, GUIDED),
            num_samples=3, batch_size=2, origin={}, progressive=1, trajectory=[2, 0, -1],
        )  # fmt: skip
        arrays = {}
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as saved:
                arrays |= {(path.name, name): saved[name] for name in saved.files}
        return arrays

    one, several = on_several(LABELS, write, 2)
    names = {name for name, _ in one}
    assert names == {"samples.npz", "samples.progressive.npz", "samples.trajectory.npz"}
    assert one.keys() == several.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], several[name], err_msg=name)


@pytest.mark.slow
def test_grids_and_trajectories_in_pictures():
    def draw(model, strategy):
        sampler = make_sampler(LABELS, model, strategy, GUIDED)
        return pictures.grid_drawer(sampler)(), pictures.draw_trajectory(sampler, 3)[1]

    for one, several in zip(*on_several(LABELS, draw, 2), strict=True):
        assert one.std() > 0
        np.testing.assert_array_equal(one, several)


@pytest.mark.slow
def test_interpolations():
    x = get_dataset(LABELS).examples

    def mix(model, strategy):
        conditions = Conditions(np.array([3], np.int32), 2.0)
        sampler = make_sampler(LABELS, model, strategy, conditions)
        return pictures.draw_interpolations(sampler, x[:2], x[2:4], timesteps=[0, 2], num_lambdas=3)

    np.testing.assert_array_equal(*on_several(LABELS, mix, 2))


@pytest.mark.slow
def test_pictures_of_points(tmp_path):
    config = get_config("s_curve", ch=16, num_res_blocks=1, num_diffusion_timesteps=3)
    dataset = get_dataset(config).first(20)

    def write(model, strategy):
        sampler = make_sampler(config, model, strategy)
        paths = write_point_pictures(str(tmp_path), config, sampler, dataset)
        return [open(path, "rb").read() for path in paths]

    one, several = on_several(config, write, 2)
    assert one == several


@pytest.mark.slow
@pytest.mark.parametrize(
    "config, devices",
    [(IMAGES, 3), pytest.param(LABELS, 2, marks=pytest.mark.slow)],
    ids=["IMAGES", "LABELS"],
)
def test_bits_per_dimension(config, devices, tmp_path):
    def measure(model, strategy):
        # 7 images: in the last round a short batch, and with 2 devices one that is idle
        dataset = get_dataset(config).first(7)
        conditions = Conditions(dataset.conditions) if config.conditional else None
        return measure_likelihood(
            make_sampler(config, model, strategy, conditions), dataset, batch_size=3,
            partial_path=tmp_path / "sums.npz",
            origin={"devices": strategy.num_replicas_in_sync},
        )  # fmt: skip

    one, several = on_several(config, measure, devices)
    assert one.num_images == several.num_images == 7
    for name in ("total", "prior", "terms", "mse"):
        # Sums over the images are added up in another order.
        np.testing.assert_allclose(getattr(one, name), getattr(several, name), rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_weights_are_those_of_the_moment(devices, jit_compile):
    model, strategy = build(IMAGES, devices)
    x, t = tf.ones([1, *IMAGES.sample_shape]), tf.zeros([1], tf.int32)

    def output(network, x, t):
        return network([x, t], training=False)

    run = compiled(output, model, jit_compile=jit_compile, strategy=strategy)
    spread = [distribute(strategy, [a] * devices) for a in (x, t)]
    for scale in (1.0, 2.0):
        model.set_weights([scale * w if w.dtype == np.float32 else w for w in model.get_weights()])
        results = strategy.experimental_local_results(run(*spread))
        assert len(results) == devices
        for result in results:
            np.testing.assert_allclose(result, model([x, t]), atol=1e-4)


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_training(parts):
    """Its weights, too, are found on the device that computes with them."""
    config = dataclasses.replace(
        LABELS, batch_size=8, warmup=0, grad_clip=1e9, accumulation_steps=parts
    )
    dataset, losses, weights = get_dataset(config), [], []
    for number in (1, 2):
        strategy = replicas(number)
        trainer = Trainer(config, strategy, jit_compile=True, model_fn=small)
        batches = strategy.distribute_datasets_from_function(
            lambda context: dataset.train_batches(
                config.batch_size, seed=0, context=context, with_conditions=True
            )
        )
        metrics = trainer.train_steps(iter(batches), tf.constant(2))
        losses.append(metrics["loss"].numpy())
        weights.append(trainer.model.get_weights())
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=2e-4)
