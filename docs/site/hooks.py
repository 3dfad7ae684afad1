"""Pages of the site that are files of the repository: README.md as its start page, and others.

The pages of docs/learn are Python with cells: `# %% [markdown]` begins text, `# %%` code.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "index.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, with links that start from docs/."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for source in sorted((ROOT / "docs" / "learn").glob("*.py")):
        page = f"learn/{source.stem}.md"
        files.append(File.generated(config, page, content=as_markdown(source)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to pages that are Python in the repository lead to those of the site."""
    return re.sub(r"\]\((\d\d_\w+)\.py\)", r"](\1.md)", markdown)


def as_markdown(source: Path) -> str:
    """A page of Python with cells as Markdown."""
    cells = re.split(r"^# %%(.*)\n", source.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    blocks = []
    for kind, text in zip(cells[::2], cells[1::2], strict=True):
        if "markdown" in kind:
            blocks.append(re.sub("^# ?", "", text.strip(), flags=re.MULTILINE))
        else:
            blocks.append(f"```python\n{text.strip()}\n```")
    return "\n\n".join(blocks) + "\n"
