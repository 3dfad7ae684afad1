"""The house rules that a machine can keep: floors, no print, no work at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "diffusion_tf").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))

# Lower first. A module imports from the floors below it, and on its own floor only from what
# stands before it in this list.
FLOORS = [
    [
        "keras_backend", "numbers", "files", "array_files", "config.fields", "config.presets",
        "config", "original_runs", "schedules", "losses", "random_numbers", "nn", "finite",
        "image_reading", "images", "scatter", "devices", "optimizers", "interruption", "tfrecords",
        "progress",
    ],
    [
        "process", "process.checks", "process.noise", "process.chains",
        "gaussian_diffusion", "fewer_steps", "exact.mixtures", "exact.chains",
        "exact.gaussian", "exact",
        "models.recomputation", "models.products", "models.normalization", "models.blocks",
        "models.conditioning", "models.mlp", "models.unet",
        "models",
        "datasets.arrays", "datasets.points", "datasets.sprites", "datasets.embeddings",
        "datasets.base", "datasets.folder", "datasets.lsun", "datasets.prepared",
        "datasets.small", "datasets",
        "metrics.energy", "metrics.fid", "metrics.inception", "metrics",
    ],
    [
        "samplers", "command_line", "checkpoints", "convert.maps", "convert.architecture",
        "convert.contents", "convert.formats", "convert.tf1", "convert.loading",
        "convert.state_files", "convert.pytorch_diffusion", "convert.diffusers",
        "convert.diffusers_pipeline", "convert.workdir", "convert.converting",
        "run_log", "trainer", "conditions", "replicas", "sampler",
        "sampling", "sample_parts",
        "sample_paths", "sample_files", "point_pictures", "pictures", "training", "convert",
        "evaluation", "evaluation.partial_sums", "evaluation.likelihood", "evaluation.image_files",
        "evaluation.schema", "evaluation.features", "evaluation.metric", "evaluation.request",
        "evaluation.quality", "evaluation.reasons", "evaluation.likelihood_metrics",
        "evaluation.sample_metrics", "evaluation.results", "evaluation.measuring",
        "evaluation.comparison", "evaluation.neighbours",
        "evaluation.plots", "evaluation.page", "evaluation.report", "evaluation.illustrations",
        "evaluation.run", "evaluation.watch",
        "crosscheck.report", "crosscheck.needs", "crosscheck.choices", "crosscheck.adam",
        "crosscheck.bound", "crosscheck.guesses", "crosscheck.ours", "crosscheck.counterpart",
        "crosscheck.theirs", "crosscheck.networks", "crosscheck.comparison", "crosscheck.diffusers",
        "crosscheck.pytorch_diffusion", "crosscheck.denoising_diffusion", "crosscheck.module",
        "crosscheck",
        "benchmark", "benchmark.task", "benchmark.flops", "benchmark.ours", "benchmark.theirs",
        "benchmark.worker", "benchmark.processes", "benchmark.measuring", "benchmark.scaling",
        "benchmark.table",
    ],
]  # fmt: skip
ORDER = [name for floor in FLOORS for name in floor]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "diffusion_tf").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, without `diffusion_tf.`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "diffusion_tf":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffusion_tf."):
            package = node.module.removeprefix("diffusion_tf.")
            modules = {f"{package}.{alias.name}" for alias in node.names}
            names |= {name if name in ORDER else package for name in modules}
        elif isinstance(node, ast.Import):
            names |= {
                alias.name.removeprefix("diffusion_tf.")
                for alias in node.names
                if alias.name.startswith("diffusion_tf.")
            }
    return names


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down(path):
    name = module_name(path)
    if not name:  # the package itself hands out names from everywhere
        return
    assert name in ORDER, f"give {name} its place in FLOORS"
    above = {i for i in imports(path) if ORDER.index(i) >= ORDER.index(name)}
    assert not above, f"{name} must not import {above}"


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
    assert text.count("\n") <= (520 if module_name(path) == "gaussian_diffusion" else 400)


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
