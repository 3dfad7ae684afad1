"""The frozen Inception network of 2015-12-05, on which the paper's FID and Inception score rest.

It comes from a file or is fetched once. Images are prepared by TFGAN's `preprocess_image` as it was
before 15 September 2019: it resizes and scales all images alike. Later ones take floats to be in
[-1, 1], and since 22 October 2019 no graph can be passed; the original passes floats in 0..255, and
a graph.
"""

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from diffusion_tf.evaluation.metrics.frozen_graph import parse_graph
from diffusion_tf.utils.archives import TooLarge, gunzip
from diffusion_tf.utils.files import replacing
from diffusion_tf.utils.images import to_pixels
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.numbers import shown
from diffusion_tf.utils.regular_files import read_regular

# What is called http://download.tensorflow.org is a folder of this host, which has a certificate.
URL = (
    "https://storage.googleapis.com/download.tensorflow.org/models/"
    "frozen_inception_v1_2015_12_05_v4.tar.gz"
)
GRAPH_NAME = "inceptionv1_for_inception_score_tpu.pb"  # what the original takes out of the tarball
INPUT = "Mul:0"  # TFGAN's INCEPTION_INPUT: resized images in [-1, 1]
FEATURES, LOGITS = "pool_3:0", "logits:0"  # 2,048 and 1,008 numbers
SIZE = 299  # pixels
GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 512 * 2**20  # of the file, and of what a tarball expands to; the graph has 95 MB
INPUT_DESCRIPTION = (
    "floats clipped to [-1, 1] and scaled to 0..255; TF1's bilinear resize to 299x299 without"
    " half-pixel centres; (x - 128) / 128"
)


class Inception:
    """The network, ready to run.

    It runs in a TF1 session, not in a `tf.function`: a graph of 2015 has operations, such as
    BatchNormWithGlobalNormalization, that TensorFlow runs only in a graph of that age.

    Args:
        graph_def: the bytes of a frozen graph with the tensors `INPUT`, `FEATURES` and `LOGITS`.
        name: of the file, for messages.

    Attributes:
        sha256: of the bytes, in hexadecimal; belongs beside every number computed with them.

    Raises:
        ValueError: the bytes are not a graph, the tensors are missing, or it has an operation that
            `frozen_graph` does not allow.
    """

    def __init__(self, graph_def: bytes, *, name: str = "the Inception file"):
        self.sha256 = hashlib.sha256(graph_def).hexdigest()
        parsed = _parse(graph_def, name)
        graph = tf.Graph()
        with graph.as_default():
            self._pixels = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
            with _usable(name):
                outputs = tf.graph_util.import_graph_def(
                    parsed,
                    input_map={INPUT: preprocess(self._pixels)},
                    return_elements=[FEATURES, LOGITS],
                    name="inception",
                )
            # TFGAN flattens them: pool_3 is [B, 1, 1, 2048].
            self._outputs = [tf.reshape(x, [tf.shape(x)[0], -1]) for x in outputs]
        self._session, self._name = tf.compat.v1.Session(graph=graph), name

    def __call__(
        self, images: np.ndarray, *, batch_size: int = 64, quantize: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features and logits of images.

        Args:
            images: [N, H, W, 1 or 3], N at least 1; uint8 0..255, or floats that are clipped to
                [-1, 1]. Grey is repeated to RGB.
            batch_size: of images that go through the network at a time.
            quantize: round floats to 8 bits, as if they had been saved. The original does not.

        Returns:
            float32 [N, 2048] and float32 [N, 1008].

        Raises:
            ValueError: another shape or dtype, values that are not finite, batch_size < 1, or a
                graph that cannot be run.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
        images = np.asarray(images)
        _check_images(images)
        with _usable(self._name):
            batches = [
                self._session.run(
                    self._outputs,
                    {self._pixels: _to_rgb_0_255(images[start : start + batch_size], quantize)},
                )
                for start in range(0, len(images), batch_size)
            ]
        features, logits = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return features, logits


def load_inception(
    path: str | Path | None = None,
    *,
    sha256: str | None = None,
    cache_dir: str | Path | None = None,
) -> Inception:
    """The network from a file, or from the cache, where it is put when first asked for.

    It comes over https. No hash of it has been published, so none is checked unless given; the
    hash is logged.

    Args:
        path: a frozen graph (.pb), or the tarball at `URL` that holds `GRAPH_NAME`.
        sha256: of the graph, not the tarball, in hexadecimal; another graph is refused.
        cache_dir: where the tarball is kept if no path is given; `inception` in Keras's folder,
            $KERAS_HOME or ~/.keras, if not given either.

    Raises:
        FileNotFoundError: no such file.
        OSError: the tarball cannot be fetched.
        ValueError: a damaged file, a tarball without the graph or that expands to more than
            `MAX_BYTES`, a file that is not a graph, lacks the tensors or has other operations than
            those of `frozen_graph`, or another hash.
    """
    path = Path(path) if path is not None else _fetch(cache_dir)
    graph_def = _read_graph_def(path)
    found = hashlib.sha256(graph_def).hexdigest()
    if sha256 is not None and sha256.lower() != found:
        raise ValueError(
            f"The graph in {path} has the SHA-256 {found}, not {sha256}; pass the right file or the"
            " right hash."
        )
    inception = Inception(graph_def, name=str(path))
    logging.info("Inception graph from %s, SHA-256 %s.", path, found)
    return inception


def preprocess(pixels: tf.Tensor) -> tf.Tensor:
    """What the network is fed: TF1's bilinear resize to 299x299, then (x - 128) / 128.

    That resize takes pixel i of n from position i * size / n, without half-pixel centres and
    without aligned corners; other resizes give another FID.

    Args:
        pixels: float32 [B, H, W, C], 0..255.

    Returns:
        float32 [B, 299, 299, C], -1..0.992.
    """
    resized = tf.raw_ops.ResizeBilinear(
        images=pixels, size=[SIZE, SIZE], align_corners=False, half_pixel_centers=False
    )
    return (resized - 128.0) / 128.0


def _check_images(images: np.ndarray) -> None:
    is_known = images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)
    if not is_known or images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise ValueError(
            f"images have dtype {images.dtype} and shape {images.shape}; they must be uint8 or"
            " float [N, H, W, 1 or 3], none of them 0."
        )
    if not np.isfinite(images).all():
        raise ValueError("Some pixels are not finite; look at the model that drew them.")


def _to_rgb_0_255(images: np.ndarray, quantize: bool) -> np.ndarray:
    """float32 [B, H, W, 3]."""
    if images.dtype != np.uint8 and quantize:
        images = to_pixels(images)
    if images.dtype != np.uint8:
        images = (np.clip(images.astype(np.float32), -1.0, 1.0) + 1.0) * 127.5
    return np.broadcast_to(images, (*images.shape[:3], 3)).astype(np.float32)


def _parse(data: bytes, name: str) -> tf.compat.v1.GraphDef:
    try:
        graph_def = parse_graph(data, name)
    except ValueError as error:
        raise ValueError(f"{error}; pass {GRAPH_NAME} or the tarball at {URL}.") from None
    # The node of the input may be absent, if others refer to it: it is replaced anyway.
    names = {node.name for node in graph_def.node}
    referred = {source.split(":")[0] for node in graph_def.node for source in node.input}
    missing = [INPUT] if INPUT.split(":")[0] not in referred else []
    missing += [output for output in (FEATURES, LOGITS) if output.split(":")[0] not in names]
    if missing:
        raise ValueError(
            f"The graph in {name} lacks {', '.join(missing)}; pass {GRAPH_NAME} or the tarball at"
            f" {URL}."
        )
    return graph_def


@contextlib.contextmanager
def _usable(name: str) -> Iterator[None]:
    """Within it a graph is imported or run; what TensorFlow says of it becomes one sentence."""
    try:
        yield
    except (ValueError, tf.errors.OpError, RuntimeError, TypeError) as error:
        reason = shown(" ".join((str(error) or type(error).__name__).split()))
        raise ValueError(
            f"The graph in {name} cannot be used ({reason}); pass {GRAPH_NAME} or the tarball at"
            f" {URL}."
        ) from None


def _read_graph_def(path: Path) -> bytes:
    """The bytes of the graph, out of the tarball if it is one."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; check the path of the Inception graph.")
    data = read_regular(path, MAX_BYTES)
    return _unpack(data, path) if data.startswith(GZIP_MAGIC) else data


def _unpack(data: bytes, path: Path) -> bytes:
    """The graph in a .tar.gz, decompressed to its last byte, so that its checksum is compared."""
    try:
        with tarfile.open(fileobj=io.BytesIO(gunzip(data, MAX_BYTES))) as tar:
            for member in tar:
                is_file = member.isfile() and not member.issparse()  # whose holes could be any size
                if is_file and os.path.basename(member.name) == GRAPH_NAME:
                    file = tar.extractfile(member)
                    assert file is not None  # what is a file has content
                    return file.read()
    except TooLarge as error:
        raise ValueError(f"{path} is not the tarball at {URL}: {error}; pass that one.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, ValueError) as error:
        raise ValueError(
            f"{path} is a damaged tarball ({error}); download {URL} again and pass it with"
            " --inception_path."
        ) from None
    raise ValueError(f"{path} is a tarball without {GRAPH_NAME}; pass the one at {URL}.")


def _fetch(cache_dir: str | Path | None) -> Path:
    """The path of the tarball in the cache, downloaded if it is not there.

    `keras.utils.get_file` writes to the final name, and takes what a killed process left there for
    the whole. So it downloads to another name, and what it got is read before it is renamed.
    """
    keras_home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    target = Path(cache_dir or Path(keras_home, "inception")) / URL.rsplit("/", 1)[-1]
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(target.parent, os.W_OK):  # Keras would use a folder below /tmp
        raise OSError(f"{target.parent} cannot be written; allow it, or pass --inception_path.")
    logging.info("Downloading %s to %s ...", URL, target)
    with replacing(target) as temporary:
        try:
            keras.utils.get_file(
                temporary.name, URL, cache_dir=target.parent, cache_subdir="", force_download=True
            )
        except Exception as error:  # Keras raises no narrower kind
            raise OSError(
                f"{URL} cannot be downloaded ({error}); download it elsewhere and pass it with"
                " --inception_path."
            ) from None
        _parse(_read_graph_def(temporary), f"the download of {URL}")
    return target
