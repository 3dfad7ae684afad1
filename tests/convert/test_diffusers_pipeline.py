"""Folders of diffusers, written and read, against diffusers itself."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from diffusion_tf.config import Config, get_config
from diffusion_tf.convert import detect, diffusers, diffusers_pipeline, load_unet
from diffusion_tf.convert.contents import Contents, config_of
from diffusion_tf.convert.maps import variables_of, weights_of
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import get_model
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.schedules import BETA_SCHEDULES
from diffusion_tf.utils.image_sizes import parse_size, sides
from helpers.rows import mostly_slow
from helpers.torch_networks import assert_close, images, import_torch, torch_output
from helpers.unets import build, randomise

pytest.importorskip("safetensors")
pytestmark = pytest.mark.extras

CONFIG = Config(image_size=8, channels=3, ch=64, ch_mult=(1, 2), attn_resolutions=(4,), dropout=0.1)


@pytest.fixture(scope="module")
def unet():
    return randomise(get_model(CONFIG))


@pytest.fixture
def folder(unet, tmp_path):
    """A pipeline of the network above."""
    diffusers_pipeline.save_pipeline(str(tmp_path / "ddpm"), unet, CONFIG)
    return tmp_path / "ddpm"


def change(path, **values):
    """Changes keys of a JSON file; None removes one."""
    values = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def images_of_both(folder, unet, config, steps, batch=8):
    """Samples of the pipeline and ours, in [0, 1], from the same noise."""
    torch, package = import_torch(), pytest.importorskip("diffusers")
    pipeline = package.DDPMPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        batch_size=batch, num_inference_steps=steps, output_type="np",
        generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip

    shape = (batch, config.channels, config.image_size, config.image_size)
    generator = torch.Generator().manual_seed(3)
    noises = iter([torch.randn(shape, generator=generator).numpy() for _ in range(steps)])

    def noise_fn(shape, dtype):
        noise = next(noises, np.zeros(1))  # none is drawn there for the last step
        noise = noise.transpose(0, 2, 3, 1) if noise.ndim == 4 else np.zeros(shape)
        return tf.constant(noise, dtype)

    sampler = get_sampling_process(get_diffusion(config), "ancestral", steps)
    x = noise_fn(None, tf.float32)
    step = tf.function(
        lambda x, t, noise: sampler.p_sample(
            denoise_fn(unet), x=x, t=tf.fill([batch], t), noise_fn=lambda shape, dtype: noise
        )
    )
    for t in reversed(range(steps)):
        x = step(x, tf.constant(t), noise_fn(x.shape, x.dtype))
    return theirs, np.clip(x / 2 + 0.5, 0, 1)


@pytest.mark.parametrize(
    "fields",
    mostly_slow(
        [
            {},
            {"model_var_type": "fixedsmall"},
            {"model_mean_type": "xstart", "beta_schedule": "cosine"},
            {"beta_schedule": "quad", "num_diffusion_timesteps": 100},
            {"beta_schedule": "warmup10", "beta_end": 0.03},
        ],
        lambda fields: "model_mean_type" in fields,
    ),
    ids=lambda fields: "-".join(map(str, fields.values())) or "paper",
)
def test_the_pipeline_samples_our_images(unet, tmp_path, fields):
    config = Config.from_dict({**CONFIG.__dict__, **fields})
    diffusers_pipeline.save_pipeline(str(tmp_path), unet, config)
    theirs, ours = images_of_both(tmp_path, unet, config, steps=20)
    assert theirs.shape == (8, 8, 8, 3)
    assert theirs.std() > 0.05  # neither all black nor all white
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [2, 3, 20, 27, 31, 47, 50, 333, 999, 1000])
def test_fewer_steps_are_spaced_alike(steps):
    package = pytest.importorskip("diffusers")
    values = diffusers_pipeline.scheduler_config(get_config("cifar10"))
    scheduler = package.DDPMScheduler.from_config(values)
    scheduler.set_timesteps(steps)
    ours = get_sampling_process(get_diffusion(get_config("cifar10")), "ancestral", steps)
    timesteps = getattr(ours, "timesteps", np.arange(1000))
    np.testing.assert_array_equal(timesteps[::-1], scheduler.timesteps)


def test_the_files_are_those_of_a_pipeline(folder):
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }


def test_the_published_config_is_what_is_written():
    """google/ddpm-cifar10-32, whose config.json says this."""
    config = get_config("cifar10")
    with keras.StatelessScope(initialize_variables=False):  # shapes, without the memory
        unet = get_model(config)
    written = diffusers.unet_config(unet, 32)
    published = {
        "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": False, "downsample_padding": 0, "flip_sin_to_cos": False,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "freq_shift": 1, "in_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1,
        "norm_eps": 1e-6, "norm_num_groups": 32, "out_channels": 3, "sample_size": 32,
        "time_embedding_type": "positional",
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    }  # fmt: skip
    assert {name: written[name] for name in published} == published


# --- Reading


@pytest.mark.parametrize("layout", ["pipeline", "unet", "bin", "file", "side by side"])
def test_folders_of_all_layouts_are_read(folder, unet, layout):
    path, inner = folder, folder / "unet"
    if layout == "unet":
        path = inner
    elif layout == "file":
        path = inner / "diffusion_pytorch_model.safetensors"
    elif layout == "bin":
        torch = import_torch()
        state = {k: torch.from_numpy(v) for k, v in diffusers.state_dict_of(unet).items()}
        torch.save(state, inner / "diffusion_pytorch_model.bin")
        (inner / "diffusion_pytorch_model.safetensors").unlink()
    elif layout == "side by side":  # as google/ddpm-cifar10-32 has them
        for file in [*inner.iterdir(), folder / "scheduler" / "scheduler_config.json"]:
            file.rename(folder / file.name)
        inner.rmdir()
    assert detect(str(path)) == "diffusers"
    read, expected = load_unet(str(path)), weights_of(unet)
    for name, value in weights_of(read).items():
        np.testing.assert_array_equal(value, expected[name])
    assert (read.image_size, read.attn_resolutions, read.dropout_rate) == (8, (4,), 0.1)
    if layout in ("pipeline", "bin", "side by side"):
        config = config_of(diffusers_pipeline.read(str(path)))
        assert (config.model_var_type, config.beta_schedule) == ("fixedlarge", "linear")


@pytest.mark.parametrize("size", [8, (8, 12), (8, 4)])
def test_a_folder_that_diffusers_wrote_is_read(tmp_path, size):
    """Also of images that are not square, of which it computes the same."""
    package, torch = pytest.importorskip("diffusers"), import_torch()
    network = build(size=8, ch=64, ch_mult=(1, 2), attn_resolutions=(4,))
    values = diffusers.unet_config(network, size)
    module = package.UNet2DModel.from_config(values)
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.1)
    scheduler = package.DDPMScheduler(variance_type="fixed_large", num_train_timesteps=500)
    package.DDPMPipeline(unet=module, scheduler=scheduler).save_pretrained(tmp_path)
    height, width = sides(size)
    x, t = images(12)
    x, unet = x[:, :height, :width], load_unet(str(tmp_path))
    assert unet.image_size == size
    assert_close(unet([x, t]).numpy(), torch_output(module, x, t))
    config = config_of(diffusers_pipeline.read(str(tmp_path)))
    assert (config.num_diffusion_timesteps, config.model_var_type) == (500, "fixedlarge")
    assert (config.ch, config.ch_mult, config.attn_resolutions) == (64, (1, 2), (4,))
    assert config.image_size == size
    diffusers_pipeline.save_pipeline(str(tmp_path / "ours"), unet, config)
    again = package.DDPMPipeline.from_pretrained(str(tmp_path / "ours"))
    assert list(sides(parse_size(again.unet.config.sample_size))) == [height, width]
    made = again(batch_size=1, num_inference_steps=1, output_type="np").images
    assert made.shape == (1, height, width, 3)


def test_the_one_preset_that_agrees_says_the_rest():
    fields = {"channels": 3, "image_size": 32}
    scheduler = diffusers_pipeline.scheduler_config(get_config("cifar10"))
    fields |= diffusers_pipeline.process_fields(scheduler)
    with keras.StatelessScope(initialize_variables=False):
        shapes = {p: v.shape for p, v in variables_of(get_model(get_config("cifar10"))).items()}
    weights = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
    contents = Contents(path="", weights={"ema": weights, "raw": weights}, fields=fields)
    assert config_of(contents) == get_config("cifar10")
    small = dataclasses.replace(contents, fields={**fields, "model_var_type": "fixedsmall"})
    config = config_of(small)
    assert (config.dataset, config.model_var_type, config.image_size) == (
        "folder",
        "fixedsmall",
        32,
    )
    bare = dataclasses.replace(contents, fields={"channels": 3, "image_size": 32})
    with pytest.raises(ValueError, match="with --config; the network fits cifar10"):
        config_of(bare)


@pytest.mark.parametrize("name", BETA_SCHEDULES)
@pytest.mark.parametrize("mean, var", [("eps", "fixedlarge"), ("xstart", "fixedsmall")])
def test_a_process_comes_back_as_it_was(name, mean, var):
    fields = {
        "beta_schedule": name, "beta_start": 2e-4, "beta_end": 0.01, "model_mean_type": mean,
        "model_var_type": var, "num_diffusion_timesteps": 50,
    }  # fmt: skip
    written = json.loads(json.dumps(diffusers_pipeline.scheduler_config(Config(**fields))))
    assert diffusers_pipeline.process_fields(written) == fields


def test_a_network_without_a_size_takes_all(folder):
    change(folder / "unet" / "config.json", sample_size=None)
    unet = load_unet(str(folder))
    assert unet.image_size is None
    for size in (4, 8, 12):
        assert unet(list(images(size))).shape == (2, size, size, 3)
    with pytest.raises(ValueError, match="images of 5 pixels cannot be halved 1 times"):
        unet(list(images(5)))


# --- What is wrong


@pytest.mark.parametrize(
    "values, message",
    [
        ({"norm_eps": 1e-5}, "computes something else: norm_eps 1e-05, not 1e-06"),
        ({"norm_eps": ...}, "norm_eps 1e-05, not 1e-06"),  # the default of diffusers
        ({"downsample_padding": 1, "freq_shift": 0}, "padding 1, not 0; freq_shift 0, not 1"),
        ({"num_class_embeds": 10}, "num_class_embeds 10, not None"),
        ({"new_option": 1}, "holds new_option, which is not known here"),
        ({"block_out_channels": ...}, "lacks block_out_channels"),
        ({"block_out_channels": [64, 96]}, r"block_out_channels \[64, 96\]"),
        ({"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "attention at the same resolutions"),
        ({"down_block_types": ["KDownBlock2D", "AttnDownBlock2D"]}, "KDownBlock2D"),
        ({"sample_size": [8, 16, 3]}, r"sample_size \[8, 16, 3\]; it must be a number, or height"),
        ({"sample_size": [8, "16"]}, "sample_size is '16'; it must be a whole number"),
        ({"layers_per_block": 2}, "another architecture: they lack down_blocks.0.resnets.1"),
        ({"out_channels": 6}, "conv_out.weight has shape"),
        ({"block_out_channels": [0]}, "block_out_channels is 0; it must be at least 1"),
        ({"block_out_channels": []}, r"block_out_channels \[\]; it must hold a number"),
        ({"block_out_channels": "abc"}, "block_out_channels is 'abc'; it must be a list of whole"),
        ({"block_out_channels": {"a": 1}}, "block_out_channels is 'a'; it must be a whole number"),
        ({"block_out_channels": [[64], 64]}, r"block_out_channels is \[64\]; it must be a whole"),
        ({"block_out_channels": [32.5, 65]}, "block_out_channels is 32.5"),
        ({"block_out_channels": [2**31] * 2}, "block_out_channels is 2147483648"),
        ({"block_out_channels": [10**8, 10**8]}, "needs at least .* of memory"),
        ({"down_block_types": None}, "down_block_types None; it must be a list of texts"),
        ({"up_block_types": [["UpBlock2D"], 1]}, "up_block_types .*; it must be a list of texts"),
        ({"layers_per_block": 10**9}, "layers_per_block is 1000000000; it must lie in 1..128"),
        ({"layers_per_block": "2"}, "layers_per_block is '2'; it must be a whole number"),
        ({"layers_per_block": None}, "layers_per_block is None"),
        ({"in_channels": -1}, "in_channels is -1; it must be at least 1"),
        ({"in_channels": 10**9}, "needs at least .* of memory"),
        ({"out_channels": [3]}, r"out_channels is \[3\]"),
        ({"dropout": "x"}, "dropout is 'x'; it must be in"),
        ({"dropout": [0.1]}, r"dropout is \[0.1\]"),
        ({"sample_size": []}, r"sample_size \[\]; it must be a number, or height and width"),
        ({"sample_size": [8, 0]}, "sample_size is 0; it must be at least 1"),
        ({"sample_size": 0}, "sample_size is 0; it must be at least 1"),
        ({"sample_size": "8"}, "sample_size is '8'"),
        ({"norm_eps": [1]}, "norm_eps .1., not 1e-06"),
    ],
)
def test_a_network_that_computes_something_else_is_refused(folder, values, message):
    change(folder / "unet" / "config.json", **values)
    with pytest.raises(ValueError, match=message):
        load_unet(str(folder))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"_class_name": "LCMScheduler"}, "of a LCMScheduler, whose process is not known here"),
        ({"_class_name": ...}, "of a None, whose process is not known here"),
        (
            {"_class_name": "PNDMScheduler", "prediction_type": "flow_prediction"},
            "'flow_prediction'; it",
        ),
        (
            {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True},
            "zero_snr True, not Fal",
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "variance_type": "learned_range"},
            "variance_type 'learned_range'; it must be one of",
        ),
        ({"_class_name": "DDIMScheduler", "beta_schedule": "laplace"}, "beta_schedule 'laplace'"),
        ({"clip_sample": "no"}, "clip_sample 'no'; it must be true or false"),
        ({"clip_sample_range": 2.0}, "another sampler: clip_sample_range 2.0, not 1.0"),
        ({"thresholding": True}, "thresholding True, not False"),
        (
            {"prediction_type": "flow_prediction"},
            "prediction_type 'flow_prediction'; it must be one of",
        ),
        ({"variance_type": "learned_range"}, "variance_type 'learned_range'"),
        ({"trained_betas": [0.1] * 1000}, "trained_betas of no schedule known here"),
        ({"trained_betas": [0.1] * 3}, "trained_betas of no schedule known here"),
        ({"trained_betas": "abc"}, "trained_betas 'abc'; it must be a list of numbers"),
        ({"trained_betas": [[0.1], 0.1]}, "trained_betas .*; it must be a list of numbers"),
        ({"trained_betas": 0.1}, "trained_betas 0.1; it must be a list of numbers"),
        ({"num_train_timesteps": 10**12, "trained_betas": [0.1]}, "num_diffusion_timesteps is 10"),
    ],
)
def test_a_scheduler_that_samples_otherwise_is_refused(folder, values, message):
    change(folder / "scheduler" / "scheduler_config.json", **values)
    with pytest.raises(ValueError, match=message):
        diffusers_pipeline.read(str(folder))


def test_the_network_beside_a_scheduler_that_is_refused_is_none_the_worse(folder):
    change(folder / "scheduler" / "scheduler_config.json", thresholding=True)
    load_unet(str(folder))


def test_a_scheduler_that_does_not_clip_is_carried_over(folder):
    path = folder / "scheduler" / "scheduler_config.json"
    for clips in (False, True):
        change(path, clip_sample=clips)
        config = config_of(diffusers_pipeline.read(str(folder)))
        assert config.clip_denoised is clips
        assert diffusers_pipeline.scheduler_config(config)["clip_sample"] is clips
    change(path, clip_sample=False, clip_sample_range=9.0)  # a range without effect
    assert not config_of(diffusers_pipeline.read(str(folder))).clip_denoised


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"model_mean_type": "xprev"}, "model_mean_type is 'xprev', which diffusers' DDPMSched"),
        ({"model_var_type": "learned", "loss_type": "kl"}, "model_var_type is 'learned'"),
    ],
)
def test_a_process_that_diffusers_does_not_have_is_refused(unet, tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        diffusers_pipeline.save_pipeline(
            str(tmp_path / "ddpm"), unet, Config.from_dict({**CONFIG.__dict__, **fields})
        )
    assert not (tmp_path / "ddpm").exists()


def test_weights_that_are_not_there_are_missed(folder):
    shutil.rmtree(folder / "unet")
    (folder / "unet").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no UNet2DModel: config.json, and diffusion"):
        load_unet(str(folder))


@pytest.mark.slow
def test_cifar10_computes_the_same():
    """The full network of the paper, in both directions."""
    package = pytest.importorskip("diffusers")
    unet = randomise(get_model(get_config("cifar10")))
    module = package.UNet2DModel.from_config(diffusers.unet_config(unet, 32))
    torch = import_torch()
    state = {k: torch.from_numpy(v) for k, v in diffusers.state_dict_of(unet).items()}
    module.load_state_dict(state)
    x, t = images(32)
    output = torch_output(module, x, t)
    assert_close(output, unet([x, t]).numpy())
    other = diffusers.unet_from_config(module.config)
    diffusers.load_state_dict(other, {k: v.numpy() for k, v in module.state_dict().items()})
    assert_close(other([x, t]).numpy(), output)
