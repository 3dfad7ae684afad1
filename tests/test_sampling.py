"""Exactly N samples, and the files that they go into."""

import numpy as np
import pytest
from PIL import Image

from diffusion_tf import sampling
from diffusion_tf.config import get_config
from diffusion_tf.models import get_model

CONFIG = get_config("digits", ch=32, ch_mult=(2,), attn_resolutions=(), num_diffusion_timesteps=4)


@pytest.fixture(scope="module")
def model():
    model = get_model(CONFIG)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def draw(model, num_samples, batch_size, seed=0, jit_compile=False, **sampler):
    batches = sampling.sample(
        model,
        sampling.get_sampler(CONFIG, **sampler),
        num_samples=num_samples,
        batch_size=batch_size,
        sample_shape=CONFIG.image_shape,
        seed=seed,
        jit_compile=jit_compile,
    )
    return [batch for batch in batches]


@pytest.mark.parametrize("num_samples, sizes", [(5, [2, 2, 1]), (4, [2, 2]), (1, [1])])
def test_exactly_as_many_as_asked_for(model, num_samples, sizes):
    assert [len(batch) for batch in draw(model, num_samples, 2)] == sizes


def test_samples_follow_from_the_seed(model):
    first, second, other = (np.concatenate(draw(model, 3, 2, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first[0] - first[2]).max() > 0.1  # shards differ


def test_pieces_are_one_chain(model):
    diffusion = sampling.get_sampler(CONFIG)
    seed = sampling.fold_in(sampling.stream(7, "sample"), 0)
    whole = diffusion.p_sample_loop(
        sampling.denoise_fn(model), shape=[2, *CONFIG.image_shape], seed=seed
    )
    np.testing.assert_allclose(draw(model, 2, 2, seed=7)[0], whole, atol=1e-5)


def test_xla_draws_the_same_samples(model):
    a, b = (np.concatenate(draw(model, 2, 2, jit_compile=jit)) for jit in (False, True))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_ddim_takes_fewer_steps(model):
    assert sampling.get_sampler(CONFIG, "ddim", 2).num_timesteps == 2
    assert draw(model, 2, 2, sampler="ddim", sampling_steps=2)[0].shape == (2, 8, 8, 1)


def test_an_unknown_sampler_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown sampler 'euler'; choose one of ancestral, ddim"):
        sampling.get_sampler(CONFIG, "euler")


@pytest.mark.parametrize("name", ["num_samples", "batch_size"])
def test_nothing_to_do_is_an_error(model, name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        draw(model, **{"num_samples": 1, "batch_size": 1, name: 0})


BATCHES = [np.full((2, 8, 8, 1), -1.0), np.full((1, 8, 8, 1), 1.0)]


def test_npz_holds_uint8_under_arr_0(tmp_path):
    path = str(tmp_path / "s.npz")
    assert sampling.save_samples(path, iter(BATCHES)) == 3
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == ["arr_0"]
        assert (arrays["arr_0"].dtype, arrays["arr_0"].shape) == (np.uint8, (3, 8, 8, 1))
        np.testing.assert_array_equal(arrays["arr_0"][:, 0, 0, 0], [0, 0, 255])


def test_any_other_name_is_a_folder_of_pngs(tmp_path):
    assert sampling.save_samples(str(tmp_path / "s"), iter(BATCHES)) == 3
    names = sorted(p.name for p in (tmp_path / "s").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]
    with Image.open(tmp_path / "s" / "000002.png") as image:
        assert (image.size, image.getpixel((0, 0))) == ((8, 8), 255)


def test_a_png_shows_them_all(tmp_path):
    sampling.save_samples(str(tmp_path / "s.png"), iter(BATCHES))
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == (2 * 48 + 4, 2 * 48 + 4)


def test_what_exists_is_not_overwritten(tmp_path):
    path = tmp_path / "s.npz"
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"s.npz exists; .*--overwrite"):
        sampling.check_output(str(path))
    sampling.check_output(str(path), overwrite=True)
    (tmp_path / "empty").mkdir()
    sampling.check_output(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="exists"):
        sampling.check_output(str(tmp_path))


def test_the_first_samples_are_the_same_in_a_larger_batch(model):
    small, large = draw(model, 2, 2)[0], draw(model, 5, 5)[0]
    np.testing.assert_allclose(small, large[:2], atol=1e-5)
