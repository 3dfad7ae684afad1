"""A folder of images: real files of many kinds, good and bad."""

import dataclasses
import os

import h5py
import numpy as np
import pytest
from absl import logging
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.datasets import InMemory, RandomAccess, folder, get_dataset, get_images
from diffusion_tf.utils.image_reading import find_images

RGB = get_config("digits", dataset="folder", image_size=8, channels=3)
GREY = get_config("digits", dataset="folder", image_size=8)


def save(path, pixels, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **kwargs)
    return path


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def only(config, path):
    """The one image of a folder, uint8 [H, W, C]."""
    dataset = get_dataset(config, str(path.parent))
    assert len(dataset) == 1
    return dataset.example(0)


@pytest.fixture
def few(tmp_path):
    """Three 8x8 images in two folders, and files that are none; returns folder and pixels."""
    pixels = noise(0, 3, 8, 8, 3)
    save(tmp_path / "b.png", pixels[2])
    save(tmp_path / "a" / "z.BMP", pixels[1])
    save(tmp_path / "a" / "b" / "c.png", pixels[0])
    save(tmp_path / ".hidden.png", pixels[0])
    save(tmp_path / ".hidden" / "d.png", pixels[0])
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path, pixels


def write_other_files(path):
    """Files that Pillow has a name for and no pixels, as their own programs write them."""
    with h5py.File(path / "weights.h5", "w") as file:
        file["kernel"] = np.zeros((8, 8))
    save(path / "drawing.eps", noise(2, 8, 8, 3))
    fits = b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80)
    beginnings = {
        "FILM.MPG": b"\0\0\1\xb3" + bytes(60),
        "letter.wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "letter.emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60),
        "weather.grib": b"GRIB\0\0\0\1" + bytes(60),
        "weather.bufr": b"BUFR" + bytes(60),
        "stars.fits": (fits + b"NAXIS   =                    0".ljust(80) + b"END").ljust(2880),
    }
    for name, data in beginnings.items():
        (path / name).write_bytes(data)
    return ["weights.h5", "drawing.eps", *beginnings]


@pytest.mark.parametrize("image_size", [8, (8, 12), (12, 8)])
@pytest.mark.parametrize("size", [(40, 40), (7, 90), (3, 2)])
def test_an_image_by_its_name_is_cropped_and_resized_as_in_training(tmp_path, size, image_size):
    config = dataclasses.replace(RGB, image_size=image_size, attn_resolutions=())
    path = save(tmp_path / "photo.png", noise(3, *size, 3))
    (by_name,) = get_images(config, [str(path)])
    np.testing.assert_array_equal(by_name, only(config, path))


def test_of_a_wide_photograph_a_wide_image_keeps_all(tmp_path):
    wide = dataclasses.replace(RGB, image_size=(8, 16), attn_resolutions=())
    photo = np.zeros((32, 64, 3), np.uint8)
    photo[:, :16] = 255  # a quarter, that a square loses
    path = save(tmp_path / "photo.png", photo)
    assert only(wide, path)[:, :3].min() > 240
    assert only(RGB, path).max() < 30  # the edge shines through


def test_files_that_pillow_has_only_a_name_for_are_not_images(few):
    path, _ = few
    names = write_other_files(path)
    assert len(get_dataset(RGB, str(path))) == 3
    for name in names:
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            get_images(RGB, [str(path / name)])
        (path / name).rename(path / f"{name}.png")  # nor under another name
        with pytest.raises(ValueError, match="1 of 4 images .*not an image that Pillow knows"):
            get_dataset(RGB, str(path))
        (path / f"{name}.png").unlink()


@pytest.fixture
def damaged(few):
    """The same with a text that calls itself PNG and half a JPEG."""
    path, pixels = few
    (path / "a" / "text.png").write_text("no image at all")
    jpeg = save(path / "half.jpg", noise(1, 64, 64, 3))
    jpeg.write_bytes(jpeg.read_bytes()[:1500])
    return path, pixels


@pytest.fixture
def warnings(monkeypatch):
    """Collects the warnings of absl.logging."""
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


@pytest.mark.parametrize("limit, kind", [(576, InMemory), (575, RandomAccess)])
def test_images_below_a_folder_in_the_order_of_their_names(few, monkeypatch, limit, kind):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", limit)  # three images of 8 * 8 * 3 bytes: 576
    path, pixels = few
    dataset = get_dataset(RGB, str(path))
    assert isinstance(dataset, kind)
    np.testing.assert_array_equal([dataset.example(i) for i in range(3)], pixels)
    np.testing.assert_array_equal(np.concatenate(list(dataset.batches(2))), pixels)
    in_memory = InMemory(pixels).train_batches(2, seed=7, first_step=5)
    for ours, theirs in zip(
        dataset.train_batches(2, seed=7, first_step=5).take(4), in_memory.take(4), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(get_images(RGB, ["1"], str(path))[0], pixels[1])


def test_other_files_are_counted(few):
    paths, num_ignored = find_images(str(few[0]))
    assert [os.path.relpath(path, few[0]) for path in paths] == ["a/b/c.png", "a/z.BMP", "b.png"]
    assert num_ignored == 1


def test_links_are_followed_but_not_in_circles(few, tmp_path_factory):
    path, _ = few
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "e.png", noise(2, 8, 8, 3))
    os.symlink(elsewhere, path / "link")
    os.symlink(path, path / "circle")
    paths, _ = find_images(str(path))
    names = [os.path.basename(p) for p in paths]
    assert sorted(names) == ["b.png", "c.png", "e.png", "z.BMP"]


def test_the_middle_of_an_oblong_image_is_cropped_out(tmp_path):
    pixels = noise(3, 8, 14, 3)  # the middle 8 of 14 columns: 3..10
    np.testing.assert_array_equal(only(RGB, save(tmp_path / "a.png", pixels)), pixels[:, 3:11])


def test_an_upright_image_is_cropped_then_made_smaller(tmp_path):
    # Of 24 rows the 4 outer ones at each end are cropped away. Lanczos reaches 6 pixels far when it
    # halves, so some of them shine through at the edges, and nothing of them in the middle.
    parts = [np.full((4, 16), 255), np.full((16, 16), 90), np.full((4, 16), 255)]
    image = only(GREY, save(tmp_path / "a.png", np.concatenate(parts))).astype(int)
    assert (image[3:5] == 90).all()
    assert abs(image - 90).max() < 15


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    pixels = noise(4, 8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    path = save(tmp_path / "a.png", pixels, exif=exif)
    np.testing.assert_array_equal(only(RGB, path), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    "mode, value, grey, rgb",
    [
        ("L", 70, 70, (70, 70, 70)),
        ("1", 1, 255, (255, 255, 255)),
        ("LA", (70, 9), 70, (70, 70, 70)),
        ("RGB", (255, 0, 0), 76, (255, 0, 0)),  # 0.299 * 255
        ("RGBA", (0, 255, 0, 9), 150, (0, 255, 0)),  # 0.587 * 255
        ("P", (0, 0, 255), 29, (0, 0, 255)),  # 0.114 * 255
        ("I;16", 70 * 257, 70, (70, 70, 70)),  # 16 bits
    ],
)
def test_colours_are_converted(tmp_path, mode, value, grey, rgb):
    path = tmp_path / "a.png"
    if mode == "P":
        Image.new("RGB", (8, 8), value).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    else:
        Image.new(mode, (8, 8), value).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
    np.testing.assert_array_equal(only(GREY, path), np.full((8, 8, 1), grey))
    np.testing.assert_array_equal(only(RGB, path), np.tile(np.uint8(rgb), (8, 8, 1)))


def test_unreadable_images_are_refused_by_name(damaged):
    path, _ = damaged
    with pytest.raises(ValueError) as refused:
        get_dataset(RGB, str(path))
    message = str(refused.value)
    assert message.startswith(f"2 of 5 images in {path} cannot be read: {path}/a/text.png (not an")
    assert f"{path}/half.jpg (image file is truncated" in message
    assert message.endswith("or pass --unreadable=skip to train without them.")


def test_pixels_of_32_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"1 of 1 .*a.tif \(it has 32-bit pixels \(mode F\)"):
        get_dataset(GREY, str(tmp_path))


@pytest.mark.parametrize("limit", [10**6, 0], ids=["in memory", "random access"])
def test_unreadable_images_are_skipped_with_a_warning(damaged, monkeypatch, warnings, limit):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", limit)
    path, pixels = damaged
    config = get_config("digits", dataset="folder", channels=3, unreadable="skip")
    dataset = get_dataset(config, str(path))
    np.testing.assert_array_equal(np.concatenate(list(dataset.batches(3))), pixels)
    (warning,) = warnings
    assert warning.startswith(f"2 of 5 images in {path} cannot be read and are skipped")
    assert "text.png" in warning and "half.jpg" in warning


def test_long_lists_of_unreadable_images_are_cut(tmp_path):
    for i in range(7):
        (tmp_path / f"{i}.png").write_text("no image")
    with pytest.raises(ValueError, match=r"7 of 7 .*4.png \(not an image.*\) and 2 more; repair"):
        get_dataset(RGB, str(tmp_path))
    config = get_config("digits", dataset="folder", channels=3, unreadable="skip")
    with pytest.raises(ValueError, match=r"7 of 7 .* cannot be read.*replace them"):
        get_dataset(config, str(tmp_path))


def test_an_image_that_vanishes_while_training_is_named(few, monkeypatch):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 0)
    path, _ = few
    dataset = get_dataset(RGB, str(path))
    (path / "b.png").unlink()
    message = "^.*b.png could be read when training started, and no longer can .*restore it"
    with pytest.raises(ValueError, match=message), dataset.original_errors():
        list(dataset.train_batches(3, seed=0).take(1))


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="folder needs --data_dir"):
        get_dataset(RGB)
    with pytest.raises(FileNotFoundError, match="no folder .*nothing"):
        get_dataset(RGB, str(tmp_path / "nothing"))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="holds no image, only 1 files of other kinds"):
        get_dataset(RGB, str(tmp_path))
    with pytest.raises(ValueError, match="notes.txt is not a folder"):
        get_dataset(RGB, str(tmp_path / "notes.txt"))
