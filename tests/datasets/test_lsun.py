"""LSUN: TFRecords with the content that StyleGAN2's dataset_tool.py gives them."""

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset, get_images

CONFIG = get_config("digits", dataset="lsun", image_size=4, channels=3)


def write(path, images, shape=None):
    """Writes uint8 [N, H, W, C] the way `TFRecordExporter.add_image` does: channels first."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            quant = image.transpose(2, 0, 1)
            feature = {
                "shape": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=shape or quant.shape)
                ),
                "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[quant.tobytes()])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return path


@pytest.fixture
def pixels():
    """Six images without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    write(tmp_path / "church-r02.tfrecords", pixels)
    write(tmp_path / "church-r01.tfrecords", pixels[:, ::2, ::2])
    return tmp_path


@pytest.mark.parametrize("name", ["", "church-r02.tfrecords"])
def test_images_come_back_with_channels_last(folder, pixels, name):
    dataset = get_dataset(CONFIG, str(folder / name))
    assert (len(dataset), dataset.example_shape) == (6, (4, 4, 3))
    np.testing.assert_array_equal([dataset.example(i) for i in range(6)], pixels)
    np.testing.assert_array_equal(np.concatenate(list(dataset.batches(4))), pixels)
    np.testing.assert_array_equal(get_images(CONFIG, ["5"], str(folder / name))[0], pixels[5])
    for batch in dataset.train_batches(6, seed=0).take(1):
        assert sorted(image.tobytes() for image in batch.numpy()) == sorted(
            image.tobytes() for image in pixels
        )


def test_without_data_dir_it_says_what_to_pass():
    with pytest.raises(ValueError, match="lsun needs --data_dir"):
        get_dataset(CONFIG)


def test_a_folder_with_none_or_several_files_says_what_is_there(folder, pixels):
    with pytest.raises(FileNotFoundError, match="no file or folder .*nothing; pass"):
        get_dataset(CONFIG, str(folder / "nothing"))
    with pytest.raises(
        FileNotFoundError, match=r"no files \*-r03.tfrecords .*8x8 .*church-r01.tfrecords, church"
    ):
        get_dataset(get_config("digits", dataset="lsun", channels=3), str(folder))
    write(folder / "bedroom-r02.tfrecords", pixels)
    with pytest.raises(ValueError, match=r"2 files \*-r02.tfrecords.*bedroom.*pass one file"):
        get_dataset(CONFIG, str(folder))


def test_images_that_are_not_square(tmp_path, pixels):
    config = get_config(
        "digits", dataset="lsun", image_size=(2, 4), channels=3, attn_resolutions=()
    )
    write(tmp_path / "wide-r02.tfrecords", pixels[:, :2])
    dataset = get_dataset(config, str(tmp_path))
    np.testing.assert_array_equal([dataset.example(i) for i in range(6)], pixels[:, :2])
    write(tmp_path / "wide-r02.tfrecords", pixels[:, :, :2])
    with pytest.raises(ValueError, match="an image of 4x2 .* config says image_size 2x4 and"):
        get_dataset(config, str(tmp_path))


def test_another_resolution_is_refused_by_name(folder):
    with pytest.raises(
        ValueError, match=r"church-r01.tfrecords, record 0 .*2x2 with 3 .*image_size 4"
    ):
        get_dataset(CONFIG, str(folder / "church-r01.tfrecords"))


def test_records_of_another_kind_are_refused_by_name(tmp_path, pixels):
    path = str(write(tmp_path / "a-r02.tfrecords", pixels, shape=(3, 4, 5)))
    with pytest.raises(ValueError, match=r"a-r02.*record 0.*\[3, 4, 5\] and 48 bytes"):
        get_dataset(CONFIG, path)
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"neither example nor image")
    with pytest.raises(ValueError, match=r"a-r02.*record 0.*no tf.train.Example"):
        get_dataset(CONFIG, path)


def test_a_damaged_record_reaches_the_training_loop_in_one_sentence(folder):
    path = folder / "church-r02.tfrecords"
    content = bytearray(path.read_bytes())
    content[len(content) // 6 * 3 + 30] ^= 1  # within the fourth of six equal records
    path.write_bytes(content)
    dataset = get_dataset(CONFIG, str(path))
    message = r"^\S+church-r02.tfrecords is .*: record 3 at byte \d+: the checksum .* restore it.$"
    with pytest.raises(ValueError, match=message), dataset.original_errors():
        list(dataset.train_batches(2, seed=0).take(3))
