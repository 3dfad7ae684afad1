"""Sprites of 16x16 pixels with a context vector: creatures drawn here, or arrays in a folder.

The five attributes of a drawn creature are its context.
"""

from pathlib import Path

import numpy as np

from diffusion_tf.datasets.arrays import check_same_length, checked_vectors, read_npy

ATTRIBUTES = ("warmth", "size", "tallness", "look", "night")  # each from 0 to 1; see `draw`

SIDE = 16  # pixels
_FINE = 4  # points across a pixel, for antialiasing
_CONTEXT, _CHANCE = 0, 1  # streams of random numbers that one seed is enough for
_CHUNK = 512  # sprites at once, so that memory does not grow with their number

RADIUS = (2.7, 4.9)  # of the body, in pixels: the geometric mean of half width and half height
ASPECT = (1 / 1.7, 1.7)  # height / width
_LOOK = 0.42  # how far the eye goes to a side, in half widths
_GROUND = 13.0  # row of the horizon

BODY = np.array([[60, 105, 235], [165, 75, 195], [240, 85, 55]], float)  # cold, half, warm
SKY = np.array([[190, 225, 235], [26, 28, 52]], float)  # day, night
_GRASS = np.array([[125, 185, 95], [32, 58, 52]], float)
_LIGHT = np.array([[255, 235, 140], [225, 225, 205]], float)  # sun, moon
_FEET, _WHITE, _PUPIL = (
    np.array(c, float) for c in ((215, 185, 90), (245, 245, 245), (25, 25, 35))
)


def draw(attributes: np.ndarray, seed: int) -> np.ndarray:
    """Draws a creature for each row of attributes.

    Args:
        attributes: numbers in [0, 1], [N, 5]: warmth (of the body's colour, blue to red), size
            (small to large), tallness (wide to tall, at the same size), look (the eye on the left
            or on the right), night (a bright or dark background).
        seed: of what is not an attribute: place, shade, the side of the sun, the stance's width.
            A creature does not change with the number of those after it.

    Returns:
        uint8 [N, 16, 16, 3].

    Raises:
        ValueError: another shape, or numbers outside [0, 1].
    """
    attributes = np.asarray(attributes, dtype=np.float64)
    if attributes.ndim != 2 or attributes.shape[1] != len(ATTRIBUTES):
        raise ValueError(
            f"attributes have shape {attributes.shape}; they must be [N, {len(ATTRIBUTES)}]:"
            f" {', '.join(ATTRIBUTES)}."
        )
    outside = attributes[~((attributes >= 0) & (attributes <= 1))]
    if outside.size:
        raise ValueError(f"attributes have {outside[0]:g}; each must lie in [0, 1].")
    chance = np.random.default_rng((_CHANCE, seed)).uniform(-1, 1, (len(attributes), 5))
    pixels = np.empty((len(attributes), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(attributes), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pixels[chunk] = np.rint(_paint(attributes[chunk], chance[chunk]))
    return pixels


def random_attributes(number: int, seed: int) -> np.ndarray:
    """Attributes to draw: three quarters uniform, a quarter 0 and 1 alone.

    So contexts such as (0, 0, 1, 0, 0) are among those that a network learns from.

    Args:
        number: of rows.
        seed: which.

    Returns:
        float32 [number, 5] in [0, 1].
    """
    rng = np.random.default_rng((_CONTEXT, seed))
    attributes = rng.uniform(size=(number, len(ATTRIBUTES)))
    corners = rng.uniform(size=(number, 1)) < 0.25
    return np.where(corners, np.rint(attributes), attributes).astype(np.float32)


def load_arrays(data_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and vectors from two .npy files of a folder.

    Args:
        data_dir: the folder. The file with `labels`, `vectors` or `context` in its name has the
            vectors, the other with `sprites` or `images` the images: so `images.npy` and
            `vectors.npy`, and the files of the course "How Diffusion Models Work".

    Returns:
        Images uint8 [N, H, W, 1 or 3], mapped into memory, and vectors float32 [N, C]. Whether H,
        W and C are those of the config, the config's owner checks.

    Raises:
        FileNotFoundError: no such folder, or a file is missing.
        ValueError: several fit; one is not .npy, damaged, or holds Python objects; images that
            are not uint8 or have another number of axes; vectors that are not finite; unequal
            lengths.
    """
    if not Path(data_dir).is_dir():
        raise FileNotFoundError(f"There is no folder {data_dir}; check --data_dir.")
    paths = sorted(Path(data_dir).glob("*.npy"))
    of_vectors = [p for p in paths if _has_word(p, ("labels", "vectors", "context"))]
    of_images = [p for p in paths if p not in of_vectors and _has_word(p, ("sprites", "images"))]
    images_path = _only(of_images, "images", data_dir)
    vectors_path = _only(of_vectors, "vectors", data_dir)
    images = read_npy(images_path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{images_path} has dtype {images.dtype} and shape {images.shape}; it must be uint8"
            " [N, H, W, 3] (or 1 channel), values 0..255."
        )
    vectors = checked_vectors(read_npy(vectors_path), str(vectors_path))
    check_same_length(images, vectors, str(images_path), str(vectors_path))
    return images, vectors


def _has_word(path: Path, words: tuple[str, ...]) -> bool:
    return any(word in path.name.lower() for word in words)


def _only(paths: list[Path], what: str, data_dir: str) -> Path:
    if not paths:
        raise FileNotFoundError(
            f"{data_dir} holds no {what}; put images.npy (uint8 [N, 16, 16, 3]) and vectors.npy"
            " ([N, 5]) there."
        )
    if len(paths) > 1:
        raise ValueError(
            f"{data_dir} holds several arrays of {what} ({', '.join(p.name for p in paths)}); leave"
            " one there."
        )
    return paths[0]


def _paint(attributes: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Attributes [n, 5] and random numbers in [-1, 1], [n, 5] -> colours [n, 16, 16, 3]."""
    warmth, size, tallness, look, night = attributes.T
    x, y = 8 + 0.8 * chance[:, 0], 14.2 + 0.4 * chance[:, 1]  # of the middle, of the lower end
    radius = _between(RADIUS, size)
    root = np.exp(_between(np.log(ASPECT), tallness) / 2)
    rx, ry = radius / root, radius * root
    y = y - ry
    shade = 1 + 0.1 * chance[:, 2, None]
    colour = _mixed(BODY, warmth) * np.minimum(shade, 1.04)
    side, stance = np.sign(chance[:, 3]), 0.5 + 0.1 * chance[:, 4]

    picture = _background(night, shade)
    light = _blob(8 + 5.4 * side, 2.8, 1.5, 1.5)
    _lay(picture, light, _mixed(_LIGHT, night))
    for foot in (-1, 1):
        _lay(picture, _blob(x + foot * stance * rx, y + ry, 1.3, 0.8), _FEET)
    body = _blob(x, y, rx, ry, power=2.6)
    _lay(picture, body, colour * 0.82)
    _lay(picture, _blob(x, y - 0.12 * ry, 0.9 * rx, 0.84 * ry, power=2.6), colour)
    gaze = 2 * look - 1
    eye_x, eye_y = x + _LOOK * gaze * rx, y - 0.2 * ry
    _lay(picture, _blob(eye_x, eye_y, 0.3 * rx + 0.4, 0.3 * ry + 0.4), _WHITE)
    _lay(picture, _blob(eye_x + 0.6 * gaze, eye_y, 0.11 * rx + 0.4, 0.14 * ry + 0.4), _PUPIL)
    return picture


def _background(night: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """A sky that grows paler towards the horizon, and grass, [n, 16, 16, 3]."""
    row = np.arange(SIDE)[:, None, None]
    sky = (_mixed(SKY, night) * (0.5 + 0.5 * shade))[:, None, None]
    grass = _mixed(_GRASS, night)[:, None, None] * shade[:, None, None]
    picture = np.where(row < _GROUND, sky + (255 - sky) * 0.15 * row / _GROUND, grass)
    return np.tile(picture, (1, 1, SIDE, 1))


def _blob(
    x: np.ndarray, y: np.ndarray | float, rx: np.ndarray | float, ry: np.ndarray | float,
    *, power: float = 2.0,
) -> np.ndarray:  # fmt: skip
    """How much of every pixel (super)ellipses cover, [n, 16, 16] in 0..1."""
    points = (np.arange(SIDE * _FINE) + 0.5) / _FINE
    x, y, rx, ry = (np.asarray(v, dtype=np.float32).reshape(-1, 1) for v in (x, y, rx, ry))
    points = points.astype(np.float32)
    across, down = np.abs((points - x) / rx) ** power, np.abs((points - y) / ry) ** power
    inside = down[:, :, None] + across[:, None, :] <= 1
    return inside.reshape(-1, SIDE, _FINE, SIDE, _FINE).mean(axis=(2, 4))


def _lay(picture: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Paints over a picture [n, 16, 16, 3] in place: colour [n, 3] or [3] where covered."""
    colour = np.broadcast_to(colour, (len(picture), 3))[:, None, None]
    picture += cover[..., None] * (colour - picture)


def _mixed(colours: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Colours [k, 3] at equal distances along 0..1, mixed, [n, 3]."""
    at = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(amount, at, channel) for channel in colours.T], axis=1)


def _between(ends: tuple[float, float] | np.ndarray, amount: np.ndarray) -> np.ndarray:
    return ends[0] + (ends[1] - ends[0]) * amount
