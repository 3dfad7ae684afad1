"""What the name of an output asks for: its ending says what is written, whatever its case."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

ENDINGS = {
    "npz": (".npz",), "png": (".png",), "jpg": (".jpg", ".jpeg"), "gif": (".gif",),
    "webp": (".webp",), "json": (".json",),
}  # fmt: skip
PICTURES = ("png", "jpg")
FILMS = ("gif", "webp")

_ENDING = re.compile(r"\.[0-9]*[a-z][0-9a-z]*", re.IGNORECASE)
_VERSION = re.compile(r"\.v\d+", re.IGNORECASE)
_FOLDER = (
    "without an ending (numbers and versions, as in run.v2, are none) or with a slash at its end"
)


def kind_of(out: str | Path) -> str:
    """What a name asks for: one of `ENDINGS`, or `folder` where it ends otherwise."""
    name = str(out).lower()
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), "folder")


def check_name(out: str, kinds: Sequence[str], what: str) -> None:
    """Makes sure that the ending of a name is one that is known.

    A folder that is there may have any name.

    Args:
        out: the name.
        kinds: what can be written: some of `ENDINGS`, and `folder`.
        what: that is in words, such as "a picture".

    Raises:
        ValueError: an ending of something else.
    """
    kind = kind_of(out)
    if kind in kinds and (kind != "folder" or not _ends(out)):
        return
    if "folder" in kinds and os.path.isdir(out):
        return
    known = " or ".join(", ".join(e for k in kinds for e in ENDINGS.get(k, ())).rsplit(", ", 1))
    remedies = [f"that ends with {known}"] if known else []
    remedies += [f"of a folder, {_FOLDER}"] if "folder" in kinds else []
    raise ValueError(f"--out={out} is not {what}; give a name {', or one '.join(remedies)}.")


def _ends(out: str) -> bool:
    """Whether a name has an ending, as those of files have."""
    ending = os.path.splitext(out)[1]
    return bool(_ENDING.fullmatch(ending)) and not _VERSION.fullmatch(ending)
