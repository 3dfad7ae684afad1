"""CIFAR-10's own archive: every way to write it gives the images; nothing in it is ever run."""

import gzip
import io
import os
import pickle
import tarfile
import time

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.datasets import cifar_archive, get_dataset
from diffusion_tf.datasets.plain_pickle import NotPlain, read_plain

CONFIG = get_config("cifar10")
NUMBER = 4  # images of a batch


def images_of(name):
    number = 0 if name == "test_batch" else int(name[-1])
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (NUMBER, 32, 32, 3), np.uint8), rng.integers(0, 10, NUMBER)


def batch_of(name, *, as_bytes=True, fortran=False):
    """A batch as its authors made it: images channel by channel."""
    images, labels = images_of(name)
    data = images.transpose(0, 3, 1, 2).reshape(NUMBER, -1)
    values = {
        "batch_label": b"batch",
        "labels": labels.tolist(),
        "data": np.asfortranarray(data) if fortran else np.ascontiguousarray(data),
        "filenames": [b"a_s_0001.png"] * NUMBER,
    }
    return {k.encode(): v for k, v in values.items()} if as_bytes else values


def write(folder, batches, name=cifar_archive.ARCHIVE):
    """The archive of pickled batches by name."""
    with tarfile.open(folder / name, "w:gz") as archive:
        for batch, data in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{batch}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return folder / name


ALL = [*cifar_archive.BATCHES["train"], "test_batch"]


@pytest.fixture
def pickled():
    return {name: pickle.dumps(batch_of(name), protocol=2) for name in ALL}


def check(data_dir):
    for split, names in cifar_archive.BATCHES.items():
        dataset = get_dataset(CONFIG, str(data_dir), split=split)
        images, labels = zip(*map(images_of, names), strict=True)
        np.testing.assert_array_equal(dataset.examples, np.concatenate(images))
        np.testing.assert_array_equal(dataset.conditions, np.concatenate(labels))
        assert dataset.class_names[3] == "cat"


def test_the_archive_its_folder_and_what_it_unpacks_to(tmp_path, pickled):
    path = write(tmp_path, pickled)
    check(path)
    check(tmp_path)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    check(tmp_path / "unpacked")
    check(tmp_path / "unpacked" / "cifar-10-batches-py")
    (tmp_path / "unpacked" / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="lacks data_batch_3; unpack cifar-10-python"):
        get_dataset(CONFIG, str(tmp_path / "unpacked"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("as_bytes, fortran", [(True, False), (False, True)])
def test_every_protocol_gives_the_same_values(protocol, as_bytes, fortran):
    batch = batch_of("data_batch_1", as_bytes=as_bytes, fortran=fortran)
    read = read_plain(pickle.dumps(batch, protocol=protocol))
    assert read.keys() == batch.keys()
    for key, value in batch.items():
        np.testing.assert_array_equal(read[key], value)


def python_2():
    """What Python 2 wrote with cPickle: texts, and the old name of NumPy's module."""
    data = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(data.tobytes()).to_bytes(4, "little") + data.tobytes() + b"tb"
    )  # fmt: skip
    items = text(b"data") + array + text(b"labels") + b"]q\x09(K\x06K\x09e"
    return b"\x80\x02}q\x0a(" + items + b"u.", data


def test_what_python_2_wrote():
    pickled, data = python_2()
    expected = pickle.loads(pickled, encoding="bytes")
    read = read_plain(pickled)
    np.testing.assert_array_equal(read[b"data"], expected[b"data"])
    np.testing.assert_array_equal(read[b"data"], data)
    assert read[b"labels"] == expected[b"labels"] == [6, 9]


class Trap:
    """Makes a folder if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["data", "labels", "more"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_named_and_not_run(tmp_path, pickled, where, protocol):
    batch = {**batch_of("data_batch_2"), where.encode(): Trap(tmp_path / "made")}
    pickled["data_batch_2"] = pickle.dumps(batch, protocol=protocol)
    path = write(tmp_path, pickled)
    with pytest.raises(
        ValueError, match=r"data_batch_2 in .*gz cannot be read .*asks for 'posix.mkdir', which is"
    ):
        get_dataset(CONFIG, str(path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value, message", [
    (np.zeros([2, 2], np.float32), "an array of 'f4'; only bytes"),
    (np.array(["a", None], object), "an array of 'O8'; only bytes"),
    ({1, 2}, "EMPTY_SET|asks for"),
    (np.float32(1), r"asks for 'numpy._?core.multiarray.scalar'"),
    (range(3), "asks for .*range"),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_everything_else_is_refused_by_name(value, message, protocol):
    with pytest.raises(NotPlain, match=message):
        read_plain(pickle.dumps({"data": value}, protocol=protocol))


@pytest.mark.parametrize("data", [
    b"", b".", b"\x80\x02", b"\x80\x02}u.", b"\x80\x02K\x01R.", b"\x80\x02(K\x01t", b"h\x07.",
    b"\x80\x02]}b.", b"\x80\x02K\x01K\x02a.", b"\x80\x04\x8c\x01a\x93.", b"\x80\x04]K\x01\x92.",
    pickle.dumps(batch_of("test_batch"))[:2000], b"U\xff", b"T\xff\xff\xff\xff",
])  # fmt: skip
def test_damaged_pickles_are_refused(data):
    with pytest.raises(NotPlain):
        read_plain(data)


def test_a_long_stack_takes_no_long_time():
    start = time.process_time()
    with pytest.raises(NotPlain, match="a mark is missing"):
        read_plain(b"(" * 50_000 + b"t" * 50_001 + b".")
    assert time.process_time() - start < 10


def test_damage_in_every_byte_is_refused_or_read(tmp_path):
    """A byte of the pickle changed: nothing else than a value, or NotPlain, comes out."""
    data, rng = pickle.dumps(batch_of("test_batch"), protocol=2), np.random.default_rng(0)
    places = [*range(120), *range(len(data) - 60, len(data))]
    for place in places:
        changed = bytearray(data)
        changed[place] = rng.integers(256)
        try:
            read_plain(bytes(changed))
        except NotPlain:
            continue


@pytest.mark.parametrize("change, message", [
    (lambda p: p.pop("data_batch_4"), "lacks data_batch_4 in cifar-10-batches-py; name cifar-10"),
    (lambda p: p.update(data_batch_1=pickle.dumps([1])), "does not hold `data`, bytes .N, 3072."),
    (lambda p: p.update(data_batch_1=pickle.dumps({"data": np.zeros([1, 9], np.uint8),
                                                   "labels": [1]})), "does not hold `data`"),
    (lambda p: p.update(data_batch_1=pickle.dumps({"data": np.zeros([1, 3072], np.uint8),
                                                   "labels": [1, 2]})), "does not hold `data`"),
    (lambda p: p.update(data_batch_1=pickle.dumps({"data": np.zeros([1, 3072], np.uint8),
                                                   "labels": [10]})), "labels other than 0..9"),
    (lambda p: p.update(data_batch_1=pickle.dumps({"data": np.zeros([1, 3072], np.uint8),
                                                   "labels": ["a"]})), "labels other than 0..9"),
])  # fmt: skip
def test_batches_of_something_else_are_named(tmp_path, pickled, change, message):
    change(pickled)
    with pytest.raises(ValueError, match=message):
        get_dataset(CONFIG, str(write(tmp_path, pickled)))


def test_files_that_are_no_such_archive(tmp_path, pickled):
    path = write(tmp_path, pickled)
    whole = path.read_bytes()
    for data in (b"text", whole[: len(whole) // 2], gzip.compress(b"no tar"), b""):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"cannot be read as cifar-10-python.tar.gz \(.*again"):
            get_dataset(CONFIG, str(path))
    path.write_bytes(gzip.compress(bytes(cifar_archive.MAX_ARCHIVE + 1), 1))
    with pytest.raises(ValueError, match="expands to more than .* like a zip bomb"):
        get_dataset(CONFIG, str(path))


def test_a_folder_of_tensorflow_datasets_comes_first(tmp_path, pickled):
    write(tmp_path, pickled)
    assert cifar_archive.find(str(tmp_path)) is not None
    (tmp_path / "cifar10").mkdir()
    assert cifar_archive.find(str(tmp_path)) is None
    assert cifar_archive.find(None) is None
