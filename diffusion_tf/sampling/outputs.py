"""Whether samples can be written under a name: asked before TensorFlow is imported."""

import re
from collections.abc import Sequence
from pathlib import Path

from diffusion_tf.sampling.parts import LABELS, already_there, beside, is_unfinished
from diffusion_tf.utils.output_names import PICTURES, check_name, kind_of

_OURS = re.compile(rf"\d{{6,}}\.png|{re.escape(LABELS)}")


def check_output(
    out: str,
    *,
    overwrite: bool = False,
    float32: bool = False,
    beside_it: Sequence[str] = (),
    kinds: Sequence[str] = ("npz", *PICTURES, "folder"),
) -> None:
    """Makes sure that samples can be written to `out` before hours are spent on them.

    Where an output is there together with its parts, a process was killed before it had deleted
    these; that is left to `write_samples`, which compares them.

    Args:
        out, overwrite, float32: see `write_samples`.
        beside_it: `progressive`, `trajectory`: what else is to be written.
        kinds: what a name may ask for, see `output_names`.

    Raises:
        ValueError: it exists and may not be overwritten; it is a link, a folder where a file is
            meant, or the other way round; it holds files of other kinds; its ending is not known;
            float32 for anything but `*.npz`.
    """
    path, is_file = Path(out), kind_of(out) != "folder"
    if path.name in ("", ".."):
        raise ValueError(f"--out={out} is not a name for samples; give a new file or folder.")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ValueError(f"{out} cannot be made, as {above} is a file; choose another --out.")
    if path.is_symlink():
        raise ValueError(f"{out} is a link; give what it leads to, or another --out.")
    if float32 and kind_of(out) != "npz":
        raise ValueError(f"--float32 needs an --out that ends with .npz, not {out}.")
    replaceable = overwrite or is_unfinished(out)
    for name in beside_it:
        for other in (beside(path, f"{name}.npz"), beside(path, f"{name}.png")):
            if other.exists() and not (overwrite or (replaceable and path.exists())):
                raise ValueError(already_there(other))
    if path.is_dir():
        if is_file:
            raise ValueError(f"{out} is a folder; choose another --out.")
        foreign = [p.name for p in path.iterdir() if not _OURS.fullmatch(p.name)]
        if foreign:
            raise ValueError(
                f"{out} exists and holds {min(foreign)}, which is not a sample; choose another"
                " --out."
            )
        if not any(path.iterdir()):
            return
    elif path.exists() and not is_file:
        raise ValueError(f"{out} is a file; choose another --out, for a folder of PNG files.")
    check_name(out, kinds, "a name for samples")
    if path.exists() and not replaceable:
        raise ValueError(already_there(out))
