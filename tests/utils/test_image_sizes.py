"""Sizes of images as people and files say them."""

import numpy as np
import pytest

from diffusion_tf.utils.image_sizes import as_size, parse_size, shown_size, sides

SIZES = {
    32: 32, "32": 32, "32x32": 32, "48x64": (48, 64), "64X48": (64, 48), "-8": -8,
    np.int64(16): 16, (8, 8): 8, (8, 16): (8, 16), (np.int32(4), 6): (4, 6),
}  # fmt: skip


@pytest.mark.parametrize("value", SIZES)
def test_a_square_is_one_number_however_it_is_said(value):
    size = parse_size(value)
    assert size == SIZES[value] and type(size) is type(SIZES[value])
    assert parse_size(list(sides(size))) == parse_size(shown_size(size)) == size
    assert as_size(*sides(size)) == size


@pytest.mark.parametrize(
    "value", ["", "x", "48x", "x64", "48x64x3", "4 8", "48*64", 1.5, True, (), (1, 2, 3), ("8", 8)]
)
def test_what_is_not_a_size(value):
    assert parse_size(value) is None
