"""Pixels, grids and image files."""

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.utils import image_reading, images
from diffusion_tf.utils.finite import NotFiniteError
from diffusion_tf.utils.image_reading import load_image


def test_pixels_survive_scaling():
    pixels = np.arange(256, dtype=np.uint8)
    scaled = images.from_pixels(pixels)
    assert (scaled[0], scaled[255]) == (-1.0, 1.0)
    np.testing.assert_array_equal(images.to_pixels(scaled), pixels)


def test_to_pixels_clips_and_rounds():
    values = np.array([-3.0, -1.0, 0.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 1.0, 3.0])
    np.testing.assert_array_equal(images.to_pixels(values), [0, 0, 128, 0, 1, 255, 255])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_becomes_no_pixel(value, dtype):
    samples = np.zeros((5, 4, 4, 3), dtype)
    samples[[1, 3], 2, 0, 1] = value
    with pytest.raises(NotFiniteError, match="2 of 5 images are not finite"):
        images.to_pixels(samples)


def test_tile_by_hand():
    three = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    expected = [[0, 255, 1], [255, 255, 255], [2, 255, 255]]
    np.testing.assert_array_equal(images.tile(three)[..., 0], expected)
    np.testing.assert_array_equal(images.tile(three, columns=3, padding=0)[..., 0], [[0, 1, 2]])


def test_tile_keeps_colours():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    grid = images.tile(pixels, padding=2)
    assert grid.shape == (12, 14, 3)
    np.testing.assert_array_equal(grid[7:, 8:], pixels[3])


@pytest.mark.parametrize("bad", [np.zeros((1, 2, 2, 1)), np.zeros((1, 2, 2, 4), np.uint8)])
def test_tile_says_what_it_takes(bad):
    with pytest.raises(ValueError, match=str(bad.dtype)):
        images.tile(bad)


def test_small_images_are_enlarged_by_a_whole_factor():
    grid = images.show_grid(np.array([[[[7]]]], np.uint8))
    np.testing.assert_array_equal(grid, np.full((images.MIN_TILE_PIXELS,) * 2 + (1,), 7))


@pytest.mark.parametrize("height, width", [(16, 24), (24, 16), (8, 40)])
def test_images_of_any_height_and_width_keep_their_shape_in_pictures(tmp_path, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    factor = -(-images.MIN_TILE_PIXELS // min(height, width))
    assert images.show_grid(pixels).shape == (factor * height, 2 * factor * width + 4, 3)
    rows = np.zeros((2, 5, height, width, 3), np.uint8)
    path = str(tmp_path / "a.png")
    images.save_labelled_grid(path, rows, row_labels=["", ""], column_labels=[""] * 5)
    black = image_reading.load_image(path, (*image_reading.size_of(path), 1))[..., 0] < 128
    wide, high = (np.ptp(np.flatnonzero(black.any(axis=axis))) for axis in (0, 1))
    assert wide / 5 / (high / 2) == pytest.approx(width / height, rel=0.15)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(tmp_path, channels):
    shape = (5, 4, channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = str(tmp_path / "a.png")
    images.save_png(path, pixels)
    np.testing.assert_array_equal(load_image(path, shape), pixels)


def test_gif_has_every_frame_and_its_duration(tmp_path):
    frames = [np.full((8, 8, 1), value, np.uint8) for value in (0, 100, 200)]
    images.save_gif(str(tmp_path / "a.gif"), frames, frame_ms=80, hold_ms=500)
    with Image.open(tmp_path / "a.gif") as gif:
        durations = []
        for i, frame in enumerate(frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
            np.testing.assert_array_equal(np.asarray(gif.convert("L")), frame[..., 0])
        assert (gif.n_frames, gif.info["loop"], durations) == (3, 0, [80, 80, 500])


def test_plots_are_pictures(tmp_path):
    curve = images.loss_curve(np.arange(50), np.exp(-np.arange(50)))
    images.save_figure(str(tmp_path / "c.png"), curve)
    grid = np.zeros((2, 3, 8, 8, 1), np.uint8)
    images.save_labelled_grid(
        str(tmp_path / "g.png"), grid, row_labels=["a", "b"], column_labels=["1", "2", "3"]
    )
    for name in ("c.png", "g.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100
            assert np.asarray(picture.convert("L")).std() > 0


@pytest.mark.parametrize(
    ("number", "names"), [(100, ["single steps", "mean of 50 steps"]), (5, ["single steps"])]
)
def test_a_loss_curve_names_its_lines_in_steps(number, names):
    (axis,) = images.loss_curve(10 * np.arange(1, number + 1), np.arange(1.0, number + 1)).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == names
    steps = [*range(0, 10 * number, 10), 10 * number - 1]  # of which the last is always logged
    (axis,) = images.loss_curve(np.array(steps), np.ones(number + 1)).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == names
    (axis,) = images.loss_curve(10 * np.arange(1, number + 1), np.arange(1.0, number + 1)).axes
    if len(names) == 2:  # the first mean is that of the losses 1 to 5, drawn at their last step
        x, y = axis.get_lines()[1].get_data()
        np.testing.assert_allclose((x[0], y[0]), (50, 3))


@pytest.mark.parametrize("side", [8, 28, 32, 60])
def test_small_images_of_a_grid_are_enlarged_pixel_by_pixel(tmp_path, side):
    pixels = np.random.default_rng(0).integers(0, 2, (1, 1, side, side, 1)).astype(np.uint8) * 255
    pixels[..., 0, :, :], pixels[..., :, 0, :], pixels[..., -1, :, :], pixels[..., :, -1, :] = [
        0
    ] * 4
    path = str(tmp_path / "a.png")
    images.save_labelled_grid(path, pixels, row_labels=[""], column_labels=[""])
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"))
    assert set(np.unique(grey)) == {0, 255}  # nothing in between
    rows, columns = (np.flatnonzero((grey == 0).any(axis=axis)) for axis in (1, 0))
    shown = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = len(shown) // side
    expected = pixels[0, 0, ..., 0].repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(shown, expected)
    assert len(shown) >= 64


def test_groups_of_rows_are_set_apart(tmp_path):
    path, pixels = str(tmp_path / "a.png"), np.zeros([6, 2, 8, 8, 1], np.uint8)
    images.save_labelled_grid(
        path, pixels, row_labels=[""] * 6, column_labels=[""] * 2, rows_together=2
    )
    with Image.open(path) as picture:
        black = (np.asarray(picture.convert("L")) < 128).any(axis=1)
    edges = np.flatnonzero(np.diff(black.astype(int)))
    spaces = np.diff(edges)[1::2]  # between the six rows
    assert len(spaces) == 5
    assert min(spaces[1::2]) > 3 * max(spaces[::2])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_caption_stands_above_an_image_that_stays_as_it_is(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, channels), np.uint8)
    first, second = (images.with_caption(pixels, text) for text in ("t=999", "sample"))
    assert first.shape == second.shape == (68, 90, channels) and first.dtype == np.uint8
    np.testing.assert_array_equal(first[28:], pixels)
    assert (first[:28] != second[:28]).any() and first[:28].min() < 100


@pytest.mark.parametrize("words, turned", [(["t=125"] * 2, True), (["a long name", "b"], False)])
def test_long_words_beside_rows_are_not_turned(tmp_path, monkeypatch, words, turned):
    figures = []
    monkeypatch.setattr(images, "save_figure", lambda path, figure: figures.append(figure))
    pixels = np.zeros([2, 1, 8, 8, 1], np.uint8)
    images.save_labelled_grid(str(tmp_path / "a.png"), pixels, row_labels=words, column_labels=[""])
    labels = [axis.yaxis.label for axis in figures[0].axes]
    assert [label.get_text() for label in labels] == words
    assert all((label.get_rotation() == 90) is turned for label in labels)
