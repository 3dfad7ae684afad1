"""Images that were made by anything: read as they are, and refused where they cannot be images."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.evaluation.image_files import open_images
from diffusion_tf.sample_parts import save_npz

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
    with pytest.raises(ValueError, match=r"a.npz is damaged .*; write it again"):
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
