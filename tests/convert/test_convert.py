"""Every format into every format, through load_unet, convert and the script."""

import dataclasses
import io
import itertools
import json
import os
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config, get_config
from diffusion_tf.convert import FORMATS, convert, detect, formats, load_unet, tf1, workdir
from diffusion_tf.convert.architecture import Architecture
from diffusion_tf.convert.contents import Contents, config_of, same_bits
from diffusion_tf.convert.maps import weights_of
from diffusion_tf.convert.state_files import read_state_dict, write_state_dict
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils import files
from diffusion_tf.utils.locks import InUse, lock_beside, locked
from helpers import golden_arrays
from helpers.checkpoints import save_checkpoint
from helpers.processes import run, sentence
from helpers.rows import mostly_slow
from helpers.torch_networks import import_torch
from helpers.unets import build, randomise

pytest.importorskip("safetensors")
pytestmark = pytest.mark.extras

GOLDEN = Path(golden_arrays.FOLDER) / "ckpt"
# The golden checkpoint's network.
CONFIG = Config(
    image_size=8, channels=3, ch=32, ch_mult=(1,), attn_resolutions=(), steps=8, batch_size=2
)
NAMES = {
    "workdir": "run",
    "tf1": "tf1",
    "pytorch_diffusion": "port.safetensors",
    "diffusers": "ddpm",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the golden checkpoint in every format, under the names above."""
    home = tmp_path_factory.mktemp("formats")
    for format, name in NAMES.items():
        convert(str(GOLDEN), str(home / name), format=format, config=CONFIG)
    return home


@pytest.fixture(scope="module")
def golden():
    return tf1.read(str(GOLDEN))


# --- Every format


@pytest.mark.parametrize("format", FORMATS)
def test_load_unet_gives_the_originals_output_from_every_format(home, format):
    path = str(home / NAMES[format])
    assert detect(path) == format
    expected = golden_arrays.load("ckpt_expected")
    output = load_unet(path)([expected["x"], expected["t"]])
    np.testing.assert_allclose(output, expected["output_ema"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "source, target",
    mostly_slow(
        itertools.product(FORMATS, FORMATS),
        lambda source, target: "workdir" in (source, target) or source == target,
    ),
)
def test_every_format_into_every_format_changes_no_bit(home, golden, tmp_path, source, target):
    config = None if source in ("workdir", "diffusers") else CONFIG
    path = str(tmp_path / NAMES[target])
    convert(str(home / NAMES[source]), path, format=target, config=config, weights="ema")
    found = formats.read(path)
    assert same_bits(found.chosen("ema"), golden.chosen("ema"))
    if {source, target} <= {"workdir", "tf1"}:
        assert same_bits(found.chosen("raw"), golden.chosen("raw"))
        assert (found.step, set(found.slots)) == (5, {"Adam", "Adam_1"})
        assert all(same_bits(found.slots[name], golden.slots[name]) for name in golden.slots)
    else:
        assert same_bits(found.chosen("raw"), golden.chosen("ema"))
        assert not found.slots


def test_raw_weights_if_asked_for(home, golden, tmp_path):
    convert(str(home / "run"), str(tmp_path / "a.safetensors"), format="pytorch_diffusion",
            weights="raw")  # fmt: skip
    assert same_bits(formats.read(str(tmp_path / "a.safetensors")).chosen("ema"),
                     golden.chosen("raw"))  # fmt: skip
    assert not same_bits(golden.chosen("raw"), golden.chosen("ema"))


def restored(workdir, folder):
    """A trainer with everything from a workdir."""
    config = formats.read(str(workdir)).config
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    save_checkpoint(folder, trainer).restore_from(str(workdir))
    return trainer


def test_the_optimizers_state_is_where_training_has_it(home, golden, tmp_path):
    trainer = restored(home / "run", tmp_path / "next")
    assert int(trainer.optimizer.iterations) == int(trainer.step) == 5
    parts = {
        "Adam": trainer.optimizer._momentums,
        "Adam_1": trainer.optimizer._velocities,
    }
    for name, state in parts.items():
        for variable, value in zip(trainer.model.trainable_variables, state, strict=True):
            path = variable.path.removeprefix("model/")
            np.testing.assert_array_equal(value, golden.slots[name][path])


@pytest.mark.slow
def test_training_goes_on_the_same_after_a_journey_to_the_original(tmp_path):
    trainer = Trainer(CONFIG, tf.distribute.get_strategy(), jit_compile=False)
    x, t = golden_arrays.load("optimizer")["x"][0], tf.constant([3, 777])
    for _ in range(3):
        trainer.train_step(x, t, tf.ones_like(x))
    save_checkpoint(tmp_path / "run", trainer)
    convert(str(tmp_path / "run"), str(tmp_path / "tf1"), format="tf1")
    convert(str(tmp_path / "tf1"), str(tmp_path / "back"), format="workdir", config=CONFIG)
    back = restored(tmp_path / "back", tmp_path / "next")
    for one in (trainer, back):
        one.train_step(x, t, tf.ones_like(x))
    assert int(trainer.step) == int(back.step) == 4
    for model, other in ((trainer.model, back.model), (trainer.ema_model, back.ema_model)):
        assert same_bits(weights_of(model), weights_of(other))
    assert not same_bits(weights_of(back.model), weights_of(back.ema_model))


def test_without_an_optimizers_state_training_begins_with_a_new_one(home, tmp_path):
    convert(str(home / "ddpm"), str(tmp_path / "run"), format="workdir")
    found = formats.read(str(tmp_path / "run"))
    assert (found.step, found.slots) == (0, {})


def test_a_workdir_that_does_not_name_its_checkpoint_is_not_written(home, tmp_path, golden):
    target = tmp_path / "run"
    workdir.write(str(target), golden, CONFIG)
    state = target / "checkpoints" / "checkpoint"
    state.unlink()
    state.mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="checkpoint cannot be read .*Make room, or mend the disk"):
        workdir.write(str(target), golden, CONFIG)


def test_each_average_is_taken_by_its_decay_and_goes_from_workdir_to_workdir(tmp_path):
    config = dataclasses.replace(CONFIG, ema_decay=(0.9, 0.5), timestep_sampling="by_loss")
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    trainer.averages["ema_0.5"].set_weights([w + 2 for w in trainer.model.get_weights()])
    save_checkpoint(tmp_path / "run", trainer)
    path = str(tmp_path / "a.safetensors")
    convert(str(tmp_path / "run"), path, format="pytorch_diffusion", weights="ema_0.5")
    average = weights_of(trainer.averages["ema_0.5"])
    assert same_bits(formats.read(path).chosen("ema"), average)
    convert(str(tmp_path / "run"), str(tmp_path / "tf1"), format="tf1")
    assert same_bits(formats.read(str(tmp_path / "tf1")).chosen("ema"), weights_of(trainer.model))
    convert(str(tmp_path / "run"), str(tmp_path / "again"), format="workdir")
    assert same_bits(formats.read(str(tmp_path / "again")).chosen("ema_0.5"), average)
    with pytest.raises(ValueError, match="tf1/model.* holds no weights ema_0.5; choose --weights="):
        formats.read(str(tmp_path / "tf1")).chosen("ema_0.5")


def test_rmsprop_is_carried_over(golden, tmp_path):
    slots = {"RMSProp": golden.slots["Adam_1"], "RMSProp_1": golden.slots["Adam"]}
    rmsprop = dataclasses.replace(golden, slots=slots)
    prefix = tf1.write(str(tmp_path / "tf1"), rmsprop)
    names = set(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    assert {"model/conv_in/W/RMSProp_1", "global_step"} < names
    assert "beta1_power" not in names
    config = dataclasses.replace(CONFIG, optimizer="rmsprop")
    convert(prefix, str(tmp_path / "run"), format="workdir", config=config)
    trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=False)
    save_checkpoint(tmp_path / "next", trainer).restore_from(str(tmp_path / "run"))
    paths = [v.path.removeprefix("model/") for v in trainer.model.trainable_variables]
    i = paths.index("conv_in/kernel")
    mean_square, momentum = trainer.optimizer._velocities[i], trainer.optimizer._momentums[i]
    np.testing.assert_array_equal(mean_square, golden.slots["Adam_1"]["conv_in/kernel"])
    np.testing.assert_array_equal(momentum, golden.slots["Adam"]["conv_in/kernel"])
    with pytest.raises(ValueError, match="state RMSProp, RMSProp_1, and the config's optimizer 'a"):
        convert(prefix, str(tmp_path / "adam"), format="workdir", config=CONFIG)
    assert not (tmp_path / "adam").exists()


# --- What is found out


@pytest.mark.parametrize(
    "arguments",
    [
        {"ch": 32, "ch_mult": (1,), "attn_resolutions": ()},
        {"ch": 32, "ch_mult": (2, 3), "attn_resolutions": (16, 8), "out_ch": 6},
        {"ch": 64, "ch_mult": (1, 1, 2), "attn_resolutions": (4,), "num_res_blocks": 2},
        {"ch": 32, "ch_mult": (1, 2), "attn_resolutions": (), "resamp_with_conv": False},
    ],
)
def test_the_architecture_follows_from_the_weights(tmp_path, arguments):
    unet = randomise(build(size=16, **arguments))
    write = Contents(path="", weights={"ema": weights_of(unet)})
    found = load_unet(tf1.write(str(tmp_path), write))
    assert found.image_size is None
    x, t = np.random.RandomState(0).randn(2, 16, 16, 3).astype(np.float32), np.array([3, 777])
    np.testing.assert_array_equal(found([x, t]), unet([x, t]))
    for name in ("ch", "out_ch", "ch_mult", "num_res_blocks", "resamp_with_conv"):
        assert getattr(found, name) == getattr(unet, name), name


@pytest.mark.parametrize("name", ["cifar10", "celebahq256"])
def test_without_a_size_attention_is_at_16_pixels_as_in_the_paper(monkeypatch, name):
    config = dataclasses.replace(get_config(name), ch=32, num_res_blocks=1)
    unet = Architecture.of_config(config).build()
    assert (unet.image_size, unet.attn_resolutions) == (None, (16,))


def test_weights_of_no_unet_are_named():
    with pytest.raises(ValueError, match=r"of no DDPM U-Net: first or last layers are missing"):
        Architecture.of_weights({"down_0/block_0/conv1/kernel": np.zeros((3, 3, 32, 32))})


def test_a_config_is_asked_for_where_one_is_needed(home, golden):
    bare = formats.read(str(home / "port.safetensors"))
    with pytest.raises(ValueError, match=r"says neither the image size .* with --config\."):
        config_of(bare)
    assert config_of(bare, CONFIG) == CONFIG
    with pytest.raises(ValueError, match=r"has its own config; leave out --config"):
        config_of(formats.read(str(home / "run")), CONFIG)
    wider = dataclasses.replace(CONFIG, ch=64)
    with pytest.raises(ValueError, match=r"another network than the config: ch 32, not 64"):
        config_of(bare, wider)
    other = dataclasses.replace(CONFIG, model_var_type="fixedsmall")
    with pytest.raises(ValueError, match=r"otherwise than --config: model_var_type 'fixedlarge', "):
        config_of(formats.read(str(home / "ddpm")), other)


def test_presets_with_the_same_network_are_offered():
    architecture = Architecture.of_config(get_config("cifar10"))
    assert architecture.is_of(get_config("cifar10"))
    assert not architecture.is_of(get_config("celebahq256"))


# --- What is wrong


class _Code:
    """Its pickle runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    import_torch()
    for name, payload in (("a.pt", {"w": _Code(tmp_path / "ran")}), ("b.bin", [1, 2])):
        (tmp_path / name).write_bytes(pickle.dumps(payload, protocol=2))
    trap = io.BytesIO()
    import_torch().save({"down.0.w": _Code(tmp_path / "ran")}, trap)
    (tmp_path / "c.ckpt").write_bytes(trap.getvalue())
    for name in ("a.pt", "b.bin", "c.ckpt"):
        with pytest.raises(ValueError, match=f"{name} (is not a file of|holds no state dict)"):
            load_unet(str(tmp_path / name))
        assert not (tmp_path / "ran").exists()


def test_the_trap_of_the_test_above_would_work(tmp_path):
    pickle.loads(pickle.dumps(_Code(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["port.safetensors", "port.pt"])
def test_a_truncated_state_dict_is_named(home, tmp_path, name):
    if name == "port.pt":
        import_torch()
    write_state_dict(str(tmp_path / name), read_state_dict(str(home / "port.safetensors")))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:5000])
    with pytest.raises(ValueError, match=f"{name} is not a file of tensors alone"):
        load_unet(str(tmp_path / name))


def test_other_dtypes_become_float32(tmp_path):
    torch = import_torch()
    torch.save({"w": torch.tensor([0.1, 2.0], dtype=torch.bfloat16)}, tmp_path / "a.pt")
    (value,) = read_state_dict(str(tmp_path / "a.pt")).values()
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, [0.1, 2.0], rtol=1e-2)


def test_tensors_that_share_memory_are_read(tmp_path):
    """A state dict may hold views."""
    torch = import_torch()
    whole = torch.arange(6.0)
    torch.save({"a": whole[::2], "b": whole.reshape(2, 3).T}, tmp_path / "a.pt")
    state = read_state_dict(str(tmp_path / "a.pt"))
    np.testing.assert_array_equal(state["a"], [0, 2, 4])
    np.testing.assert_array_equal(state["b"], [[0, 3], [1, 4], [2, 5]])


def test_what_is_none_of_the_formats_is_named(tmp_path, home):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(
        ValueError, match=r"is none of the formats known here: .*\(workdir\), a chec"
    ):
        load_unet(str(tmp_path))
    with pytest.raises(ValueError, match=r"notes.txt is not a file of tensors alone"):
        load_unet(str(tmp_path / "notes.txt"))
    with pytest.raises(FileNotFoundError, match="nothing does not exist; name a folder or file"):
        load_unet(str(tmp_path / "nothing"))
    write_state_dict(str(tmp_path / "a.safetensors"), {"weight": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="a.safetensors is none of the formats"):
        load_unet(str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match="Unknown weights 'best'; choose one of ema, raw"):
        load_unet(str(home / "port.safetensors"), weights="best")


def test_a_missing_package_is_named(home, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)  # as if it were not installed
    with pytest.raises(OSError, match=r"port.safetensors needs the package safetensors; pip insta"):
        load_unet(str(home / "port.safetensors"))


@pytest.mark.parametrize("format", FORMATS)
def test_a_target_that_exists_is_kept_without_the_flag(home, tmp_path, format):
    path = tmp_path / NAMES[format]
    (shutil.copytree if (home / NAMES[format]).is_dir() else shutil.copy)(
        home / NAMES[format], path
    )
    before = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="exists; choose another --target, or add --overwrite"):
        convert(str(GOLDEN), str(path), format=format, config=CONFIG)
    assert {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()} == before
    convert(str(GOLDEN), str(path), format=format, config=CONFIG, overwrite=True, weights="raw")
    assert detect(str(path)) == format
    after = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    assert after.keys() == before.keys()
    if format in ("pytorch_diffusion", "diffusers"):
        assert after != before


def test_a_target_that_is_there_but_was_not_finished_is_finished(home, tmp_path, monkeypatch):
    target, source = tmp_path / "a.safetensors", str(home / "ddpm")

    def lightning(_):
        raise RuntimeError("lightning")

    with monkeypatch.context() as context:
        context.setattr(files, "_delete", lightning)  # it has its name, and is cleared up after
        with pytest.raises(RuntimeError, match="lightning"):
            convert(source, str(target), format="pytorch_diffusion")
    assert len(os.listdir(tmp_path)) == 3
    shutil.copytree(tmp_path, tmp_path / "copy")
    shutil.copy(home / "ddpm" / "model_index.json", tmp_path / "copy" / "a.safetensors")
    before = target.read_bytes()
    with pytest.raises(ValueError, match="a.safetensors exists; choose"):  # another command
        convert(str(home / "run"), str(target), format="pytorch_diffusion")
    convert(source, str(target), format="pytorch_diffusion")
    assert target.read_bytes() == before
    with pytest.raises(ValueError):  # another file
        convert(source, str(tmp_path / "copy" / "a.safetensors"), format="pytorch_diffusion")
    shutil.rmtree(tmp_path / "copy")
    assert os.listdir(tmp_path) == ["a.safetensors"]
    with pytest.raises(ValueError, match="a.safetensors exists; choose"):  # it is finished now
        convert(source, str(target), format="pytorch_diffusion")


def test_a_target_that_another_process_writes_is_refused(home, tmp_path):
    target = str(tmp_path / "a")
    message = f"a is being written by process {os.getpid()} on"
    with locked(lock_beside(target), target), pytest.raises(InUse, match=message):
        convert(str(home / "ddpm"), target, format="tf1")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", FORMATS)
def test_any_name_will_do(home, tmp_path, format):
    name = "-[1]*?\n\u00e9\udcff"
    folder = tmp_path / name
    convert(str(home / "ddpm"), str(folder / name), format=format, config=CONFIG)
    assert os.listdir(folder) == [name]
    if format == "pytorch_diffusion":  # the same tensors make the same bytes
        convert(str(home / "ddpm"), str(folder / "b.pt"), format=format)
        assert (folder / "b.pt").read_bytes() == (folder / name).read_bytes()
    back = folder / "back.safetensors"
    convert(str(folder / name), str(back), format="pytorch_diffusion")
    assert back.read_bytes() == (home / NAMES["pytorch_diffusion"]).read_bytes()


def test_overwrite_spares_what_is_not_a_checkpoint(home, tmp_path):
    run_folder = tmp_path / "run"
    shutil.copytree(home / "run", run_folder)
    (run_folder / "tensorboard").mkdir()
    with pytest.raises(ValueError, match="run holds tensorboard, which is not written for workdir"):
        convert(str(GOLDEN), str(run_folder), format="workdir", config=CONFIG, overwrite=True)
    with pytest.raises(ValueError, match="run exists, and pytorch_diffusion is written into a fil"):
        convert(str(GOLDEN), str(run_folder), format="pytorch_diffusion", overwrite=True)
    (tmp_path / "link").symlink_to(run_folder)
    with pytest.raises(ValueError, match="link is a link; give what it leads to"):
        convert(
            str(GOLDEN), str(tmp_path / "link"), format="workdir", config=CONFIG, overwrite=True
        )
    source = shutil.copytree(home / "tf1", tmp_path / "tf1")
    with pytest.raises(ValueError, match="tf1 holds the source"):
        convert(str(source / "model.ckpt-5"), str(source), format="tf1", overwrite=True)
    assert detect(str(source)) == "tf1" and detect(str(run_folder)) == "workdir"


def test_nothing_stays_of_a_conversion_that_fails(home, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="another network"):
        convert(str(home / "port.safetensors"), str(tmp_path / "run"), format="workdir",
                config=get_config("digits"))  # fmt: skip
    real = tf1.write

    def damaging(target, contents, config):
        values = {**contents.weights["raw"]}
        values["conv_in/bias"] = values["conv_in/bias"] + np.float32(1e-6)
        return real(
            target,
            dataclasses.replace(contents, weights={**contents.weights, "raw": values}),
            config,
        )

    monkeypatch.setattr(tf1, "write", damaging)
    with pytest.raises(OSError, match="What was written differs from"):
        convert(str(home / "run"), str(tmp_path / "tf1"), format="tf1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*NAMES.values(), "port.pt"])
def test_nothing_stays_where_the_disk_is_full(home, tmp_path, name):
    format = {v: k for k, v in NAMES.items()}.get(name, "pytorch_diffusion")
    if name == "port.pt":
        import_torch()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be written"):
            convert(str(home / "run"), str(tmp_path / name), format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


# --- The script


def test_the_script_converts_and_the_others_take_what_it_writes(tmp_path):
    CONFIG.save(tmp_path / "mine.json")
    result = run(
        "convert", f"--source={GOLDEN}", "--target=run", "--config=mine.json", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "(tf1) in" in result.stderr and "step 5, averaged and raw weights" in result.stderr
    assert "163,331 parameters in 74 tensors" in result.stderr
    assert "ch 32, ch_mult (1,), num_res_blocks 1, attention at resolutions none" in result.stderr
    assert "Wrote run, and read it back bit for bit." in result.stderr
    result = run("sample", "--workdir=run", "--num_samples=2", "--sampling_steps=2",
                 "--jit_compile=off", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "ema weights of step 5" in result.stderr
    result = run("convert", "--source=run", "--target=ddpm", "--format=diffusers", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "ddpm" / "model_index.json").exists()
    assert json.loads((tmp_path / "ddpm/unet/config.json").read_text())["sample_size"] == 8


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--source=nothing", "--target=a"], "nothing does not exist"),
        (["--target=a"], "--source is missing; name a file or folder"),
        ([f"--source={GOLDEN}"], "--target is missing; name a file or folder"),
        ([f"--source={GOLDEN}", "--target=a"], "name a preset or a config.json with --config"),
        ([f"--source={GOLDEN}", "--target=a", "--config=digits"], "channels 3, not 1"),
        ([f"--source={GOLDEN}", "--target=a", "--config=svhn"], "Unknown config 'svhn'"),
    ],
)
def test_the_scripts_errors_are_one_sentence(tmp_path, arguments, message):
    assert message in sentence(run("convert", *arguments, cwd=tmp_path))
    assert not list(tmp_path.iterdir())
