"""Image files of many kinds: one reader, whatever they are read for."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_images
from diffusion_tf.utils import image_reading, images

TURNS = {  # by the EXIF tag: what a viewer does to the stored pixels
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}
GREY = np.random.default_rng(0).integers(0, 256, (6, 4), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 4, 3), np.uint8)


def grey_images():
    """The same grey picture in every mode that can hold it."""
    grey = Image.fromarray(GREY)
    clear = Image.new("L", grey.size, 9)
    palette = grey.copy().convert("P")
    see_through = palette.copy()
    see_through.info["transparency"] = 0
    return {
        "L": grey,
        "LA": Image.merge("LA", [grey, clear]),
        "P": palette,
        "P, transparent": see_through,
        "RGB": grey.convert("RGB"),
        "RGBA": Image.merge("RGBA", [grey, grey, grey, clear]),
        "CMYK": Image.merge("CMYK", [Image.fromarray(255 - GREY)] * 3 + [Image.new("L", (4, 6))]),
        "I;16": Image.fromarray(GREY.astype(np.uint16) * 257),
    }


def save(path, image, tag=1, ending=None):
    """Writes it as PNG, or TIFF where that does not have the mode, with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = tag
    path = path.with_suffix(ending or (".tif" if image.mode == "CMYK" else ".png"))
    image.save(path, exif=exif)
    return str(path)


@pytest.mark.parametrize("name", grey_images())
@pytest.mark.parametrize("read", [image_reading.read_image, image_reading.load_image])
def test_a_grey_picture_is_the_same_in_every_mode(tmp_path, read, name):
    path = save(tmp_path / "a", grey_images()[name])
    np.testing.assert_array_equal(read(path, (6, 4, 1)), GREY[..., None])
    np.testing.assert_array_equal(read(path, (6, 4, 3)), np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize("tag", TURNS)
@pytest.mark.parametrize("read", [image_reading.read_image, image_reading.load_image])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_every_reader_turns_a_picture_as_its_exif_says(tmp_path, ending, read, tag):
    paths = [str(tmp_path / f"{name}.{ending}") for name in ("plain", "tagged")]
    exif = Image.Exif()
    exif[0x0112] = tag
    how = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(COLOUR).save(paths[0], **how)
    Image.fromarray(COLOUR).save(paths[1], exif=exif, **how)
    expected = TURNS[tag](image_reading.load_image(paths[0], (6, 4, 3)))
    np.testing.assert_array_equal(read(paths[1], expected.shape), expected)
    assert image_reading.size_of(paths[1]) == expected.shape[:2]


@pytest.mark.parametrize("name", ["1", *grey_images()])
@pytest.mark.parametrize("tag", [5, 6])
@pytest.mark.parametrize("ending", [None, ".tif"])
def test_every_mode_is_turned(tmp_path, ending, tag, name):
    image = {"1": Image.fromarray(GREY > 127), **grey_images()}[name]
    plain = image_reading.load_image(save(tmp_path / "a", image, 1, ending), (6, 4, 1))
    turned = image_reading.load_image(save(tmp_path / "b", image, tag, ending), (4, 6, 1))
    np.testing.assert_array_equal(turned, TURNS[tag](plain))


def test_mixtures_are_made_of_turned_pictures(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    path = save(tmp_path / "a", Image.fromarray(pixels), tag=6)
    (ours,) = get_images(get_config("digits"), [path])
    np.testing.assert_array_equal(ours[..., 0], np.rot90(pixels, -1))


@pytest.mark.parametrize("read", [image_reading.read_image, image_reading.load_image])
def test_of_an_animation_the_first_frame_counts(tmp_path, read):
    frames = [np.full((8, 8, 1), value, np.uint8) for value in (40, 200)]
    images.save_gif(str(tmp_path / "a.gif"), frames, frame_ms=80, hold_ms=500)
    np.testing.assert_array_equal(read(str(tmp_path / "a.gif"), (8, 8, 1)), frames[0])


@pytest.mark.parametrize(
    "mode, channels", [("L", 1), ("1", 1), ("LA", 1), ("I;16", 1), ("P", 3), ("RGB", 3)]
)
def test_the_channels_of_a_header(tmp_path, mode, channels):
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    assert image_reading.channels_of(str(tmp_path / "a.png")) == channels


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image .*nothing.png"):
        image_reading.load_image(str(tmp_path / "nothing.png"), (8, 8, 1))


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"a.png cannot be read as an image"):
        image_reading.load_image(str(tmp_path / "a.png"), (8, 8, 1))


def test_a_truncated_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    images.save_png(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a.png cannot be read as an image"):
        image_reading.load_image(str(path), (64, 64, 3))


def test_pixels_of_16_bits_keep_their_brightness(tmp_path):
    Image.new("I;16", (8, 8), 70 * 257).save(tmp_path / "a.png")
    pixels = image_reading.load_image(str(tmp_path / "a.png"), (8, 8, 1))
    np.testing.assert_array_equal(pixels, np.full((8, 8, 1), 70))


def test_an_image_of_another_size_is_refused(tmp_path):
    path = str(tmp_path / "a.png")
    images.save_png(path, np.zeros((10, 12, 1), np.uint8))
    with pytest.raises(ValueError, match="12x10 pixels, not 8x8; crop and resize"):
        image_reading.load_image(path, (8, 8, 1))


def png(width, height):
    """A PNG of one bit, black, that is small whatever its size."""
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + (width + 7) // 8)
    data = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
        for name, d in chunks
    )


READERS = {
    "read": lambda path: image_reading.read_image(path, (8, 8, 1)),
    "load": lambda path: image_reading.load_image(path, (8, 8, 1)),
    "size": image_reading.size_of,
    "channels": image_reading.channels_of,
}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
BAD = {
    "bomb": (png(30_000, 30_000), "decompression bomb"),
    "one pixel too many": (png(2**14, 2**13 + 1), "it has 16384x8193 pixels, and at most 134,217"),
    "eps": (EPS, "not an image that Pillow knows"),
    "text": (b"hello", "not an image that Pillow knows"),
    "nothing": (b"", "not an image that Pillow knows"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_to_be_decoded_is_refused_by_every_reader(tmp_path, reader, name):
    data, message = BAD[name]
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=message) as refused:
        READERS[reader](str(tmp_path / "a.png"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_not_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="is a named pipe; name a regular file"):
        READERS[reader](str(tmp_path / "a.png"))


def test_an_image_of_another_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(9000, 6000))
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(ValueError, match="9000x6000 pixels, not 8x6; crop and resize it first"):
        image_reading.load_image(str(tmp_path / "a.png"), (6, 8, 1))


@pytest.mark.parametrize("number", [100, 1500])
def test_progressive_scans_are_counted(tmp_path, number):
    Image.new("L", (2000, 1500), 90).save(tmp_path / "a.jpg", progressive=True)
    data = (tmp_path / "a.jpg").read_bytes()
    last = data[data.rfind(b"\xff\xc4") : -2]  # its table and its data
    (tmp_path / "a.jpg").write_bytes(data[:-2] + last * number + data[-2:])
    if number == 100:
        assert np.ptp(image_reading.read_image(str(tmp_path / "a.jpg"), (8, 8, 1))) == 0
        return
    with pytest.raises(ValueError, match=r"a.jpg .*2000x1500 pixels in 150\d scans"):
        image_reading.size_of(str(tmp_path / "a.jpg"))


def test_a_large_photograph_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png(9000, 6000))
    pixels = image_reading.read_image(str(tmp_path / "a.png"), (8, 8, 3))
    np.testing.assert_array_equal(pixels, np.zeros((8, 8, 3), np.uint8))
