"""What the package says about itself: its exports, its version, that it has types."""

import ast
import subprocess
import sys
import tarfile
from pathlib import Path

import diffusion_tf

ROOT = Path(__file__).parents[1]


def checked_types():
    """The names that type checkers see: module and name, by name."""
    tree = ast.parse((ROOT / "diffusion_tf/__init__.py").read_text())
    blocks = (node for node in tree.body if isinstance(node, ast.If))
    (block,) = (b for b in blocks if isinstance(b.test, ast.Name) and b.test.id == "TYPE_CHECKING")
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_dir_shows_the_exports():
    names = dir(diffusion_tf)
    assert set(diffusion_tf.__all__) <= set(names)
    assert {"__version__", "__doc__"} <= set(names)
    assert names == sorted(set(names))


def test_every_export_is_there():
    for name in diffusion_tf.__all__:
        assert getattr(diffusion_tf, name).__name__ == name


def test_type_checkers_see_the_same_names_in_the_same_places():
    home = {name: f"diffusion_tf.{module}" for name, module in diffusion_tf._HOME.items()}
    assert checked_types() == home
    assert sorted(home) == diffusion_tf.__all__


def test_setup_takes_the_version_from_the_package(tmp_path):
    setup = [sys.executable, ROOT / "setup.py", "--quiet"]
    result = subprocess.run(
        [*setup, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split()[-1] == diffusion_tf.__version__


def test_the_archive_of_the_source_has_what_tests_need(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "setup.py", "--quiet", "egg_info", f"--egg-base={tmp_path}",
         "sdist", f"--dist-dir={tmp_path}", "--formats=tar"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    (archive,) = tmp_path.glob("*.tar")
    with tarfile.open(archive) as tar:
        there = {name.split("/", 1)[-1] for name in tar.getnames()}
    for folder in ("tests", "scripts", "docs", "diffusion_tf"):
        files = (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
        assert {str(p.relative_to(ROOT)) for p in files} <= there
    assert {"pyproject.toml", "LICENSE", "README.md", "mkdocs.yml"} <= there


def test_an_installed_package_says_that_it_has_types(tmp_path):
    build = ["egg_info", f"--egg-base={tmp_path}", "build_py", f"--build-lib={tmp_path / 'lib'}"]
    subprocess.run(
        [sys.executable, ROOT / "setup.py", "--quiet", *build],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert (tmp_path / "lib/diffusion_tf/py.typed").is_file()
