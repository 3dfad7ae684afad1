"""Writes exactly N samples, resumable, with optional intermediate states."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.sampling.intermediate_states import (
    checked_paths,
    write_progressive,
    write_trajectory,
)
from diffusion_tf.sampling.outputs import check_output
from diffusion_tf.sampling.parts import Parts, already_there, explained
from diffusion_tf.sampling.room import check_room
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.sampling.shards import sample_shards, split
from diffusion_tf.utils.array_files import Damaged
from diffusion_tf.utils.devices import tf32
from diffusion_tf.utils.files import delete_leftovers
from diffusion_tf.utils.finite import check_finite
from diffusion_tf.utils.interruption import StopSignals
from diffusion_tf.utils.locks import lock_beside, locked
from diffusion_tf.utils.output_names import kind_of

__all__ = ["check_output", "write_samples"]

MAX_ATTEMPTS = 3  # to put shards together, should one after the other be damaged meanwhile


@tf32(False)
def write_samples(
    out: str,
    sampler: Sampler,
    *,
    num_samples: int,
    batch_size: int,
    origin: dict[str, Any],
    float32: bool = False,
    overwrite: bool = False,
    progressive: int | None = None,
    trajectory: Sequence[int] = (),
) -> None:
    """Draws exactly `num_samples` samples into a file, or goes on with those that are missing.

    Finished shards are kept in the folder `OUT.parts` until all are there; memory is that of the
    shards that are drawn at the same time. What is written does not depend on the number of
    devices, nor on interruptions: after one at any moment, also when the output is there already,
    the same call does what is left to do.

    Args:
        out: `*.npz` for [N, H, W, C] under the name `arr_0`, the layout that the evaluators of
            guided-diffusion and EDM read, and conditions as `arr_1`; `*.png` or `*.jpg` for one
            picture of them all; a name without an ending for a folder of PNG files. Vectors,
            [N, D], go into `*.npz` alone, as float32.
        sampler: what draws.
        num_samples: how many in all.
        batch_size: how many at once on a device.
        origin: what else the samples depend on, such as the step of the checkpoint; values of JSON.
        float32: not uint8 but float32 in [-1, 1], as the sampler gives them; for `*.npz`.
        overwrite: replace what is there, and delete parts of other samples.
        progressive: of the first shard, also keep the predictions of x_0 after every so many steps,
            in `NAME.progressive.npz` and a picture, `NAME.progressive.png`.
        trajectory: of the first shard, also keep the images at these times, from T - 1 (the noise)
            to -1 (the sample), in `NAME.trajectory.npz` and a picture.

    Raises:
        ValueError: num_samples or batch_size < 1, or too many, see `check_room`; steps that are not
            there; parts of other samples are there; see also `check_output`.
        NotFiniteError: samples hold NaN or infinity. Of their shard nothing is written.
        InUse: another process is writing there.
        OSError: something cannot be written. What is finished is kept.
        Interrupted: SIGTERM or Ctrl-C came; what is finished is kept.
    """
    trajectory = list(trajectory)
    beside_it = [
        name for name, on in (("progressive", progressive), ("trajectory", trajectory)) if on
    ]
    check_output(out, overwrite=overwrite, float32=float32, beside_it=beside_it)
    vectors = len(sampler.sample_shape) == 1
    if vectors and kind_of(out) != "npz":
        raise ValueError(f"Vectors are written to *.npz; {out} is another --out, choose one.")
    progressive, trajectory = checked_paths(sampler.process, progressive, trajectory)
    batch_size, _ = split(num_samples, batch_size)
    num_samples = int(num_samples)
    check_room(out, sampler, num_samples, batch_size, 4 if float32 or vectors else 1)
    description = {
        **origin,
        **sampler.describe(),
        "batch_size": batch_size,
        "dtype": "float32" if float32 or vectors else "uint8",
        "progressive": progressive,
        "trajectory": trajectory,
    }
    with locked(lock_beside(out), out) as lock:
        delete_leftovers(out)
        parts = Parts(out, description)
        done = f"{num_samples} samples, {hashlib.sha256(parts.context.encode()).hexdigest()}"
        if lock.noted != done or not os.path.exists(out):
            with explained(lock_beside(out)):
                lock.note("")
            check_output(out, overwrite=overwrite, float32=float32, beside_it=beside_it)
            parts.begin(overwrite=overwrite)
            _write(parts, sampler, num_samples, overwrite=overwrite)
            with explained(lock_beside(out)):
                lock.note(done)
        parts.delete()


def _write(parts: Parts, sampler: Sampler, num_samples: int, *, overwrite: bool) -> None:
    """Draws what is missing, and puts it together."""
    batch_size, num_shards = split(num_samples, parts.description["batch_size"])

    def draw(missing: Sequence[int]) -> Iterator[dict[int, np.ndarray]]:
        return sample_shards(sampler, missing, num_shards, batch_size)

    def draw_paths() -> None:
        if progressive := parts.description["progressive"]:
            write_progressive(parts, sampler, batch_size, progressive)
        if trajectory := parts.description["trajectory"]:
            write_trajectory(parts, sampler, batch_size, trajectory)

    if not overwrite and parts.output_is_there() and parts.missing(num_shards):
        raise ValueError(already_there(parts.out))  # made by somebody else meanwhile
    with parts.deleted_if_none():
        draw_paths()
    _draw_missing(parts, num_shards, draw)
    draw_paths()  # what is there stays, unless it was damaged since
    conditions = None if sampler.conditions is None else sampler.conditions.rows(0, num_samples)
    for attempt in range(MAX_ATTEMPTS):
        try:
            parts.assemble(num_samples, conditions, overwrite)
            return
        except Damaged:
            if attempt == MAX_ATTEMPTS - 1:
                raise
            _draw_missing(parts, num_shards, draw)


def _draw_missing(
    parts: Parts, num_shards: int, draw: Callable[[Sequence[int]], Iterator[dict[int, np.ndarray]]]
) -> None:
    """Draws and keeps the shards that are not there, or damaged."""
    missing = parts.missing(num_shards)
    if len(missing) < num_shards:
        there = num_shards - len(missing)
        logging.info("Resuming: %d of %d shards are in %s.", there, num_shards, parts.folder)
    with parts.deleted_if_none(), StopSignals() as signals:
        for drawn in draw(missing):
            for shard, samples in drawn.items():
                check_finite(samples, f"samples of shard {shard} of {num_shards} (the first is 0)")
                parts.save(shard, samples)
            signals.raise_if_received(
                f"; {len(parts)} of {num_shards} shards are in {parts.folder}. The same command"
                " goes on."
            )
