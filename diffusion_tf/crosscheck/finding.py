"""What a comparison finds: stages that differ, and why."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """A stage where the sides differ, and what makes them agree; nothing if that is unknown.

    Attributes:
        stage: its name.
        reasons: names of rows of the table of reasons, all of them together.
        looks: what the difference looks like, where no reason is known.
    """

    stage: str
    reasons: tuple[str, ...]
    looks: str = dataclasses.field(default="", compare=False)
