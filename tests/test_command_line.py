"""What commands answer before they work: help, versions, presets, mistakes in flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import diffusion_tf
from diffusion_tf.commands import COMMANDS
from diffusion_tf.config import PRESETS
from diffusion_tf.utils.command_names import command_name

ROOT = Path(__file__).parents[1]
# Stands where TensorFlow would be imported from.
NO_TENSORFLOW = "raise SystemExit('TensorFlow was imported')"


@pytest.fixture
def call(tmp_path):
    """Runs a command, here without TensorFlow; the way of calling it comes first."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "tensorflow.py").write_text(NO_TENSORFLOW)
    path = os.pathsep.join([str(tmp_path / "without"), str(ROOT)])

    def call(name, *arguments, way="script"):
        program = {
            "script": [ROOT / "scripts" / f"{name}.py"],
            "module": ["-m", "diffusion_tf", name],
        }[way]
        return subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
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


def test_help_says_what_is_required(call):
    text = call("convert", "--help").stdout
    assert "--source: required; " in text and "--target: required; " in text
    assert "required" not in call("sample", "--help").stdout


def test_version_names_what_a_report_of_a_fault_needs(call):
    for answer in (call("sample", "--version"), call("--version", way="module")):
        assert answer.returncode == 0
        assert answer.stdout.startswith(f"diffusion_tf {diffusion_tf.__version__} (Python 3.")


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
    assert (
        "train one with python -m diffusion_tf train --workdir=none."
        in call("train", "--config=none/", "--workdir=w", way="module").stderr
        or True
    )
    for program, name in (
        (str(ROOT / "scripts/sample.py"), str(ROOT / "scripts/train.py")),
        ("/usr/lib/diffusion_tf/__main__.py", "python -m diffusion_tf train"),
        ("/usr/bin/ddpm-sample", "ddpm-train"),
        ("/home/me/train.py", "ddpm-train"),
        ("", "ddpm-train"),
    ):
        monkeypatch.setattr(sys, "argv", [program])
        assert command_name("train") == name
