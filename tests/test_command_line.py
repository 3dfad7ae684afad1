"""What commands answer before they work: help, versions, presets, mistakes in flags."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import diffusion_tf
from diffusion_tf.command_line.help import answer
from diffusion_tf.command_line.plan import describe
from diffusion_tf.commands import COMMANDS
from diffusion_tf.config import PRESETS, get_config
from diffusion_tf.config.sizes import state_bytes
from diffusion_tf.utils.command_names import command_name
from diffusion_tf.utils.locks import lock_in, locked
from helpers.processes import run
from helpers.rows import mostly_slow

ROOT = Path(__file__).parents[1]
# Stands where TensorFlow would be imported from.
NO_TENSORFLOW = "raise SystemExit('TensorFlow was imported')"


@pytest.fixture
def call(tmp_path):
    """Runs a command, here without TensorFlow; the way of calling it comes first."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "tensorflow.py").write_text(NO_TENSORFLOW)
    path = os.pathsep.join([str(tmp_path / "without"), str(ROOT)])

    def call(name, *arguments, way="script", cwd=tmp_path):
        program = {
            "script": [ROOT / "scripts" / f"{name}.py"],
            "module": ["-m", "diffusion_tf", name],
        }[way]
        return subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        )  # fmt: skip

    return call


def test_every_command_has_a_script_an_entry_point_and_a_line():
    modules = {path.stem for path in (ROOT / "diffusion_tf/commands").glob("[!_]*.py")}
    assert set(COMMANDS) == modules == {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for name, what in COMMANDS.items():
        doc = (ROOT / f"diffusion_tf/commands/{name}.py").read_text().split('"""')[1]
        assert doc.splitlines()[0] == what
        assert f"\nddpm-{name} " in doc


def test_entry_points_are_the_commands(tmp_path):
    built = [sys.executable, ROOT / "setup.py", "--quiet", "egg_info", f"--egg-base={tmp_path}"]
    subprocess.run(built, cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.glob("*.egg-info/entry_points.txt")
    lines = file.read_text().split()
    assert lines[0] == "[console_scripts]"
    points = dict(zip(lines[1::3], lines[3::3], strict=True))
    assert points == {f"ddpm-{n}": f"diffusion_tf.commands.{n}:command" for n in COMMANDS}


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_is_a_success(call, flag):
    result = call("train", flag)
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    for group in ("Run", "Data [of --config=digits]", "Diffusion process", "Network", "Training"):
        assert group in text
    assert all(f" {name} " in text for name in PRESETS)
    assert ("--stderrthreshold" in text) == (flag == "--helpfull")
    assert "the config's" not in text


def test_help_shows_the_values_that_hold(call):
    assert "replicas [128]" in call("train", "--help", "--config=cifar10").stdout
    text = " ".join(call("crosscheck", "--help").stdout.split())
    assert "training steps [800000]" in text
    result = call("train", "--config=mnist", "--help")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: Unknown config 'mnist'; choose one of")


@pytest.mark.parametrize("arguments", [[], ["--debug"], ["--config"], ["-h"], ["--help", "--x"]])
def test_whatever_the_arguments_help_is_given_where_it_is_asked_for(arguments):
    text = answer(arguments, "What it does.")
    asked = {"-h", "--help"} & set(arguments)
    assert text is None if not asked else text.startswith("What it does.\n")


def test_help_says_what_is_required(call):
    text = call("convert", "--help").stdout
    assert "--source: required; " in text and "--target: required; " in text
    assert "required" not in call("sample", "--help").stdout


def test_version_names_what_a_report_of_a_fault_needs(call):
    for result in (call("sample", "--version"), call("--version", way="module")):
        assert result.returncode == 0
        assert result.stdout.startswith(f"diffusion_tf {diffusion_tf.__version__} (Python 3.")


def test_presets_have_a_line_each(call):
    result = call("train", "--config=help")
    assert result.returncode == 0
    lines = result.stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(len(line) <= 100 for line in lines)
    assert "(batch_size 128, 800,000 steps)" in lines[1]


def test_a_module_runs_commands(call):
    usage = call("--help", way="module")
    assert usage.returncode == 0 and all(f"  {name} " in usage.stdout for name in COMMANDS)
    assert call("trian", way="module").stderr == (
        f"Error: There is no command 'trian'; choose one of {', '.join(COMMANDS)}."
        " Did you mean train?\n"
    )


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--stps=3"], "Unknown command line flag 'stps'"),
        (["--steps=many"], "flag --steps=many: it must be a whole number; "),
        (["--lr=low"], "flag --lr=low: it must be a number; "),
        (["--strategy=both"], "flag --strategy=both: value should be one of"),
        (["--config=mnist"], "Unknown config 'mnist'; choose one of"),
    ],
)
def test_a_mistake_in_a_flag_is_a_sentence(call, flags, message):
    result = call("train", *flags, way="module")
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {message}") and result.stderr.endswith(".\n")
    hint = "python -m diffusion_tf train --help shows all flags."
    assert "Unknown config" in message or result.stderr.rstrip().endswith(hint)


def test_messages_name_the_command_that_was_used(call, monkeypatch):
    result = call("sample", "--workdir=none", way="module")
    assert "train one with python -m diffusion_tf train --workdir=none." in result.stderr
    for program, name in (
        (str(ROOT / "scripts/sample.py"), str(ROOT / "scripts/train.py")),
        ("/usr/lib/diffusion_tf/__main__.py", "python -m diffusion_tf train"),
        ("/usr/bin/ddpm-sample", "ddpm-train"),
        ("/home/me/train.py", "ddpm-train"),
        ("", "ddpm-train"),
    ):
        monkeypatch.setattr(sys, "argv", [program])
        assert command_name("train") == name


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run in `run` that has saved nothing, and a file `taken.npz`."""
    home = tmp_path_factory.mktemp("home")
    (home / "run").mkdir()
    get_config("digits", num_diffusion_timesteps=12).save(str(home / "run/config.json"))
    (home / "saved/checkpoints").mkdir(parents=True)
    get_config("digits", num_diffusion_timesteps=12).save(str(home / "saved/config.json"))
    for ending in ("index", "data-00000-of-00001"):
        (home / f"saved/checkpoints/ckpt-3.{ending}").write_text("")
    (home / "taken.npz").write_text("")
    return home


QUICK = (
    "train --workdir=run --lr=0.5",
    "train --workdir=new --beta_schedule=cubic",
    "sample --workdir=none",
    "sample --workdir=saved --out=taken.npz",
    "sample --workdir=saved --sampling_steps=13",
    "interpolate --workdir=saved --image2=none.png",
    "inpaint --workdir=none",
    "figures --workdir=none",
    "evaluate --workdir=saved --step=4",
    "convert --target=t",
)


@pytest.mark.parametrize(
    "command, message",
    mostly_slow(
        [
            ("train --workdir=run --lr=0.5", "run holds a run of another config (lr"),
            ("train --workdir=saved/checkpoints", "holds something other than a run"),
            ("train --workdir=new --beta_schedule=cubic", "Unknown beta_schedule 'cubic'"),
            ("train --workdir=new --lr_decay_steps=200 --steps=300", "steps is 300: nothing would"),
            ("train --workdir=new --config=folder", "folder needs --data_dir: "),
            ("train --workdir=new --config=digit", "Did you mean digits?"),
            ("train --workdir=", "--workdir is empty; give a value, or leave the flag out."),
            ("train --workdir=new --warm_start=none", "none holds no run"),
            ("train --workdir=new --warm_start=run", "run has no checkpoint; train there"),
            ("train --workdir=new --data_dir=none", "There is no file or folder none; check"),
            ("sample --workdir=none", "none holds no run (no config.json); train one with "),
            ("sample --workdir=run", "run has no checkpoint; train there with "),
            ("sample --workdir=saved --out=taken.npz", "taken.npz exists"),
            ("sample --workdir=saved --out=taken.npz/s.npz", "taken.npz is a file; choose another"),
            ("sample --workdir=saved --out=s.gif", "--out=s.gif is not a name for samples"),
            ("sample --workdir=saved --num_samples=0", "num_samples is 0"),
            ("sample --workdir=saved --sampling_steps=13", "it must lie in 1..12"),
            ("sample --workdir=saved --eta=0.5", "eta is 0.5, which sampler 'ancestral' does not"),
            ("sample --workdir=saved --sampler=ddim --eta=2", "eta is 2.0; it must lie in [0, 1]"),
            ("sample --workdir=saved --trajectory=12", "each time must lie in -1..11"),
            ("sample --workdir=saved --progressive=13", "it must lie in 1..12"),
            ("sample --workdir=saved --seeds=", "--seeds is empty; give some, such as 0-63"),
            ("interpolate --workdir=saved --image2=none.png", "There is no image 'none.png'"),
            ("interpolate --workdir=saved --timesteps=12", "each must lie in 0..11"),
            ("inpaint --workdir=none", "none holds no run"),
            ("inpaint --workdir=saved --sampling_steps=13", "it must lie in 1..12"),
            ("status --workdir=taken.npz", "taken.npz holds no run: it is a file"),
            ("figures --workdir=saved --out=a.png", "--out=a.png is not a folder; give a name"),
            ("figures --workdir=none", "none holds no run"),
            ("evaluate --workdir=saved --step=4", "saved has no checkpoint of step 4 (there: 3)"),
            ("evaluate --workdir=saved --metrics=fad --out=o", "Unknown metric 'fad'"),
            ("convert --target=t", "--source is missing"),
        ],
        lambda command, message: command in QUICK,
    ),
)
def test_a_mistake_in_a_name_or_path_is_answered_without_tensorflow(call, home, command, message):
    name, *flags = command.split()
    result = call(name, *flags, cwd=home)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ") and message in result.stderr


def test_a_run_that_is_further_is_left_alone(call, home):
    before = {path: path.stat().st_mtime_ns for path in (home / "saved").rglob("*")}
    result = call("train", "--workdir=saved", "--steps=2", cwd=home)
    assert result.returncode == 0
    assert "saved is at step 3, and steps is 2: there is nothing to do" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in (home / "saved").rglob("*")} == before


def test_status_says_how_far_a_run_is(call, home):
    (home / "saved/losses.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    for result in (
        call("status", "saved", cwd=home, way="module"),
        call("status", "--workdir=saved", cwd=home),
    ):
        rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        assert result.returncode == 0
        assert rows["Step"] == "3 of 6,000, at the last checkpoint"
        assert rows["Loss"] == "0.25 at step 2; 0.375 on average since 1"
        assert rows["Checkpoint"].startswith("saved/checkpoints/ckpt-3, ")
        assert rows["Training"] == "nobody trains in it now"
    status = json.loads(call("status", "saved", "--log=json", cwd=home).stdout)
    assert status.pop("saved") == (home / "saved/checkpoints/ckpt-3.index").stat().st_mtime
    assert status == {
        "run": "saved", "dataset": "digits", "step": 3, "steps": 6000, "logged_step": 2,
        "checkpoint": "saved/checkpoints/ckpt-3", "loss": 0.25, "in_training": False,
    }  # fmt: skip
    assert "none holds no run" in call("status", "none", cwd=home).stderr
    with locked(lock_in(home / "run"), "run"):
        text = call("status", "run", cwd=home).stdout
    assert f"yes: run is being written by process {os.getpid()}" in text
    assert "none of 6,000 is in a checkpoint yet" in text and "none was logged" in text


def test_a_dry_run_says_what_would_be_done():
    config = get_config("cifar10")
    text = describe(get_config("s_curve"), "w", num_examples=10_000, devices="single, 1 x CPU")
    rows = dict(line.split(maxsplit=1) for line in text.splitlines()[1:])
    assert rows["Run"] == "w, new, up to step 12,000"
    assert rows["Data"] == (
        "s_curve, 10,000 examples: 39.1 steps of 256 are an epoch, 12,000 steps 307.2"
    )
    assert rows["Devices"] == "single, 1 x CPU"
    assert rows["Operations"].endswith(" for a step")
    assert "in float32" in rows["Memory"] and "in mixed_bfloat16" in rows["Memory"]
    assert f"{state_bytes(config):.2g}" == "5.7e+08"


def test_a_dry_run_writes_nothing(tmp_path):
    result = run("train", "--dry_run", "--workdir=w", "--ch=32", "--steps=5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "A dry run: nothing is written." in result.stdout
    assert "digits, 1,498 examples" in " ".join(result.stdout.split())
    assert not list(tmp_path.iterdir())


def test_messages_can_be_objects_of_json(call, home):
    result = call("train", "--workdir=saved", "--steps=2", "--log=json", cwd=home)
    (said,) = map(json.loads, result.stderr.splitlines())
    assert (result.returncode, said["level"]) == (0, "info")
    assert "there is nothing to do" in said["message"]
    result = call("sample", "--workdir=none", "--log=json", cwd=home)
    (said,) = map(json.loads, result.stderr.splitlines())
    assert (result.returncode, said["level"]) == (1, "error")
    assert said["message"].startswith("none holds no run")


def test_only_what_means_nothing_is_left_out():
    lines = ["E0000 failed call to cuInit: UNKNOWN ERROR (303)", "W0000 this matters"]
    code = (
        "import os; from diffusion_tf.command_line import quiet\n"
        "with quiet._without_noise():\n"
        f"    os.write(2, {chr(10).join(lines).encode()!r})\n"
        "os.write(2, b' and this')"
    )
    result = subprocess.run(
        [sys.executable, "-u", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stderr == "W0000 this matters and this"
