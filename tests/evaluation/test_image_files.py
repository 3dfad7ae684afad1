"""Images that were made by anything: read as they are, and refused where they cannot be images."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.evaluation.image_files import open_images
from diffusion_tf.sampling.parts import save_npz

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)


def read_all(path, batch_size=3):
    batches = list(open_images(path).batches(batch_size))
    assert [len(b) for b in batches] == [3, 3, 1]
    return np.concatenate(batches)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., :1], PIXELS / np.float32(127.5) - 1])
def test_arrays_that_numpy_wrote(tmp_path, save, pixels):
    save(tmp_path / "a.npz", pixels)
    images = open_images(tmp_path / "a.npz")
    assert (images.shape, images.dtype) == (pixels.shape, pixels.dtype)
    np.testing.assert_array_equal(read_all(tmp_path / "a.npz"), pixels)


def test_the_array_may_have_company_or_another_name(tmp_path):
    np.savez(tmp_path / "labelled.npz", arr_0=PIXELS, arr_1=np.arange(7))  # as guided-diffusion
    np.testing.assert_array_equal(read_all(tmp_path / "labelled.npz"), PIXELS)
    np.savez(tmp_path / "named.npz", samples=PIXELS)
    np.testing.assert_array_equal(read_all(tmp_path / "named.npz"), PIXELS)
    np.savez(tmp_path / "several.npz", a=PIXELS, b=PIXELS)
    with pytest.raises(ValueError, match="its arrays are a, b, and it must hold one, arr_0"):
        open_images(tmp_path / "several.npz")


def test_what_sample_py_writes(tmp_path):
    save_npz(tmp_path / "s.npz", iter([PIXELS[:4], PIXELS[4:]]), PIXELS.shape, PIXELS.dtype)
    np.testing.assert_array_equal(read_all(tmp_path / "s.npz"), PIXELS)


def test_a_folder_in_the_order_of_its_names(tmp_path):
    for i in (3, 0, 6, 1, 5, 2, 4):
        Image.fromarray(PIXELS[i]).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    images = open_images(tmp_path)
    assert (images.shape, images.dtype) == (PIXELS.shape, np.uint8)
    np.testing.assert_array_equal(read_all(tmp_path), PIXELS)


def test_a_folder_of_grey_images(tmp_path):
    Image.fromarray(PIXELS[0, ..., 0]).save(tmp_path / "0.png")
    images = open_images(tmp_path)
    assert images.shape == (1, 4, 5, 1)
    np.testing.assert_array_equal(next(images.batches(2)), PIXELS[:1, ..., :1])


GREY_AS = {
    "RGB": lambda image: image.convert("RGB"),
    "palette": lambda image: image.convert("P"),
    "LA": lambda image: image.convert("LA"),
    "RGBA": lambda image: image.convert("RGBA"),
}


@pytest.mark.parametrize("convert", GREY_AS.values(), ids=GREY_AS)
def test_grey_images_in_other_modes_are_grey_where_a_config_says_so(tmp_path, convert):
    for i in range(7):
        convert(Image.fromarray(PIXELS[i, ..., 0])).save(tmp_path / f"{i}.png")
    images = open_images(tmp_path, channels=1)
    assert images.shape == (7, 4, 5, 1)
    np.testing.assert_array_equal(np.concatenate(list(images.batches(3))), PIXELS[..., :1])


@pytest.mark.parametrize("channels", [3, None])
def test_a_colour_folder_may_begin_with_a_grey_image(tmp_path, channels):
    Image.fromarray(PIXELS[0, ..., 0]).save(tmp_path / "0.png")
    Image.fromarray(PIXELS[1]).save(tmp_path / "1.png")
    images = open_images(tmp_path, channels=channels)
    assert images.shape == (2, 4, 5, 3)
    first, second = next(images.batches(2))
    np.testing.assert_array_equal(first, np.stack([PIXELS[0, ..., 0]] * 3, axis=-1))
    np.testing.assert_array_equal(second, PIXELS[1])


def test_images_are_turned_as_their_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0]).save(tmp_path / "0.png", exif=exif)
    images = open_images(tmp_path)
    assert images.shape == (1, 5, 4, 3)
    np.testing.assert_array_equal(next(images.batches(1))[0], np.rot90(PIXELS[0], -1))


def test_images_of_several_sizes(tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "0.png")
    Image.fromarray(PIXELS[1, :, :3]).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="1.png has 3x4 pixels, not 5x4"):
        list(open_images(tmp_path).batches(2))


class Trap:
    """Whoever unpickles it is caught."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize(
    "array, message",
    [
        (np.array([Trap()], dtype=object), "holds Python objects, which are not unpickled"),
        (PIXELS.astype(np.int32), "holds int32 of shape"),
        (PIXELS.astype(bool), "holds bool of shape"),
        (PIXELS[0], r"of shape \(4, 5, 3\); images are"),
        (PIXELS[..., :2], r"of shape \(7, 4, 5, 2\); images are"),
        (PIXELS[:0], r"of shape \(0, 4, 5, 3\); images are"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, array, message):
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(ValueError, match=message):
        open_images(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "value, message",
    [(255.0, "floats from .* to 255; images are"), (np.nan, "pixels that are not finite")],
)
def test_floats_that_are_no_pixels(tmp_path, value, message):
    pixels = np.zeros((2, 4, 4, 1), np.float32)
    pixels[1, 2, 2] = value
    np.savez(tmp_path / "a.npz", pixels)
    with pytest.raises(ValueError, match=message):
        list(open_images(tmp_path / "a.npz").batches(2))


UNIT = (PIXELS / 255).astype(np.float32)  # in [0, 1]
BRIGHT = UNIT.copy()
BRIGHT[-1, 0, 0, 0] = -0.9  # the one dark number of [-1, 1] is in the last batch


def save_floats(path, array):
    np.savez(path / "a.npz", array)
    return path / "a.npz"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "floats",
    [UNIT, UNIT * 0.5 + 0.5, UNIT * 1.1 - 0.05, UNIT - 0.5, np.zeros_like(UNIT)],
    ids=["unit", "bright", "unit, not clipped", "halves", "constant"],
)
def test_a_set_that_may_mean_two_ranges_is_refused(tmp_path, floats, dtype):
    path = save_floats(tmp_path, floats.astype(dtype))
    with pytest.raises(ValueError, match=r"\[0, 1\], or.*\[-1, 1\].*--range=0,1 or --range=-1,1"):
        next(open_images(path).batches(3))


def test_the_whole_set_is_judged_and_not_a_batch(tmp_path):
    path = save_floats(tmp_path, BRIGHT)
    assert open_images(path).range == (-1, 1)
    np.testing.assert_array_equal(read_all(path), BRIGHT)
    damaged = BRIGHT.copy()
    damaged[-1, 1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        next(open_images(save_floats(tmp_path, damaged)).batches(3))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("black, white", [(0, 1), (-1, 1), (0, 255), (-0.5, 0.5), (0, 60000)])
def test_a_range_that_is_said(tmp_path, dtype, black, white):
    expected = PIXELS.astype(np.float64) / 127.5 - 1
    floats = black + (expected + 1) / 2 * (white - black)
    path = save_floats(tmp_path, floats.astype(dtype))
    images = open_images(path, value_range=(black, white))
    assert images.range == (black, white)
    batches = np.concatenate(list(images.batches(3)))
    atol = 2e-3 if dtype == "<f2" else 1e-6
    np.testing.assert_allclose(batches, expected, atol=atol)


@pytest.mark.parametrize("value_range", [(-1, 1), (0, 1), (0, 255)])
def test_bright_sets_are_what_is_said(tmp_path, value_range):
    images = open_images(save_floats(tmp_path, UNIT), value_range=value_range)
    black, white = value_range
    expected = (UNIT - black) * (2 / (white - black)) - 1
    np.testing.assert_allclose(next(images.batches(7)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "array, value_range, message",
    [
        (UNIT * 2 - 1, (0, 1), r"floats from -1 to 1; images are uint8, or floats in \[0, 1\]"),
        (UNIT * 255, (0, 1), "floats from 0 to 255; images are"),
        (UNIT * 255, None, "floats from 0 to 255; .* unless --range says the numbers of black"),
        (PIXELS, (0, 1), "holds 8 bits, from 0 to 255, not --range=0,1; leave --range out"),
        (PIXELS > 127, None, "holds bool"),
        ((PIXELS > 127).astype(np.uint8), None, "8 bits that are 0 and 1 alone, both of them bla"),
    ],
)
def test_ranges_that_cannot_be(tmp_path, array, value_range, message):
    with pytest.raises(ValueError, match=message):
        list(open_images(save_floats(tmp_path, array), value_range=value_range).batches(3))


def test_floats_may_leave_their_range_a_little(tmp_path):
    floats = PIXELS / np.float32(100) - 1.25
    np.testing.assert_array_equal(read_all(save_floats(tmp_path, floats)), floats)


def test_other_images_have_another_fingerprint(tmp_path):
    prints = [open_images(save_floats(tmp_path, p)).fingerprint for p in (PIXELS, PIXELS[::-1])]
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    prints.append(open_images(tmp_path).fingerprint)
    assert open_images(tmp_path).fingerprint == prints[-1]
    Image.fromarray(PIXELS[0]).save(tmp_path / "6.png")
    prints.append(open_images(tmp_path).fingerprint)
    assert len(set(prints)) == 4


def test_damaged_files(tmp_path):
    (tmp_path / "no.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"no.npz cannot be read as images .*; write it again"):
        open_images(tmp_path / "no.npz")
    (tmp_path / "no.png").write_bytes(b"no png")
    with pytest.raises(ValueError, match="no.png cannot be read as an image"):
        open_images(tmp_path)
    np.savez(tmp_path / "a.npz", PIXELS.repeat(100, axis=0))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[30_000] ^= 1  # a pixel; the checksum of the archive tells
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.npz is damaged .*; write it again"):
        list(open_images(tmp_path / "a.npz").batches(3))


def test_an_array_that_ends_too_early(tmp_path):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "|u1", "fortran_order": False, "shape": PIXELS.shape}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", member.getvalue() + PIXELS[:5].tobytes())
    with pytest.raises(ValueError, match=r"header claims 420 bytes, and there are 300\); write it"):
        list(open_images(tmp_path / "a.npz").batches(3))


def test_columns_first(tmp_path):
    np.savez(tmp_path / "a.npz", np.asfortranarray(PIXELS))
    with pytest.raises(ValueError, match="stored column by column"):
        open_images(tmp_path / "a.npz")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder .*none; check --images"):
        open_images(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no image"):
        open_images(tmp_path)
