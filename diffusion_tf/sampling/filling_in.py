"""Images whose missing parts a network fills in: masks, the filling in, its picture."""

import os

import numpy as np

from diffusion_tf.gaussian_diffusion.inpainting import Filling, plan_jumps
from diffusion_tf.sampling.parts import save_npz
from diffusion_tf.sampling.pieces import run_in_pieces
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils import images
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.image_reading import load_image, size_of
from diffusion_tf.utils.output_names import kind_of
from diffusion_tf.utils.random_numbers import stream
from diffusion_tf.utils.sentences import shown_path

PARTS = ("left", "right", "top", "bottom", "center")  # masks that need no file


def read_mask(name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Where an image is known, from what a person calls the part that is not.

    Args:
        name: one of `PARTS`: half of the image, or the middle half of each side; or a picture that
            is white where the image is to be filled in.
        shape: of the image, (height, width, channels).

    Returns:
        bool [H, W, 1], True where it is known.

    Raises:
        ValueError: nothing is to be filled in; a picture of another size, or in colours; or see
            `load_image`.
        FileNotFoundError: no such part or file.
    """
    height, width, _ = shape
    unknown = np.zeros([height, width, 1], bool)
    places = {
        "left": (slice(None), slice(width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "top": (slice(height // 2), slice(None)),
        "bottom": (slice(height // 2, None), slice(None)),
        "center": (slice(height // 4, -(height // 4)), slice(width // 4, -(width // 4))),
    }
    if name in PARTS:
        unknown[places[name]] = True
    else:
        unknown = _read_picture(name, height, width) >= 128
    if not unknown.any():
        raise ValueError(f"{name} is black everywhere: nothing is to be filled in; make it white.")
    return ~unknown


def _read_picture(name: str, height: int, width: int) -> np.ndarray:
    """A mask in grey, uint8 [H, W, 1]."""
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"--mask={shown_path(name)} is neither {', '.join(PARTS[:-1])} or {PARTS[-1]} nor a"
            " picture that is there; give one of them."
        )
    there = size_of(name)
    if there != (height, width):
        raise ValueError(
            f"{name} has {there[0]}x{there[1]} pixels, and the images of the run have"
            f" {height}x{width}; give a mask of that size."
        )
    colours = load_image(name, (height, width, 3)).astype(int)
    if np.ptp(colours, axis=-1).max() > 32:
        raise ValueError(
            f"{name} has colours; make it black, and white where it is to be filled in."
        )
    return load_image(name, (height, width, 1))


@tf32(False)
def fill_in(
    sampler: Sampler,
    image: np.ndarray,
    known: np.ndarray,
    *,
    number: int,
    jump_length: int = 10,
    num_resamples: int = 10,
) -> np.ndarray:
    """Fills in an image several times, showing progress.

    Args:
        sampler: what draws.
        image: uint8 [H, W, C].
        known: bool [H, W, 1], see `read_mask`.
        number: of different fillings.
        jump_length, num_resamples: see `Inpainting.inpaint`.

    Returns:
        uint8 [number, H, W, C]. Where the image is known it is as it was, to the last bit.

    Raises:
        ValueError: jump_length or num_resamples < 1.
        NotFiniteError: some of the fillings hold NaN or infinity.
    """
    filling = Filling.of(
        images.from_pixels(image[None]).repeat(number, axis=0),
        known,
        plan_jumps(sampler.process.num_timesteps, jump_length, num_resamples),
        seed=stream(sampler.seed, "pictures"),
        clip_denoised=sampler.clip_denoised,
    )
    move = sampler.chain(
        number,
        lambda network, *place: sampler.process.inpaint_moves(network, filling, *place),
    )
    start = sampler.process.inpaint_start(filling)
    filled = run_in_pieces("filling in", move, start, len(filling.plan.steps))
    check_finite(filled, "fillings")
    return images.to_pixels(filled)


def save_fillings(out: str, image: np.ndarray, known: np.ndarray, fillings: np.ndarray) -> None:
    """Writes a row, the image, what is known of it on grey, the fillings; or these alone as npz."""
    if kind_of(out) == "npz":
        save_npz(out, iter([fillings]), fillings.shape, fillings.dtype)
        return
    shown = np.where(known, image, np.uint8(128))
    images.save_labelled_grid(
        out,
        np.stack([image, shown, *fillings])[None],
        row_labels=[""],
        column_labels=["source", "known", *[""] * len(fillings)],
    )
