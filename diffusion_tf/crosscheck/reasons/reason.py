"""What a row of the table of reasons is."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reason:
    """Something that implementations are known to do differently.

    Attributes:
        name: in plain English, what the other side does instead of what.
        stage: where it first shows: a stage, or for the network a kind of layer.
        put: a mapping of fields of `Choices`, which put it into ours.
        equation: what the paper says there.
        also: kinds of layers where it may stand alone.
        common: whether it is tried together with two others at once.
        beside: a stage that must be seen on the other side for the reason to be told from another.
    """

    name: str
    stage: str
    put: Any = field(hash=False)
    equation: str
    also: tuple[str, ...] = ()
    common: bool = False
    beside: str = ""
