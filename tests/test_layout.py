"""The house rules that a machine can keep: rooms, no print, no work at import."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "diffusion_tf").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))

# Lower first. A room is a folder or a file of the package, and imports from the rooms before it.
ROOMS = [
    "utils", "schedules", "losses", "nn", "config", "gaussian_diffusion", "models", "datasets",
    "sampling", "training", "convert", "evaluation", "crosscheck", "benchmark",
    "runs", "command_line", "commands", "__main__",
]  # fmt: skip
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "diffusion_tf").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {module_name(path) for path in MODULES}


def room(name: str) -> str:
    return name.split(".")[0]


def imported(path: Path) -> set[str]:
    """What a file imports, at its top or inside functions, by its full name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, without `diffusion_tf.`."""
    modules = set()
    for name in imported(path):
        package, *parts = name.split(".")
        if package == "diffusion_tf":
            heads = (".".join(parts[:n]) for n in range(len(parts), -1, -1))
            modules.add(next(head for head in heads if head in NAMES))
    return modules


def test_tests_that_are_skipped_where_a_package_is_missing_are_marked():
    """So that CI can choose them where it is installed."""
    needing = re.compile(r"importorskip|import_torch\(|needs_chromium")
    for path in (path for path in TESTS if path.name.startswith("test_")):
        text = path.read_text()
        if path != Path(__file__) and needing.search(text):
            assert "mark.extras" in text or "mark.slow" in text, path


def test_every_room_has_its_place():
    assert sorted({room(name) for name in NAMES if name}) == sorted(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down(path):
    name = module_name(path)
    if not name:  # the package itself hands out names from everywhere
        return
    assert "" not in imports(path), "import from where it is defined"
    floor = ROOMS.index(room(name))
    up = {i for i in imports(path) if ROOMS.index(room(i)) > floor}
    assert not up, f"{name} must not import {up}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {module_name(path): imports(path) for path in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_tests_stand_in_the_folders_of_what_they_test():
    folders = {p.parent.relative_to(ROOT / "tests") for p in TESTS if p.stem.startswith("test_")}
    rooms = {path.parent.relative_to(ROOT / "diffusion_tf") for path in MODULES}
    assert folders <= {*rooms, Path("scripts")}


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT / "tests")))
def test_no_test_imports_another(path):
    parts = {part for name in imported(path) for part in name.split(".")[:-1]} | imported(path)
    assert not {part for part in parts if part.startswith("test_") or part == "conftest"}


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_print_no_pickle_no_bare_except(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input", "eval", "exec"), node.lineno
        if isinstance(node, ast.Import):
            assert "pickle" not in [alias.name for alias in node.names]
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert node.value.value is False
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), node.lineno


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_keras_comes_from_where_its_backend_is_chosen(path):
    if path.stem == "keras_backend":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert "keras" not in [alias.name.split(".")[0] for alias in node.names], node.lineno
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] != "keras", node.lineno


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_stay_small_and_say_what_they_are(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    # The paper's class is read as a whole: q, its posterior, p, one step, the losses, the bound.
    assert text.count("\n") <= (560 if module_name(path) == "gaussian_diffusion.process" else 400)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in [*tree.body, *(node for c in classes for node in c.body)]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


HEAVY = {
    "tensorflow", "keras", "torch", "diffusers", "tensorflow_datasets", "tensorboard", "sklearn",
    "scipy", "matplotlib", "PIL", "h5py", "numpy",
}  # fmt: skip


@pytest.mark.parametrize("script", [None, *SCRIPTS], ids=lambda p: p.stem if p else "package")
def test_importing_the_package_and_asking_for_help_import_nothing_heavy(script):
    command = [script, "--help"] if script else ["-c", "import diffusion_tf"]
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.split("|")[-1].strip() for line in lines}
    assert "diffusion_tf" in imported
    assert not imported & HEAVY
    assert script is None or "--[no]debug: show the traceback" in result.stdout
    assert not result.returncode
