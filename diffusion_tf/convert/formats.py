"""The checkpoint formats by name: the list from which flags, messages and documentation are made.

A new format is a module with the four functions of `Code`, and a row here; one that is only read
does without `write`. Modules are named, not imported, so that flags can be read without TensorFlow.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast

from diffusion_tf.utils.regular_files import checked_path

if TYPE_CHECKING:
    from diffusion_tf.config import Config
    from diffusion_tf.convert.contents import Contents
    from diffusion_tf.models.unet import UNet
    from diffusion_tf.utils.weight_sets import WeightsKind


class Code(Protocol):
    """What the module of a format defines."""

    def recognizes(self, path: str) -> bool:
        """Whether a path is of this format.

        Nothing but the path and what is there decides: other formats are asked, too.

        Raises:
            ValueError: what is there is damaged.
            OSError: the package that reads it is not installed.
        """

    def read(self, path: str) -> "Contents":
        """Everything that a checkpoint holds.

        Raises:
            FileNotFoundError: no checkpoint there.
            ValueError: damaged files, tensors that are not finite, or another network than a
                DDPM U-Net.
            OSError: the package that reads it is not installed.
        """

    def build_unet(self, path: str, weights: "WeightsKind") -> "UNet":
        """The network of a checkpoint, with its weights.

        Where nothing tells the image size, the network takes all sizes.

        Args:
            path: of the checkpoint.
            weights: `ema` or `raw`. A format that holds one set takes it for either.

        Raises:
            FileNotFoundError, ValueError, OSError: as for `read`; unknown weights, or weights that
                are not there.
        """

    def write(self, target: str, contents: "Contents", config: "Config | None") -> object:
        """Writes a checkpoint.

        Args:
            target: a new folder or file.
            contents: to write, as far as `Format.holds` says.
            config: of the run, None if it is not known; see `contents.needed_config`.

        Raises:
            ValueError: a network or process that the format does not have, or no config where one
                is needed.
            OSError: it cannot be written, or the package that writes it is not installed.
        """


@dataclass(frozen=True, kw_only=True)
class Format:
    """A checkpoint format.

    Attributes:
        module: of its `Code`.
        what: what it is, in words.
        written: what a target holds, in words.
        holds: `one set` of weights and nothing else; or a `run`, with the step, the optimizer's
            state and the sets of weights that there are; or `both sets`, which is a run that
            cannot be without either.
        files: a pattern of the names of what is written into a target's folder, which may be
            replaced; None if a target is a file.
    """

    module: str
    what: str
    written: str
    holds: Literal["one set", "run", "both sets"]
    files: str | None
    endings: ClassVar[tuple[str, ...]] = ()  # a file may have any name

    @property
    def code(self) -> Code:
        """The format's module, imported when first asked for."""
        return cast(Code, importlib.import_module(self.module))

    def recognizes(self, path: str) -> bool:
        """Whether a path is of this format; see `Code.recognizes`."""
        return self.code.recognizes(path)

    def read(self, path: str) -> "Contents":
        """Everything that a checkpoint holds; see `Code.read`."""
        return self.code.read(path)

    def build_unet(self, path: str, weights: "WeightsKind" = "ema") -> "UNet":
        """The network of a checkpoint, with its weights; see `Code.build_unet`."""
        return self.code.build_unet(path, weights)

    def write(self, target: str, contents: "Contents", config: "Config | None" = None) -> None:
        """Writes a checkpoint; see `Code.write`."""
        self.code.write(target, contents, config)


FORMATS: dict[str, Format] = {
    "workdir": Format(
        module="diffusion_tf.convert.workdir",
        what="a workdir of this project",
        written="raw weights and every average, optimizer, step",
        holds="both sets",
        files=r"config\.json|checkpoints",
    ),
    "tf1": Format(
        module="diffusion_tf.convert.tf1",
        what="a checkpoint of the original, model.ckpt-*",
        written="averaged and raw weights, optimizer, step",
        holds="run",
        files=r"checkpoint|kwargs\.json|model\.ckpt-\d+\.(index|data-\d+-of-\d+)",
    ),
    "pytorch_diffusion": Format(
        module="diffusion_tf.convert.pytorch_diffusion",
        what="a state dict of pesser/pytorch_diffusion",
        written="one set of weights, in a file",
        holds="one set",
        files=None,
    ),
    "diffusers": Format(
        module="diffusion_tf.convert.diffusers_pipeline",
        what="a folder of diffusers' DDPMPipeline or UNet2DModel",
        written="one set of weights, and the process",
        holds="one set",
        files=r"model_index\.json|unet|scheduler",
    ),
}


# Read here, and not written from what a checkpoint holds: ports of other people, and an export.
READ_ONLY: dict[str, Format] = {
    "ddpm_torch": Format(
        module="diffusion_tf.convert.ddpm_torch",
        what="a checkpoint of tqch/ddpm-torch",
        written="",
        holds="one set",
        files=None,
    ),
    "pytorch_ddpm": Format(
        module="diffusion_tf.convert.pytorch_ddpm",
        what="a checkpoint of w86763777/pytorch-ddpm",
        written="",
        holds="one set",
        files=None,
    ),
    "keras_file": Format(
        module="diffusion_tf.convert.keras_file",
        what="a .keras file with a network of this project",
        written="",
        holds="one set",
        files=None,
    ),
}


def known_formats() -> dict[str, Format]:
    """Every format that is read: `FORMATS`, which are written, too, and `READ_ONLY`."""
    return {**FORMATS, **READ_ONLY}


def detect(path: str) -> str:
    """The format of what is at a path: the first of `known_formats` that recognizes it.

    Args:
        path: a folder, a file, or the path of one of the original's checkpoints without the endings
            of its files.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of the formats, or a file that cannot be read.
        OSError: the package that reads the file is not installed.
    """
    path, errors = checked_path(path), []
    for name, format in known_formats().items():
        try:
            if format.recognizes(path):
                return name
        except (ValueError, OSError) as error:  # another format may still recognize it
            errors.append(error)
    if errors:
        raise errors[0]
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist; name a folder or file with weights.")
    known = {**READ_ONLY, **FORMATS}
    listed = ", ".join(f"{format.what} ({name})" for name, format in known.items())
    raise ValueError(f"{path} is none of the formats known here: {listed}.")


def load_unet(path: str, *, weights: "WeightsKind" = "ema") -> "UNet":
    """The network in a checkpoint of any format, with its weights.

    Where nothing tells the image size, the network takes all sizes (`UNet.image_size` is None).

    Args:
        path: see `detect`.
        weights: `ema` the averaged ones, `raw` those that the optimizer moves. One set, of which
            nothing tells what it is, is taken for either.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: none of the formats, damaged files, weights that are not there, or a network
            that is not the one here.
        OSError: the package that reads the file is not installed.
    """
    with _named(path):
        return known_formats()[detect(path)].build_unet(path, weights)


def read(path: str, format: str | None = None) -> "Contents":
    """Everything that a checkpoint holds.

    Args:
        path: see `detect`.
        format: of what is there, found out if not given.

    Raises:
        FileNotFoundError, ValueError, OSError: as for `load_unet`.
    """
    with _named(path):
        return known_formats()[format or detect(path)].read(path)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Within it a checkpoint is read; what is wrong with a tensor is said with the path, too."""
    try:
        yield
    except ValueError as error:
        if type(error) is not ValueError or str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read as weights: {error}") from None
