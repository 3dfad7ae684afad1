"""Bits/dim of a data set: exact sums over all images, whatever the batches and interruptions."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import InMemory, get_dataset
from diffusion_tf.evaluation.likelihood import (
    Likelihood,
    PartialSums,
    measure_likelihood,
    rate_distortion,
)
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils import images
from diffusion_tf.utils.array_files import save_npz
from diffusion_tf.utils.interruption import Interrupted
from diffusion_tf.utils.random_numbers import stream
from helpers.replicas import replicas
from helpers.rows import mostly_slow

CONFIG = get_config(
    "digits", ch=64, ch_mult=(1,), num_res_blocks=1, num_diffusion_timesteps=12, batch_size=16,
    warmup=1, steps=30,
)  # fmt: skip
DIFFUSION = get_diffusion(CONFIG)
DIGITS = get_dataset(CONFIG)


class Network:
    """What is needed of a network; the noise it sees depends on pixel, neighbour and time."""

    def __call__(self, inputs, training):
        assert not training
        x, t = inputs
        return tf.tanh(0.8 * x + 0.1 * tf.roll(x, 1, axis=1) + 0.01 * tf.cast(t, x.dtype)[0])


@pytest.fixture(scope="module")
def trained():
    """A real network that has learned a little."""
    trainer = Trainer(CONFIG, tf.distribute.get_strategy(), jit_compile=False)
    batches = iter(DIGITS.train_batches(CONFIG.batch_size, seed=0))
    trainer.train_steps(batches, tf.constant(CONFIG.steps))
    return trainer.ema_model


@pytest.fixture
def measure(tmp_path):
    """Measures the first 11 digits."""

    def measure(*, model=None, dataset=None, batch_size=4, origin=None, **choices):
        sampler = Sampler.of_run(CONFIG, model or Network(), process=DIFFUSION, **choices)
        return measure_likelihood(
            sampler, dataset or DIGITS.first(11), batch_size=batch_size,
            partial_path=tmp_path / "sums.npz", origin=origin,
        )  # fmt: skip

    return measure


def assert_equal(a, b, **tolerance):
    assert a.num_images == b.num_images
    for name in ("total", "standard_error", "prior", "terms", "mse"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), **tolerance, err_msg=name)


def test_it_is_the_mean_of_calc_bpd_loop(measure):
    x_start = images.from_pixels(DIGITS.examples[:11])
    total, terms, prior, mse = DIFFUSION.calc_bpd_loop(
        denoise_fn(Network()), x_start, seed=stream(0, "likelihood"), first_example=0
    )
    result = measure()
    assert result.num_images == 11
    np.testing.assert_allclose(result.total, np.mean(total), rtol=1e-5)
    np.testing.assert_allclose(result.terms, np.mean(terms, axis=0), rtol=1e-4)
    np.testing.assert_allclose(result.mse, np.mean(mse, axis=0), rtol=1e-4)
    np.testing.assert_allclose(result.prior, np.mean(prior), rtol=1e-5)
    spread = np.std(total, ddof=1) / np.sqrt(11)
    np.testing.assert_allclose(result.standard_error, spread, rtol=1e-3)


@pytest.mark.slow
def test_of_a_trained_network(measure, trained):
    result = measure(model=trained)
    assert result.terms.shape == result.mse.shape == (12,)
    np.testing.assert_allclose(result.total, result.prior + result.terms.sum(), rtol=1e-12)
    values = result.to_json()
    assert values["decoder"] == values["terms"][0] == result.terms[0]
    assert_equal(measure(model=trained, batch_size=3), result, rtol=2e-5)
    curve = rate_distortion(result)
    assert (np.diff(curve["rate"]) > 0).all()
    assert (np.diff(curve["distortion"]) < 0).all()


@pytest.mark.parametrize("batch_size", mostly_slow([1, 3, 11, 100], lambda size: size == 3))
def test_the_batch_size_does_not_matter(measure, batch_size):
    assert_equal(measure(batch_size=batch_size), measure(batch_size=4), rtol=2e-5)


def test_the_seed_does(measure):
    assert abs(measure(seed=1).total - measure().total) > 1e-4


def test_without_clipping(measure):
    assert measure(clip_denoised=False).mse[-1] > measure().mse[-1]


@pytest.mark.parametrize("number", [7, pytest.param(11, marks=pytest.mark.slow)])
def test_on_several_devices(measure, number):
    """With 7 images one device has nothing to do in the last round, with 11 a short batch."""
    first = DIGITS.first(number)
    mirrored = measure(dataset=first, batch_size=3, strategy=replicas(2))
    assert_equal(mirrored, measure(dataset=first), rtol=2e-5)


def test_compiled(measure):
    assert_equal(measure(jit_compile=True), measure(), rtol=1e-4)


def test_an_interrupted_measurement_goes_on(measure, tmp_path):
    seen = []

    class Dataset(InMemory):
        def batches(self, batch_size, *, start=0):
            for batch in super().batches(batch_size, start=start):
                seen.append(len(batch))
                if len(seen) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    dataset = Dataset(DIGITS.examples[:11], DIGITS.conditions[:11])
    with pytest.raises(Interrupted, match="bits/dim of 8 of 11 images are kept"):
        measure(dataset=dataset, origin="this")
    assert (tmp_path / "sums.npz").exists()
    with pytest.raises(ValueError, match='unfinished sums of another evaluation .*"this".*delete'):
        measure(origin="another")
    resumed = measure(dataset=dataset, origin="this")
    assert seen == [4, 4, 3, 3]
    (tmp_path / "sums.npz").unlink()
    assert_equal(resumed, measure(), rtol=1e-12)


def flipped(content, byte):
    return content[:byte] + bytes([content[byte] ^ 1]) + content[byte + 1 :]


def test_damaged_sums_begin_anew(tmp_path, caplog):
    """A bit flipped anywhere, a cut, nothing, garbage, or a file of an earlier version."""
    path, shapes = tmp_path / "sums.npz", {"a": (), "b": (3,)}
    sums = PartialSums(path, shapes, "this")
    sums.add(a=np.ones(2), b=np.ones((2, 3)))
    sums.save()
    content = path.read_bytes()
    assert PartialSums(path, shapes, "this").number == 2
    np.savez(tmp_path / "old.npz", number=2, origin='"this"', a=np.ones(()), b=np.ones(3))
    damages = [b"", b"no zip", content[:-1], content[:100], (tmp_path / "old.npz").read_bytes()]
    damages += [flipped(content, byte) for byte in range(0, len(content), 7)]
    for damage in damages:
        path.write_bytes(damage)
        caplog.clear()
        begun = PartialSums(path, shapes, "this")
        assert begun.number == 0 and not np.any(begun.sums["b"])
        assert f"{path} is damaged" in caplog.text and "The sums begin anew" in caplog.text


@pytest.mark.parametrize("arrays", [{}, {"b": np.ones(4)}, {"number": np.ones(2)}, {"c": 1.0}])
def test_sums_of_another_kind_begin_anew(tmp_path, caplog, arrays):
    path, shapes = tmp_path / "sums.npz", {"a": (), "b": (3,)}
    whole = {"number": 2, "origin": '"this"', "a": np.ones(()), "b": np.ones(3)}
    save_npz(path, {**whole, **arrays} if arrays else {"number": 2})
    assert PartialSums(path, shapes, "this").number == 0
    assert "holds other sums than these. They begin anew" in caplog.text


def test_damaged_sums_do_not_change_the_result(measure, tmp_path):
    (tmp_path / "sums.npz").write_bytes(b"no zip")
    damaged = measure()
    assert not (tmp_path / "sums.npz").exists() or (tmp_path / "sums.npz").unlink() is None
    assert_equal(damaged, measure(), rtol=1e-12)


def test_rate_distortion_by_hand():
    values = Likelihood(
        num_images=1, total=0.0, standard_error=0.0, prior=0.5,
        terms=np.array([8.0, 4.0, 2.0, 1.0]), mse=np.array([0.0, 0.01, 0.04, 0.25]),
    )  # fmt: skip
    curve = rate_distortion(values)
    assert curve["reverse_steps"] == [1, 2, 3, 4]
    # x_3 costs the prior alone, x_0's neighbour everything but the decoder's term.
    assert curve["rate"] == [0.5, 1.5, 3.5, 7.5]
    np.testing.assert_allclose(curve["distortion"], [63.75, 25.5, 12.75, 0.0])
