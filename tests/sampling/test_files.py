"""The files that samples go into: whole, the same whatever happened on the way, or as they were."""

import dataclasses
import errno
import functools
import json
import os
import signal
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling import files, parts
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils import images
from diffusion_tf.utils.interruption import Interrupted
from diffusion_tf.utils.locks import InUse, lock_beside
from diffusion_tf.utils.random_numbers import fold_in, stream
from helpers.file_operations import FINISHED, stopped_at


class Network:
    """What is needed of a network."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, inputs, training):
        assert not training
        return self.weight * inputs[0]

    def get_weights(self):
        return [np.float32(self.weight)]


MODEL = Network(0.5)
DIFFUSION = get_diffusion(get_config("digits", num_diffusion_timesteps=4))
SAMPLER = Sampler(model=MODEL, process=DIFFUSION, sample_shape=(8, 8, 1))
FLAGS = {"origin": {"step": 5, "weights": "ema"}, "num_samples": 7, "batch_size": 2}


@pytest.fixture(autouse=True)
def drawn(monkeypatch, tmp_path):
    """Replaces drawing, two shards at a time; the list of shards that were drawn."""
    monkeypatch.chdir(tmp_path)
    drawn = []

    def sample_shards(sampler, shards, _num_shards, batch_size):
        for start in range(0, len(shards), 2):
            drawn.extend(shards[start : start + 2])
            yield {
                shard: np.random.default_rng([sampler.seed, shard]).uniform(
                    -1.2, 1.2, (batch_size, *sampler.sample_shape)
                ).astype(np.float32)
                for shard in shards[start : start + 2]
            }  # fmt: skip

    monkeypatch.setattr(files, "sample_shards", sample_shards)
    return drawn


def write(out, **flags):
    """Writes samples; some of the flags are those of the sampler."""
    names = {field.name for field in dataclasses.fields(Sampler)} & set(flags)
    sampler = dataclasses.replace(SAMPLER, **{name: flags.pop(name) for name in names})
    files.write_samples(out, sampler, **{**FLAGS, **flags})


def interrupt(monkeypatch, out, after, **flags):
    """Lets a run fail while it saves shard `after`, as if the machine had."""
    save = parts.Parts.save

    def failing(self, shard, samples):
        if shard == after:
            raise RuntimeError("lightning")
        save(self, shard, samples)

    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "save", failing)
        with pytest.raises(RuntimeError, match="lightning"):
            write(out, **flags)


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == ["arr_0"]
        return arrays["arr_0"]


def names(folder="."):
    return sorted(os.listdir(folder))


def test_npz_holds_uint8_under_arr_0(tmp_path):
    write("s.npz")
    samples = load("s.npz")
    assert (samples.dtype, samples.shape) == (np.uint8, (7, 8, 8, 1))
    assert samples.min() == 0 and samples.max() == 255
    assert names() == ["s.npz"]
    with zipfile.ZipFile("s.npz") as archive:
        assert archive.testzip() is None
        assert archive.getinfo("arr_0.npy").date_time == (1980, 1, 1, 0, 0, 0)  # never now
        np.savez(tmp_path / "by_numpy.npz", arr_0=samples)
        with zipfile.ZipFile("by_numpy.npz") as by_numpy:
            assert archive.read("arr_0.npy") == by_numpy.read("arr_0.npy")


def test_float32_is_what_the_sampler_gave():
    write("s.npz", float32=True)
    samples = load("s.npz")
    assert (samples.dtype, samples.shape) == (np.float32, (7, 8, 8, 1))
    assert samples.min() < -1 and samples.max() > 1  # not clipped
    write("u.npz")
    np.testing.assert_array_equal(images.to_pixels(samples), load("u.npz"))


@pytest.mark.parametrize("num_samples", [1, 2, 7, 8])
def test_exactly_as_many_as_asked_for(num_samples):
    write("s.npz", num_samples=num_samples)
    write("s", num_samples=num_samples)
    assert len(load("s.npz")) == num_samples
    assert names("s") == [f"{i:06d}.png" for i in range(num_samples)]


def test_any_other_name_is_a_folder_of_pngs():
    os.mkdir("s")  # an empty folder may be there
    write("s")
    write("s.npz")
    for i, pixels in enumerate(load("s.npz")):
        with Image.open(f"s/{i:06d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), pixels[..., 0])
    assert names() == ["s", "s.npz"]


@pytest.mark.parametrize("name", ["s.png", "S.PNG", "s.jpg", "s.JPEG"])
def test_a_picture_shows_them_all(name):
    write(name, num_samples=3)
    write("s.npz", num_samples=3)
    shown = images.show_grid(load("s.npz"))[..., 0]
    with Image.open(name) as image:
        assert image.format == ("PNG" if "png" in name.lower() else "JPEG")
        difference = np.asarray(image).astype(int) - shown
        assert difference.shape == (2 * 48 + 4, 2 * 48 + 4)
        assert abs(difference).mean() < (1e-9 if image.format == "PNG" else 3)
    assert names() == sorted([name, "s.npz"])


@pytest.mark.parametrize("name", ["S.NPZ", "s.nPz"])
def test_capitals_make_no_difference(name):
    write(name, float32=True)
    write("t.npz", float32=True)
    assert content(name) == content("t.npz")


def test_a_folder_may_have_dots_and_a_slash(drawn):
    for name in ("run.v2", "s.gif/"):
        write(name)
        assert len(names(name)) == 7
    drawn.clear()
    with pytest.raises(ValueError, match=r"--out=s.tiff is not a name for samples; give"):
        write("s.tiff")
    assert names() == ["run.v2", "s.gif"] and drawn == []


@pytest.mark.parametrize("out", ["s.npz", "s.png", "s"])
def test_an_interrupted_run_goes_on_and_writes_the_same(monkeypatch, drawn, out):
    write(f"whole{out[1:]}")
    drawn.clear()
    interrupt(monkeypatch, out, after=1)
    assert names() == [f"{out}.parts", f"whole{out[1:]}"]  # no output before all are there
    assert names(f"{out}.parts") == ["000000.npy", "samples.json"]
    interrupt(monkeypatch, out, after=3)
    write(out)
    assert drawn == [0, 1, 1, 2, 3, 3]
    if out == "s":
        assert names("s") == names("whole")
        pairs = [(f"s/{name}", f"whole/{name}") for name in names("s")]
    else:
        pairs = [(out, f"whole{out[1:]}")]
    for a, b in pairs:
        with open(a, "rb") as one, open(b, "rb") as other:
            assert one.read() == other.read()
    assert names() == sorted([out, f"whole{out[1:]}"])


def test_a_run_may_go_on_to_more_or_fewer_samples(monkeypatch, drawn):
    interrupt(monkeypatch, "s.npz", after=3)
    write("s.npz", num_samples=11)
    assert drawn == [0, 1, 2, 3, 3, 4, 5]
    write("whole.npz", num_samples=11)
    np.testing.assert_array_equal(load("s.npz"), load("whole.npz"))
    interrupt(monkeypatch, "few.npz", after=3)
    write("few.npz", num_samples=3)
    np.testing.assert_array_equal(load("few.npz"), load("whole.npz")[:3])


@pytest.mark.parametrize("damage", [b"", b"not an array", None])
def test_a_damaged_shard_is_drawn_again(monkeypatch, drawn, caplog, damage):
    interrupt(monkeypatch, "s.npz", after=3)
    with open("s.npz.parts/000001.npy", "r+b") as file:
        file.truncate(150 if damage is None else 0)
        file.write(damage or b"")
    drawn.clear()
    write("s.npz")
    assert drawn == [1, 3]
    assert "000001.npy is damaged" in caplog.text
    write("whole.npz")
    np.testing.assert_array_equal(load("s.npz"), load("whole.npz"))


def content(path):
    with open(path, "rb") as file:
        return file.read()


def flip(path, byte):
    """Turns one bit of a file over."""
    with open(path, "r+b") as file:
        file.seek(byte)
        (value,) = file.read(1)
        file.seek(byte)
        file.write(bytes([value ^ 1]))


@pytest.mark.parametrize("byte", [0, 5, 9, 20, 61, 127, 128, 200, 255, 256, 300, 327])
def test_a_bit_flipped_anywhere_in_a_shard_is_noticed(monkeypatch, drawn, caplog, byte):
    interrupt(monkeypatch, "s.npz", after=3)
    assert os.path.getsize("s.npz.parts/000001.npy") == 328  # header, two images, checksum
    flip("s.npz.parts/000001.npy", byte)
    drawn.clear()
    write("s.npz")
    assert drawn == [1, 3] and "000001.npy is damaged" in caplog.text
    write("whole.npz")
    assert content("s.npz") == content("whole.npz")


@pytest.mark.parametrize("out", ["s.npz", "s.png", "s"])
def test_a_shard_that_is_damaged_after_it_was_looked_at_is_drawn_again(
    monkeypatch, drawn, caplog, out
):
    interrupt(monkeypatch, out, after=3)
    assemble = parts.Parts.assemble

    def damage_and_assemble(self, *arguments):
        if "drawn again" not in caplog.text:
            flip(f"{out}.parts/000002.npy", 200)
        assemble(self, *arguments)

    drawn.clear()
    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "assemble", damage_and_assemble)
        write(out)
    assert drawn == [3, 2] and "000002.npy is damaged" in caplog.text
    whole = f"whole{out[1:]}"
    write(whole)
    for name in names("s") if out == "s" else [""]:
        assert content(f"{out}/{name}".rstrip("/")) == content(f"{whole}/{name}".rstrip("/"))


def test_a_disk_that_damages_whatever_is_written_ends_it(monkeypatch, drawn):
    save = parts.Parts.save

    def save_and_damage(self, shard, samples):
        save(self, shard, samples)
        if shard == 2:
            flip("s.npz.parts/000002.npy", 200)

    monkeypatch.setattr(parts.Parts, "save", save_and_damage)
    with pytest.raises(ValueError, match=r"000002.npy is damaged: its checksum is wrong"):
        write("s.npz")
    assert drawn == [0, 1, 2, 3, 2, 2] and names() == ["s.npz.parts"]


def test_a_shard_of_an_earlier_version_without_checksum_is_drawn_again(monkeypatch, drawn, caplog):
    interrupt(monkeypatch, "s.npz", after=3)
    samples = np.load("s.npz.parts/000000.npy")
    np.save("s.npz.parts/000000.npy", samples)
    drawn.clear()
    write("s.npz")
    assert drawn == [0, 3] and "of an earlier version: it has no checksum" in caplog.text


def test_a_shard_of_other_samples_in_the_place_of_one_is_drawn_again(monkeypatch, drawn):
    for out, seed in (("s.npz", 0), ("t.npz", 1)):
        interrupt(monkeypatch, out, after=3, seed=seed)
    os.replace("t.npz.parts/000001.npy", "s.npz.parts/000001.npy")
    drawn.clear()
    write("s.npz")
    assert drawn == [1, 3]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff", b"[1]", lambda text: text.replace(b'"seed": 0', b'"seed": 4')],
)
def test_a_damaged_description_is_written_again(monkeypatch, drawn, caplog, damage):
    interrupt(monkeypatch, "s.npz", after=3)
    before = content("s.npz.parts/samples.json")
    with open("s.npz.parts/samples.json", "wb") as file:
        file.write(damage if isinstance(damage, bytes) else damage(before))
    drawn.clear()
    interrupt(monkeypatch, "s.npz", after=3)
    assert content("s.npz.parts/samples.json") == before
    assert drawn == [3] and "samples.json is damaged" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 5}'])
def test_a_description_that_no_shard_confirms_is_refused(drawn, text):
    os.mkdir("s.npz.parts")
    with open("s.npz.parts/samples.json", "w") as file:
        file.write(text)
    with pytest.raises(ValueError, match="s.npz.parts holds unfinished samples of another command"):
        write("s.npz")
    assert content("s.npz.parts/samples.json") == text.encode() and drawn == []
    write("s.npz", overwrite=True)
    assert names() == ["s.npz"]


@pytest.mark.parametrize(
    "way, path, byte",
    [
        ("progressive", 2, -100),
        pytest.param("progressive", 2, 300, marks=pytest.mark.slow),
        pytest.param("trajectory", (-1, 1), 10, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_way_to_the_first_shard_is_drawn_again(monkeypatch, caplog, way, path, byte):
    interrupt(monkeypatch, "s.npz", after=1, **{way: path})
    kept = f"s.npz.parts/beside.{way}.npz"
    flip(kept, byte % os.path.getsize(kept))
    write("s.npz", **{way: path})
    assert f"beside.{way}.npz is damaged" in caplog.text
    write("whole.npz", **{way: path})
    assert content(f"s.{way}.npz") == content(f"whole.{way}.npz")


def test_numbers_of_numpy_are_numbers(monkeypatch, drawn):
    write("a.npz", seed=3, progressive=2, trajectory=(1, -1))
    write(
        "b.npz", seed=np.uint8(3), num_samples=np.int64(7), batch_size=np.uint16(2),
        progressive=np.int32(2), trajectory=np.array([1, -1]),
    )  # fmt: skip
    assert content("a.npz") == content("b.npz")


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"seed": 2**63}, "seed is 9223372036854775808; a seed must be a whole number from -2"),
        ({"seed": 1.5}, "seed is 1.5; a seed must"),
        ({"num_samples": 2**40}, "num_samples is 1099511627776; it must be at most 2147483647"),
        ({"num_samples": 7.0}, "num_samples is 7.0; it must be a whole number"),
        ({"num_samples": True}, "num_samples is True; it must be a whole number"),
        ({"batch_size": 2**31}, "batch_size is 2147483648; it must be at most"),
        ({"trajectory": (2**32,)}, r"--trajectory has 4294967296; each time must lie in -1..3"),
        ({"trajectory": (0.5,)}, r"--trajectory has 0.5; each"),
        ({"progressive": 2**32 + 1}, r"--progressive=4294967297 is not a distance"),
        ({"progressive": True}, r"--progressive=True is not a distance"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_before_anything_is_drawn(drawn, flags, message):
    with pytest.raises(ValueError, match=message):
        write("s.npz", **flags)
    assert (names(), drawn) == ([], [])


def test_a_signal_stops_after_the_shards_at_hand(monkeypatch, drawn):
    save = parts.Parts.save

    def save_and_stop(self, shard, samples):
        os.kill(os.getpid(), signal.SIGTERM)
        save(self, shard, samples)

    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "save", save_and_stop)
        # Two signals act at once; the second shard is saved before anybody asks.
        context.setattr(os, "kill", _once(os.kill))
        with pytest.raises(
            Interrupted, match=r"Stopped by SIGTERM; 2 of 4 shards are in s.npz.parts"
        ) as caught:
            write("s.npz")
    assert caught.value.exit_code == 143
    write("s.npz")
    assert drawn == [0, 1, 2, 3]


def _once(function):
    calls = []
    return lambda *arguments: calls.append(1) or (len(calls) == 1 and function(*arguments))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, r"\(seed 0 there, 1 here\)"),
        ({"batch_size": 3}, r"\(batch_size 2 there, 3 here\)"),
        ({"float32": True}, r"\(dtype uint8 there, float32 here\)"),
        ({"trajectory": (3, -1)}, r"\(trajectory \[\] there, \[3, -1\] here\)"),
        ({"jit_compile": True}, r"\(jit_compile False there, True here\)"),
        ({"clip_denoised": False}, r"\(clip_denoised True there, False here\)"),
        ({"origin": {"step": 6, "weights": "ema"}}, r"\(step 5 there, 6 here\)"),
        (
            {"origin": {"step": 5, "weights": "raw"}, "seed": 2},
            r"weights ema there, raw here; seed",
        ),
    ],
)
def test_parts_of_another_command_are_refused_by_name_of_what_differs(
    monkeypatch, drawn, change, message
):
    interrupt(monkeypatch, "s.npz", after=3)
    drawn.clear()
    with pytest.raises(ValueError, match=rf"s.npz.parts holds .*{message}.*--overwrite"):
        write("s.npz", **change)
    assert drawn == [] and len(names("s.npz.parts")) == 4
    write("s.npz", overwrite=True, **change)
    assert drawn[0] == 0
    write("whole.npz", **change)
    np.testing.assert_array_equal(load("s.npz"), load("whole.npz"))


def test_another_network_or_process_of_the_same_name_is_noticed(monkeypatch):
    interrupt(monkeypatch, "s.npz", after=3)
    with pytest.raises(ValueError, match="network_sha256 .* there"):
        write("s.npz", model=Network(0.25))
    longer = get_diffusion(get_config("digits", num_diffusion_timesteps=5))
    with pytest.raises(ValueError, match="sampling_steps 4 there, 5 here"):
        write("s.npz", process=longer)


def test_the_same_command_with_overwrite_goes_on_too(monkeypatch, drawn):
    write("s.npz", seed=1)
    interrupt(monkeypatch, "s.npz", after=3, overwrite=True)
    np.testing.assert_array_equal(load("s.npz").shape, (7, 8, 8, 1))  # the old one is still there
    drawn.clear()
    write("s.npz", overwrite=True)
    assert drawn == [3]
    write("whole.npz")
    np.testing.assert_array_equal(load("s.npz"), load("whole.npz"))


def test_what_exists_is_not_overwritten(drawn):
    with open("s.npz", "w") as file:
        file.write("precious")
    with pytest.raises(ValueError, match=r"s.npz exists; .*--overwrite"):
        write("s.npz")
    assert (names(), drawn) == (["s.npz"], [])
    write("s.npz", overwrite=True)
    assert len(load("s.npz")) == 7


def test_a_folder_of_samples_is_replaced_as_a_whole():
    write("s", num_samples=9)
    with pytest.raises(ValueError, match=r"s exists; .*--overwrite"):
        write("s")
    write("s", overwrite=True)
    assert len(names("s")) == 7


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "out, flags, message",
    [
        ("mine", {}, "mine exists and holds letter.txt, which is not a sample"),
        ("mine/letter.txt", {}, "is a file; choose another --out, for a folder"),
        ("folder.npz", {}, "folder.npz is a folder"),
        (".", {}, "is not a name for samples"),
        ("link", {}, "link is a link; give what it leads to"),
        ("s.png", {"float32": True}, "--float32 needs an --out that ends with .npz, not s.png"),
        ("s", {"num_samples": 0}, "num_samples is 0"),
        ("s.gif", {}, "--out=s.gif is not a name for samples"),
        ("t", {}, "t.parts holds something else"),
    ],
)
def test_nothing_of_others_is_touched(drawn, tmp_path, out, flags, message, overwrite):
    for folder in ("mine", "folder.npz", "t.parts"):
        os.mkdir(folder)
    for path in ("mine/letter.txt", "t.parts/letter.txt"):
        (tmp_path / path).write_text("precious")
    (tmp_path / "link").symlink_to("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        write(out, overwrite=overwrite, **flags)
    assert sorted(tmp_path.rglob("*")) == before and drawn == []


def test_an_output_that_cannot_be_written_stays_and_so_do_the_shards(monkeypatch, drawn):
    write("s.npz", seed=1)
    before = load("s.npz")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(
            OSError, match="s.npz could not be written .No space left on device.; m"
        ):
            write("s.npz", overwrite=True)
    np.testing.assert_array_equal(load("s.npz"), before)
    assert names() == ["s.npz", "s.npz.parts"]
    drawn.clear()
    write("s.npz", overwrite=True)
    assert drawn == []


def test_parts_say_what_they_are_of(monkeypatch):
    interrupt(monkeypatch, "s.npz", after=1)
    with open("s.npz.parts/samples.json") as file:
        description = json.load(file)
    assert set(description) == {
        "step", "weights", "network_sha256", "sampling_steps", "seed", "batch_size",
        "sample_shape", "dtype", "jit_compile", "clip_denoised", "progressive", "trajectory",
    }  # fmt: skip


def test_a_removal_that_was_interrupted_is_no_obstacle(monkeypatch):
    write("s.npz")
    os.mkdir("s.npz.parts")  # as a kill between the last two deletions leaves it
    write("s.npz", overwrite=True)
    assert names() == ["s.npz"]


@pytest.mark.parametrize("float32", [False, True])
def test_of_a_shard_that_is_not_finite_nothing_is_kept(monkeypatch, drawn, float32):
    draw = files.sample_shards

    def spoiled(*arguments, **flags):
        for shards in draw(*arguments, **flags):
            if 2 in shards:
                shards[2][1, 3, 3, 0] = np.inf
            yield shards

    with monkeypatch.context() as context:
        context.setattr(files, "sample_shards", spoiled)
        with pytest.raises(ValueError, match="^1 of 2 samples of shard 2 of 4 .* are not finite"):
            write("s.npz", float32=float32)
    assert names() == ["s.npz.parts"]
    assert names("s.npz.parts") == ["000000.npy", "000001.npy", "samples.json"]
    drawn.clear()
    write("s.npz", float32=float32)
    assert drawn == [2, 3] and names() == ["s.npz"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples():
    peaks = {}
    for num_samples in (500, 5000):  # uint8: 1.5 MB, 15 MB
        tracemalloc.start()
        write(
            f"{num_samples}.npz", num_samples=num_samples, batch_size=25, sample_shape=(32, 32, 3)
        )
        peaks[num_samples] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # What TensorFlow keeps of its graphs differs by less than a megabyte from call to call.
    assert peaks[5000] < peaks[500] + 2_000_000


@pytest.mark.parametrize("out, name", [("s.npz", "s"), ("s.v2", "s.v2")])
def test_the_way_to_the_first_shard_goes_beside_it(monkeypatch, out, name):
    ways = {"progressive": 2, "trajectory": (-1, 3, 1)}
    interrupt(monkeypatch, out, after=1, **ways)
    assert names() == [f"{out}.parts"]
    write(out, **ways)
    beside = [
        f"{name}.{way}.{kind}" for way in ("progressive", "trajectory") for kind in ("npz", "png")
    ]
    assert names() == sorted([out, *beside])
    with np.load(f"{name}.trajectory.npz", allow_pickle=False) as arrays:
        assert arrays["times"].tolist() == [3, 1, -1]
        frames = arrays["images"]
    assert (frames.dtype, frames.shape) == (np.uint8, (3, 2, 8, 8, 1))
    seed = fold_in(stream(0, "sample"), 0)
    first = DIFFUSION.prior_sample(shape=(2, 8, 8, 1), seed=seed).numpy()
    last = DIFFUSION.p_sample_loop(lambda x, t: 0.5 * x, shape=(2, 8, 8, 1), seed=seed).numpy()
    np.testing.assert_array_equal(frames[0], images.to_pixels(first))
    np.testing.assert_allclose(frames[-1], images.to_pixels(last).astype(int), atol=1)
    with np.load(f"{name}.progressive.npz", allow_pickle=False) as arrays:
        assert arrays["steps"].tolist() == [0, 2]
        assert (arrays["xstartpreds"].dtype, arrays["xstartpreds"].shape) == (
            np.uint8, (2, 2, 8, 8, 1),
        )  # fmt: skip
        np.testing.assert_allclose(arrays["xstartpreds"][:, 0], frames[-1].astype(int), atol=1)
    for path in beside[1::2]:
        with Image.open(path) as picture:
            assert min(picture.size) > 50


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"progressive": 5}, r"--progressive=5 is not a distance .* 1..4"),
        ({"progressive": 0}, r"--progressive=0 is not a distance"),
        (
            {"trajectory": (4,), "overwrite": True},
            r"--trajectory has 4; each time must lie in -1..3",
        ),
        ({"trajectory": (0,)}, r"s.trajectory.png exists; .*--overwrite"),
    ],
)
def test_a_way_that_cannot_be_kept_is_refused_before_anything_is_drawn(drawn, flags, message):
    with open("s.trajectory.png", "w") as file:
        file.write("precious")
    with pytest.raises(ValueError, match=message):
        write("s.npz", **flags)
    assert (names(), drawn) == (["s.trajectory.png"], [])


def everything(folder):
    """Names and contents of all that is in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def check_stops(tmp_path, out, error=None, **flags):
    """Stops a call at one operation after the other, and lets the same call finish each time."""
    whole, ended, number = tmp_path / "whole", None, 0
    whole.mkdir()
    write(str(whole / out), **flags)
    while ended != FINISHED:
        folder = tmp_path / str(number)
        folder.mkdir()
        call = functools.partial(write, str(folder / out), **flags)
        ended = stopped_at(number, folder, call, error=error)
        if everything(folder) != everything(whole):
            assert ended != FINISHED
            call()
        assert everything(folder) == everything(whole), f"stopped at operation {number}"
        number += 1
    return number


def test_killed_at_any_operation_the_same_call_finishes(tmp_path):
    assert check_stops(tmp_path, "s.npz", num_samples=2) > 20


def test_an_error_at_any_operation_and_the_same_call_finishes(tmp_path):
    assert check_stops(tmp_path, "s[1]", errno.ENOSPC, num_samples=1) > 20


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("out", ["s.npz", "s", "s.png"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_at_any_operation_with_the_way_to_the_first_shard(
    monkeypatch, tmp_path, out, overwrite, error
):
    def save_grid(path, rows, **_):  # as many operations, and a hundredth of the time
        images.save_png(path, rows[0, 0])

    def progressive(_, number, freq):
        return freq * np.arange(2, dtype=np.int32), np.linspace(-1, 1, 256).reshape(2, 2, 8, 8, 1)

    def trajectory(_, number, keep, **__):
        return np.array(keep, np.int32), np.linspace(-1, 1, 256).reshape(2, 2, 8, 8, 1)

    monkeypatch.setattr(images, "save_labelled_grid", save_grid)
    # TensorFlow cannot be called in a fork.
    monkeypatch.setattr(Sampler, "progressive", progressive)
    monkeypatch.setattr(Sampler, "trajectory", trajectory)
    flags = {"progressive": 2, "trajectory": (1, -1), "overwrite": overwrite}
    assert check_stops(tmp_path, out, error, **flags) > 60


@pytest.mark.parametrize("out", ["s.npz", "s.png", "s"])
def test_parts_of_an_output_that_is_there_are_finished(monkeypatch, tmp_path, drawn, out):
    ways = {"progressive": 2}
    interrupt(monkeypatch, out, after=3, **ways)
    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "delete", _lightning)
        with pytest.raises(RuntimeError, match="lightning"):
            write(out, **ways)
    for name in names():
        if name.endswith((".lock", "progressive.png")):  # what comes last is not there yet
            os.remove(name)
    before = content_of(out)
    drawn.clear()
    write(out, **ways)
    assert drawn == [] and content_of(out) == before
    stem = out.split(".")[0]
    assert names() == sorted([out, f"{stem}.progressive.npz", f"{stem}.progressive.png"])


def _lightning(*_):
    raise RuntimeError("lightning")


def content_of(out):
    return {n: content(f"{out}/{n}") for n in names(out)} if os.path.isdir(out) else content(out)


def test_an_output_of_others_is_not_taken_for_one_that_was_not_finished(monkeypatch, drawn):
    interrupt(monkeypatch, "s.npz", after=3)
    with open("s.npz", "w") as file:
        file.write("precious")
    drawn.clear()
    with pytest.raises(ValueError, match=r"s.npz exists; .*--overwrite"):
        write("s.npz")
    assert drawn == [] and content("s.npz") == b"precious"
    assert names() == ["s.npz", "s.npz.parts"]
    os.remove("s.npz")
    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "delete", _lightning)
        with pytest.raises(RuntimeError, match="lightning"):
            write("s.npz")
    with open("s.npz", "w") as file:
        file.write("precious")
    os.remove(lock_beside("s.npz"))
    with pytest.raises(ValueError, match=r"s.npz exists; .*--overwrite"):
        write("s.npz")
    assert content("s.npz") == b"precious"


def test_a_second_process_is_refused_while_one_writes(monkeypatch, drawn):
    def draw(*_):
        with pytest.raises(InUse, match=rf"s.npz is being written by process {os.getpid()} on"):
            write("s.npz")
        write("t.npz")
        raise RuntimeError("lightning")

    with monkeypatch.context() as context:
        context.setattr(parts.Parts, "missing", lambda *_: context.undo() or draw())
        with pytest.raises(RuntimeError, match="lightning"):
            write("s.npz")
    write("s.npz")
    assert content("s.npz") == content("t.npz") and names() == ["s.npz", "t.npz"]


@pytest.mark.parametrize("name", ["a[1]", "two\nlines", " ", "-rf", "\u00e9", "*?", "x" * 251])
@pytest.mark.parametrize("ending", [".npz", ".png", ""])
def test_any_name_will_do(monkeypatch, drawn, name, ending):
    out = name + ending
    interrupt(monkeypatch, out, after=2, num_samples=5)
    write(out, num_samples=5)
    assert drawn == [0, 1, 2, 2] and names() == [out]
