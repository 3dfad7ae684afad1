"""Whether there is room for samples, in memory and on the disk, before any is drawn."""

import math
import shutil

from diffusion_tf.sampling.parts import parts_folder
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils.devices import num_accelerators
from diffusion_tf.utils.memory import amount, check_memory
from diffusion_tf.utils.output_names import PICTURES, kind_of

_FLOAT32 = 4  # bytes


def check_room(
    out: str, sampler: Sampler, num_samples: int, batch_size: int, itemsize: int
) -> None:
    """Refuses samples that cannot be drawn or kept.

    Args:
        out: where they go, see `files.write_samples`.
        sampler: what draws them.
        num_samples: how many in all.
        batch_size: how many at once on a device.
        itemsize: bytes of a number in the output.

    Raises:
        ValueError: a batch, or a picture of all samples, needs more memory than is free; or all of
            them need more of the disk.
    """
    check_batch(sampler, batch_size, "batch_size")
    size = num_samples * math.prod(sampler.sample_shape) * itemsize
    if kind_of(out) in PICTURES:
        what = f"num_samples is {num_samples}: one picture of all"
        check_memory(3 * size, what, "draw fewer, or into *.npz")
    _check_disk(out, num_samples, size)


def check_batch(sampler: Sampler, number: int, name: str) -> None:
    """Refuses so many samples at once on a device that they need more memory than is free.

    x, its noise, what is predicted, and one map of a U-Net at full resolution are counted.

    Args:
        sampler: what draws them.
        number: of samples.
        name: of the number, for the error.

    Raises:
        ValueError: they do.
    """
    numbers = 3 * math.prod(sampler.sample_shape)
    if len(sampler.sample_shape) == 3:
        height, width, _ = sampler.sample_shape
        pixels = height * width // getattr(sampler.model, "block_size", 1) ** 2
        numbers += pixels * getattr(sampler.model, "ch", 1)
    if not num_accelerators():  # which have a memory of their own, and say themselves what fits
        what = f"{name} is {number}: a batch"
        check_memory(_FLOAT32 * number * numbers, what, "choose a smaller one")


def _check_disk(out: str, num_samples: int, size: int) -> None:
    """Parts and output are there at the same time, until the parts are deleted."""
    needed = (2 if kind_of(out) == "npz" else 1) * size
    parts = parts_folder(out)
    folder = next(parent for parent in parts.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return
    there = sum(path.stat().st_size for path in parts.iterdir()) if parts.is_dir() else 0
    if needed - there > free:
        raise ValueError(
            f"num_samples is {num_samples}: they need {amount(needed)} on the disk of {folder}, and"
            f" {amount(free)} are free; draw fewer, make room, or choose another --out."
        )
