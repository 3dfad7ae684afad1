"""Ways through images: what they pass through, and every kind of file they are written to."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.sampling import walks
from diffusion_tf.sampling.guidance import Conditions
from diffusion_tf.sampling.pictures import lambda_labels
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.image_reading import load_image
from helpers.shrinking_network import Network

CONFIG = get_config("digits", num_diffusion_timesteps=20)
PATH = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def sampler():
    return Sampler.of_run(CONFIG, Network())


@pytest.fixture(scope="module")
def walk(sampler):
    return walks.draw_ddim_walk(sampler, PATH, num_lambdas=4, solver="heun", sampling_steps=10)


def test_a_way_by_ddim_passes_through_every_image(walk):
    assert walk.pictures.shape == (2, 1, 6, 8, 8, 1) and walk.labels == ["arc"]
    for pair in (0, 1):
        np.testing.assert_array_equal(walk.pictures[pair, 0, 0], PATH[pair])
        np.testing.assert_array_equal(walk.pictures[pair, 0, -1], PATH[pair + 1])
    assert walks.distances_at_the_ends(walk)["arc"] < 1e-5
    frames = walk.frames()
    assert frames.shape == (1, 7, 8, 8, 1)
    for frame, image in ((0, 0), (3, 1), (6, 2)):
        assert abs(frames[0, frame].astype(int) - PATH[image]).max() <= 1
    assert abs(frames[0, 1].astype(int) - PATH[0]).max() > 10


def test_an_arc_and_a_straight_line_differ_between_the_ends_alone(sampler, walk):
    how = {"num_lambdas": 3, "solver": "heun", "sampling_steps": 10}
    arc, line = (walks.draw_ddim_walk(sampler, PATH[:2], straight=s, **how) for s in (False, True))
    different = [bool((arc.pictures[0, 0, k] != line.pictures[0, 0, k]).any()) for k in range(5)]
    assert different == [False, False, True, False, False]


def test_a_way_by_ddpm_has_a_row_for_each_timestep(sampler):
    how = {"timesteps": [3, 9], "num_lambdas": 2}
    walk = walks.draw_ddpm_walk(sampler, PATH, mix="constant_variance", shared_noise=True, **how)
    assert walk.pictures.shape == (2, 2, 4, 8, 8, 1) and walk.labels == ["t=3", "t=9"]
    assert walk.frames().shape == (2, 3, 8, 8, 1)
    assert walks.distances_at_the_ends(walk)["t=9"] > 1e-4
    plain = walks.draw_ddpm_walk(sampler, PATH, **how)
    assert (plain.pictures != walk.pictures).any()


def test_how_far_the_ends_are_is_said_of_each_row():
    pictures = np.zeros([2, 2, 4, 8, 8, 1], np.uint8)
    pictures[:, 1, 1], pictures[0, 1, 0] = 51, 102  # both pairs' first end, of the second row
    distances = walks.distances_at_the_ends(walks.Walk(pictures, ["t=3", "t=9"]))
    assert distances == {"t=3": 0.0, "t=9": pytest.approx(0.2**2 / 2)}


def test_encoding_and_decoding_show_their_progress(sampler, capsys):
    walks.draw_ddim_walk(sampler, PATH, num_lambdas=2, sampling_steps=10)
    shown = capsys.readouterr().err
    assert "encoding: 100%" in shown and "decoding: 100%" in shown and "10/10" in shown


@pytest.mark.parametrize(
    "number, labels",
    [
        (9, {"λ=0", "λ=0.125", "λ=0.875", "λ=1"}),
        (17, {"λ=0.0625", "λ=0.1875"}),
        (11, {"λ=0.1", "λ=0.7"}),
        (4, {"λ=0.333", "λ=0.667"}),
    ],
)
def test_weights_above_a_picture_are_not_rounded_where_they_are_short(number, labels):
    assert labels <= set(lambda_labels(number))


# --- Files


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_film_goes_there_and_back(walk, kind, tmp_path):
    walks.save_walk(str(tmp_path / f"a.{kind}"), walk)
    frames = walk.frames()[0].repeat(6, axis=1).repeat(6, axis=2)
    with Image.open(tmp_path / f"a.{kind}") as film:
        assert film.n_frames == 2 * 7 - 2 and film.info.get("loop") == 0
        for i, frame in enumerate([*range(7), *range(5, 0, -1)]):
            film.seek(i)
            film.load()
            pixels = np.asarray(film.convert("L")).astype(int)
            assert abs(pixels - frames[frame, ..., 0]).max() <= 1
            assert film.info["duration"] == (1000 if frame in (0, 6) else 120)


def test_arrays_and_folders_hold_the_frames(walk, tmp_path):
    frames = walk.frames()[0]
    walks.save_walk(str(tmp_path / "a.npz"), walk)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["arr_0"], frames)
    walks.save_walk(str(tmp_path / "frames"), walk)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"{i:06d}.png" for i in range(7)]
    for name, frame in zip(names, frames, strict=True):
        pixels = load_image(str(tmp_path / "frames" / name), (8, 8, 1))
        np.testing.assert_array_equal(pixels, frame)


def test_a_picture_has_a_row_for_each_pair(walk, tmp_path):
    walks.save_walk(str(tmp_path / "a.png"), walk)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > picture.size[1] > 100


def test_mistakes(sampler):
    with pytest.raises(ValueError, match="num_lambdas is 1"):
        walks.draw_ddim_walk(sampler, PATH, num_lambdas=1)
    with pytest.raises(ValueError, match=r"sampling_steps is 21; it must lie in 1\.\.20"):
        walks.draw_ddim_walk(sampler, PATH, num_lambdas=2, sampling_steps=21)


def test_images_are_encoded_and_decoded_under_their_conditions():
    class Conditional(Network):
        num_classes = 3

        def __call__(self, inputs, training):
            x, _, y = inputs
            return 0.1 * x + 0.2 * tf.cast(y, x.dtype)[:, None, None, None]

    def latents(labels, path):
        conditions = Conditions(np.array(labels, np.int32))
        sampler = Sampler.of_run(CONFIG, Conditional(), conditions=conditions)
        z = sampler.encode(path, sampling_steps=5, solver="heun")
        decoded = sampler.decode(z, sampling_steps=5, solver="heun")
        np.testing.assert_allclose(decoded, path / np.float32(127.5) - 1, atol=0.02)
        return z

    both, first, second = latents([0, 2], PATH[:2]), latents([0], PATH[:1]), latents([2], PATH[1:2])
    np.testing.assert_allclose(both, np.concatenate([first, second]), atol=1e-5)
    assert abs(latents([1], PATH[:1]) - first).max() > 0.05
