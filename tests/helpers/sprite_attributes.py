"""The attributes of drawn or sampled creatures, measured from their pixels alone."""

import numpy as np

from diffusion_tf.datasets.sprites import ASPECT, BODY, RADIUS, SIDE, SKY

_GAZE = (-0.375, 0.375)  # where `_gaze` finds an eye at the two ends, measured on drawings
_TINY = 1e-3  # keeps what has no body from a division by 0


def measure(pixels: np.ndarray) -> np.ndarray:
    """Estimates the attributes of drawn or sampled creatures from their pixels alone.

    The body is what is much redder or bluer than it is green. Its extent gives size and tallness,
    its colour warmth, the hole in it look; night is the brightness of the picture's upper edges.

    Args:
        pixels: uint8 [N, 16, 16, 3].

    Returns:
        float64 [N, 5]: each grows with its attribute and is near it, but noise, and sprites that
        are not creatures, can take it out of [0, 1].
    """
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    body = np.clip((np.maximum(red, blue) - green - 50) / 45, 0, 1)
    columns, rows = body.max(axis=1), body.max(axis=2)
    width, height = columns.sum(axis=1) + _TINY, rows.sum(axis=1) + _TINY
    redder, both = ((body * v).sum(axis=(1, 2)) for v in (red - blue, red + blue))
    edges = np.concatenate([pixels[:, 0], pixels[:, :9, 0], pixels[:, :9, -1]], axis=1)
    cold, warm = ((c[0] - c[2]) / (c[0] + c[2]) for c in BODY[[0, 2]])
    day, night = SKY.mean(axis=1)
    return np.stack(
        [
            _position(redder / (both + _TINY), cold, warm),
            _position(np.sqrt(width * height) / 2, *RADIUS),
            _position(np.log(height / width), *np.log(ASPECT)),
            _position(_gaze(body, columns, rows), *_GAZE),
            _position(np.median(edges.mean(axis=2), axis=1), day, night),
        ],
        axis=1,
    )


def _position(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """Where a value lies between two: 0 at the start, 1 at the end."""
    return (value - start) / (end - start)


def _gaze(body: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How far the hole in the body lies to the right of its middle, in half widths, [n].

    What is not a body counts the less the farther from the middle it is, and not at all outside the
    ellipse of the body's extent: this tells the eye from the edges.
    """
    across, down = (_from_middle(profile) for profile in (columns, rows))
    inside = np.clip(1 - across[:, None, :] ** 2 - down[:, :, None] ** 2, 0, 1)
    hole = (1 - body) * inside
    return (hole * across[:, None]).sum(axis=(1, 2)) / (hole.sum(axis=(1, 2)) + _TINY)


def _from_middle(profile: np.ndarray) -> np.ndarray:
    """Places of pixels relative to the middle of a profile [n, 16], in half extents."""
    extent, place = profile.sum(axis=1, keepdims=True) + _TINY, np.arange(SIDE)
    return (place - (profile @ place)[:, None] / extent) / (extent / 2)
