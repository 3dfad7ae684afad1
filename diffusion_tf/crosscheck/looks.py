"""What a difference without a known reason looks like, in a few words."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from diffusion_tf.crosscheck.stage_table import Value

ALIKE = 1e-3  # of the largest value: as good as equal, next to the difference
CHANNEL_NAMES = ("red", "green", "blue")


def describe(ours: Value, theirs: Value, *, t: np.ndarray | None = None) -> str:
    """What sets theirs apart from ours.

    Args:
        ours, theirs: numbers [T] or [B], features [B, C], images [B, H, W, C], or several arrays.
        t: int [B], the timesteps of the examples.

    Returns:
        A phrase such as "a constant factor of 0.5" or "only at t = 0"; several are joined.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return _of_several(ours, theirs)
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if not np.isfinite(theirs).all():
        return f"{np.mean(~np.isfinite(theirs)):.0%} of the numbers are NaN or infinite"
    if not (np.abs(theirs - ours) > 0).any():
        return "nothing to be seen"
    found = [*_where(ours, theirs, t), *_how(ours, theirs)]
    return ", ".join(found or _at_large(ours, theirs, t))


def _of_several(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> str:
    """Which of several arrays are off most."""
    scale = 1e-3 * max(np.abs(array).max() for array in ours.values())
    sizes = {
        name: np.abs(theirs[name] - ours[name]).max() / max(np.abs(ours[name]).max(), scale, 1e-30)
        for name in ours
    }
    off = sorted((n for n in sizes if sizes[n] > ALIKE), key=lambda name: -sizes[name])
    if not off:
        return "a little of every array"
    some = ", ".join(off[:3]) + (", ..." if len(off) > 3 else "")
    return f"{len(off)} of {len(sizes)} arrays are off: {some}"


# --- Where


def _where(ours: np.ndarray, theirs: np.ndarray, t: np.ndarray | None) -> Iterator[str]:
    """Where alone the difference is."""
    off = np.abs(theirs - ours)
    off = off > max(off.max() * ALIKE, 1e-12)
    yield from _along(off.reshape(len(off), -1).any(axis=1), t)
    if off.ndim >= 2 and off.shape[-1] > 1:
        channels = np.flatnonzero(off.reshape(-1, off.shape[-1]).any(axis=0))
        if len(channels) == 1:
            yield f"only in channel {channels[0]}"
        elif len(channels) <= off.shape[-1] // 2:
            yield f"only in {len(channels)} of {off.shape[-1]} channels"
    if off.ndim == 4 and min(off.shape[1:3]) > 2:
        yield from _borders(off.any(axis=(0, 3)))


def _along(off: np.ndarray, t: np.ndarray | None) -> Iterator[str]:
    """Along the first axis: steps, or examples at the timesteps t."""
    t = np.arange(len(off)) if t is None or len(t) != len(off) else np.asarray(t)
    where, last = t[off], np.max(t)
    if len(off) < 2 or off.all():
        return
    if set(where) == {0}:
        yield "only at t = 0"
    elif set(where) == {last}:
        yield "only at the last t"
    elif len(where) == len(off) - 1 and 0 not in where:
        yield "everywhere but at t = 0"
    elif len(where) <= 3:
        yield f"only at t = {', '.join(map(str, sorted(where)))}"


def _borders(off: np.ndarray) -> Iterator[str]:
    """Whether pixels [H, W] are off at the borders alone, and at which of them."""
    if off[1:-1, 1:-1].any() or not off.any():
        return
    sides = {
        "top": off[0, 1:-1], "bottom": off[-1, 1:-1], "left": off[1:-1, 0], "right": off[1:-1, -1],
    }  # fmt: skip
    some = [name for name, pixels in sides.items() if pixels.any()]
    which = f" ({' and '.join(some)})" if 0 < len(some) < 4 else ""
    yield f"only at the borders of the image{which}"


# --- How


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal but for little next to their size."""
    return a.shape == b.shape and np.abs(a - b).max() <= ALIKE * max(np.abs(b).max(), 1e-30)


def _how(ours: np.ndarray, theirs: np.ndarray) -> Iterator[str]:
    """What of ours theirs is."""
    for name, change in _CHANGES.items():
        changed = change(ours)
        if changed is not None and _alike(theirs, changed) and not _alike(ours, changed):
            yield name
            return
    yield from _shift(ours, theirs)
    yield from _line(ours, theirs)


def _of_images(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    return lambda x: change(x) if x.ndim == 4 else None


_CHANGES: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
    "the sign": lambda x: -x,
    "all zeros": lambda x: 0 * x,
    "its square": np.square,
    "its root": lambda x: np.sqrt(np.abs(x)),
    "its reciprocal": lambda x: np.divide(1, x, out=np.zeros_like(x), where=x != 0),
    "1 minus it": lambda x: 1 - x,
    "its exponential": lambda x: np.exp(np.minimum(x, 80)),
    "its logarithm": lambda x: np.log(np.maximum(np.abs(x), 1e-30)),
    "clipped to [-1, 1]": lambda x: np.clip(x, -1, 1),
    "in reverse order": lambda x: x[::-1],
    "height and width exchanged": lambda x: (
        np.swapaxes(x, 1, 2) if x.ndim == 4 and x.shape[1] == x.shape[2] else None
    ),
    "channels in reverse order": lambda x: x[..., ::-1] if x.ndim > 1 else None,
    "mirrored from left to right": _of_images(lambda x: x[:, :, ::-1]),
    "mirrored from top to bottom": _of_images(lambda x: x[:, ::-1]),
    "the two halves of the channels exchanged": lambda x: (
        np.roll(x, x.shape[-1] // 2, axis=-1) if x.ndim > 1 and x.shape[-1] % 2 == 0 else None
    ),
}


def _shift(ours: np.ndarray, theirs: np.ndarray) -> Iterator[str]:
    """By one step, or by one pixel."""
    if ours.ndim == 1 and len(ours) > 4:
        if _alike(theirs[1:-1], ours[2:]):
            yield "a shift by one step (that of one later)"
        elif _alike(theirs[1:-1], ours[:-2]):
            yield "a shift by one step (that of one earlier)"
    elif ours.ndim == 4 and min(ours.shape[1:3]) > 4:
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1)):
            moved = np.roll(ours, (down, right), axis=(1, 2))[:, 1:-1, 1:-1]
            if _alike(theirs[:, 1:-1, 1:-1], moved):
                yield "a shift by one pixel"
                return


def _line(ours: np.ndarray, theirs: np.ndarray) -> Iterator[str]:
    """A factor, an offset, or both, the same for all; else a factor of its own for each example."""
    off = np.abs(theirs - ours).max()
    if ours.size < 4:
        return
    factor = float((ours * theirs).sum() / max(np.square(ours).sum(), 1e-30))
    if np.abs(theirs - factor * ours).max() <= 0.02 * off:
        yield f"a constant factor of {factor:.6g}"
        return
    offset = float(np.mean(theirs - ours))
    if np.abs(theirs - ours - offset).max() <= 0.02 * off:
        yield f"a constant of {offset:.4g} added"
        return
    if ours.ndim > 1 and len(ours) > 1:
        rows, others = ours.reshape(len(ours), -1), theirs.reshape(len(ours), -1)
        factors = (rows * others).sum(1) / np.maximum(np.square(rows).sum(1), 1e-30)
        if np.abs(others - factors[:, None] * rows).max() <= 0.02 * off:
            yield f"a factor for each example: {', '.join(f'{f:.4g}' for f in factors[:6])}"


# --- At large


def _at_large(ours: np.ndarray, theirs: np.ndarray, t: np.ndarray | None) -> list[str]:
    """Whether it grows with t, and whether it is like noise."""
    found = []
    off = np.abs(theirs - ours).reshape(len(ours), -1).mean(axis=1)
    order = np.arange(len(off)) if t is None or len(t) != len(off) else np.argsort(t)
    sizes = off[order]
    if (
        len(sizes) > 2
        and sizes[-1] > 3 * max(sizes[0], 1e-30)
        and (np.diff(sizes) >= 0).mean() > 0.9
    ):
        found.append("growing with t")
    elif (
        len(sizes) > 2
        and sizes[0] > 3 * max(sizes[-1], 1e-30)
        and (np.diff(sizes) <= 0).mean() > 0.9
    ):
        found.append("falling with t")
    if ours.ndim > 1:
        difference = (theirs - ours).ravel()
        alike = np.corrcoef(difference, ours.ravel())[0, 1] if np.std(ours) > 0 else 0.0
        if abs(alike) < 0.1:
            found.append(f"noise-like, {_share(ours, theirs):.1e} of the values")
        elif np.abs(difference).max() < 0.05 * np.abs(ours).max():
            found.append(f"a little everywhere, {_share(ours, theirs):.1e} of the values")
        else:
            found.append(f"everywhere, {_share(ours, theirs):.1e} of the values")
    return found or ["everywhere"]


def _share(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.std(theirs - ours) / max(np.std(ours), 1e-30))
