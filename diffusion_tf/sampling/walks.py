"""Ways through two or more images: mixtures between each pair, as a picture, frames or a film."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from diffusion_tf.gaussian_diffusion.encoding import slerp
from diffusion_tf.sampling.parts import save_npz
from diffusion_tf.sampling.pictures import (
    check_num_lambdas,
    draw_interpolations,
    save_interpolations,
)
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils import images
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.files import replacing_folder
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.output_names import FILMS, PICTURES, kind_of

FRAME_MS, HOLD_MS = 120, 1000  # of films: each frame, and the pictures at both ends


class Walk(NamedTuple):
    """Pictures of a way.

    Attributes:
        pictures: uint8 [pairs, rows, 1 + L + 1, H, W, C]: an image, mixtures, the next image.
        labels: of the rows of a pair.
    """

    pictures: np.ndarray
    labels: list[str]

    def frames(self) -> np.ndarray:
        """The mixtures from the first image to the last, uint8 [rows, F, H, W, C].

        F = pairs (L - 1) + 1: where two pairs meet, the end of the first one stands for both.
        """
        mixtures = self.pictures[:, :, 1:-1].swapaxes(0, 1)  # [rows, pairs, L, ...]
        first, rest = mixtures[:, 0], mixtures[:, 1:, 1:]
        return np.concatenate([first, rest.reshape(len(rest), -1, *first.shape[2:])], axis=1)


def draw_ddpm_walk(
    sampler: Sampler, path: np.ndarray, *, timesteps: Sequence[int], num_lambdas: int, **how: Any
) -> Walk:
    """Mixes each image with the next after diffusing both (section 4.3): a row for each timestep.

    Args:
        sampler: what draws.
        path: uint8 [N, H, W, C], N of 2 or more.
        timesteps, num_lambdas, **how: see `pictures.draw_interpolations`.

    Raises:
        ValueError, NotFiniteError: see `pictures.draw_interpolations`.
    """
    pictures = draw_interpolations(
        sampler, path[:-1], path[1:], timesteps=timesteps, num_lambdas=num_lambdas, **how
    )
    return Walk(pictures, [f"t={t}" for t in timesteps])


@tf32(False)
def draw_ddim_walk(
    sampler: Sampler, path: np.ndarray, *, num_lambdas: int, straight: bool = False, **how: Any
) -> Walk:
    """Encodes all images, walks from each latent to the next, decodes: it passes through them all.

    Args:
        sampler: what encodes and decodes; its conditions are N or one.
        path: uint8 [N, H, W, C], N of 2 or more.
        num_lambdas: pictures from one image to the next, both included.
        straight: go from latent to latent on a straight line instead of an arc.
        **how: `sampling_steps` and `solver`, see `Encoding.encode`.

    Raises:
        ValueError: see `check_num_lambdas` and `Encoding.encode`.
        NotFiniteError: some of the latents or pictures hold NaN or infinity.
    """
    lambdas = np.linspace(0, 1, check_num_lambdas(num_lambdas), dtype=np.float32)
    logging.info("Encoding %d images ...", len(path))
    latents = sampler.encode(path, **how)
    check_finite(latents, "latents")
    z1, z2 = latents[:-1], latents[1:]
    weight = lambdas.reshape(-1, *[1] * z1.ndim)
    way = (1 - weight) * z1 + weight * z2 if straight else slerp(z1, z2, lambdas).numpy()
    logging.info("Decoding %d latents ...", len(lambdas) * len(z1))
    decoded = sampler.decode(way.reshape(-1, *path.shape[1:]), **how)
    check_finite(decoded, "decoded latents")
    pixels = images.to_pixels(decoded).reshape(len(lambdas), *z1.shape)
    pictures = np.stack([path[:-1], *pixels, path[1:]], axis=1)[:, None]
    return Walk(pictures, ["line" if straight else "arc"])


def distances_at_the_ends(walk: Walk) -> dict[str, float]:
    """Mean square between the images and the mixtures beside them, pixels in [0, 1], by label."""
    pixels = walk.pictures.astype(np.float64) / 255
    squares = (pixels[:, :, [0, -1]] - pixels[:, :, [1, -2]]) ** 2
    means = squares.mean(axis=(0, *range(2, squares.ndim)))
    return dict(zip(walk.labels, means.tolist(), strict=True))


def save_walk(out: str, walk: Walk) -> None:
    """Writes a way in the kind that a name asks for.

    Args:
        out: `*.png`, `*.jpg`: a labelled grid, a row for each pair and label. `*.npz`: `arr_0`,
            uint8 [rows F, H, W, C], the frames row after row. A name without an ending: a folder of
            the same as PNG files. `*.gif`, `*.webp`: a film that goes there and back, the rows side
            by side.
        walk: what to write.
    """
    kind = kind_of(out)
    frames = walk.frames()
    if kind in PICTURES:
        save_interpolations(out, walk.pictures, walk.labels)
    elif kind in FILMS:
        grids = [images.show_grid(frame) for frame in frames.swapaxes(0, 1)]
        images.save_film(out, [*grids, *grids[-2:0:-1]], _durations(len(grids)))
    elif kind == "npz":
        flat = frames.reshape(-1, *frames.shape[2:])
        save_npz(out, iter([flat]), flat.shape, flat.dtype)
    else:
        with replacing_folder(out) as folder:
            for number, pixels in enumerate(frames.reshape(-1, *frames.shape[2:])):
                images.write_png(folder / f"{number:06d}.png", pixels)


def _durations(number: int) -> list[int]:
    """Milliseconds of each frame there and back, which is held at both ends."""
    durations = [FRAME_MS] * max(1, 2 * number - 2)
    durations[0] = durations[number - 1] = HOLD_MS
    return durations
