"""Networks of this project in Keras's own file, *.keras."""

import json
import os
import zipfile

import numpy as np

from diffusion_tf.convert.contents import Contents
from diffusion_tf.convert.maps import weights_of
from diffusion_tf.convert.serving import Serving
from diffusion_tf.convert.serving import difference as difference_of
from diffusion_tf.models.saving import Saved
from diffusion_tf.models.unet import UNet
from diffusion_tf.utils.finite import as_float32
from diffusion_tf.utils.keras_backend import keras
from diffusion_tf.utils.weight_sets import WeightsKind, check_weights

_OURS = "diffusion_tf>"  # under which Keras knows the networks


def write(target: str, serving: Serving) -> None:
    """Writes a network, with the dtype that it computes in.

    Args:
        target: `*.keras`.
        serving: with the network.

    Raises:
        OSError: it cannot be written.
    """
    serving.model.save(target)


def difference(target: str, serving: Serving) -> float:
    """0 if the network in a file has the same weights to the bit; see `exports.Code`."""
    loaded, model, inputs = _load(target), serving.model, list(serving.inputs().values())
    pairs = zip(loaded.get_weights(), model.get_weights(), strict=True)
    if any(a.tobytes() != b.tobytes() for a, b in pairs):
        return float("inf")
    outputs = ({"output": network(inputs, training=False)} for network in (loaded, model))
    return difference_of(*outputs)


def recognizes(path: str) -> bool:
    """Whether a path is a .keras file with a network of this project."""
    if not os.path.isfile(path) or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
    except (KeyError, ValueError, zipfile.BadZipFile):
        return False
    return isinstance(config, dict) and str(config.get("registered_name")).startswith(_OURS)


def read(path: str) -> Contents:
    """The weights in a .keras file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, tensors that are not finite, or another network than an
            unconditional U-Net.
    """
    model = _load(path)
    if not isinstance(model, UNet) or model.cond is not None:
        raise ValueError(
            f"{path} holds a network with conditions, or another one than the U-Net; other formats"
            " know unconditional U-Nets only."
        )
    weights = weights_of(model)
    fields = {} if model.image_size is None else {"image_size": model.image_size}
    return Contents(
        path=path,
        weights={"ema": weights, "raw": weights},
        fields={**fields, "block_size": model.block_size},
    )


def build_unet(path: str, weights: WeightsKind = "ema") -> UNet:
    """The network in a .keras file, of whatever kind, which holds one set of weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown weights, a damaged file, or tensors that are not finite.
    """
    check_weights(weights)
    return _load(path)


def _load(path: str) -> keras.Model:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is not a file; name one that is there.")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a .keras file: {error}") from None
    if not isinstance(model, Saved):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a network of this project.")
    for variable in model.trainable_variables:
        as_float32(np.asarray(variable), f"{variable.path} in {path}")
    return model
