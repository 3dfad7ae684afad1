"""Room for samples is told before any is drawn; what is not there is not walked through."""

import os

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.models import get_model
from diffusion_tf.sampling.files import write_samples
from diffusion_tf.sampling.parts import Parts
from diffusion_tf.sampling.room import check_room
from diffusion_tf.sampling.sampler import Sampler

CONFIG = get_config("digits", ch_mult=(1,), num_diffusion_timesteps=4)
DESCRIPTION = {"batch_size": 2, "sample_shape": [8, 8, 1], "dtype": "uint8"}
MANY = 2**31 - 1  # as many as a flag may say


@pytest.fixture(scope="module")
def sampler():
    return Sampler.of_run(CONFIG, get_model(CONFIG))


def draw(sampler, out, **numbers):
    write_samples(str(out), sampler, origin={}, **{"num_samples": 2, "batch_size": 2, **numbers})


@pytest.mark.parametrize(
    "name, numbers, message",
    [
        ("o.npz", {"num_samples": MANY, "batch_size": MANY}, f"batch_size is {MANY}: a batch need"),
        ("o.png", {"num_samples": MANY}, f"num_samples is {MANY}: one picture of all needs at lea"),
    ],
)
def test_what_has_no_room_in_memory_is_refused(sampler, tmp_path, name, numbers, message):
    with pytest.raises(ValueError, match=message):
        draw(sampler, tmp_path / name, **numbers)
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_room_on_the_disk_is_refused(sampler, tmp_path):
    more = 10**15
    with pytest.raises(ValueError, match=rf"num_samples is {more}: they need 128 PB on the disk"):
        check_room(str(tmp_path / "o.npz"), sampler, more, 2, 1)
    with pytest.raises(ValueError, match="they need 256 PB on the disk of .*, and .* are free; dr"):
        check_room(str(tmp_path / "new" / "folder"), sampler, more, 2, 4)


def test_what_is_there_already_needs_no_room(sampler, tmp_path):
    (tmp_path / "o.npz.parts").mkdir()
    with open(tmp_path / "o.npz.parts" / "000000.npy", "wb") as file:
        file.truncate(10**12)  # sparse
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    fitting = (free + 10**12 // 2) // 128
    check_room(str(tmp_path / "o.npz"), sampler, fitting, 2, 1)
    with pytest.raises(ValueError, match="on the disk"):
        check_room(str(tmp_path / "p.npz"), sampler, fitting, 2, 1)


def test_missing_shards_are_not_looked_for_one_by_one(tmp_path):
    parts = Parts(str(tmp_path / "o.npz"), DESCRIPTION)
    assert parts.missing(MANY) == range(MANY)
    parts.save(1, np.zeros((2, 8, 8, 1), np.float32))
    assert parts.missing(4) == [0, 2, 3]
    (parts.folder / "000002.npy").write_bytes(b"damaged")
    assert parts.missing(4) == [0, 2, 3]


def test_a_link_in_place_of_the_parts_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.symlink("elsewhere", tmp_path / "o.npz.parts")
    with pytest.raises(ValueError, match="o.npz.parts is a link; delete it"):
        Parts(str(tmp_path / "o.npz"), DESCRIPTION).begin()
