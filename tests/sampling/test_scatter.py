"""Pictures of small systems: what they draw, read back from figures and files."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from diffusion_tf.sampling import scatter
from diffusion_tf.utils import images

RNG = np.random.default_rng(0)
REAL = RNG.uniform(-0.5, 0.5, (30, 2))
REAL[0] = [0.5, -0.1]
FRAMES = RNG.normal(0, 1, (3, 20, 2))
BLUE = np.multiply(255, to_rgb(scatter._SAMPLE))


@pytest.fixture
def figures(monkeypatch):
    """The figures that were written."""
    figures, save = [], images.save_figure

    def keep(path, figure):
        figures.append(figure)
        save(path, figure)

    monkeypatch.setattr(images, "save_figure", keep)
    return figures


def clouds(axis):
    """[N, 2] of all that an axis shows, from the back to the front."""
    return [np.transpose(line.get_data()) for line in axis.get_lines()]


def blue_pixels(picture):
    return np.argwhere(np.abs(np.asarray(picture.convert("RGB")) - BLUE).max(axis=-1) < 60)


def test_samples_lie_over_real_points(tmp_path, figures):
    path = tmp_path / "new" / "points.png"
    scatter.save_points(str(path), FRAMES[0], REAL)
    (axis,) = figures[0].axes
    np.testing.assert_array_equal(clouds(axis)[0], REAL)
    np.testing.assert_array_equal(clouds(axis)[1], FRAMES[0])
    assert [line.get_label() for line in axis.get_lines()] == ["real", "samples"]
    real_size, sample_size = (line.get_markersize() for line in axis.get_lines())
    assert real_size > 1.5 * sample_size  # so that a rim of each is to be seen
    assert axis.get_xlim() == axis.get_ylim() and axis.get_aspect() == 1
    assert axis.get_xlim()[1] >= np.abs(FRAMES[0]).max() == -axis.get_xlim()[0] / 1.3
    with Image.open(path) as picture:
        assert min(picture.size) > 400
        assert len(blue_pixels(picture)) > 50


def test_pictures_say_how_many_samples_lie_outside(tmp_path, figures):
    points = np.array([[[0.0, 0.0], [0.5, 0.0]], [[2.0, 0.0], [0.0, -9.0]], [[0.0, 1.0], [1.1, 0]]])
    limits = ((-1.0, 1.0), (-2.0, 2.0))
    scatter.save_panels(str(tmp_path / "p.png"), [points], ["a", "b", "c"], ["p"], limits=limits)
    texts = [[text.get_text() for text in axis.texts] for axis in figures[0].axes]
    assert texts == [[], ["2 outside"], ["1 outside"]]
    scatter.save_points(str(tmp_path / "s.png"), points[1], REAL, limits=(-3.0, 3.0))
    (legend,) = figures[1].legends
    assert [text.get_text() for text in legend.get_texts()] == ["real", "samples, 1 outside"]


def test_panels_have_a_row_for_each_process(tmp_path, figures):
    scatter.save_panels(
        str(tmp_path / "p.png"), [FRAMES, 2 * FRAMES], ["t=0", "t=1", "t=2"], ["q", "p"], real=REAL
    )
    axes = np.array(figures[0].axes).reshape(2, 3)
    for i in range(2):
        for j in range(3):
            real, points = clouds(axes[i, j])
            np.testing.assert_array_equal(real, REAL)
            np.testing.assert_array_equal(points, (i + 1) * FRAMES[j])
    assert [axis.get_title() for axis in axes.flat] == ["t=0", "t=1", "t=2", "", "", ""]
    assert [axis.get_ylabel() for axis in axes.flat] == ["q", "", "", "p", "", ""]
    limits = {axis.get_xlim() + axis.get_ylim() for axis in axes.flat}
    assert limits == {(-1.5, 1.5, -1.5, 1.5)}  # three times 0.5
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 1.2 * picture.height > 300


def test_panels_have_numbers_names_and_a_word_on_what_is_grey(tmp_path, figures):
    limits = [(-1.0, 1.0), (-2.0, 2.0), ((-3.0, 3.0), (-4.0, 5.0))]
    names = scatter.names_of_axes(16)
    scatter.save_panels(
        str(tmp_path / "p.png"), [FRAMES, FRAMES], ["a", "b", "c"], ["q", "p"], real=REAL,
        limits=limits, axis_names=names,
    )  # fmt: skip
    (figure,) = figures
    seen = [(axis.get_xlim(), axis.get_ylim()) for axis in figure.axes]
    assert seen == 2 * [((-1, 1), (-1, 1)), ((-2, 2), (-2, 2)), ((-3, 3), (-4, 5))]
    assert (figure.get_supxlabel(), figure.get_supylabel()) == names
    assert "1st principal component" in names and "real" in str(
        [text.get_text() for text in figure.legends[0].get_texts()]
    )
    for axis in figure.axes[3:]:  # below each column, as each has its own
        assert any(label.get_text() and label.get_visible() for label in axis.get_xticklabels())


def test_names_of_axes():
    assert [scatter.names_of_axes(n) for n in (1, 2)] == [("x", ""), ("x₁", "x₂")]


def test_limits_around_points_hold_all_of_them():
    far = np.array([[-3.0, 0.0], [5.0, 1.0]])
    for each_axis in (False, True):
        x, y = limits = scatter.limits_around(far, REAL, each_axis=each_axis)
        assert scatter.number_outside(np.concatenate([far, REAL]), limits) == 0
        assert np.ptp(x) == pytest.approx(1.1 * 8)
        assert (np.ptp(y) == pytest.approx(np.ptp(x))) is not each_axis
    assert scatter.limits_around(np.ones((3, 2)), each_axis=True) == ((0, 2), (0, 2))


def test_panels_without_real_points_show_all(tmp_path, figures):
    scatter.save_panels(str(tmp_path / "p.png"), [FRAMES], ["a", "b", "c"], [""])
    far = np.abs(FRAMES).max()
    for axis, frame in zip(figures[0].axes, FRAMES, strict=True):
        (points,) = clouds(axis)
        np.testing.assert_array_equal(points, frame)
        assert far < axis.get_xlim()[1] < 1.1 * far


@pytest.mark.parametrize("kind", ["points", "panels"])
def test_limits_can_be_given(tmp_path, figures, kind):
    path, limits = str(tmp_path / "p.png"), (-0.25, 0.75)
    if kind == "points":
        scatter.save_points(path, FRAMES[0], REAL, limits=limits)
    else:
        scatter.save_panels(path, [FRAMES[:1]], ["a"], ["q"], real=REAL, limits=limits)
    assert figures[0].axes[0].get_xlim() == figures[0].axes[0].get_ylim() == limits


def test_many_points_are_small(tmp_path, figures):
    sizes = []
    for number in (100, 10000):
        scatter.save_points(str(tmp_path / "p.png"), np.zeros((number, 2)), REAL)
        sizes.append(figures[-1].axes[0].get_lines()[1].get_markersize())
    assert sizes[0] > 2 * sizes[1] > 0


def test_an_animation_moves_its_points(tmp_path):
    """One point goes from the left to the right, at the same height."""
    frames = np.stack([np.full((1, 2), [x, 0.2]) for x in (-1.0, 0.0, 1.0)])
    scatter.save_animation(
        str(tmp_path / "a.gif"), frames, ["t=2", "t=1", "t=0"], real=REAL, frame_ms=80, hold_ms=900
    )
    places, durations, titles = [], [], []
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3
        for i in range(3):
            gif.seek(i)
            durations.append(gif.info["duration"])
            places.append(blue_pixels(gif).mean(axis=0))
            titles.append(np.asarray(gif.convert("L"))[: gif.height // 14])
            width = gif.width
    assert durations == [80, 80, 900]
    y, x = np.transpose(places)
    np.testing.assert_allclose(y, y[0], atol=0.6)
    # One unit of the axes, which reach from -1.5 to 1.5 in a square of 90% of the picture.
    np.testing.assert_allclose(np.diff(x), 0.9 * width / 3, atol=1)
    assert (titles[0] != titles[1]).any() and (titles[1] != titles[2]).any()


def test_limits_of_an_animation_can_be_given(tmp_path):
    """Of two points, one is in the picture and at its middle."""
    frames = np.array([[[2.0, 2.0], [9.0, 9.0]]] * 2)
    scatter.save_animation(
        str(tmp_path / "a.gif"), frames, ["", ""], real=REAL, frame_ms=80, hold_ms=80, limits=(1, 3)
    )
    with Image.open(tmp_path / "a.gif") as gif:
        places = blue_pixels(gif)
        assert np.ptp(places, axis=0).max() < 10
        np.testing.assert_allclose(places.mean(axis=0)[1], gif.width / 2, atol=1)


def conditions(channels):
    """2 x 3 images of 8x8 pixels, each of one value of its own, and the values."""
    values = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40 + 20
    shape = (2, 3, 8, 8, channels)
    return np.broadcast_to(values[..., None, None, None], shape), values


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_of_conditions_is_enlarged_and_sharp(tmp_path, figures, channels):
    images, values = conditions(channels)
    groups = [("guidance 0", 1), ("guidance 2", 2)]
    scatter.save_conditions_grid(str(tmp_path / "c.png"), images, ["zero", "one"], groups)
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    top, left = np.empty((2, 3), int), np.empty((2, 3), int)
    for (i, j), value in np.ndenumerate(values):
        # Lines with more of the value than letters, whose edges are grey, could have by chance.
        (rows, columns) = (np.flatnonzero((pixels == value).sum(axis=k) > 40) for k in (1, 0))
        top[i, j], left[i, j] = rows[0], columns[0]
        assert (pixels[np.ix_(rows, columns)] == value).all()
        assert (len(rows), len(columns)) == (48, 48)
    np.testing.assert_array_equal(np.diff(top, axis=0), [[52] * 3])  # 48 pixels and 4 between
    np.testing.assert_array_equal(np.diff(left, axis=1), [[72, 52]] * 2)  # 24 between groups
    (axis,) = figures[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["zero", "one"]
    np.testing.assert_allclose(axis.get_yticks(), [24, 76], atol=2)
    middles = {text.get_text(): text.get_position()[0] for text in axis.texts}
    assert middles == {"guidance 0": 24, "guidance 2": 72 + 50}


@pytest.mark.parametrize("labels, groups", [("a", [("g", 3)]), ("ab", [("g", 2)]), ("ab", [])])
def test_a_grid_of_conditions_wants_a_word_for_everything(tmp_path, labels, groups):
    images, _ = conditions(1)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 8, 8, 1\), but there are \d row labels"):
        scatter.save_conditions_grid(str(tmp_path / "c.png"), images, list(labels), groups)
    assert not list(tmp_path.iterdir())


BAD = [np.zeros((4, 3)), np.zeros(2), np.zeros((0, 2))]


@pytest.mark.parametrize("bad", BAD)
def test_points_of_another_shape_are_refused(tmp_path, bad):
    path = str(tmp_path / "p.png")
    with pytest.raises(ValueError, match=r"points have shape .* must be \[N, 2\]"):
        scatter.save_points(path, bad, REAL)
    with pytest.raises(ValueError, match=r"real have shape .* principal components"):
        scatter.save_points(path, REAL, bad)
    with pytest.raises(ValueError, match=r"rows have shape .* must be \[F, N, 2\]"):
        scatter.save_panels(path, [bad[None]], ["a"], ["q"])
    with pytest.raises(ValueError, match=r"frames have shape"):
        scatter.save_animation(path, bad[None], ["a"], real=REAL, frame_ms=1, hold_ms=1)


def test_points_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(ValueError, match="points have values that are not finite"):
        scatter.save_points(str(tmp_path / "p.png"), np.full((1, 2), np.nan), REAL)
    assert not list(tmp_path.iterdir())


def test_a_word_for_each_panel_is_wanted(tmp_path):
    path = str(tmp_path / "p")
    with pytest.raises(ValueError, match=r"1 rows of \[3\] panels, but 1 row labels and 2 titles"):
        scatter.save_panels(path, [FRAMES], ["a", "b"], ["q"])
    with pytest.raises(ValueError, match="2 row labels"):
        scatter.save_panels(path, [FRAMES], ["a", "b", "c"], ["q", "p"])
    with pytest.raises(ValueError, match="There are 3 frames, but 2 labels"):
        scatter.save_animation(path, FRAMES, ["a", "b"], real=REAL, frame_ms=1, hold_ms=1)
