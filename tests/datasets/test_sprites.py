"""Creatures: drawn from attributes that can be measured again; and arrays that people bring."""

import numpy as np
import pytest

from diffusion_tf.datasets import sprites
from diffusion_tf.datasets.sprites import ATTRIBUTES, draw, load_arrays, random_attributes
from helpers.sprite_attributes import measure

MIDDLE = np.full(5, 0.5)


def column(attribute, values):
    """Attributes in the middle, but for one."""
    rows = np.tile(MIDDLE, (len(values), 1))
    rows[:, ATTRIBUTES.index(attribute)] = values
    return rows


def two(attribute):
    """64 drawings with an attribute at 0, and the same with it at 1, as floats."""
    return (draw(column(attribute, [v] * 64), 0).astype(float) for v in (0.0, 1.0))


def test_drawings_follow_from_attributes_and_seed():
    attributes = random_attributes(6, 0)
    pixels = draw(attributes, 3)
    assert (pixels.shape, pixels.dtype) == ((6, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(pixels, draw(attributes, 3))
    assert (pixels != draw(attributes, 4)).any(axis=(1, 2, 3)).all()
    assert draw(attributes[:0], 0).shape == (0, 16, 16, 3)


def test_a_drawing_does_not_depend_on_its_neighbours(monkeypatch):
    attributes = random_attributes(10, 0)
    pixels = draw(attributes, 3)
    np.testing.assert_array_equal(draw(attributes[:7], 3), pixels[:7])
    monkeypatch.setattr(sprites, "_CHUNK", 3)
    np.testing.assert_array_equal(draw(attributes, 3), pixels)


def test_the_same_attributes_are_drawn_in_many_ways():
    pixels = draw(np.tile(MIDDLE, (32, 1)), 0)
    assert len(np.unique(pixels.reshape(32, -1), axis=0)) == 32


def test_a_warm_body_is_red_and_a_cold_one_blue():
    below_the_eye = np.s_[:, 11:13, 7:9]
    cold, warm = (pixels[below_the_eye].mean(axis=(0, 1, 2)) for pixels in two("warmth"))
    assert cold[2] > 1.5 * cold[0] and warm[0] > 1.5 * warm[2]


def test_a_large_body_has_the_pixels_that_its_radius_says():
    """A superellipse of power 2.6 has an area of 3.42 r^2, of which an ellipse is the eye."""
    for pixels, r in zip(two("size"), (2.7, 4.9), strict=True):
        purple = (pixels[..., 2] - pixels[..., 1] > 70).sum(axis=(1, 2)).mean()
        # Within 15%: pixels at the edge that are purple by less than half are not counted.
        assert purple == pytest.approx(3.42 * r**2 - np.pi * (0.3 * r + 0.4) ** 2, rel=0.15)


def test_a_tall_body_reaches_higher_and_less_far_to_the_sides():
    wide, tall = ((p[..., 2] - p[..., 1] > 70) for p in two("tallness"))
    widths, heights = ([b.any(axis=k).sum(axis=1).mean() for b in (wide, tall)] for k in (1, 2))
    assert widths[0] > 1.3 * widths[1] and heights[1] > 1.3 * heights[0]


def test_the_eye_is_where_the_creature_looks():
    pupil = [(p[:, 5:12].max(axis=-1) < 105) for p in two("look")]
    left, right = (np.average(np.arange(16), weights=p.sum(axis=(0, 1))) for p in pupil)
    assert left < 6.2 and right > 8.8  # the middle is at 7.5


def test_nights_are_dark():
    day, night = (p[:, 0].mean() for p in two("night"))
    assert day > 200 and night < 50


def test_attributes_can_be_measured_from_pixels_alone():
    """Each follows its own attribute and none of the others."""
    true = random_attributes(3000, 10)
    measured = measure(draw(true, 11))
    correlation = np.corrcoef(measured.T, true.T)[:5, 5:]
    assert (correlation.diagonal() > 0.97).all()
    assert np.abs(correlation - np.diag(correlation.diagonal())).max() < 0.1
    np.testing.assert_array_less(np.abs(measured - true).mean(axis=0), 0.08)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_what_is_measured_grows_with_the_attribute(attribute):
    values = np.linspace(0, 1, 6)
    k = ATTRIBUTES.index(attribute)
    means = [measure(draw(column(attribute, [v] * 100), 5))[:, k].mean() for v in values]
    assert (np.diff(means) > 0.08).all()
    assert means[0] < 0.15 and means[-1] > 0.85


def test_measuring_survives_a_little_noise():
    """As of samples: 6 of 255 grey levels."""
    true = random_attributes(1000, 0)
    pixels = draw(true, 0) + np.random.default_rng(0).normal(0, 6, (1000, 16, 16, 3))
    measured = measure(np.clip(pixels, 0, 255).astype(np.uint8))
    assert (np.corrcoef(measured.T, true.T)[:5, 5:].diagonal() > 0.95).all()


def test_what_is_no_creature_has_measures_too():
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    for pixels in (noise, 0 * noise, 0 * noise + 255):
        assert np.isfinite(measure(pixels)).all()


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 3, 5)])
def test_attributes_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[N, 5\]: warmth, size, tallness, look, night"):
        draw(np.zeros(shape), 0)


@pytest.mark.parametrize("value", [-0.1, 1.01, np.nan])
def test_attributes_outside_0_and_1_are_refused(value):
    with pytest.raises(ValueError, match=rf"attributes have {value:g}; each must lie in \[0, 1\]"):
        draw([[0.5, 0.5, value, 0.5, 0.5]], 0)


def test_random_attributes_are_uniform_with_a_share_at_the_ends():
    attributes = random_attributes(20000, 0)
    assert (attributes.shape, attributes.dtype) == ((20000, 5), np.float32)
    corners = np.isin(attributes, (0, 1)).all(axis=1)
    assert abs(corners.mean() - 0.25) < 0.02
    assert not np.isin(attributes[~corners], (0, 1)).any()
    one_hot = corners & (attributes.sum(axis=1) == 1)
    assert len(np.unique(attributes[one_hot], axis=0)) == 5
    np.testing.assert_allclose(attributes[~corners].mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(attributes[~corners].std(axis=0), 12**-0.5, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(attributes.T), np.eye(5), atol=0.04)
    np.testing.assert_array_equal(attributes, random_attributes(20000, 0))
    assert (attributes != random_attributes(20000, 1)).any()


def test_one_seed_serves_attributes_and_drawing():
    """The place of a creature does not follow from its attributes."""
    attributes = np.full((500, 5), 0.5)
    purple = draw(attributes, 7).astype(float)
    purple = purple[..., 2] - purple[..., 1] > 70
    x = (purple * np.arange(16)).sum(axis=(1, 2)) / purple.sum(axis=(1, 2))
    correlation = np.corrcoef(x, random_attributes(500, 7).T)[0, 1:]
    assert x.std() > 0.2 and np.abs(correlation).max() < 0.2


# Arrays from a folder ---------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
VECTORS = np.eye(5)[:4]


def fill(folder, images=IMAGES, vectors=VECTORS, names=("images", "vectors")):
    for name, array in zip(names, (images, vectors), strict=True):
        np.save(folder / f"{name}.npy", array)
    return str(folder)


@pytest.mark.parametrize(
    "names",
    [
        ("images", "vectors"),
        ("sprites_1788_16x16", "sprite_labels_nc_1788_16x16"),
        ("my_Sprites", "sprites_context"),
    ],
)
def test_arrays_are_found_by_their_names(tmp_path, names):
    fill(tmp_path, names=names)
    np.save(tmp_path / "notes.npy", np.zeros(3))
    images, vectors = load_arrays(str(tmp_path))
    assert isinstance(images, np.memmap) and vectors.dtype == np.float32
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(vectors, VECTORS)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder .*nothing; check --data_dir"):
        load_arrays(str(tmp_path / "nothing"))


@pytest.mark.parametrize("missing", ["images", "vectors"])
def test_a_missing_array_is_named(tmp_path, missing):
    fill(tmp_path)
    (tmp_path / f"{missing}.npy").unlink()
    with pytest.raises(FileNotFoundError, match=f"holds no {missing}; put images.npy .* there"):
        load_arrays(str(tmp_path))


def test_several_arrays_that_fit_are_named(tmp_path):
    fill(tmp_path)
    np.save(tmp_path / "sprites.npy", IMAGES)
    with pytest.raises(ValueError, match=r"several arrays of images \(images.npy, sprites.npy\)"):
        load_arrays(str(tmp_path))


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"images": IMAGES / 255}, r"images.npy has dtype float64 .* must be uint8"),
        ({"images": IMAGES[0]}, r"images.npy has .* shape \(16, 16, 3\); .*\[N, H, W, 3\]"),
        ({"images": IMAGES[..., :2]}, r"shape \(4, 16, 16, 2\)"),
        ({"images": IMAGES[:3]}, "images.npy has 3 rows and .*vectors.npy has 4"),
        ({"vectors": VECTORS[0]}, r"vectors.npy has shape \(5,\); it must be \[N, D\]"),
        ({"vectors": VECTORS.astype(str)}, "vectors.npy has dtype <U.*real numbers"),
        (
            {"vectors": VECTORS * [1, 1, 1, 1, np.nan]},
            "vectors.npy .* in 4 of 4 rows, the first at",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        load_arrays(fill(tmp_path, **bad))


@pytest.mark.parametrize("name", ["images", "vectors"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "npz", "objects"])
def test_a_file_that_is_no_npy_is_named(tmp_path, name, damage):
    fill(tmp_path)
    path = tmp_path / f"{name}.npy"
    if damage == "npz":
        with path.open("wb") as file:
            np.savez(file, a=VECTORS)
    elif damage == "objects":
        np.save(path, np.array([[None]], object), allow_pickle=True)
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"no array", "truncated": whole[:150]}[damage])
    with pytest.raises(
        ValueError, match=f"{name}.npy cannot be read as .npy .*numpy.save"
    ) as error:
        load_arrays(str(tmp_path))
    assert str(error.value).count("\n") == 0
