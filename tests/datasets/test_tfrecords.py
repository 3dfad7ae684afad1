"""TFRecord files by index, compared with those that TensorFlow writes, whole and damaged."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf

from diffusion_tf.datasets import tfrecords
from diffusion_tf.datasets.tfrecords import TFRecordFile, TFRecordFiles

UNEQUAL = [b"a", b"", b"three", b"x" * 1000]
EQUAL = [bytes([i]) * 20 for i in range(50)]  # 36 bytes each with checksums


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def flip(path, byte):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("records", [UNEQUAL, EQUAL, [b"one"], [b""]], ids=len)
def test_every_record_is_read(tmp_path, records):
    file = TFRecordFile(write(tmp_path / "a.tfrecords", records))
    assert [file.read(i) for i in range(len(file))] == records
    assert file.read(len(records) - 1) == records[-1]


def test_a_record_of_another_length_between_equal_ones_is_found(tmp_path):
    # The size is divisible by the first record's 17 bytes, so only the headers tell.
    records = [b"a", b"b" * 18, b"c", b"d"]
    path = write(tmp_path / "a.tfrecords", records)
    assert path.stat().st_size % 17 == 0
    file = TFRecordFile(path)
    assert [file.read(i) for i in range(len(file))] == records


def test_threads_read_at_the_same_time(tmp_path):
    file = TFRecordFile(write(tmp_path / "a.tfrecords", EQUAL))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(file.read, list(range(50)) * 20)) == EQUAL * 20


def test_place_and_number_of_a_record(tmp_path):
    path = write(tmp_path / "a.tfrecords", UNEQUAL)
    assert TFRecordFile(path).where(2) == f"{path}, record 2 at byte {(16 + 1) + (16 + 0)}"


@pytest.mark.parametrize(
    "records, size, where",
    [
        (UNEQUAL, 1060, "record 3 at byte 54: it needs 10 bytes more"),
        (UNEQUAL, 60, "record 3 at byte 54: the file ends within its header"),
        (EQUAL, 50 * 36 - 1, "record 49 at byte 1764: it needs 1 bytes more"),
    ],
)
def test_a_truncated_file_is_refused_when_opened(tmp_path, records, size, where):
    path = write(tmp_path / "a.tfrecords", records)
    os.truncate(path, size)
    with pytest.raises(ValueError, match=f"a.tfrecords is truncated.*{where}; write .* restore"):
        TFRecordFile(path)


def test_a_file_that_becomes_shorter_is_noticed_at_the_read(tmp_path):
    path = write(tmp_path / "a.tfrecords", EQUAL)
    file = TFRecordFile(path)
    os.truncate(path, 49 * 36 + 30)
    assert file.read(48) == EQUAL[48]
    with pytest.raises(ValueError, match="record 49 at byte 1764: it is not as long as it was"):
        file.read(49)
    os.truncate(path, 49 * 36)
    with pytest.raises(ValueError, match="record 49 at byte 1764: the file ends"):
        file.read(49)


@pytest.mark.parametrize("byte", [36 * 7 + 12, 36 * 7 + 31, 36 * 7 + 32, 36 * 7 + 35])
def test_a_flipped_bit_of_data_or_checksum_is_found_at_the_read(tmp_path, byte):
    path = write(tmp_path / "a.tfrecords", EQUAL)
    flip(path, byte)
    file = TFRecordFile(path)
    assert file.read(6) == EQUAL[6]
    assert file.read(8) == EQUAL[8]
    with pytest.raises(ValueError, match=r"record 7 at byte 252: the checksum of its data is wron"):
        file.read(7)


@pytest.mark.parametrize("byte", [0, 7, 8, 36 * 7, 36 * 7 + 11])
def test_a_flipped_bit_of_a_header_is_found_at_the_opening(tmp_path, byte):
    path = write(tmp_path / "a.tfrecords", EQUAL)
    flip(path, byte)
    record = byte // 36
    with pytest.raises(ValueError, match=f"record {record} at byte {36 * record}: .* its length"):
        TFRecordFile(path)


def test_a_damaged_header_between_the_probes_is_found_at_the_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecords, "PROBES", 3)  # of records 0, 24, 49
    path = write(tmp_path / "a.tfrecords", EQUAL)
    flip(path, 36 * 7)
    file = TFRecordFile(path)
    with pytest.raises(ValueError, match="record 7 at byte 252: the checksum of its length"):
        file.read(7)


def test_files_that_are_missing_empty_or_of_another_kind_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no TFRecord file .*nothing"):
        TFRecordFile(tmp_path / "nothing")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="empty is empty; write"):
        TFRecordFile(tmp_path / "empty")
    (tmp_path / "text").write_text("This is the text of a letter.")
    with pytest.raises(ValueError, match="text is truncated, damaged or no TFRecord file"):
        TFRecordFile(tmp_path / "text")


def test_an_index_beyond_the_file_is_refused(tmp_path):
    file = TFRecordFile(write(tmp_path / "a.tfrecords", EQUAL))
    for index in (-1, 50):
        with pytest.raises(ValueError, match=rf"has no record {index}; it has 0\.\.49"):
            file.read(index)


def test_several_files_are_read_as_one(tmp_path):
    paths = [write(tmp_path / name, r) for name, r in (("b", UNEQUAL), ("a", EQUAL[:2]))]
    files = TFRecordFiles(paths)
    assert [files.read(i) for i in range(len(files))] == UNEQUAL + EQUAL[:2]
    assert files.where(5) == f"{tmp_path / 'a'}, record 1 at byte 36"
    for index in (-1, 6):
        with pytest.raises(ValueError, match=rf"no record {index}; there are 0\.\.5"):
            files.read(index)
