"""Where images of one's own lie: in a folder with all that is below it, or in a zip archive."""

import hashlib
import io
import os
import zipfile
from collections.abc import Sequence

import numpy as np

from diffusion_tf.datasets.identity import digest_of_files
from diffusion_tf.utils.archives import open_zip
from diffusion_tf.utils.array_files import readable
from diffusion_tf.utils.image_reading import Shape, UnreadableImageError, find_images, read_image
from diffusion_tf.utils.regular_files import open_regular, read_regular

# Bytes of a file of labels: in all, that of ImageNet's images has 50 MB; and for each image, whose
# label may be a vector.
MAX_LABEL_BYTES, MAX_BYTES_PER_IMAGE = 256 * 2**20, 2**16
_ARRAYS = (".npz", ".npy", ".csv")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")  # in an archive


class Folder:
    """The images below a folder.

    Attributes:
        where: the folder.
        names: of the images below it, sorted, with slashes.
        num_ignored: number of files that are not images.
        files: paths of what is read.
        subfolders: names of the folders in it that are not hidden.
    """

    def __init__(self, where: str):
        """Lists a folder.

        Raises:
            ValueError: not a folder, or one that cannot be listed.
            FileNotFoundError: no such folder.
        """
        paths, self.num_ignored = find_images(where)
        self.where = where
        self.names = [os.path.relpath(path, where).replace(os.sep, "/") for path in paths]
        self.files: Sequence[str] = paths
        self.subfolders = [
            entry.name
            for entry in os.scandir(where)
            if entry.is_dir() and not entry.name.startswith(".")
        ]

    def path(self, index: int) -> str:
        """What an image is called in a message."""
        return self.files[index]

    def read(self, index: int, shape: Shape) -> np.ndarray:
        """An image, uint8 of that shape; UnreadableImageError where there is none."""
        return read_image(self.files[index], shape)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, an image or not."""
        return os.path.isfile(os.path.join(self.where, name))

    def content(self, name: str) -> bytes:
        """The bytes of a file, of labels for example.

        Raises:
            ValueError: it has more bytes than labels of so many images can have.
            OSError: it cannot be read.
        """
        return read_regular(os.path.join(self.where, name), _max_bytes(self.names))

    def keep(self, index: Sequence[int]) -> None:
        """Forgets all images but some."""
        self.names = [self.names[i] for i in index]
        self.files = [self.files[i] for i in index]

    def digest(self) -> str:
        """Tells these images from others, see `identity.digest_of_files`."""
        return digest_of_files(self.files)


class Zip:
    """The images in a zip archive, as the dataset_tool.py of StyleGAN and EDM writes it.

    Attributes are those of `Folder`. The archive stays open; several threads may read it.
    """

    def __init__(self, where: str):
        """Opens an archive.

        Raises:
            ValueError: not a zip archive, damaged, or like a zip bomb.
            OSError: it cannot be opened.
        """
        self.where, self.files = where, [where]
        try:
            with readable():
                self._archive = open_zip(open_regular(where))
        except ValueError as error:
            raise ValueError(
                f"{where} cannot be read as a zip archive ({error}); give one of images, or a"
                " folder."
            ) from None
        self._members = {m.filename: m for m in self._archive.infolist() if not m.is_dir()}
        visible = [n for n in sorted(self._members) if not _is_hidden(n)]
        self.names = [n for n in visible if os.path.splitext(n)[1].lower() in _ENDINGS]
        self.num_ignored = len(visible) - len(self.names)
        self.subfolders: Sequence[str] = sorted({n.split("/")[0] for n in self.names if "/" in n})

    def path(self, index: int) -> str:
        """See `Folder`."""
        return f"{self.where}/{self.names[index]}"

    def read(self, index: int, shape: Shape) -> np.ndarray:
        """See `Folder`."""
        try:
            with readable():
                data = self._archive.read(self._members[self.names[index]])
        except ValueError as error:
            raise UnreadableImageError(str(error)) from None
        return read_image(io.BytesIO(data), shape)

    def has(self, name: str) -> bool:
        """See `Folder`."""
        return name in self._members

    def content(self, name: str) -> bytes:
        """See `Folder`."""
        member: zipfile.ZipInfo | None = self._members.get(name)
        if member is None:
            raise FileNotFoundError(f"There is no {name} in {self.where}; check its name.")
        limit = _max_bytes(self.names)
        if member.file_size > limit:
            raise ValueError(
                f"{name} in {self.where} has more than {limit:,} bytes; name another file."
            )
        try:
            with readable():
                return self._archive.read(member)
        except ValueError as error:
            raise ValueError(f"{name} in {self.where} is damaged ({error}); restore it.") from None

    def keep(self, index: Sequence[int]) -> None:
        """See `Folder`."""
        self.names = [self.names[i] for i in index]

    def digest(self) -> str:
        """See `Folder`."""
        names = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogatepass"))
        return names.hexdigest() + digest_of_files(self.files)


def open_source(where: str) -> Folder | Zip:
    """The images of a folder or a zip archive.

    Raises:
        ValueError, OSError: see `Folder` and `Zip`; or another kind of file.
    """
    ending = os.path.splitext(where)[1].lower()
    if os.path.isfile(where) and ending == ".zip":
        return Zip(where)
    if os.path.isfile(where) and ending in _ARRAYS:
        raise ValueError(
            f"{where} is not a folder of images; --config=arrays reads images from .npz and .npy,"
            " --config=vectors reads vectors from .npz, .npy and .csv."
        )
    return Folder(where)


def _max_bytes(names: Sequence[str]) -> int:
    """Of the labels of these images."""
    return min(MAX_LABEL_BYTES, MAX_BYTES_PER_IMAGE * (len(names) + 1))


def _is_hidden(name: str) -> bool:
    """Also what macOS adds to its archives."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
