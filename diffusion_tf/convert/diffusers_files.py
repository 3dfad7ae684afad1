"""The files in which diffusers' `save_pretrained` puts weights: whole or in parts, in variants."""

import os
import re

from absl import logging

_STEM = "diffusion_pytorch_model"
WEIGHTS_NAME = f"{_STEM}.safetensors"
# The first one that is there is read; an index says in which files the parts are.
_PLAIN = (
    WEIGHTS_NAME,
    f"{WEIGHTS_NAME}.index.json",
    f"{_STEM}.bin",
    f"{_STEM}.bin.index.json",
)
_OF_VARIANT = (
    rf"{_STEM}\.(\w+)\.safetensors",
    rf"{_STEM}\.safetensors\.index\.(\w+)\.json",
    rf"{_STEM}\.(\w+)\.bin",
    rf"{_STEM}\.bin\.index\.(\w+)\.json",
)
_NOT_AVERAGED = "non_ema"  # a variant that holds raw weights beside averaged ones


def weight_files(folder: str) -> dict[str, str]:
    """The file with the weights of a folder as `ema`, and one with raw weights, if any, as `raw`.

    Weights in full are preferred to those of a variant such as fp16; empty if there are none.

    Raises:
        ValueError: several variants, and nothing without one.
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    variants: dict[str, str] = {}
    for pattern in _OF_VARIANT:
        for match in filter(None, (re.fullmatch(pattern, name) for name in names)):
            variants.setdefault(match[1], match[0])
    raw = variants.pop(_NOT_AVERAGED, None)
    file = next((name for name in _PLAIN if name in names), None)
    if file is None and len(variants) > 1:
        raise ValueError(
            f"{folder} holds its weights as {' and '.join(sorted(variants.values()))}, none of"
            " which is in full; name the file to read."
        )
    if file is None and variants:
        (variant, file), *_ = variants.items()
        logging.info("%s holds weights of the variant %s only, which are taken.", folder, variant)
    files = {"ema": file or raw} | ({"raw": raw} if raw else {})
    return {kind: os.path.join(folder, name) for kind, name in files.items() if name}
