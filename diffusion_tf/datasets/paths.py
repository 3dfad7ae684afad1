"""Which images a way goes through: indices and files as they are named, or the ends of a folder."""

import os
from collections.abc import Sequence

from diffusion_tf.utils.image_reading import find_images


def stops_of(names: Sequence[str]) -> list[str]:
    """The images of a way, by index or file.

    Args:
        names: two or more indices or files; or one folder, whose first and last image it is then,
            in the order of their names.

    Raises:
        ValueError: less than two images.
    """
    names = list(names)
    if len(names) == 1 and os.path.isdir(names[0]):
        paths, _ = find_images(names[0])
        if len(paths) < 2:
            raise ValueError(f"{names[0]} holds fewer than two images; a way needs two or more.")
        return [paths[0], paths[-1]]
    if len(names) == 1 and not names[0].isdecimal() and not os.path.exists(names[0]):
        raise FileNotFoundError(f"There is no {names[0]}; check the path.")
    if len(names) < 2:
        raise ValueError(
            f"--images={','.join(names)} names fewer than two images; give two or more indices or"
            " files, comma-separated, or a folder."
        )
    return names
