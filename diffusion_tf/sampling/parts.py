"""Finished shards of samples: kept beside the output, put together when all are there."""

import contextlib
import filecmp
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.utils import images
from diffusion_tf.utils.array_files import Damaged, is_intact, load_npy, save_npy, seal
from diffusion_tf.utils.files import (
    delete_leftovers_in,
    is_empty,
    put_in_place,
    replacing,
    write_json,
)
from diffusion_tf.utils.finite import NotFiniteError
from diffusion_tf.utils.json_files import read_json_object
from diffusion_tf.utils.locks import has_note, lock_beside, short_digest
from diffusion_tf.utils.output_names import PICTURES, kind_of
from diffusion_tf.utils.syncing import sync_tree

LONGEST_NAME = 255  # bytes, of a file
LABELS = "dataset.json"  # beside PNG files: their labels, as EDM and StyleGAN have them
DESCRIPTION = "samples.json"  # in the folder of the parts: what they are of


def parts_folder(out: str | Path) -> Path:
    """Where the shards of an output are kept until it is finished: `OUT.parts`.

    Where that is longer than names may be, another name stands for it.
    """
    out = Path(out)
    name = f"{out.name}.parts"
    is_short = len(os.fsencode(name)) <= LONGEST_NAME
    return out.with_name(name if is_short else f".{short_digest(out.name)}.parts")


def beside(out: str | Path, ending: str) -> Path:
    """The name of something that goes with an output, `NAME.ending`."""
    out = Path(out)
    name = out.stem if kind_of(out.name) != "folder" else out.name
    return out.with_name(f"{name}.{ending}")


class Parts:
    """The finished shards of an output, in the folder `OUT.parts`.

    Shards are whole: those of the last may be more than are asked for. Each is sealed, see
    `array_files`, together with what the samples depend on: one that is damaged, or of other
    samples, is not used.

    Attributes:
        out: what they are to become.
        description: all that the samples depend on.
        folder: where they are.
        context: of the seals.
    """

    def __init__(self, out: str | Path, description: dict[str, Any]):
        """Names the folder; see `begin`.

        Args:
            out: what they are to become.
            description: all that the samples depend on, in values of JSON; `batch_size`,
                `sample_shape` and `dtype` are those of a shard.
        """
        self.out = Path(out)
        self._kind = kind_of(str(out))
        self.folder = parts_folder(out)
        self._shape = (description["batch_size"], *description["sample_shape"])
        self._dtype = np.dtype(description["dtype"])
        self.description = description
        self.context = json.dumps(description, sort_keys=True)

    def begin(self, *, overwrite: bool = False) -> None:
        """Makes the folder, or finds the shards that are there.

        Args:
            overwrite: delete shards of other samples.

        Raises:
            ValueError: there are shards of other samples, or the folder holds something else.
            OSError: the folder cannot be made.
        """
        if self.folder.is_symlink():
            raise ValueError(f"{self.folder} is a link; delete it, or choose another --out.")
        if self.folder.exists():
            self._check(self.description, overwrite)
        with explained(self.folder):
            if not self._description_path.exists():
                write_json(self._description_path, self.description, sort_keys=False)
            delete_leftovers_in(self.folder)

    def __len__(self) -> int:
        return len(list(self.folder.glob("[0-9]*.npy")))

    def missing(self, num_shards: int) -> Sequence[int]:
        """Numbers of the shards that are still to be drawn.

        Those that are damaged are among them; the log says so. The folder is listed once, so that
        nothing is looked for that is not there.
        """
        numbers = {
            int(path.stem) for path in self.folder.glob("[0-9]*.npy") if path.stem.isdecimal()
        }
        there = {n for n in sorted(numbers) if n < num_shards and self._is_there(n)}
        return [n for n in range(num_shards) if n not in there] if there else range(num_shards)

    def save(self, shard: int, samples: np.ndarray) -> None:
        """Keeps a shard.

        Args:
            shard: its number.
            samples: float [B, ...] in [-1, 1].

        Raises:
            OSError: it cannot be written. Those before it are as they were.
        """
        array = images.to_pixels(samples) if self._dtype == np.uint8 else samples
        path = self._path(shard)
        with explained(path):
            save_npy(path, array.astype(self._dtype, copy=False), context=self.context)

    def assemble(
        self, num_samples: int, conditions: np.ndarray | None = None, overwrite: bool = True
    ) -> None:
        """Puts the shards together to exactly `num_samples` samples; `delete` may follow.

        Args:
            num_samples: how many; of the last shard some may be left out.
            conditions: one for each sample, for `*.npz`.
            overwrite: replace an output that is there. Without it, it must be the same to the last
                bit, as it is if an earlier process was killed after it had put it there.

        Raises:
            Damaged: a shard has been damaged since it was kept.
            ValueError: another output is there.
            OSError: the output cannot be written. It is as it was, and so are the shards.
        """
        with explained(self.out):
            whole = self._assemble(num_samples, conditions)
            if overwrite or not self.output_is_there():
                put_in_place(whole, self.out)
            elif not _same(whole, self.out):
                raise ValueError(already_there(self.out))
        for path in self.folder.glob("beside.*"):  # copied, so that this can be interrupted
            self._copy(path, beside(self.out, path.name.removeprefix("beside.")), overwrite)

    def _copy(self, path: Path, target: Path, overwrite: bool) -> None:
        with explained(target):
            if not overwrite and target.exists():
                if not _same(path, target):
                    raise ValueError(already_there(target))
                return
            with replacing(target) as temporary:
                shutil.copyfile(path, temporary)

    def output_is_there(self) -> bool:
        """Whether there is something under the output's name; an empty folder is nothing."""
        return self.out.exists() and not (self.out.is_dir() and is_empty(self.out))

    def delete(self) -> None:
        """Deletes the folder; the description goes last, so that this, too, can be interrupted.

        Raises:
            OSError: it cannot be deleted.
        """
        try:
            for path in self.folder.iterdir() if self.folder.exists() else ():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path != self._description_path:
                    path.unlink()
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OSError(
                f"{self.folder} could not be deleted ({error.strerror or error}); the same command"
                " tries it again."
            ) from error

    @contextlib.contextmanager
    def deleted_if_none(self) -> Iterator[None]:
        """Deletes the folder where a block's samples are not finite and nothing was finished."""
        try:
            yield
        except NotFiniteError:
            if list(self.folder.iterdir()) == [self._description_path]:
                self.delete()
            raise

    def path_beside(self, ending: str) -> Path:
        """Where something is kept that `assemble` is to put beside the output, as `beside` says."""
        return self.folder / f"beside.{ending}"

    @property
    def _description_path(self) -> Path:
        return self.folder / DESCRIPTION

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.npy"

    def _check(self, description: dict[str, Any], overwrite: bool) -> None:
        """Makes sure that the parts that are there can be used, or deletes them."""
        path = self._description_path
        if not path.exists():
            if not is_empty(self.folder):
                raise ValueError(
                    f"{self.folder} holds something else than parts of samples; choose another"
                    " --out."
                )
            return
        differences = _differences(path, description)
        if differences and self._has_shards_of_these():
            logging.warning("%s is damaged (%s); it is written again.", path, differences)
            path.unlink()
            return
        if differences and not overwrite:
            raise ValueError(
                f"{self.folder} holds unfinished samples of another command ({differences}); finish"
                " them with that command, choose another --out, or add --overwrite."
            )
        if differences:
            self.delete()

    def _has_shards_of_these(self) -> bool:
        """Whether shards that are there are of the samples that are wanted."""
        shards = sorted(self.folder.glob("[0-9]*.npy"))
        return any(is_intact(path, context=self.context) for path in shards)

    def _is_there(self, shard: int) -> bool:
        if not self._path(shard).exists():
            return False
        try:
            self._load(shard)
        except Damaged as damage:
            logging.warning("%s It is drawn again.", damage)
            return False
        return True

    def _load(self, shard: int) -> np.ndarray:
        """A shard; Damaged if it is not what was kept."""
        return load_npy(self._path(shard), context=self.context)

    def _assemble(self, num_samples: int, conditions: np.ndarray | None) -> Path:
        """What the output will be, on the disk, under a name in this folder."""
        shards = (
            self._load(start // self._shape[0])[: num_samples - start]
            for start in range(0, num_samples, self._shape[0])
        )
        whole = self.folder / (f"whole.{self._kind}" if self._kind != "folder" else "images")
        if self._kind == "npz":
            shape = (num_samples, *self._shape[1:])
            save_npz(whole, shards, shape, self._dtype, conditions)
        elif self._kind in PICTURES:
            images.save_picture(whole, images.show_grid(np.concatenate(list(shards))))
        else:
            _save_folder(whole, shards)
            if conditions is not None and conditions.ndim == 1:
                _save_labels(whole / LABELS, conditions)
        return whole


def is_unfinished(out: str | Path) -> bool:
    """Whether there are parts of an output, or of its deletion: the same command will finish it."""
    return (parts_folder(out) / DESCRIPTION).exists() or has_note(lock_beside(out))


def already_there(out: str | Path) -> str:
    """A sentence about an output that would be overwritten."""
    return f"{out} exists; choose another --out, or add --overwrite."


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or two folders of files, hold the same bytes."""
    if not one.is_dir():
        return other.is_file() and filecmp.cmp(one, other, shallow=False)
    names = sorted(os.listdir(one))
    return names == sorted(os.listdir(other)) and all(
        _same(one / name, other / name) for name in names
    )


def _save_folder(folder: Path, shards: Iterator[np.ndarray]) -> None:
    """Writes PNG files where nobody looks."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    number = 0
    for shard in shards:
        for pixels in shard:
            images.write_png(folder / f"{number:06d}.png", pixels)
            number += 1
    sync_tree(folder)


def _save_labels(path: Path, labels: np.ndarray) -> None:
    """Writes the labels of PNG files; null for a sample without a condition."""
    rows = [
        [f"{number:06d}.png", int(label) if label >= 0 else None]
        for number, label in enumerate(labels)
    ]
    path.write_text(json.dumps({"labels": rows}) + "\n", encoding="utf-8")


def _differences(path: Path, description: dict[str, Any]) -> str:
    """How the description in a file differs from another, in words; "" if it does not."""
    try:
        there = read_json_object(path)
    except ValueError as error:
        return str(error).rstrip(".")
    return "; ".join(
        f"{key} {there.get(key)} there, {description.get(key)} here"
        for key in {**there, **description}
        if there.get(key) != description.get(key)
    )


def save_npz(
    path: str | Path,
    shards: Iterator[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    conditions: np.ndarray | None = None,
) -> None:
    """Writes an array, `arr_0`, that need never be in memory as a whole.

    The same array makes the same bytes, whenever it is written. The file is sealed, see
    `array_files`.

    Args:
        path: of the file.
        shards: its parts along the first axis.
        shape, dtype: of the whole array.
        conditions: second array, `arr_1`, where guided-diffusion has its labels.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            member = zipfile.ZipInfo("arr_0.npy")  # dated 1980
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for shard in shards:
                    file.write(shard.tobytes())
            if conditions is not None:
                with archive.open(zipfile.ZipInfo("arr_1.npy"), "w") as file:
                    np.lib.format.write_array(file, conditions, allow_pickle=False)
        seal(temporary)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Adds to the system's error what to do.

    Raises:
        OSError: instead of the one that the block raised.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}); make room, or choose another"
            " --out. What is finished is kept."
        ) from error
