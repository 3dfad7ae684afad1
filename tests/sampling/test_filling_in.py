"""Masks, and images whose missing parts are filled in."""

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.sampling import filling_in
from diffusion_tf.sampling.sampler import Sampler
from helpers.shrinking_network import Network

CONFIG = get_config("digits", num_diffusion_timesteps=12)
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)


@pytest.mark.parametrize(
    "name, rows, columns",
    [
        ("left", (0, 8), (0, 4)),
        ("right", (0, 8), (4, 8)),
        ("top", (0, 4), (0, 8)),
        ("bottom", (4, 8), (0, 8)),
        ("center", (2, 6), (2, 6)),
    ],
)
def test_named_masks(name, rows, columns):
    expected = np.ones([8, 8, 1], bool)
    expected[slice(*rows), slice(*columns)] = False
    np.testing.assert_array_equal(filling_in.read_mask(name, (8, 8, 3)), expected)


def test_a_mask_of_ones_own_is_white_where_it_is_filled_in(tmp_path):
    pixels = np.zeros([8, 8], np.uint8)
    pixels[1, 2:5] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    known = filling_in.read_mask(str(tmp_path / "mask.png"), (8, 8, 1))
    np.testing.assert_array_equal(known[..., 0], pixels == 0)
    Image.fromarray(0 * pixels).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match=r"black\.png is black everywhere"):
        filling_in.read_mask(str(tmp_path / "black.png"), (8, 8, 1))
    with pytest.raises(FileNotFoundError, match="--mask=middle is neither left, .* or center nor"):
        filling_in.read_mask("middle", (8, 8, 1))


def test_a_mask_of_another_size_or_in_colours_is_refused(tmp_path):
    pixels = np.zeros([8, 8, 3], np.uint8)
    pixels[:4, :, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "red.png")
    with pytest.raises(ValueError, match=r"red\.png has colours; make it black, and white where"):
        filling_in.read_mask(str(tmp_path / "red.png"), (8, 8, 1))
    with pytest.raises(ValueError, match="has 8x8 pixels, and the images of the run have 8x16; gi"):
        filling_in.read_mask(str(tmp_path / "red.png"), (8, 16, 1))


def test_what_is_known_comes_out_to_the_last_bit(tmp_path):
    known = filling_in.read_mask("bottom", IMAGE.shape)
    how = {"number": 3, "jump_length": 2, "num_resamples": 2}
    fillings = filling_in.fill_in(Sampler.of_run(CONFIG, Network()), IMAGE, known, **how)
    assert fillings.shape == (3, 8, 8, 1) and fillings.dtype == np.uint8
    np.testing.assert_array_equal(fillings[:, :4], np.stack([IMAGE[:4]] * 3))
    assert (fillings[0, 4:] != fillings[1, 4:]).any()
    filling_in.save_fillings(str(tmp_path / "a.npz"), IMAGE, known, fillings)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["arr_0"], fillings)
    filling_in.save_fillings(str(tmp_path / "a.png"), IMAGE, known, fillings)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 3 * picture.size[1] > 100
