"""CelebA-HQ and CIFAR-10 as tensorflow_datasets itself prepares them, from small archives."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset

CELEBAHQ = get_config("digits", dataset="celebahq256", image_size=256, channels=3)
CIFAR10 = get_config("digits", dataset="cifar10", image_size=32, channels=3)
BLACK = np.zeros((32, 32, 3), np.uint8)


def encode(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def prepare_celebahq(folder, images, kind="PNG", **kwargs):
    """Runs the builder of tensorflow_datasets on an archive of a few images."""
    (folder / "manual").mkdir(parents=True)
    with tarfile.open(folder / "manual" / "data256x256.tar", "w") as archive:
        for i, pixels in enumerate(images):
            add(archive, f"{i:05d}.png", encode(pixels, kind))
    builder = tfds.builder("celeb_a_hq/256", data_dir=str(folder), **kwargs)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=str(folder / "manual"), try_download_gcs=False, num_shards=2
        )
    )
    return folder


@pytest.fixture(scope="module")
def faces():
    """Five noisy images that differ and have no symmetry."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    return coarse.repeat(32, axis=1).repeat(32, axis=2)


@pytest.fixture(scope="module")
def prepared_celebahq(tmp_path_factory, faces):
    return prepare_celebahq(tmp_path_factory.mktemp("tfds"), faces)


@pytest.fixture
def celebahq(prepared_celebahq, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(prepared_celebahq, tmp_path / "tfds"))


def as_tensorflow_datasets_reads(folder):
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    examples = tfds.load(
        "celeb_a_hq/256", split="train", data_dir=str(folder), read_config=in_order
    )
    return [example["image"] for example in tfds.as_numpy(examples)]


def test_celebahq_is_what_tensorflow_datasets_reads(celebahq, faces):
    dataset = get_dataset(CELEBAHQ, str(celebahq))
    assert (len(dataset), dataset.example_shape) == (5, (256, 256, 3))
    there = list(dataset.batches(2))
    assert [len(batch) for batch in there] == [2, 2, 1]
    expected = as_tensorflow_datasets_reads(celebahq)
    np.testing.assert_array_equal(np.concatenate(there), expected)
    assert sorted(image.tobytes() for image in expected) == sorted(f.tobytes() for f in faces)


def test_jpegs_are_decoded_as_tensorflow_datasets_does(tmp_path, faces):
    prepare_celebahq(tmp_path, faces, "JPEG")
    dataset = get_dataset(CELEBAHQ, str(tmp_path))
    expected = as_tensorflow_datasets_reads(tmp_path)
    np.testing.assert_array_equal([dataset.example(i) for i in range(5)], expected)


def test_a_record_that_is_no_image_is_named(tmp_path):
    folder = prepare_celebahq(tmp_path, [np.zeros((256, 256, 3), np.uint8)] * 2)
    path = str(shards(folder, "celeb_a_hq")[1])
    feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"no image"]))}
    with tf.io.TFRecordWriter(path) as writer:
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        writer.write(example.SerializeToString())
    with pytest.raises(ValueError, match=f"{path}, record 0 at byte 0, holds no image"):
        get_dataset(CELEBAHQ, str(folder)).example(1)


def shards(folder, name):
    return sorted(folder.glob(f"{name}/**/*-train.tfrecord-*"))


def test_a_damaged_shard_is_named(celebahq):
    first, second = shards(celebahq, "celeb_a_hq")
    content = bytearray(second.read_bytes())
    content[500] ^= 1
    second.write_bytes(content)
    dataset = get_dataset(CELEBAHQ, str(celebahq))
    with pytest.raises(ValueError, match=f"{second.name} is .*record 0 at byte 0: the checksum"):
        list(dataset.batches(2))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{first.name} is truncated.*needs 1 bytes more"):
        get_dataset(CELEBAHQ, str(celebahq))


def test_a_missing_shard_and_a_shard_with_too_few_records_are_noticed(celebahq):
    first, second = shards(celebahq, "celeb_a_hq")
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes()[: 16 + int.from_bytes(first.read_bytes()[:8], "little")])
    with pytest.raises(ValueError, match=r"has \d train records instead of the 5"):
        get_dataset(CELEBAHQ, str(celebahq))
    second.write_bytes(whole)
    first.unlink()
    with pytest.raises(FileNotFoundError, match=first.name):
        get_dataset(CELEBAHQ, str(celebahq))


def test_images_of_another_size_in_the_archive_are_refused(tmp_path):
    prepare_celebahq(tmp_path, [np.zeros((128, 128, 3), np.uint8)] * 2)
    with pytest.raises(ValueError, match=r"record 0 .*128x128, not of 256x256; prepare"):
        get_dataset(CELEBAHQ, str(tmp_path)).example(0)


def test_another_file_format_is_refused(tmp_path, faces):
    prepare_celebahq(tmp_path, faces, file_format="array_record")
    with pytest.raises(ValueError, match="2.0.0 is prepared as array_record; prepare it as tfrec"):
        get_dataset(CELEBAHQ, str(tmp_path))


def test_a_config_of_another_size_is_refused(celebahq):
    config = get_config("digits", dataset="celebahq256", channels=3)
    with pytest.raises(ValueError, match="images of 256x256 .* set image_size to 256"):
        get_dataset(config, str(celebahq))


def test_missing_celebahq_says_how_to_prepare_it(tmp_path):
    command = f"tfds build celeb_a_hq/256 --data_dir={tmp_path} --manual_dir=FOLDER' where FOLDER"
    with pytest.raises(FileNotFoundError, match=f"{command} holds the archive data256x256.tar"):
        get_dataset(CELEBAHQ, str(tmp_path))


def test_missing_cifar10_is_downloaded_from_its_authors(tmp_path):
    """The command of tensorflow_datasets would need packages that move the versions of others."""
    (url,) = tfds.builder("cifar10", data_dir=str(tmp_path)).url_infos  # of another archive there
    url = url.replace("binary", "python")
    how = f"curl -LO {url}' and give --data_dir=cifar-10-python.tar.gz, or name the folder"
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path} holds no .* download .*{how}"):
        get_dataset(CIFAR10, str(tmp_path))


def test_an_unfinished_preparation_is_named(tmp_path):
    (tmp_path / "cifar10" / "incomplete.ABCDEF_3.0.2").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no prepared .*unfinished.*incomplete.ABCDEF"):
        get_dataset(CIFAR10, str(tmp_path))


@pytest.fixture
def cifar10(tmp_path):
    """Twelve images, written with the features and the metadata of the real set."""
    builder = tfds.builder("cifar10", data_dir=str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=5)
    Path(builder.data_path).mkdir(parents=True)
    writer.initialize_splits(["train"])
    for i, image in enumerate(pixels):
        example = {"id": f"train_{i:05d}", "image": image, "label": i % 10}
        writer.add_examples({"train": [example]})
    writer.close_all()
    return tmp_path, pixels


def test_cifar10_has_images_and_labels_in_the_order_of_the_files(cifar10):
    folder, pixels = cifar10
    assert len(shards(folder, "cifar10")) == 3
    dataset = get_dataset(CIFAR10, str(folder))
    np.testing.assert_array_equal(dataset.examples, pixels)
    np.testing.assert_array_equal(dataset.conditions, [*range(10), 0, 1])
    assert dataset.conditions.dtype == np.int32


def test_damaged_files_of_cifar10_are_named(cifar10):
    folder, _ = cifar10
    *_, last = shards(folder, "cifar10")
    content = bytearray(last.read_bytes())
    content[100] ^= 1
    last.write_bytes(content)
    with pytest.raises(ValueError, match=f"{last.name} is .*record 0 at byte 0: the checksum"):
        get_dataset(CIFAR10, str(folder))
    (info,) = folder.glob("cifar10/*/dataset_info.json")
    info.write_text(json.dumps(json.loads(info.read_text()))[:-20])
    with pytest.raises(ValueError, match="description of CIFAR-10 .* is damaged"):
        get_dataset(CIFAR10, str(folder))


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (encode(BLACK[:16, :16], "PNG"), [1], "has an image of 16x16, not of 32x32"),
        (b"no image", [1], "holds no image that can be decoded"),
        (encode(BLACK, "PNG"), [], "has 0 labels, not one"),
        (encode(BLACK, "PNG"), [1, 2], "has 2 labels, not one"),
    ],
    ids=("size", "format", "no label", "two labels"),
)
def test_records_of_cifar10_that_hold_something_else_are_named(cifar10, image, labels, message):
    folder, _ = cifar10
    *_, last = shards(folder, "cifar10")
    features = {
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"train_00010"])),
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    with tf.io.TFRecordWriter(str(last)) as writer:
        writer.write(example)
        writer.write(example)
    with pytest.raises(ValueError, match=f"{last.name}, record 0 at byte 0, {message}"):
        get_dataset(CIFAR10, str(folder))
