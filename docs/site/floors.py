"""Draws docs/floors.svg, the picture of the package's rooms.

python docs/site/floors.py
"""

from pathlib import Path

PICTURE = Path(__file__).parents[1] / "floors.svg"
# The ground first. A room imports only from the floors below, and from those to its left.
FLOORS = [
    {
        "utils": "files, devices, noise",
        "schedules": "betas",
        "losses": "KL, decoder",
        "nn": "embedding",
    },
    {"config": "fields, presets, the original's kwargs.json"},
    {
        "gaussian_diffusion": "q, p, losses, chains",
        "models": "U-Net, MLP",
        "datasets": "loaders, batches",
    },
    {"sampling": "sampler, shards, files, pictures"},
    {"training": "step, loop, checkpoints"},
    {"convert": "TF1, PyTorch, diffusers; loading of runs"},
    {
        "evaluation": "metrics, report",
        "crosscheck": "other implementations",
        "benchmark": "speed",
    },
    {"runs": "train, load, sample: Python's commands"},
    {"command_line": "flags, errors in a sentence"},
    {"commands": "flags of each command, calls"},
    {"scripts": "the same, from a clone"},
]
WIDTH, HEIGHT, GAP = 760, 54, 8


def draw() -> str:
    """The picture as SVG, the ground at the bottom."""
    height = len(FLOORS) * (HEIGHT + GAP) + GAP
    rows = [
        box(room, holds, i, len(rooms), len(FLOORS) - 1 - level)
        for level, rooms in enumerate(FLOORS)
        for i, (room, holds) in enumerate(rooms.items())
    ]
    style = "text{font-family:sans-serif;text-anchor:middle}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
            f"<style>{style}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff"/>',
            *rows,
            "</svg>\n",
        ]
    )


def box(room: str, holds: str, i: int, number: int, row: int) -> str:
    """A room: the i-th of so many on its floor, in a row from the top."""
    width = (WIDTH - GAP) / number - GAP
    x, y = GAP + i * (width + GAP), GAP + row * (HEIGHT + GAP)
    middle = x + width / 2
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{HEIGHT}" rx="4"'
        ' fill="#e8eaf6" stroke="#3f51b5"/>'
        f'<text x="{middle:.1f}" y="{y + 23}" font-size="15" font-weight="bold">{room}</text>'
        f'<text x="{middle:.1f}" y="{y + 42}" font-size="11">{holds}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
