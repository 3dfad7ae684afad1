"""README and docs: every block of code runs, or says why not; every link leads somewhere.

A page's Bash blocks run first, then its Python, in a folder with a small run in runs/digits. A
comment right before a block is `<!-- not run: REASON -->`, or `<!-- run if installed: MODULES -->`.
"""

import importlib
import importlib.util
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from diffusion_tf import datasets
from diffusion_tf.config import PRESETS, get_config
from diffusion_tf.config.sizes import num_weights
from diffusion_tf.convert import formats
from diffusion_tf.evaluation import metric
from diffusion_tf.sampling import registry
from helpers.processes import SCRIPTS, TINY, run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN, IF_INSTALLED = "not run: ", "run if installed: "

# Small sizes instead of those that people want; what a line does not say is added to it.
INSTEAD = {
    "num_samples": "4",
    "sampling_steps": "5",
    "share_from": "7,3",
    "timesteps": "3,7",
    "steps": "4",
}
# A network that every format has.
TRAINING = [*TINY, "--ch_mult=1", "--steps=2", "--checkpoint_steps=2", "--nopictures"]
POINTS = [
    "--num_diffusion_timesteps=12", "--ch=32", "--batch_size=8", "--steps=2", "--log_steps=1",
    "--steps_per_call=1", "--nopictures", "--jit_compile=off",
]  # fmt: skip
MORE = {
    "sample": ["--batch_size=4", "--jit_compile=off"],
    "interpolate": ["--num_lambdas=3", "--jit_compile=off"],
    "inpaint": ["--num_resamples=2", "--jump_length=2", "--jit_compile=off"],
    "figures": ["--num_samples=2", "--jit_compile=off"],
    "evaluate": ["--num_images=8", "--batch_size=8", "--jit_compile=off", "--nopictures"],
}


def blocks(page, language):
    """The comment and the text of each block in a language."""
    found = BLOCK.findall(page.read_text())
    return [(comment, text) for comment, kind, text in found if kind == language]


def is_run(comment):
    """Whether a block is run here."""
    modules = comment.removeprefix(IF_INSTALLED).split(", ")
    if comment.startswith(IF_INSTALLED):
        return all(importlib.util.find_spec(module) for module in modules)
    return not comment.startswith(NOT_RUN)


def commands(text):
    """The script and the arguments of every line of Bash that calls one, or is its command."""
    found = []
    for line in text.split("\n"):
        words = shlex.split(line, comments=True)
        if words[:1] == ["python"] and words[1].startswith("scripts/"):
            found.append((Path(words[1]).stem, words[2:]))
        elif words and words[0].startswith("ddpm-"):
            found.append((words[0].removeprefix("ddpm-"), words[1:]))
    return found


def name(page):
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


@every_page
def test_blocks_have_a_language_and_comments_a_reason(page):
    text = page.read_text()
    assert len(BLOCK.findall(text)) == len(re.findall("^ *```", text, re.MULTILINE)) / 2
    for comment, language, _ in BLOCK.findall(text):
        assert language in ("bash", "python")
        assert not comment or comment.startswith((NOT_RUN, IF_INSTALLED))
        assert len(comment) == 0 or len(comment) > len(NOT_RUN)


@every_page
def test_blocks_of_bash_that_run_are_calls_of_scripts(page):
    for comment, text in blocks(page, "bash"):
        if not comment.startswith(NOT_RUN):
            assert len(commands(text)) == len(text.strip().split("\n"))


def tiny(script, arguments):
    """The arguments of a command with small sizes."""
    small = [f"--{name}={value}" for name, value in INSTEAD.items() if given(name, arguments)]
    if script == "train":
        points = "--config=s_curve" in arguments
        return [*(POINTS if points else TRAINING), *arguments, *small]
    return [*arguments, *small, *MORE.get(script, [])]


def given(name, arguments):
    """Whether a flag is given."""
    return any(argument.startswith(f"--{name}=") for argument in arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a small run in runs/digits."""
    home = tmp_path_factory.mktemp("docs")
    result = run("train", "--workdir=runs/digits", *TRAINING, cwd=home)
    assert result.returncode == 0, result.stderr
    return home


@pytest.fixture
def home(trained, tmp_path, monkeypatch):
    """The working folder of a page. What a page registers is forgotten after it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    lists = (datasets.DATASETS, formats.FORMATS, registry.SAMPLERS, metric.METRICS)
    known = [dict(rows) for rows in lists]
    yield tmp_path
    for rows, before in zip(lists, known, strict=True):
        rows.clear()
        rows.update(before)


def runs(page):
    """Whether there is anything to run in a page."""
    return any(is_run(c) for kind in ("bash", "python") for c, _ in blocks(page, kind))


@pytest.mark.slow
@pytest.mark.parametrize("page", filter(runs, PAGES), ids=name)
def test_every_block_runs(page, home, monkeypatch):
    for comment, text in blocks(page, "bash"):
        for script, arguments in commands(text) if is_run(comment) else []:
            result = run(script, *tiny(script, arguments), cwd=home)
            assert result.returncode == 0, (script, arguments, result.stderr)
    module = types.ModuleType("page")  # what it defines can be imported by name
    monkeypatch.setitem(sys.modules, "page", module)
    for comment, text in blocks(page, "python"):
        if is_run(comment):
            exec(compile(text, name(page), "exec"), module.__dict__)
    if page.name == "README.md":
        assert module.sample.shape == module.mixture.shape == (4, 8, 8, 1)
        assert float(module.loss) > 0


def test_readme_is_short():
    ((_, block),) = blocks(ROOT / "README.md", "python")
    assert len(block.splitlines()) <= 15
    assert len((ROOT / "README.md").read_text().splitlines()) <= 125


def as_range(numbers, write):
    """As README's table has them: the least and the greatest, or one number if all are the same."""
    return " to ".join(write(number) for number in sorted({min(numbers), max(numbers)}))


def test_presets_have_the_sizes_and_steps_that_readme_says():
    section = (ROOT / "README.md").read_text().split("## Presets")[1].split("\n#")[0]
    seen = set()
    for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)[1:]:
        names, _, parameters, steps = (cell.strip() for cell in row.split("|"))
        configs = {name: get_config(name) for name in re.findall(r"`(\w+)`", names)}
        sizes = [num_weights(config) for config in configs.values()]
        assert parameters == as_range(sizes, lambda n: f"{n / 1e6:.3g}M" if n >= 1e6 else f"{n:,}")
        assert steps == as_range([config.steps for config in configs.values()], "{:,}".format)
        seen |= configs.keys()
    assert seen == set(PRESETS)


# Parses command lines with the flags of a script, and runs nothing.
PARSE = """
import json, runpy, sys
from absl import flags
script, lines = sys.argv[1], json.loads(sys.argv[2])
sys.argv[1:] = []
runpy.run_path(script, run_name="flags")
for line in lines:
    flags.FLAGS.unparse_flags()
    rest = flags.FLAGS([script, *line])[1:]
    assert not rest, rest
print(json.dumps(list(flags.FLAGS)))
"""


def parse(script, lines):
    """Parses them, and returns the names of all flags."""
    command = [sys.executable, "-c", PARSE, SCRIPTS / f"{script}.py", json.dumps(lines)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def all_flags():
    """The flags of each script; every command line in the pages is one that it takes."""
    lines = {path.stem: [] for path in SCRIPTS.glob("*.py")}
    for page in PAGES:
        for _, text in blocks(page, "bash"):
            for script, arguments in commands(text):
                lines[script].append(arguments)
    return {script: parse(script, arguments) for script, arguments in lines.items()}


def test_every_command_line_is_one_that_its_script_takes(all_flags):
    with pytest.raises(AssertionError, match="Unknown command line flag 'no_such_flag'"):
        parse("sample", [["--no_such_flag=1"]])


@every_page
def test_every_flag_in_the_text_is_one_of_a_script(page, all_flags):
    known = set.union(*all_flags.values())
    text = BLOCK.sub("", page.read_text())
    for flag in re.findall(r"`(?:[\w.]+ )*--(\w+)", text):
        assert flag in known or flag.removeprefix("no") in known or flag in ("help", "version")


@every_page
def test_every_link_leads_somewhere(page):
    text = BLOCK.sub("", page.read_text())
    for link in re.findall(r"\]\((.*?)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        plain = [re.sub(r"[^\w -]", "", title.lower()) for title in titles]
        assert not anchor or anchor in [title.replace(" ", "-") for title in plain]


def find(dotted):
    """Whether a name below diffusion_tf is a module, or something in one."""
    parts, found = dotted.split("."), importlib.import_module("diffusion_tf")
    for n, part in enumerate(parts, start=1):
        module = ".".join(["diffusion_tf", *parts[:n]])
        if not hasattr(found, part):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError:
                return False
        found = getattr(found, part)
    return True


@every_page
def test_modules_and_files_in_the_text_exist(page):
    text = page.read_text()
    for dotted in re.findall(r"(?:`|::: )diffusion_tf\.([\w.]+)", text):
        assert find(dotted), dotted
    for path in re.findall(r"`((?:diffusion_tf|tests|docs)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def second_column(page, heading):
    """The names in the second column of the table below a heading."""
    section = page.read_text().split(heading)[1].split("\n#")[0]
    rows = [row.split("|")[2] for row in section.splitlines() if row.startswith("|")][2:]
    assert rows
    names = [name for row in rows for name in re.findall(r"`([a-z_]+\.[\w.]+)`", row)]
    return [name for name in names if not name.endswith(".json") and not name.startswith("keras.")]


@pytest.mark.parametrize(
    "page, heading", [("docs/original.md", "## Where did X go"), ("CHANGELOG.md", "### Moved")]
)
def test_what_has_moved_is_where_the_table_says(page, heading):
    names = second_column(ROOT / page, heading)
    assert not [name for name in names if not find(name)]


def test_the_picture_of_floors_shows_every_room():
    floors = runpy.run_path(str(DOCS / "site/floors.py"))
    drawn = {room for floor in floors["FLOORS"] for room in floor} - {"scripts"}
    package = ROOT / "diffusion_tf"
    assert {path.parent.name for path in package.glob("*/__init__.py")} <= drawn
    assert all((package / room).is_dir() or (package / f"{room}.py").is_file() for room in drawn)
    assert (DOCS / "floors.svg").read_text() == floors["draw"](), "run docs/site/floors.py"
