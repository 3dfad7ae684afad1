"""Keras on TensorFlow: where everything here has Keras from."""

import os
import sys


def _require_tensorflow() -> None:
    """Chooses TensorFlow as the backend, before Keras is imported, where nothing else is asked for.

    Without the variable it would be the choice of `keras.json`, which is made for all projects of
    this machine.

    Raises:
        ImportError: another backend is asked for, or in use.
    """
    if "keras" in sys.modules:
        backend, where = sys.modules["keras"].config.backend(), "Keras was imported with"
    else:
        backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
        where = "KERAS_BACKEND asks for"
        if backend == "tensorflow":
            os.environ["KERAS_BACKEND"] = backend
    if backend != "tensorflow":
        raise ImportError(
            f"{where} the backend {backend!r}, but diffusion_tf needs TensorFlow; set"
            " KERAS_BACKEND=tensorflow before Keras is imported."
        )


_require_tensorflow()

import keras  # noqa: E402
from keras import layers  # noqa: E402

__all__ = ["keras", "layers"]
