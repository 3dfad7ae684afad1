"""Keras on TensorFlow: where everything here has Keras from."""

import os
import sys


def _require_tensorflow() -> None:
    """Refuses another backend; `diffusion_tf` chooses TensorFlow where none is asked for.

    Raises:
        ImportError: another backend is asked for, or in use.
    """
    backend, where = os.environ.get("KERAS_BACKEND") or "tensorflow", "KERAS_BACKEND asks for"
    if backend == "tensorflow" and "keras" in sys.modules:
        backend, where = sys.modules["keras"].config.backend(), "Keras was imported with"
    if backend != "tensorflow":
        raise ImportError(
            f"{where} the backend {backend!r}, but diffusion_tf needs TensorFlow; set"
            " KERAS_BACKEND=tensorflow before Keras is imported."
        )


_require_tensorflow()

import keras  # noqa: E402
from keras import layers  # noqa: E402

__all__ = ["keras", "layers"]
