"""Bits/dim of whole data sets, term by term, and the rate-distortion curve that follows."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from diffusion_tf.datasets import Dataset
from diffusion_tf.gaussian_diffusion.chains import DenoiseFn
from diffusion_tf.sampling.sampler import Sampler
from diffusion_tf.utils import images
from diffusion_tf.utils.array_files import Damaged, check_seal, open_npz, save_npz
from diffusion_tf.utils.devices import distribute, tf32
from diffusion_tf.utils.interruption import StopSignals
from diffusion_tf.utils.numbers import whole
from diffusion_tf.utils.progress import progress_bar
from diffusion_tf.utils.random_numbers import stream

MAX_PIECES = 50  # a batch's timesteps come in so many pieces, so that progress can be shown
SECONDS_BETWEEN_SAVES = 60


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The variational bound of a data set, as means over its images (eq. 5).

    Attributes:
        num_images: of the data set, all of them.
        total: bits/dim, an upper bound of the negative log-likelihood.
        standard_error: of total, from the spread between images.
        prior: L_T, bits/dim.
        terms: float64 [T], bits/dim; at t = 0 the decoder's L_0, elsewhere L_{t} of eq. 8.
        mse: float64 [T], mean square error of the x_0 predicted from x_t, in [-1, 1].
    """

    num_images: int
    total: float
    standard_error: float
    prior: float
    terms: np.ndarray
    mse: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Values of JSON; `decoder` is the term at t = 0."""
        return {
            "total": self.total,
            "standard_error": self.standard_error,
            "prior": self.prior,
            "decoder": float(self.terms[0]),
            "terms": self.terms.tolist(),
            "mse": self.mse.tolist(),
            "num_images": self.num_images,
        }


def rate_distortion(likelihood: Likelihood) -> dict[str, list[Any]]:
    """Rate and distortion along the reverse process (section 4.3, Figure 5, Table 4).

    Whoever knows x_t, at the cost of the prior and all terms above t, can predict x_0 as the
    network does.

    Returns:
        For t from T - 1 down to 0: `reverse_steps` T - t, `rate` in bits/dim, rising, and
        `distortion`, root mean square error on the scale 0..255.
    """
    above = np.cumsum(likelihood.terms[::-1])[:-1]
    rate = likelihood.prior + np.append(0.0, above)
    distortion = 127.5 * np.sqrt(likelihood.mse[::-1])
    return {
        "reverse_steps": list(range(1, len(rate) + 1)),
        "rate": rate.tolist(),
        "distortion": distortion.tolist(),
    }


class PartialSums:
    """Sums of values that come for some images at a time, kept in a file until all are there.

    Attributes:
        number: of images so far, the first ones of the data set.
        sums: float64, by name.
    """

    def __init__(self, path: str | Path, shapes: Mapping[str, tuple[int, ...]], origin: Any):
        """Begins with zero, or with the sums that are there.

        Args:
            path: of the file, `*.npz`.
            shapes: of each sum.
            origin: what the sums depend on, in values of JSON.

        Raises:
            ValueError: the file holds sums of another origin. One that is damaged is said in the
                log, and the sums begin with zero.
        """
        self._path = Path(path)
        self._origin = json.dumps(origin, sort_keys=True)
        self.number = 0
        self.sums = {name: np.zeros(shape) for name, shape in shapes.items()}
        if self._path.exists():
            self._load()

    def add(self, **values: np.ndarray) -> None:
        """Adds the values of the next images, [n, ...] each."""
        (count,) = {len(array) for array in values.values()}
        for name, array in values.items():
            self.sums[name] += np.asarray(array, np.float64).sum(axis=0)
        self.number += count

    def save(self) -> None:
        """Keeps the sums so far.

        Raises:
            OSError: they cannot be written.
        """
        arrays: dict[str, npt.ArrayLike] = {"number": self.number, "origin": self._origin}
        save_npz(self._path, {**arrays, **self.sums})

    def _load(self) -> None:
        try:
            check_seal(self._path)
        except Damaged as damage:
            logging.warning("%s The sums begin anew.", damage)
            return
        with open_npz(self._path) as arrays:
            there = dict(arrays)
        shapes = {"number": (), "origin": (), **{n: total.shape for n, total in self.sums.items()}}
        if {name: array.shape for name, array in there.items()} != shapes:
            logging.warning("%s holds other sums than these. They begin anew.", self._path)
            return
        origin = str(there["origin"])
        if origin != self._origin:
            raise ValueError(
                f"{self._path} holds unfinished sums of another evaluation ({origin}, not"
                f" {self._origin}); delete it, or choose another --out."
            )
        self.number = int(there["number"])
        self.sums = {name: there[name] for name in self.sums}


@tf32(False)
def measure_likelihood(
    sampler: Sampler,
    dataset: Dataset,
    *,
    batch_size: int,
    partial_path: str | Path,
    origin: dict[str, Any],
) -> Likelihood:
    """Computes the bound over all images of a data set, or goes on with those that are left.

    Noise depends on the seed, the timestep and the image's number alone, so that the result depends
    neither on the batch size, beyond float32, nor on the devices, nor on interruptions.

    Args:
        sampler: the network, with the process of training, all T steps; its conditions, if it has
            any, are those of the images.
        dataset: every image counts once.
        batch_size: images at once on each device.
        partial_path: where sums over the images so far are kept until all are done, `*.npz`.
        origin: what else the result depends on, in values of JSON: sums of another origin that are
            found at `partial_path` are refused.

    Raises:
        ValueError: batch_size < 1, an image that cannot be read, or sums of another origin.
        OSError: the sums cannot be written.
        Interrupted: SIGTERM or Ctrl-C came; the sums so far are kept.
    """
    T = sampler.process.num_timesteps
    shapes = {"total": (), "total_squared": (), "prior": (), "terms": (T,), "mse": (T,)}
    sums = PartialSums(partial_path, shapes, origin)
    batch_size = min(whole(batch_size, "batch_size", 1), len(dataset))
    batches = dataset.batches(batch_size, start=sums.number)
    strategy = sampler.strategy or tf.distribute.get_strategy()
    terms_of = _terms_runner(sampler, strategy)
    with (
        progress_bar("bits/dim", "image", total=len(dataset), done=sums.number) as progress,
        _stopping(sums, len(dataset)) as check,
    ):
        while together := list(islice(batches, strategy.num_replicas_in_sync)):
            columns = []
            for piece in _pieces(T):
                columns.append(terms_of(together, sums.number, batch_size, piece))
                check()
                share = (piece[-1] + 1) / T * sum(map(len, together))
                progress.update(sums.number + int(share) - progress.n)
            terms, mse = (np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True))
            prior = sampler.process.prior_bpd(images.from_pixels(np.concatenate(together))).numpy()
            total = prior + terms.sum(axis=1, dtype=np.float64)
            sums.add(prior=prior, terms=terms, mse=mse, total=total, total_squared=total**2)
    return _means(sums)


def _pieces(T: int) -> np.ndarray:
    """All timesteps, rising, in pieces of equal length: int32 [pieces, n]."""
    number = next(n for n in range(min(T, MAX_PIECES), 0, -1) if T % n == 0)
    return np.arange(T, dtype=np.int32).reshape(number, -1)


@contextlib.contextmanager
def _stopping(sums: PartialSums, num_images: int) -> Iterator[Callable[[], None]]:
    """A function that keeps the sums now and then, and ends it all when a signal has come."""
    last_save = time.monotonic()
    with StopSignals() as signals:

        def check() -> None:
            nonlocal last_save
            if signals.received or time.monotonic() - last_save > SECONDS_BETWEEN_SAVES:
                sums.save()
                last_save = time.monotonic()
            signals.raise_if_received(
                f"; the bits/dim of {sums.number} of {num_images} images are kept. The same"
                " command goes on."
            )

        yield check


def _terms_runner(
    sampler: Sampler, strategy: tf.distribute.Strategy
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A function from batches, one for each replica, to terms and mse at some timesteps."""
    noise_seed = stream(sampler.seed, "likelihood")

    def terms(
        network: DenoiseFn, x_start: tf.Tensor, first_example: tf.Tensor, timesteps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return sampler.process.bpd_terms(
            network, x_start, timesteps, clip_denoised=sampler.clip_denoised,
            seed=noise_seed, first_example=first_example,
        )  # fmt: skip

    run = sampler.on_replicas(terms)

    def run_batches(
        batches: list[np.ndarray], first_example: int, batch_size: int, timesteps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        firsts = [first_example + k * batch_size for k in range(len(batches))]
        idle = strategy.num_replicas_in_sync - len(batches)  # these do the last batch once more

        def spread(values: list) -> tf.Tensor:
            return distribute(strategy, [tf.constant(v) for v in values + values[-1:] * idle])

        x_start = [_padded(images.from_pixels(b), batch_size) for b in batches]
        y = None
        if sampler.conditions is not None:
            rows = [
                sampler.conditions.rows(first, len(batch))
                for first, batch in zip(firsts, batches, strict=True)
            ]
            y = spread([_padded(values, batch_size) for values in rows])
        results = run(y, spread(x_start), spread(firsts), tf.constant(timesteps))
        terms, mse = (
            np.concatenate(
                [part[: len(batch)] for part, batch in zip(parts, batches, strict=False)]
            )
            for parts in (strategy.experimental_local_results(result) for result in results)
        )
        return terms, mse

    return run_batches


def _padded(batch: np.ndarray, size: int) -> np.ndarray:
    """The batch with its last row repeated, so that every batch is of one shape."""
    return np.pad(batch, [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)], mode="edge")


def _means(sums: PartialSums) -> Likelihood:
    number = sums.number
    means = {name: value / number for name, value in sums.sums.items()}
    variance = max(float(means["total_squared"] - means["total"] ** 2), 0.0)
    return Likelihood(
        num_images=number,
        total=float(means["total"]),
        standard_error=float(np.sqrt(variance / max(number - 1, 1))),
        prior=float(means["prior"]),
        terms=means["terms"],
        mse=means["mse"],
    )
