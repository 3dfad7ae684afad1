"""CIFAR-10 and CelebA-HQ, from the TFRecords that tensorflow_datasets prepared."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError

from diffusion_tf.config import Config
from diffusion_tf.datasets import cifar_archive
from diffusion_tf.datasets.base import InMemory, RandomAccess
from diffusion_tf.datasets.tfrecords import TFRecordFiles

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# The commands of tensorflow-datasets 4.9 need them, and its installation does not bring them.
CLI_PACKAGES = ("apache-beam", "mlcroissant")


@dataclass(frozen=True)
class _Source:
    """What a data set is called, by tensorflow_datasets and by people, and how large it is."""

    name: str
    title: str
    shape: tuple[int, int, int]


CIFAR10 = _Source("cifar10", "CIFAR-10", (32, 32, 3))
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CELEBAHQ256 = _Source("celeb_a_hq/256", "CelebA-HQ of 256x256", (256, 256, 3))


def load_cifar10(config: Config, data_dir: str | None, split: str) -> InMemory:
    """CIFAR-10: 50,000 training images, or 10,000 test images.

    Args:
        config: not used.
        data_dir: folder of tensorflow_datasets, TFDS_DATA_DIR or its default if None; or
            cifar-10-python.tar.gz, a folder with it, or what it unpacks to. The images are the
            same in another order.
        split: train or test.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: a file is damaged, or has another format than TFRecord.
    """
    dataset = _load_cifar10(data_dir, split)
    dataset.class_names = CIFAR10_CLASSES
    return dataset


def _load_cifar10(data_dir: str | None, split: str) -> InMemory:
    archive = cifar_archive.find(data_dir)
    if archive is not None:
        return cifar_archive.load(archive, split)
    records, builder = _open_records(CIFAR10, data_dir, split)
    try:
        return InMemory(*_read_at_once(builder, split))
    except tf.errors.OpError:  # TensorFlow says neither which file nor which record
        _refuse_damaged(records)
        raise


def _read_at_once(builder: "tfds.core.DatasetBuilder", split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 [N, H, W, C], and labels, int64 [N], in the order of their records."""
    import tensorflow_datasets as tfds

    def decode(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        return tf.ensure_shape(image, CIFAR10.shape), example["label"]  # tfds checks no shape

    examples = builder.as_dataset(
        split,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    decoded = examples.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    images, labels = decoded.batch(len(decoded)).get_single_element()
    return images.numpy(), labels.numpy()


def _refuse_damaged(records: TFRecordFiles) -> None:
    """Names the first record of CIFAR-10 that is damaged or holds something else."""
    for i in range(len(records)):
        features = _parse(records, i)
        _decode(features, CIFAR10, records.where(i))
        _check_label(features, records.where(i))


def load_celebahq256(config: Config, data_dir: str | None, split: str) -> RandomAccess:
    """The 30,000 images of CelebA-HQ in 256x256, decoded when they are needed.

    Args:
        config: not used.
        data_dir: folder of tensorflow_datasets; TFDS_DATA_DIR or its default if None.
        split: not used; all images are training images.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: a file is truncated, or has another format than TFRecord.
    """
    records, _ = _open_records(CELEBAHQ256, data_dir, "train")

    def read(index: int) -> np.ndarray:
        return _decode(_parse(records, index), CELEBAHQ256, records.where(index))

    return RandomAccess(read, len(records), CELEBAHQ256.shape, files=records.paths)


def _open_records(
    source: _Source, data_dir: str | None, split: str
) -> tuple[TFRecordFiles, "tfds.core.DatasetBuilder"]:
    """A split: its files and records in the order of tensorflow_datasets, and what reads them."""
    import tensorflow_datasets as tfds  # a second of import that no other data set needs

    try:
        builder = tfds.builder(source.name, data_dir=data_dir)
    except (ParseError, ValueError) as error:
        raise ValueError(
            f"The description of {source.title} in {data_dir or 'tensorflow_datasets'} is damaged"
            f" ({' '.join(str(error).split())}); delete it and prepare the set again."
        ) from None
    if not builder.is_prepared():
        raise FileNotFoundError(_how_to_prepare(source, builder, data_dir))
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"{builder.data_path} is prepared as {builder.info.file_format.value}; prepare it as"
            " tfrecord, which tfds does unless --file_format says otherwise."
        )
    info = builder.info.splits[split]
    records = TFRecordFiles(info.filepaths)
    if len(records) != info.num_examples:
        raise ValueError(
            f"{builder.data_path} has {len(records)} {split} records instead of the"
            f" {info.num_examples} of its dataset_info.json; delete it and prepare the set again."
        )
    return records, builder


def _how_to_prepare(
    source: _Source, builder: "tfds.core.DatasetBuilder", data_dir: str | None
) -> str:
    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    parent = Path(builder.data_path).parent
    unfinished = sorted(parent.glob("*incomplete*")) if parent.is_dir() else []
    but = f" (but an unfinished one that can be deleted: {unfinished[0]})" if unfinished else ""
    how = _download() if source is CIFAR10 else _build(source, folder)
    return (
        f"{folder} holds no prepared {source.title}{but}; {how}, or name the folder of"
        " tensorflow_datasets that holds the set with --data_dir."
    )


def _download() -> str:
    """How to get CIFAR-10 without the command of tensorflow_datasets and what that needs."""
    archive = cifar_archive.ARCHIVE
    return f"download it with 'curl -LO {cifar_archive.URL}' and give --data_dir={archive}"


def _build(source: _Source, folder: str) -> str:
    missing = [
        name for name in CLI_PACKAGES if not importlib.util.find_spec(name.replace("-", "_"))
    ]
    install = f"pip install {' '.join(missing)} && " if missing else ""
    command = f"{install}tfds build {source.name} --data_dir={folder} --manual_dir=FOLDER"
    return f"run '{command}' where FOLDER holds the archive data256x256.tar"


def _parse(records: TFRecordFiles, index: int) -> tf.train.Features.FeatureEntry:
    try:
        return tf.train.Example.FromString(records.read(index)).features.feature
    except DecodeError:
        raise ValueError(
            f"{records.where(index)}, holds no tf.train.Example; prepare the set again."
        ) from None


def _check_label(features: tf.train.Features.FeatureEntry, where: str) -> None:
    values = features["label"].int64_list.value
    if len(values) != 1:
        raise ValueError(f"{where}, has {len(values)} labels, not one; prepare the set again.")


def _decode(features: tf.train.Features.FeatureEntry, source: _Source, where: str) -> np.ndarray:
    """The encoded image of a record, uint8 [H, W, C]."""
    encoded = b"".join(features["image"].bytes_list.value)
    try:  # not Pillow, which decodes JPEG to other pixels than tensorflow_datasets does
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError:
        raise ValueError(
            f"{where}, holds no image that can be decoded; prepare the set again."
        ) from None
    if pixels.shape != source.shape:
        raise ValueError(
            f"{where}, has an image of {pixels.shape[0]}x{pixels.shape[1]}, not of"
            f" {source.shape[0]}x{source.shape[1]}; prepare the set again."
        )
    return pixels
