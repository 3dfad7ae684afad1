"""The pages of docs/learn: each runs as it stands and makes the pictures that it shows."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
LEARN = ROOT / "docs" / "learn"
PAGES = sorted(LEARN.glob("0*.py"))
PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


def pictures(page):
    """Names of the pictures that a page shows."""
    return PICTURE.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pictures_are_there_and_made_by_the_page(page):
    text = page.read_text(encoding="utf-8")
    for name in pictures(page):
        assert (LEARN / name).exists()
        assert f'savefig("{name}"' in text
    assert text.startswith("# %% [markdown]\n# # ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(page), run_name="__main__")
    plt.close("all")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pictures(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs_alone(page, tmp_path):
    result = subprocess.run(
        [sys.executable, str(page)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pictures(page))
