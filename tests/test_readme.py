"""The README's Python runs as written."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_api_in_fifteen_lines_runs():
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(block.splitlines()) <= 15
    names = {}
    exec(block, names)
    assert names["sample"].shape == names["mixture"].shape == (4, 8, 8, 1)
    assert float(names["loss"]) > 0


def test_every_picture_is_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((Path(__file__).parents[1] / picture).is_file() for picture in pictures)
