"""Interpolates between two real images through a trained run (the paper's Figure 8).

python scripts/interpolate.py --workdir=runs/digits --image1=0 --image2=1 --timesteps=125,250,500
"""

import hashlib
import os
from collections.abc import Callable, Sequence

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.utils.locks import check_free, lock_beside, locked
from diffusion_tf.utils.output_names import PICTURES, check_name

WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
IMAGE1 = flags.DEFINE_string("image1", "0", "index in the training data, or an image file")
IMAGE2 = flags.DEFINE_string("image2", "1", "index in the training data, or an image file")
TIMESTEPS = flags.DEFINE_list(
    "timesteps", "125,250,500", "how far to diffuse the images before mixing: a row for each"
)
NUM_LAMBDAS = flags.DEFINE_integer("num_lambdas", 9, "mixtures from one image to the other")
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise, from -2**63 to 2**63 - 1")
CONDITIONS = command_line.define_shared_flag("conditions")
GUIDANCE_SCALE = command_line.define_shared_flag("guidance_scale")
CLIP_DENOISED = command_line.define_shared_flag("clip_denoised")
WEIGHTS = command_line.define_shared_flag("weights")
OUT = flags.DEFINE_string("out", "interpolation.png", "picture to write, *.png or *.jpg")
OVERWRITE = command_line.define_shared_flag("overwrite")
DATA_DIR = command_line.define_shared_flag("data_dir")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")


def main() -> None:
    """Finishes, or draws, a picture that nobody else writes meanwhile."""
    timesteps = command_line.parse_ints("timesteps", TIMESTEPS.value)
    check_name(OUT.value, PICTURES, "a picture")
    check_free(lock_beside(OUT.value), OUT.value)
    from diffusion_tf.sampling import files, pictures  # after the flags: it takes its time

    files.check_output(OUT.value, overwrite=OVERWRITE.value)
    if not timesteps:
        raise ValueError("--timesteps is empty; give one number or more, such as 125,250,500.")
    pictures.check_num_lambdas(NUM_LAMBDAS.value)
    asked = hashlib.sha256(flags.FLAGS.flags_into_string().encode()).hexdigest()
    with locked(lock_beside(OUT.value), OUT.value) as lock:
        finished = lock.noted == asked and os.path.exists(OUT.value) and not OVERWRITE.value
        if not finished:
            lock.note("")
            files.check_output(OUT.value, overwrite=OVERWRITE.value)
            interpolate(timesteps, lambda: lock.note("" if OVERWRITE.value else asked))
    logging.info("Wrote %s.", OUT.value)


def interpolate(timesteps: Sequence[int], before_saving: Callable[[], None]) -> None:
    """Loads, mixes, writes."""
    from diffusion_tf.convert.loading import load_model
    from diffusion_tf.datasets import get_images
    from diffusion_tf.datasets.record import DataRecord
    from diffusion_tf.sampling import pictures
    from diffusion_tf.sampling.guidance import get_conditions
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.utils.devices import use_xla

    config, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)
    if config.data_dim:
        raise ValueError(f"{WORKDIR.value} is a run on vectors; only images can be mixed here.")
    asked = CONDITIONS.value or ("none" if config.conditional else None)
    data = DataRecord.load(WORKDIR.value)
    conditions = get_conditions(
        config, asked, GUIDANCE_SCALE.value, class_names=data and data.class_names
    )
    x1, x2 = get_images(config, [IMAGE1.value, IMAGE2.value], DATA_DIR.value)[:, None]
    logging.info(
        "Interpolating with %s, %s weights of step %d.", WORKDIR.value, WEIGHTS.value, step
    )
    sampler = Sampler.of_run(
        config,
        model,
        seed=SEED.value,
        jit_compile=use_xla(JIT_COMPILE.value, config.image_size),
        conditions=conditions,
        clip_denoised=CLIP_DENOISED.value,
    )
    rows = pictures.draw_interpolations(
        sampler, x1, x2, timesteps=timesteps, num_lambdas=NUM_LAMBDAS.value
    )
    before_saving()
    pictures.save_interpolations(OUT.value, rows, timesteps)


if __name__ == "__main__":
    command_line.run(main)
