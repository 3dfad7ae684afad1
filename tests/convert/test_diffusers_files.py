"""Folders as diffusers itself writes them: in parts, halved, with averages, any scheduler."""

import json
import logging
import shutil

import numpy as np
import pytest

from diffusion_tf.convert import convert, detect, diffusers, diffusers_pipeline, formats, load_unet
from diffusion_tf.convert.contents import same_bits
from diffusion_tf.convert.maps import weights_of
from helpers.torch_networks import import_torch
from helpers.unets import build, randomise

pytest.importorskip("safetensors")
pytestmark = pytest.mark.extras
SMALL = {"ch": 32, "ch_mult": (1, 2), "attn_resolutions": (4,)}


@pytest.fixture(scope="module")
def networks():
    """diffusers' module with raw weights, one with others, and ours with the first's."""
    package, torch = pytest.importorskip("diffusers"), import_torch()
    modules = []
    for seed in (0, 1):
        unet = randomise(build(size=8, **SMALL), seed)
        module = package.UNet2DModel.from_config(diffusers.unet_config(unet, 8))
        state = diffusers.state_dict_of(unet)
        module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        modules.append(module)
    return modules


def expected(module):
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    return diffusers.NAMES.weights(state)


def check(path, **kinds):
    assert detect(str(path)) == "diffusers"
    found = formats.read(str(path)).weights
    assert found.keys() == kinds.keys()
    for kind, module in kinds.items():
        assert same_bits(found[kind], expected(module)), kind


@pytest.fixture
def log(caplog):
    """What is logged, as one text when called."""
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


# --- Files


@pytest.mark.parametrize("safe", [True, False])
def test_weights_in_parts_are_put_together(tmp_path, networks, safe):
    (tmp_path / "ddpm").mkdir()
    networks[0].save_pretrained(tmp_path / "ddpm", max_shard_size="500KB", safe_serialization=safe)
    (index,) = (tmp_path / "ddpm").glob("*.index.json")
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
    check(tmp_path / "ddpm", ema=networks[0], raw=networks[0])
    check(index, ema=networks[0], raw=networks[0])


@pytest.mark.parametrize("size", ["10GB", "200KB"])
def test_halved_weights_are_taken_if_there_are_no_others(tmp_path, networks, log, size):
    package, torch = pytest.importorskip("diffusers"), import_torch()
    half = package.UNet2DModel.from_config(networks[0].config)
    half.load_state_dict(networks[0].state_dict())
    half.to(torch.float16).save_pretrained(tmp_path, variant="fp16", max_shard_size=size)
    assert not (tmp_path / "diffusion_pytorch_model.safetensors").exists()
    check(tmp_path, ema=half.float(), raw=half)
    assert f"{tmp_path} holds weights of the variant fp16 only" in log()
    networks[0].save_pretrained(tmp_path, max_shard_size="10GB")
    check(tmp_path, ema=networks[0], raw=networks[0])


def test_one_of_several_variants_has_to_be_named(tmp_path, networks):
    for variant in ("fp16", "bf16"):
        networks[0].save_pretrained(tmp_path, variant=variant)
    message = (
        "holds its weights as diffusion_pytorch_model.bf16.safetensors and"
        " diffusion_pytorch_model.fp16.safetensors, none of which is in full; name the file"
    )
    with pytest.raises(ValueError, match=message):
        load_unet(str(tmp_path))
    check(tmp_path / "diffusion_pytorch_model.fp16.safetensors", ema=networks[0], raw=networks[0])


def test_weights_that_are_not_averaged_are_the_raw_ones(tmp_path, networks):
    networks[0].save_pretrained(tmp_path, variant="non_ema")
    networks[1].save_pretrained(tmp_path)
    check(tmp_path, ema=networks[1], raw=networks[0])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda index: {}, "index.json has no weight_map with the name of a file beside it"),
        (lambda index: {"weight_map": {"a": "../a.bin"}}, "has no weight_map with the name of a"),
        (lambda index: {"weight_map": {"a": 3}}, "has no weight_map with the name of a"),
        (lambda index: {"weight_map": {"a": "b.bin"}}, "b.bin is not a file"),
        (
            lambda index: {
                "weight_map": {**index["weight_map"], "scale": min(index["weight_map"].values())}
            },
            r"model-00001-of-0000\d.safetensors lacks scale, which .*index.json says are in it",
        ),
    ],
)
def test_an_index_that_is_wrong_is_refused(tmp_path, networks, change, message):
    networks[0].save_pretrained(tmp_path, max_shard_size="700KB")
    (index,) = tmp_path.glob("*.index.json")
    index.write_text(json.dumps(change(json.loads(index.read_text()))))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_unet(str(tmp_path))


# --- Averages


@pytest.fixture
def checkpoint(tmp_path, networks):
    """The folder checkpoint-7 of diffusers' training script: raw weights and EMAModel's."""
    package, torch = pytest.importorskip("diffusers"), import_torch()
    from diffusers.training_utils import EMAModel

    raw, other = networks
    model = package.UNet2DModel.from_config(raw.config)
    model.load_state_dict(other.state_dict())
    ema = EMAModel(
        model.parameters(), decay=0.99, use_ema_warmup=True, inv_gamma=1.0, power=0.75,
        model_cls=package.UNet2DModel, model_config=model.config,
    )  # fmt: skip
    ema.step(model.parameters())
    ema.save_pretrained(tmp_path / "checkpoint-7" / "unet_ema")
    raw.save_pretrained(tmp_path / "checkpoint-7" / "unet")
    torch.save({}, tmp_path / "checkpoint-7" / "optimizer.bin")
    written = json.loads((tmp_path / "checkpoint-7" / "unet_ema" / "config.json").read_text())
    assert {"decay", "inv_gamma", "optimization_step", "power"} <= written.keys()
    return tmp_path / "checkpoint-7"


def test_a_checkpoint_of_a_training_holds_both_sets(checkpoint, networks, tmp_path, log):
    raw, ema = networks
    check(checkpoint, ema=ema, raw=raw)
    assert "weights (ema) taken from unet_ema, (raw) from unet." in log()
    convert(str(checkpoint), str(tmp_path / "a.pt"), format="pytorch_diffusion", weights="raw")
    assert same_bits(formats.read(str(tmp_path / "a.pt")).chosen("raw"), expected(raw))
    check(checkpoint / "unet_ema", ema=ema, raw=ema)
    check(checkpoint / "unet", ema=raw, raw=raw)
    shutil.rmtree(checkpoint / "unet")
    check(checkpoint, ema=ema)
    with pytest.raises(ValueError, match="holds no raw weights; choose --weights=ema"):
        load_unet(str(checkpoint), weights="raw")


@pytest.mark.parametrize("size", [(8, 8), [8, 8], 8, [8]])
def test_a_size_may_be_a_pair(networks, size):
    values = {**networks[0].config, "sample_size": size}
    assert diffusers.unet_from_config(values).image_size == 8


# --- Schedulers


@pytest.mark.parametrize(
    "name, arguments, fields",
    [
        ("DDIMScheduler", {"clip_sample": False, "beta_schedule": "scaled_linear"}, {}),
        ("PNDMScheduler", {"skip_prk_steps": True, "beta_end": 0.01}, {}),
        ("DPMSolverMultistepScheduler", {"prediction_type": "sample"}, {}),
        ("DPMSolverSinglestepScheduler", {"num_train_timesteps": 50}, {}),
        ("UniPCMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2"}, {}),
        ("EulerDiscreteScheduler", {}, {}),
        ("HeunDiscreteScheduler", {}, {}),
        ("DDPMParallelScheduler", {"variance_type": "fixed_large"}, {"model_var_type"}),
    ],
)
def test_the_process_of_any_scheduler_is_taken(tmp_path, log, name, arguments, fields):
    package = pytest.importorskip("diffusers")
    scheduler = getattr(package, name)(**arguments)
    scheduler.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "scheduler_config.json").read_text())
    found = diffusers_pipeline.process_fields(values)
    arguments = {key: found[key] for key in ("beta_start", "beta_end", "num_diffusion_timesteps")}
    betas = diffusers_pipeline.get_beta_schedule(found["beta_schedule"], **arguments)
    np.testing.assert_allclose(betas, scheduler.betas, rtol=1e-5)
    kinds = {"epsilon": "eps", "sample": "xstart"}
    assert found["model_mean_type"] == kinds[scheduler.config.prediction_type]
    assert ("model_var_type" in found) == bool(fields)
    assert (f"of a {name}: its betas and prediction type are taken" in log()) == (not fields)
    silent = {"_class_name": name, "prediction_type": scheduler.config.prediction_type}
    assert diffusers_pipeline.process_fields(silent)["beta_end"] == (
        getattr(package, name)().config.beta_end
    )


def test_a_scheduler_made_from_another_keeps_its_variance(tmp_path):
    package = pytest.importorskip("diffusers")
    ddpm = package.DDPMScheduler(variance_type="fixed_large")
    package.DDIMScheduler.from_config(ddpm.config).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert diffusers_pipeline.process_fields(values)["model_var_type"] == "fixedlarge"


def test_a_pipeline_with_ddim_becomes_a_run(tmp_path, networks):
    package = pytest.importorskip("diffusers")
    scheduler = package.DDIMScheduler(num_train_timesteps=50)
    package.DDIMPipeline(unet=networks[0], scheduler=scheduler).save_pretrained(tmp_path / "ddim")
    convert(str(tmp_path / "ddim"), str(tmp_path / "run"), format="workdir")
    found = formats.read(str(tmp_path / "run"))
    assert found.config.num_diffusion_timesteps == 50
    assert found.config.beta_schedule == "linear"
    unet = load_unet(str(tmp_path / "run"))
    assert same_bits(weights_of(unet), expected(networks[0]))
