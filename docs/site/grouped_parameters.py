"""Docstrings document parameters that belong together in one entry, `x1, x2: the endpoints.`

For the API reference each of them gets an entry of its own, so that a name that the signature does
not have is still a warning.
"""

import re
from typing import Any

import griffe

ENTRY = re.compile(
    r"^(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)+)(?P<text>: .*\n(?:(?P=indent) +.*\n)*)",
    re.MULTILINE,
)


def ungrouped(docstring: str) -> str:
    """The docstring with an entry for each name."""

    def entries(match: re.Match) -> str:
        return "".join(
            f"{match['indent']}{name}{match['text']}" for name in match["names"].split(", ")
        )

    head, args, rest = docstring.partition("Args:\n")
    section, end, rest = rest.partition("\n\n")
    return head + args + ENTRY.sub(entries, section + "\n")[:-1] + end + rest


class GroupedParameters(griffe.Extension):
    """Of every function and class."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites its docstring."""
        if obj.docstring and "Args:\n" in obj.docstring.value:
            obj.docstring.value = ungrouped(obj.docstring.value)
