"""Finished shards of samples: kept beside the output, put together when all are there."""

import contextlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from diffusion_tf.utils import images
from diffusion_tf.utils.array_files import Damaged, is_intact, load_npy, save_npy, seal
from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.finite import NotFiniteError
from diffusion_tf.utils.json_files import read_json_object

DESCRIPTION = "samples.json"  # in the folder of the parts: what they are of


def kind_of(out: str) -> str:
    """What a name asks for: npz, png or folder."""
    return next((kind for kind in ("npz", "png") if out.endswith(f".{kind}")), "folder")


def parts_folder(out: str | Path) -> Path:
    """The folder of the parts of an output."""
    return Path(out).with_name(f"{Path(out).name}.parts")


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
        folder: where they are.
        context: of the seals.
    """

    def __init__(self, out: str, description: dict[str, Any], *, overwrite: bool = False):
        """Makes the folder, or finds the shards that are there.

        Args:
            out: what they are to become.
            description: all that the samples depend on, in values of JSON; `batch_size`,
                `sample_shape` and `dtype` are those of a shard.
            overwrite: delete shards of other samples.

        Raises:
            ValueError: there are shards of other samples, or the folder holds something else.
            OSError: the folder cannot be made.
        """
        self._out = Path(out)
        self._kind = kind_of(out)
        self.folder = parts_folder(out)
        self._shape = (description["batch_size"], *description["sample_shape"])
        self._dtype = np.dtype(description["dtype"])
        self.context = json.dumps(description, sort_keys=True)
        if self.folder.exists():
            self._check(description, overwrite)
        if not self._description_path.exists():
            with explained(self.folder), replacing(self._description_path) as temporary:
                temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

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

    def assemble(self, num_samples: int, conditions: np.ndarray | None = None) -> None:
        """Puts the shards together to exactly `num_samples` samples, and deletes them.

        Args:
            num_samples: how many; of the last shard some may be left out.
            conditions: one for each sample, for `*.npz`.

        Raises:
            Damaged: a shard has been damaged since it was kept.
            OSError: the output cannot be written. It is as it was, and so are the shards.
        """
        size = self._shape[0]
        shards = (
            self._load(start // size)[: num_samples - start]
            for start in range(0, num_samples, size)
        )
        with explained(self._out):
            if self._kind == "npz":
                shape = (num_samples, *self._shape[1:])
                save_npz(self._out, shards, shape, self._dtype, conditions)
            elif self._kind == "png":
                images.save_png(self._out, images.show_grid(np.concatenate(list(shards))))
            else:
                self._save_folder(shards)
        for path in self.folder.glob("beside.*"):
            path.replace(beside(self._out, path.name.removeprefix("beside.")))
        self._delete()

    @contextlib.contextmanager
    def deleted_if_none(self) -> Iterator[None]:
        """Deletes the folder where a block's samples are not finite and nothing was finished."""
        try:
            yield
        except NotFiniteError:
            if list(self.folder.iterdir()) == [self._description_path]:
                self._delete()
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
            if any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise ValueError(
                    f"{self.folder} holds something else than parts of samples; choose another"
                    " --out."
                )
            return
        differences = _differences(path, description)
        if differences and self._holds_nothing_else():
            logging.warning("%s is damaged (%s); it is written again.", path, differences)
            path.unlink()
            return
        if differences and not overwrite:
            raise ValueError(
                f"{self.folder} holds unfinished samples of another command ({differences}); finish"
                " them with that command, choose another --out, or add --overwrite."
            )
        if differences:
            self._delete()

    def _holds_nothing_else(self) -> bool:
        """Whether the shards that are there, if any, are of the samples that are wanted."""
        shards = sorted(self.folder.glob("[0-9]*.npy"))
        return not shards or any(is_intact(path, context=self.context) for path in shards)

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

    def _save_folder(self, shards: Iterator[np.ndarray]) -> None:
        """Writes PNG files where nobody looks, and renames their folder when all are there."""
        folder = self.folder / "images"
        if folder.exists():
            shutil.rmtree(folder)
        number = 0
        for shard in shards:
            for pixels in shard:
                images.save_png(folder / f"{number:06d}.png", pixels)
                number += 1
        if self._out.exists():
            shutil.rmtree(self._out)  # `check_output` has seen to it that all in it are samples
        folder.rename(self._out)

    def _delete(self) -> None:
        """Deletes the parts; the description goes last, so that this, too, can be interrupted."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self._description_path:
                path.unlink()
        shutil.rmtree(self.folder)


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
