"""The scripts as people run them: real processes, real files."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.convert.loading import load_model
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.sampling import files, shards
from diffusion_tf.sampling.registry import get_sampling_process
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.locks import lock_beside, lock_in, locked
from helpers.original_kwargs import CIFAR
from helpers.processes import SCRIPTS, TINY, run, sentence, start
from helpers.replicas import replicas


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a small trained run in `run`."""
    home = tmp_path_factory.mktemp("home")
    started = time.monotonic()
    result = run("train", "--workdir=run", "--steps=3", *TINY, cwd=home)
    assert result.returncode == 0, result.stderr
    (home / "train.log").write_text(result.stderr)
    (home / "seconds").write_text(str(time.monotonic() - started))
    (home / "original").mkdir()
    (home / "original" / "kwargs.json").write_text(CIFAR)
    (home / "planned").mkdir()  # what a config tells is said before weights are looked for
    (home / "planned" / "config.json").write_bytes((home / "run" / "config.json").read_bytes())
    return home


def test_training_leaves_a_workdir_that_explains_itself(home):
    names = {path.name for path in (home / "run").iterdir()}
    pictures = {"samples.png", "trajectory.png", "trajectory.gif", "interpolation.png", "loss.png"}
    files = {"config.json", "data.json", "checkpoints", "losses.csv", "tensorboard"}
    assert names == files | pictures
    log = (home / "train.log").read_text()
    assert "training: 100%" in log and "loss=" in log
    (seconds,) = re.findall(r"The first step, .+, took (\d+) s\.", log)
    assert int(seconds) <= float((home / "seconds").read_text()) + 1  # than the whole process
    for name in pictures:
        assert f"run/{name}" in log
        with Image.open(home / "run" / name) as picture:
            assert min(picture.size) > 50
            assert np.asarray(picture.convert("L")).std() > 0
    config = json.loads((home / "run" / "config.json").read_text())
    assert (config["steps"], config["ch_mult"]) == (3, [2])


@pytest.mark.parametrize(
    "script, flags, lock, what",
    [
        ("train", ["--workdir=w"], lock_in, "w"),
        ("sample", ["--out=o.npz"], lock_beside, "o.npz"),
        ("evaluate", ["--workdir=w", "--out=o"], lock_in, "o"),
        ("interpolate", ["--out=o.png"], lock_beside, "o.png"),
        ("convert", ["--source=w", "--target=o", "--format=workdir"], lock_beside, "o"),
    ],
)
def test_a_second_process_is_refused_before_it_has_imported_tensorflow(
    tmp_path, script, flags, lock, what
):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('it took its time')")
    path = os.pathsep.join([str(tmp_path), str(SCRIPTS.parent)])
    with locked(lock(tmp_path / what), what):
        process = start(
            script, *flags, cwd=tmp_path, log="log", environment={**os.environ, "PYTHONPATH": path}
        )
        assert process.wait(300) == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert re.match(rf"Error: {what} is being written by process {os.getpid()} on machine", last)


def test_a_run_goes_on_where_it_was(home):
    result = run(
        "train", "--workdir=run", "--steps=5", "--jit_compile=off", "--nopictures", cwd=home
    )
    assert result.returncode == 0, result.stderr
    assert "Resuming from step 3" in result.stderr
    assert (home / "run" / "checkpoints" / "ckpt-5.index").exists()


@pytest.mark.slow
def test_a_run_starts_from_the_config_of_another(home):
    result = run(
        "train", "--config=run", "--workdir=again", "--steps=1", "--seed=7", "--jit_compile=off",
        "--nopictures", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (home / "again" / "checkpoints" / "ckpt-1.index").exists()
    first, again = (
        json.loads((home / name / "config.json").read_text()) for name in ("run", "again")
    )
    assert again == {**first, "steps": 1, "seed": 7}


@pytest.mark.slow
def test_sampling_uses_the_averaged_weights_unless_told(home):
    samples = {}
    for name, flags in (("default", []), ("ema", ["--weights=ema"]), ("raw", ["--weights=raw"])):
        out = f"{name}.npz"
        result = run(
            "sample", "--workdir=run", "--num_samples=3", f"--out={out}", "--jit_compile=off",
            *flags, cwd=home,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert f"{flags[0][10:] if flags else 'ema'} weights of step" in result.stderr
        with np.load(home / out, allow_pickle=False) as arrays:
            samples[name] = arrays["arr_0"]
    assert (samples["ema"].shape, samples["ema"].dtype) == ((3, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(samples["default"], samples["ema"])
    assert not np.array_equal(samples["raw"], samples["ema"])


@pytest.mark.slow
def test_ddim_samples_to_a_folder(home):
    result = run(
        "sample", "--workdir=run", "--num_samples=3", "--batch_size=2", "--out=folder",
        "--sampler=ddim", "--sampling_steps=4", "--progressive=2", "--trajectory=3,1,-1",
        "--jit_compile=off", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    ways = {"folder.progressive.npz", "folder.progressive.png", "folder.trajectory.npz"}
    assert ways <= {path.name for path in home.iterdir()}
    assert len(list((home / "folder").glob("*.png"))) == 3


MANY = [
    "--workdir=run", "--num_samples=121", "--batch_size=2", "--sampling_steps=4",
    "--jit_compile=off",
]  # fmt: skip


def stop_sampling(home, number, signal_number):
    """Starts sampling to many.npz, stops it at `number` shards or later; the exit code."""
    process = start("sample", *MANY, "--out=many.npz", cwd=home, log="sample.log")
    end = time.monotonic() + 900
    while len(list(home.glob("many.npz.parts/[0-9]*.npy"))) < number:
        assert process.poll() is None, (home / "sample.log").read_text()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal_number)
    code = process.wait(600)
    assert not (home / "many.npz").exists()
    return code


def sample_here(home, out, strategy):
    """What the script does with `MANY`, in this process."""
    with strategy.scope():
        config, model, step = load_model(str(home / "run"))
    process = get_sampling_process(get_diffusion(config), sampling_steps=4)
    files.write_samples(
        str(home / out), Sampler.of_run(config, model, process=process, seed=0, strategy=strategy),
        origin={"step": step, "weights": "ema", "sampler": "ancestral"},
        num_samples=121, batch_size=2,
    )  # fmt: skip
    return (home / out).read_bytes()


@pytest.mark.slow
def test_the_script_draws_with_a_solver_that_remembers_its_steps(home):
    flags = ["--workdir=run", "--num_samples=3", "--batch_size=2", "--float32", "--jit_compile=off"]
    result = run(
        "sample", *flags, "--sampler=dpmpp_2m", "--sampling_steps=6", "--out=solver.npz",
        "--noclip_denoised", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    config, model, _ = load_model(str(home / "run"))
    process = get_sampling_process(get_diffusion(config), "dpmpp_2m", 6)
    sampler = Sampler.of_run(config, model, process=process, seed=0, clip_denoised=False)
    drawn = shards.sample(sampler, 3, 2)
    with np.load(home / "solver.npz", allow_pickle=False) as arrays:
        # Scripts switch oneDNN on and tests do not: convolutions differ by rounding.
        np.testing.assert_allclose(
            arrays["arr_0"], np.concatenate(list(drawn)), rtol=1e-6, atol=1e-5
        )
    refused = sentence(run("sample", *flags, "--sampler=dpmpp_2m", "--eta=0.5", cwd=home))
    assert "eta is 0.5, which sampler 'dpmpp_2m' does not have, only 'ddim'." in refused


@pytest.mark.slow
def test_killed_twice_stopped_once_or_on_two_devices_the_file_is_the_same(home):
    assert stop_sampling(home, 3, signal.SIGKILL) == -signal.SIGKILL
    assert stop_sampling(home, 13, signal.SIGKILL) == -signal.SIGKILL
    assert stop_sampling(home, 23, signal.SIGTERM) == 128 + signal.SIGTERM
    log = (home / "sample.log").read_text()
    assert "Resuming: " in log and "Stopped by SIGTERM; " in log and "Traceback" not in log
    refused = sentence(run("sample", *MANY, "--out=many.npz", "--seed=1", cwd=home))
    assert "(seed 0 there, 1 here)" in refused
    result = run("sample", *MANY, "--out=many.npz", cwd=home)
    assert result.returncode == 0, result.stderr
    assert "sampling: 100%" in result.stderr and "sample/s]" in result.stderr
    assert not (home / "many.npz.parts").exists()

    resumed = (home / "many.npz").read_bytes()
    assert resumed == sample_here(home, "one.npz", replicas(1))
    assert resumed == sample_here(home, "two.npz", replicas(2))
    with np.load(home / "many.npz", allow_pickle=False) as arrays:
        assert (arrays["arr_0"].dtype, arrays["arr_0"].shape) == (np.uint8, (121, 8, 8, 1))


def test_interpolation_between_an_index_and_a_file(home):
    Image.fromarray(np.full((40, 50), 128, np.uint8)).save(home / "grey.png")
    result = run(
        "interpolate", "--workdir=run", "--image1=5", "--image2=grey.png",
        "--num_lambdas=4", "--out=MIX.JPG", "--jit_compile=off", "--noclip_denoised", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with Image.open(home / "MIX.JPG") as picture:
        assert picture.format == "JPEG"
        assert picture.size[0] > picture.size[1] > 100


# A run directory of the original, with data of another size than its CIFAR-10.
ORIGINAL = ["--config=original", "--dataset=digits"]

# Each: script, flags, what the sentence must say.
MISTAKES = [
    ("train", ["--config=mnist"], "Unknown config 'mnist'; choose one of"),
    ("train", ["--config=run"], "--config=run is a path; name the folder of the new run"),
    ("train", ["--config=train.log", "--workdir=new"], "train.log is not valid JSON"),
    ("train", ["--config=run/checkpoints", "--workdir=new"], "run/checkpoints holds no run"),
    ("train", [*ORIGINAL, "--workdir=new"], "the config says image_size 32 and channels 3"),
    ("train", [*ORIGINAL, "--workdir=new", "--batch_size=0"], "batch_size is 0"),
    ("train", ["--workdir=original"], "holds something other than a run"),
    ("train", ["--steps=0"], "steps is 0"),
    ("train", ["--ch_mult=1,x"], "--ch_mult=1,x is not a comma-separated list"),
    ("train", ["stray"], "Unexpected argument 'stray'"),
    ("train", ["--workdir=new", "--ch=48"], "ch is 48; it must be a multiple of 32"),
    ("train", ["--workdir=new", "--ch_mult=1,1,1,1,1"], "must be a multiple of 16"),
    ("train", ["--workdir=new", "--image_size=16"], "set image_size to 8"),
    ("train", ["--workdir=new", "--beta_schedule=cubic"], "Unknown beta_schedule 'cubic'"),
    ("train", ["--workdir=new", "--beta_end=1.5"], "beta_end is 1.5"),
    ("train", ["--workdir=new", "--model_mean_type=x0"], "choose one of xprev, xstart, eps"),
    ("train", ["--workdir=new", "--model_var_type=learned"], "cannot be trained with"),
    ("train", ["--workdir=new", "--strategy=mirrored"], "'mirrored' needs GPUs"),
    ("train", ["--workdir=run", "--lr=0.5"], "holds a run of another config (lr"),
    ("train", ["--config=folder", "--workdir=new"], "folder needs --data_dir"),
    ("train", ["--config=cifar10", "--workdir=new", "--data_dir=."], "holds no prepared CIFAR-10"),
    ("sample", ["--workdir=nowhere"], "nowhere holds no run"),
    ("sample", ["--workdir=original"], "original holds no checkpoint of the original"),
    ("sample", ["--workdir=run", "--num_samples=0"], "num_samples is 0"),
    ("sample", ["--workdir=run", "--out=taken.npz"], "taken.npz exists"),
    ("sample", ["--workdir=planned", "--sampling_steps=13"], "it must lie in 1..12"),
    ("sample", ["--workdir=run", "--out=s.png", "--float32"], "--float32 needs an --out that ends"),
    ("sample", ["--workdir=planned", "--trajectory=12"], "each time must lie in -1..11"),
    ("sample", ["--workdir=run", "--strategy=mirrored"], "'mirrored' needs GPUs"),
    ("interpolate", ["--workdir=run", "--image1=1498"], "Image 1498 does not exist"),
    ("interpolate", ["--workdir=run", "--image2=none.png"], "There is no image 'none.png'"),
    ("interpolate", ["--workdir=run", "--image2=taken.npz"], "cannot be read as an image"),
    ("interpolate", ["--workdir=planned", "--timesteps=12"], "each must lie in 0..11"),
    ("interpolate", ["--workdir=planned", "--method=ddim", "--sampling_steps=13"], "lie in 1..12"),
    ("figures", ["--workdir=run", "--share_from=12"], "each time must lie in 0..11"),
    ("interpolate", ["--workdir=run", "--timesteps="], "--timesteps is empty; give one number"),
    ("interpolate", ["--workdir=none", "--out=o.mp4"], "--out=o.mp4 is not a name for mixtures"),
    ("sample", ["--workdir=run", "--out=s.gif"], "--out=s.gif is not a name for samples"),
    ("evaluate", ["--workdir=none", "--out=e.html"], "--out=e.html is not a folder"),
    ("benchmark", ["--out=b.csv"], "--out=b.csv is not a file for JSON"),
    (
        "interpolate",
        ["--method=ddim", "--mix=linear"],
        "--mix belongs to --method=ddpm",
    ),
    ("interpolate", ["--solver=heun"], "--solver belongs to --method=ddim, not to ddpm"),
    ("interpolate", ["--images=0,1", "--image2=3"], "--images and --image2 were both given"),
    ("interpolate", ["--workdir=run", "--images=5"], "--images=5 names fewer than two images"),
    (
        "inpaint",
        ["--workdir=run", "--out=fillings"],
        "--out=fillings is not a picture",
    ),
    ("inpaint", ["--workdir=run", "--sampling_steps=10"], "--jump_length=10 leaves no room for a"),
    ("inpaint", ["--workdir=run", "--mask=none.png"], "--mask=none.png is neither left"),
    ("figures", ["--workdir=run", "--figures=4"], "--figures has '4'; choose from 5,6,7,8,9,10"),
    ("figures", ["--workdir=run", "--figures=6,5,6"], "--figures names 6 twice; name each once"),
    ("figures", ["--workdir=run", "--out=taken.npz"], "taken.npz is not a folder"),
    (
        "interpolate",
        ["--workdir=none", "--num_lambdas=1000000000"],
        "num_lambdas is 10000",
    ),
    ("train", ["--workdir=new", "--ch=3200000"], "ch is 3200000: a training step needs"),
    ("train", ["--workdir=new", "--batch_size=1000000000"], "batch_size is 1000000000: a"),
    ("train", [f"--ch_mult={'9' * 5000}"], "--ch_mult=999"),
    ("sample", ["--workdir=run", "--batch_size=10000000", "--num_samples=10000000"], "batch_size"),
    ("sample", ["--workdir=run", "--num_samples=2147483647"], "num_samples is 2147483647: "),
    (
        "crosscheck",
        [f"--options={'[' * 1000}", "--against=diffusers"],
        " is not JSON: it is nested",
    ),
]


@pytest.mark.parametrize("script, flags, message", MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_answered_in_one_sentence_and_changes_nothing(home, script, flags, message):
    (home / "taken.npz").write_text("precious")
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    assert message in sentence(run(script, *flags, cwd=home))
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file()} == before


INTERRUPTED = {
    "importing": "raise KeyboardInterrupt\n",
    "parsing flags": (
        "from absl import flags\n"
        "flags.DEFINE_integer('steps', 1, '')\n"
        "flags.register_validator('steps', lambda _: signal.raise_signal(signal.SIGINT) or True)\n"
        "command_line.run(lambda: None)\n"
    ),
    "making another error": (
        "def main():\n    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n        raise ImportError('broken') from None\n"
        "command_line.run(main)\n"
    ),
    "at work": ("def main():\n    signal.raise_signal(signal.SIGINT)\ncommand_line.run(main)\n"),
}


@pytest.mark.parametrize("moment, debug", [*((m, False) for m in INTERRUPTED), ("at work", True)])
def test_ctrl_c_while_nobody_listens_is_a_sentence(tmp_path, moment, debug):
    before = (
        "import diffusion_tf.utils.ctrl_c\nimport signal\nfrom diffusion_tf import command_line\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
    )
    (tmp_path / "script.py").write_text(before + INTERRUPTED[moment])
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    result = subprocess.run(
        [sys.executable, "script.py", *["--debug"] * debug],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 130
    assert result.stderr.endswith("Stopped by Ctrl-C.\n")
    assert result.stderr.count("\n") == 1 or (debug and "Traceback" in result.stderr)


PACKAGE = SCRIPTS.parent / "diffusion_tf"


@pytest.mark.parametrize("path", ["commands/__init__.py", "__main__.py"])
def test_what_answers_ctrl_c_is_imported_first(path):
    body = ast.parse((PACKAGE / path).read_text()).body
    first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "import diffusion_tf.utils.ctrl_c"


def test_debug_shows_the_traceback(home):
    result = run("train", "--config=mnist", "--debug", cwd=home)
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("script", ["train", "sample", "interpolate"])
def test_help_documents_every_flag(script, home):
    result = run(script, "--help", cwd=home)
    assert "--workdir: " in result.stdout and "--seed: " in result.stdout
