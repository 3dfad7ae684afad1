"""The exports by name: files for other programs, which hold a network and no run.

A new export is a module with the two functions of `Code`, and a row here. Modules are named, not
imported, so that flags can be read without TensorFlow.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from diffusion_tf.convert.serving import Serving


class Code(Protocol):
    """What the module of an export defines."""

    def write(self, target: str, serving: "Serving") -> None:
        """Writes a network, and what the export has beside it.

        Args:
            target: a new file, or an empty folder.
            serving: the network and the process that samples from it.

        Raises:
            ValueError: something that the export cannot hold.
            OSError: it cannot be written, or the package that writes it is not installed.
        """

    def difference(self, target: str, serving: "Serving") -> float:
        """Runs what was written on fixed inputs.

        Args:
            target: what `write` wrote.
            serving: of which.

        Returns:
            The largest difference from what the network and the process give here, with 1 for the
            largest number that they give or, if that is larger, for 1.
        """


@dataclass(frozen=True, kw_only=True)
class Export:
    """An export.

    Attributes:
        module: of its `Code`.
        what: what it is, in words.
        written: what a target holds, in words.
        files: a pattern of the names of what is written into a target's folder, which may be
            replaced; None if a target is a file.
        endings: of such a file.
        has_process: whether it holds more than the network, which has to be known then.
    """

    module: str
    what: str
    written: str
    files: str | None
    endings: tuple[str, ...] = ()
    has_process: bool

    @property
    def code(self) -> Code:
        """The export's module, imported when first asked for."""
        return cast(Code, importlib.import_module(self.module))


EXPORTS: dict[str, Export] = {
    "keras_file": Export(
        module="diffusion_tf.convert.keras_file",
        what="a .keras file, for Keras and this project",
        written="the network, in a file",
        files=None,
        endings=(".keras",),
        has_process=False,
    ),
    "saved_model": Export(
        module="diffusion_tf.convert.saved_model",
        what="a SavedModel, for TensorFlow without this project",
        written="the network, and a whole sampler",
        files=r"saved_model\.pb|fingerprint\.pb|variables|assets",
        has_process=True,
    ),
    "onnx": Export(
        module="diffusion_tf.convert.onnx_file",
        what="an ONNX file, for onnxruntime and others",
        written="the network and one step of sampling, in a file",
        files=None,
        endings=(".onnx",),
        has_process=True,
    ),
}
