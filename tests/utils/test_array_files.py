"""What a file of arrays claims is held against what is there, before memory is asked for."""

import errno
import functools
import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.datasets.arrays import read_npy, read_npz
from diffusion_tf.evaluation.image_files import open_images
from diffusion_tf.evaluation.metrics.fid import Statistics
from diffusion_tf.sampling.guidance import get_conditions
from diffusion_tf.utils import archives
from diffusion_tf.utils.array_files import Damaged, load_npy, open_npz, save_npy, save_npz, seal
from diffusion_tf.utils.memory import amount, available_bytes, check_memory
from helpers.file_operations import FINISHED, stopped_at

CONDITIONAL = get_config("digits_conditional")
READERS = {  # what reads an .npz, and the name of an array that it wants
    "vectors": ("x", lambda path: read_npz(path, ["x"])),
    "conditions": ("y", lambda path: get_conditions(CONDITIONAL, str(path))),
    "images": ("arr_0", lambda path: list(open_images(path).batches(2))),
    "statistics": ("mu", Statistics.load),
}


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def raw_header(text):
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def zipped(path, name, data, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(f"{name}.npy", data)
    return path


BAD = {
    "a trillion rows": (header((10**12, 8, 8, 1)), "claims 64,000,000,000,000 bytes"),
    "more than int64 counts": (header((10**12, 10**12, 10**12)), "claims 1,000,000,"),
    "fewer rows than there are": (header((1, 8, 8, 1)) + bytes(640), "claims 64 bytes, and .* 640"),
    "negative": (raw_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-5,)}"), "-5"),
    "numbers of no bytes": (header((10**12,), "|V0"), "which is not an array"),
    "nested": (raw_header("-" * 9000 + "1"), ""),
    "nested in brackets": (raw_header("(" * 300), ""),
    "a call": (raw_header("{'descr': '|u1', 'fortran_order': False, 'shape': open('x')}"), ""),
    "a new version": (b"\x93NUMPY\x09\x00" + bytes(100), "format"),
    "objects": (header((1,), "|O") + b"cos\nsystem\n", "Python objects, which are not unpickled"),
    "text": (b"hello", "magic string"),
    "nothing": (b"", ""),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("reader", READERS)
def test_what_a_header_claims_must_be_there(tmp_path, reader, name):
    (array, read), (data, message) = READERS[reader], BAD[name]
    path = zipped(tmp_path / "a.npz", array, data)
    with pytest.raises(ValueError, match=f"a.npz cannot be read .*{message}") as refused:
        read(path)
    assert "allow_pickle" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", BAD)
def test_so_it_is_with_a_single_array(tmp_path, name):
    path = tmp_path / "a.npy"
    path.write_bytes(BAD[name][0])
    with pytest.raises(ValueError, match=f"a.npy cannot be read .*{BAD[name][1]}") as refused:
        read_npy(path)
    assert "allow_pickle" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "data, message",
    [
        (b"hello, this is text", "it is not an archive of arrays"),
        (b"", "it is not an archive of arrays"),
        (npy(np.zeros(3)), "it is an .npy"),
        (b"PK\x03\x04 and nothing else", "zip"),
    ],
)
def test_what_is_not_an_archive_is_called_so(tmp_path, reader, data, message):
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match=f"a.npz cannot be read .*{message}") as refused:
        READERS[reader][1](tmp_path / "a.npz")
    assert "allow_pickle" not in str(refused.value)


class Trap:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("reader", READERS)
def test_nothing_in_a_pickle_is_run(tmp_path, reader):
    (name, read), trace = READERS[reader], tmp_path / "trace"
    objects = np.array([Trap(trace)], dtype=object)
    np.savez(tmp_path / "a.npz", **{name: objects})
    np.save(tmp_path / "a.npy", objects)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap(trace)))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap(trace)))
    for file in ("a", "b"):
        with pytest.raises(ValueError, match=f"{file}.npz cannot be read"):
            read(tmp_path / f"{file}.npz")
        with pytest.raises(ValueError, match=f"{file}.npy cannot be read"):
            read_npy(tmp_path / f"{file}.npy")
    assert not trace.exists()
    assert pickle.loads(pickle.dumps(Trap(trace))) and trace.exists()  # the trap works


def test_names_of_members_lead_nowhere(tmp_path):
    (tmp_path / "in" / "side").mkdir(parents=True)
    path = zipped(tmp_path / "in" / "side" / "a.npz", "../../evil", npy(np.zeros((2, 8, 8, 1))))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("/tmp/../evil.npy", npy(np.zeros(3)))
    with pytest.raises(ValueError, match="a.npz cannot be read as images .its arrays are ../../ev"):
        open_images(path)
    (there,) = read_npz(path, ["../../evil"])
    assert there.shape == (2, 8, 8, 1)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def bomb(path, name):
    """A sixth of a MB that becomes 300 MB."""
    rows = 300 * 2**20 // 64
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{name}.npy", "w") as file,
    ):
        file.write(header((rows, 8, 8, 1)))
        for _ in range(300):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize("reader", READERS)
def test_a_bomb_is_not_expanded(tmp_path, reader):
    path = bomb(tmp_path / "a.npz", READERS[reader][0])
    with pytest.raises(ValueError, match="a.npz cannot be read .*expand to .*like a zip bomb"):
        READERS[reader][1](path)


def test_images_that_compress_well_are_read(tmp_path):
    images = np.zeros((20_000, 16, 16, 3), np.uint8)  # 15 MB in 15 KB
    np.savez_compressed(tmp_path / "a.npz", images)
    assert open_images(tmp_path / "a.npz").shape == images.shape
    (there,) = read_npz(tmp_path / "a.npz", ["arr_0"])
    np.testing.assert_array_equal(there, images)


def test_what_is_stored_as_it_is_may_have_any_size(tmp_path):
    megabytes = archives.ALWAYS_ALLOWED // 2**20 + 1
    rows = megabytes * 2**20 // 64
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as file,
    ):
        file.write(header((rows, 8, 8, 1)))
        for _ in range(megabytes):
            file.write(bytes(2**20))
    images = open_images(tmp_path / "a.npz")
    assert images.shape == (rows, 8, 8, 1)
    assert next(images.batches(2)).shape == (2, 8, 8, 1)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("reader", READERS)
def test_other_compressions_are_refused(tmp_path, reader, method):
    name, read = READERS[reader]
    path = zipped(tmp_path / "a.npz", name, npy(np.zeros(3)), method)
    with pytest.raises(ValueError, match=f"a.npz cannot be read .* by method {method}"):
        read(path)


def patched(path, old, new):
    """Replaces bytes in both places where a zip archive describes a member."""
    data = path.read_bytes()
    assert data.count(old) == 2
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("reader", READERS)
def test_an_unknown_compression_and_an_encrypted_member_are_refused(tmp_path, reader):
    name, read = READERS[reader]
    path = zipped(tmp_path / "a.npz", name, npy(np.zeros(3)))
    head = b"\x14\x00\x00\x00\x00\x00"  # version, flags, method
    whole = path.read_bytes()
    patched(path, head, b"\x14\x00\x00\x00\x63\x00")
    with pytest.raises(ValueError, match=r"a.npz cannot be read .* 99|a.npz cannot .*method"):
        read(path)
    for flag in (1, 64):  # the latter: strongly
        path.write_bytes(whole)
        patched(path, head, bytes([20, 0, flag, 0, 0, 0]))
        with pytest.raises(ValueError, match="a.npz cannot be read .*encrypted"):
            read(path)


@pytest.mark.parametrize("reader", READERS)
def test_what_this_python_cannot_unpack_is_refused(tmp_path, reader):
    name, read = READERS[reader]
    path = zipped(tmp_path / "a.npz", name, npy(np.zeros(3)))
    head, whole = b"\x14\x00\x00\x00\x00\x00", path.read_bytes()
    for other, words in ((b"\x14\x00\x20\x00\x00\x00", "patch"), (b"\x99" + head[1:], "version")):
        path.write_bytes(whole)
        patched(path, head, other)
        with pytest.raises(ValueError, match=f"a.npz cannot be read .*{words}"):
            read(path)


def test_members_over_each_other_are_refused(tmp_path):
    data = npy(np.zeros((1000, 8, 8, 1), np.uint8))
    path = zipped(tmp_path / "a.npz", "arr_0", data)
    with zipfile.ZipFile(path, "a") as archive:
        (member,) = archive.infolist()
        for number in range(1, 50):
            other = zipfile.ZipInfo(f"arr_{number}.npy")
            for field in ("compress_size", "file_size", "CRC", "header_offset"):
                setattr(other, field, getattr(member, field))
            archive.filelist.append(other)
        archive._didModify = True
    with pytest.raises(ValueError, match="a.npz cannot be read .*lie over each other"):
        open_images(path)


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_not_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises((ValueError, OSError), match=r"a.npz"):
        READERS[reader][1](tmp_path / "a.npz")
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(OSError, match="a.npy is a named pipe"):
        read_npy(tmp_path / "a.npy")


def test_a_sealed_array_is_not_believed_either(tmp_path):
    path = tmp_path / "a.npy"
    save_npy(path, np.arange(3))
    np.testing.assert_array_equal(load_npy(path), np.arange(3))
    np.testing.assert_array_equal(read_npy(path), np.arange(3))
    path.write_bytes(header((10**12,)))
    seal(path)
    with pytest.raises(Damaged, match="a.npy is not an array .*claims"):
        load_npy(path)


def test_an_error_at_any_operation_leaves_the_whole_archive_or_none(tmp_path):
    """Also where ZipFile, given a name that cannot be opened, would begin an empty one."""
    ended, number = None, 0
    while ended != FINISHED:
        path = tmp_path / str(number) / "a.npz"
        path.parent.mkdir()
        save = functools.partial(save_npz, path, {"a": np.arange(3)})
        ended = stopped_at(number, path.parent, save, error=errno.ENOSPC)
        if path.exists():
            with open_npz(path) as arrays:
                np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
        number += 1
    assert number > 5


_READ_WITH_LITTLE_MEMORY = """
import pathlib, resource, sys
from diffusion_tf.datasets.arrays import read_npz
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 96 * 2**20,) * 2)
try:
    read_npz(sys.argv[1], ["x"])
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells how much it uses")
def test_what_does_not_fit_into_memory_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(128 * 2**20, np.uint8))
    command = [sys.executable, "-c", _READ_WITH_LITTLE_MEMORY, str(tmp_path / "a.npz")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    expected = "a.npz cannot be read as .npz (x.npy takes 134,217,728 bytes of memory"
    assert expected in ended.stdout, ended.stderr


def test_how_much_there_is():
    assert available_bytes() > 2**20
    check_memory(2**10, "this", "ask for less")
    with pytest.raises(
        ValueError, match="this needs at least 1.15e.03 PB of memory, and .*; ask f"
    ):
        check_memory(2**60, "this", "ask for less")
    assert (amount(7), amount(1500), amount(2**30)) == ("7 bytes", "1.5 KB", "1.07 GB")
