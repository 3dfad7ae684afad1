"""Files of PyTorch tensors: what is not a dense tensor is named, and nothing in a file is run."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from diffusion_tf.convert import load_unet
from diffusion_tf.convert.state_files import read_state_dict, tensor_names
from helpers.torch_networks import import_torch

pytestmark = pytest.mark.extras
NAME = "down.0.a"
TENSORS = {
    "sparse": (lambda torch: torch.eye(3).to_sparse(), "is sparse"),
    "sparse by rows": (lambda torch: torch.eye(3).to_sparse_csr(), "is sparse"),
    "quantized": (
        lambda torch: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        "is quantized",
    ),
    "without numbers": (
        lambda torch: torch.empty(2, device="meta"),
        "is on the device 'meta', without numbers",
    ),
    "one number as a billion": (
        lambda torch: torch.zeros(1).expand(10**9),
        "is of 1,000,000,000 numbers, more than its file holds",
    ),
    "complex": (lambda torch: torch.zeros(2, dtype=torch.complex64), "has dtype torch.complex64"),
    "nested": (
        lambda torch: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "is nested",
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch's, of what it means to remove
@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_that_is_not_dense_is_named(tmp_path, kind):
    torch = import_torch()
    make, message = TENSORS[kind]
    path = str(tmp_path / "a.pt")
    torch.save({"good": torch.ones(2), NAME: make(torch)}, path)
    with pytest.raises(ValueError, match=rf"^{NAME} in {path} {message}[^\n]*\.$"):
        read_state_dict(path)


def test_tensors_of_every_real_type_are_read(tmp_path):
    torch = import_torch()
    types = ("float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool")
    state = {name: torch.ones(2, 3, dtype=getattr(torch, name)) for name in types}
    state |= {"transposed": torch.ones(3, 2).T, "parameter": torch.nn.Parameter(torch.ones(2, 3))}
    torch.save(state, tmp_path / "a.pt")
    read = read_state_dict(str(tmp_path / "a.pt"))
    assert read.keys() == state.keys()
    for value in read.values():
        np.testing.assert_array_equal(value, np.ones((2, 3), np.float32), strict=True)


def test_an_archive_that_expands_too_far_is_refused(tmp_path):
    torch = import_torch()
    torch.save({NAME: torch.zeros(80 * 2**20)}, tmp_path / "stored.pt")  # 320 MB
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as stored,
        zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        for member in stored.infolist():
            packed.writestr(member.filename, stored.read(member))
    os.unlink(tmp_path / "stored.pt")
    with pytest.raises(ValueError, match="a.pt is not a file of tensors alone .*like a zip bomb"):
        read_state_dict(str(tmp_path / "a.pt"))


class Trap:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("ending", ["pt", "bin", "ckpt", "pth"])
@pytest.mark.parametrize("archive", [False, True])
def test_nothing_in_a_pickle_is_run(tmp_path, ending, archive):
    torch = import_torch()
    path, trace = tmp_path / f"a.{ending}", tmp_path / "trace"
    if archive:
        torch.save({NAME: Trap(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({NAME: Trap(trace)}, protocol=2))
    for read in (read_state_dict, tensor_names):
        with pytest.raises(ValueError, match="is not a file of tensors alone .*nothing in it was"):
            read(str(path))
    assert not trace.exists()
    assert pickle.loads(pickle.dumps(Trap(trace))) and trace.exists()  # the trap works


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 8 + b"{}", b"hello"])
def test_a_header_of_safetensors_is_not_believed(tmp_path, data):
    pytest.importorskip("safetensors")
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="a.safetensors is not a file of tensors alone"):
        read_state_dict(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path, ending):
    os.mkfifo(tmp_path / f"a.{ending}")
    with pytest.raises(FileNotFoundError, match=f"a.{ending} is not a file"):
        read_state_dict(str(tmp_path / f"a.{ending}"))


def test_a_tensor_that_no_layer_can_have_is_named_with_its_file(tmp_path):
    torch = import_torch()
    path = str(tmp_path / "a.pt")
    torch.save({"down.0.block.0.conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=f"{path} cannot be read as weights: down.0.block.0.conv1"):
        load_unet(path)
