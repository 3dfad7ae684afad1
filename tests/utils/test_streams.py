"""Standard streams that are closed, full or gone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion_tf.utils.progress import progress_bar
from diffusion_tf.utils.streams import Unfailing

ROOT = str(Path(__file__).parents[2])
SCRIPT = f"""
import os, sys
sys.path.insert(0, {ROOT!r})
from diffusion_tf.utils import streams
streams.secure()
from absl import logging
from diffusion_tf.utils.progress import progress_bar
file = os.open("opened", os.O_WRONLY | os.O_CREAT)
for i in range(2000):
    logging.warning("said")
    print("said")
with progress_bar("working", "step", total=3) as bar:
    bar.update(3)
    bar.refresh()
os.write(2, b"said by a library") if sys.argv[1:] else None
os.write(file, b"written")
open("done", "w").close()
"""


def run(folder, redirection, *arguments):
    (folder / "script.py").write_text(SCRIPT)
    command = " ".join([sys.executable, "script.py", *arguments, redirection])
    shell = f"set -o pipefail; {command}"
    return subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    "redirection",
    ["2>&1 | head -1", "2>&-", "2>&- >&-", "2>&- >&- <&-", "2>/dev/full", ">/dev/full 2>&1"],
)
def test_work_goes_on_where_nobody_listens(tmp_path, redirection):
    result = run(tmp_path, redirection)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "done").exists()


def test_a_closed_stream_is_not_the_next_file(tmp_path):
    assert run(tmp_path, "2>&- >&- <&-", "library").returncode == 0
    assert (tmp_path / "opened").read_bytes() == b"written"


def test_a_stream_that_works_is_as_it_was(tmp_path):
    result = run(tmp_path, "")
    assert result.stdout.splitlines() == ["said"] * 2000
    assert result.stderr.count("said") == 2000 and "3/3" in result.stderr


def test_everything_else_is_the_stream_s(tmp_path):
    with open(tmp_path / "file", "w", encoding="utf-8") as file:
        stream = Unfailing(file)
        assert stream.write("text") == 4
        assert stream.fileno() == file.fileno() and not stream.isatty()
    assert stream.write("after its end") == 13
    stream.flush()
    assert (tmp_path / "file").read_text() == "text"
    assert Unfailing(None).write("nowhere") == 7


PROGRESS = """
import sys
from diffusion_tf.utils import progress
if sys.argv[1:]:
    progress.use_json()
with progress.progress_bar("working", "step", total=4) as bar:
    bar.set_postfix(loss="0.5", refresh=False)
    bar.start_t -= 1000  # what compiles takes long
    bar.begin_at(1)
    bar.update(3)
"""


def test_progress_in_a_file_is_lines():
    command = [sys.executable, "-c", PROGRESS]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "\r" not in text and "\n\n" not in text
    first, last = text.splitlines()
    assert first.startswith("working:   0% 0/4 [? left, ?step/s")
    assert last.startswith("working: 100% 4/4 [00:00 left, ") and last.endswith("step/s, loss=0.5]")
    assert "s/step" not in last  # the rate leaves out what was done first


def test_no_time_left_follows_from_what_compiles(capsys):
    with progress_bar("working", "step", total=9, first_compiles=True) as bar:
        bar.start_t -= 1000
        bar.update(3)
        assert bar.n == 3 and bar.format_dict["elapsed"] < 500
        bar.start_t -= 10
        bar.update(3)
        assert 10 <= bar.format_dict["elapsed"] < 500 and bar.initial == 3
    assert "working" in capsys.readouterr().err


def test_progress_can_be_objects_of_json():
    command = [sys.executable, "-c", PROGRESS, "json"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    first, last = map(json.loads, text.splitlines())
    assert (first["progress"], first["done"], first["total"]) == ("working", 0, 4)
    assert first["per_second"] is first["seconds_left"] is None
    assert (last["done"], last["loss"], last["unit"]) == (4, 0.5, "step")
    assert last["per_second"] > 1 and last["seconds_left"] == 0
