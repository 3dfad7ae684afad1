"""Python first: train, load and sample in a line each."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import diffusion_tf
from diffusion_tf.config import get_config
from diffusion_tf.datasets import InMemory
from diffusion_tf.datasets.given import fitted

TINY = {
    "ch": 32, "ch_mult": (1,), "num_diffusion_timesteps": 4, "batch_size": 4, "steps": 2,
    "grid_steps": 0, "log_steps": 1, "steps_per_call": 1,
}  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, [10, 4, 4, 1], np.uint8)
LABELS = np.arange(10) % 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that learns from arrays, with labels."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    return diffusion_tf.train(
        "digits", (IMAGES, LABELS), workdir, jit_compile="off", **TINY
    )  # fmt: skip


def test_a_run_says_what_it_is(run):
    assert run.step == 2
    assert repr(run).startswith(f"Run('{run.path}', step=2, weights='ema', dataset='arrays', shape")
    assert (run.config.image_size, run.config.num_classes, run.config.ch) == (4, 3, 32)
    assert run.diffusion.num_timesteps == 4
    again = diffusion_tf.load(run.path)
    np.testing.assert_array_equal(again.model.get_weights()[0], run.model.get_weights()[0])
    assert diffusion_tf.load(run.path, weights="raw").weights == "raw"


def test_a_run_samples_and_interpolates(run):
    drawn = run.sample(5, seed=3, batch_size=2, conditions="1", jit_compile="off")
    assert (drawn.shape, drawn.dtype) == ((5, 4, 4, 1), np.uint8)
    floats = run.sample(
        5, seed=3, batch_size=2, conditions="1", jit_compile="off", float32=True
    )  # fmt: skip
    np.testing.assert_allclose(drawn, (floats + 1) * 127.5, atol=0.51)
    assert floats.dtype == np.float32 and floats.std() > 0
    way = run.interpolate(
        IMAGES[0], IMAGES[1], number=3, t=1, conditions="1", jit_compile="off"
    )  # fmt: skip
    assert (way.shape, way.dtype) == ((3, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=r"t is 4"):
        run.interpolate(IMAGES[0], IMAGES[1], t=4)
    with pytest.raises(ValueError, match=r"the image has shape \(8, 8, 1\); those of this run"):
        run.interpolate(np.zeros([8, 8, 1], np.uint8), IMAGES[1])
    with pytest.raises(ValueError, match="evaluate has no choice 'metric'"):
        run.evaluate(metric="fid")
    with pytest.raises(ValueError, match="Unknown metric 'foo'; choose some of bpd"):
        run.evaluate(metrics="fid,foo")
    with pytest.raises(ValueError, match="seed is None; a seed must be a whole number"):
        run.sample(1, seed=None)


@pytest.mark.parametrize(
    "target, choices, message",
    [
        ("a.txt", {}, "The name .*a.txt does not say which export is wanted"),
        ("a", {"format": "workdir"}, "Format workdir is not an export; choose one of keras_file"),
        ("a.keras", {"sampler": "ddim"}, "sampler is 'ddim', but format keras_file holds no sampl"),
        ("a.keras", {"guidance_scale": 2.0}, "guidance_scale is 2.0, but format keras_file holds"),
    ],
)
def test_what_is_no_export_is_refused(run, tmp_path, target, choices, message):
    with pytest.raises(ValueError, match=message):
        run.export(tmp_path / target, **choices)
    assert list(tmp_path.iterdir()) == []


DATA = {
    "array": IMAGES,
    "without channels": IMAGES[..., 0],
    "list": IMAGES.tolist() and list(IMAGES),
    "examples": tf.data.Dataset.from_tensor_slices(IMAGES),
    "batches": tf.data.Dataset.from_tensor_slices(IMAGES).batch(4),
    "data set": InMemory(IMAGES),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_are_whatever_holds_examples(kind):
    config, dataset = fitted(get_config("digits"), DATA[kind], free=True)
    assert (config.image_size, config.channels, len(dataset)) == (4, 1, 10)
    np.testing.assert_array_equal(np.concatenate(list(dataset.batches(4))), IMAGES)


@pytest.mark.parametrize("kind", ["arrays", "examples", "batches"])
def test_conditions_come_in_pairs(kind):
    pipeline = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    data = {"arrays": (IMAGES, LABELS), "examples": pipeline, "batches": pipeline.batch(3)}[kind]
    config, dataset = fitted(get_config("digits_conditional"), data, free=True)
    assert config.num_classes == 10  # the preset's, as they are enough
    np.testing.assert_array_equal(dataset.conditions, LABELS)


def test_vectors_are_brought_to_the_scale_of_their_preset():
    x = np.random.default_rng(0).normal(50, 9, [20, 3])
    config, dataset = fitted(get_config("vectors"), x, free=True)
    assert (config.dataset, config.data_dim) == ("vectors", 3)
    np.testing.assert_allclose(dataset.scaling.undo(dataset.examples), x, rtol=1e-5)
    with pytest.raises(ValueError, match=r"leaves \[-1, 1\]; scale it, or set standardize to 1"):
        fitted(dataclasses.replace(config, standardize=0.0), x, free=True)


@pytest.mark.parametrize(
    "data, message",
    [
        (IMAGES / 255, "has dtype float64 and shape .*; give images as uint8"),
        (tf.data.Dataset.from_tensor_slices(IMAGES).repeat(), "never ends; leave repeat"),
        (tf.data.Dataset.from_tensor_slices(IMAGES).take(0), "is empty"),
        ((IMAGES, LABELS[:3]), "has 10 rows and .* has 3"),
        (
            tf.data.Dataset.from_tensor_slices({"image": IMAGES, "label": LABELS}),
            "elements that are dicts of image, label; map it to examples, or to pairs",
        ),
        (tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, LABELS)), "that are tuples of 3"),
        (
            tf.data.Dataset.from_generator(
                lambda: iter([IMAGES[0], IMAGES[0, :3]]),
                output_signature=tf.TensorSpec([None, 4, 1], tf.uint8),
            ),
            r"elements of shapes \(3, 4, 1\) and \(4, 4, 1\); map it",
        ),
        (IMAGES.transpose(0, 3, 1, 2), r"must be \[N, H, W\], or"),
    ],
)
def test_data_of_another_kind_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        fitted(get_config("digits"), data, free=True)


def test_a_config_keeps_its_sizes():
    with pytest.raises(ValueError, match=r"examples of shape \(4, 4, 1\), but the config says"):
        fitted(get_config("digits"), IMAGES, free=False)
    with pytest.raises(ValueError, match="A config has no name; say with workdir"):
        diffusion_tf.train(get_config("digits"), IMAGES)
    with pytest.raises(ValueError, match="The network has conditions, and the data set has none"):
        fitted(get_config("digits_conditional"), IMAGES, free=True)
