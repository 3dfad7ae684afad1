"""Interpolates between two or more real images through a trained run (the paper's Figure 8).

ddpm-interpolate --workdir=runs/digits --image1=0 --image2=1 --timesteps=125,250,500
ddpm-interpolate --workdir=runs/digits --images=0,1,2 --method=ddim --out=walk.gif
"""

import hashlib
import os
from collections.abc import Callable

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.locks import check_free, lock_beside, locked
from diffusion_tf.utils.output_names import FILMS, PICTURES, check_name

command_line.group("What to interpolate between")
WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
IMAGE1 = flags.DEFINE_string("image1", "0", "index in the training data, or an image file")
IMAGE2 = flags.DEFINE_string("image2", "1", "index in the training data, or an image file")
IMAGES = flags.DEFINE_list(
    "images",
    [],
    "instead of these, two or more indices or files, comma-separated, to go through in turn; or a"
    " folder, for its first and last image",
)
command_line.group("How")
METHOD = flags.DEFINE_enum(
    "method",
    "ddpm",
    ["ddpm", "ddim"],
    "ddpm: mix diffused images (section 4.3); ddim: walk between their latents, which decode to"
    " the images themselves",
)
TIMESTEPS = flags.DEFINE_list(
    "timesteps",
    [],
    "of ddpm: how far to diffuse the images before mixing, a row each [T/8,T/4,T/2]",
)
MIX = flags.DEFINE_enum(
    "mix",
    "linear",
    ["linear", "constant_variance"],
    "of ddpm: weights 1 - lambda and lambda, or sqrt(1 - lambda^2) and lambda",
)
SHARED_NOISE = flags.DEFINE_boolean(
    "shared_noise", False, "of ddpm: diffuse both ends by the same noise"
)
WALK = flags.DEFINE_enum(
    "walk", "slerp", ["slerp", "linear"], "of ddim: between latents on an arc or a straight line"
)
SOLVER = flags.DEFINE_enum(
    "solver",
    "ddim",
    ["ddim", "heun"],
    "of ddim: steps of first order, or of second at twice the cost",
)
SAMPLING_STEPS = command_line.define_shared_flag("sampling_steps")
NUM_LAMBDAS = flags.DEFINE_integer("num_lambdas", 9, "mixtures from one image to the other")
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise, from -2**63 to 2**63 - 1")
CONDITIONS = command_line.define_shared_flag("conditions")
GUIDANCE_SCALE = command_line.define_shared_flag("guidance_scale")
CLIP_DENOISED = command_line.define_shared_flag("clip_denoised")
WEIGHTS = command_line.define_shared_flag("weights")
command_line.group("What to write")
OUT = flags.DEFINE_string(
    "out",
    "interpolation.png",
    "*.png or *.jpg (a grid), *.npz (uint8 NHWC, arr_0), *.gif or *.webp (a film there and back),"
    " or without an ending: a folder for PNG files",
)
OVERWRITE = command_line.define_shared_flag("overwrite")
command_line.group("Data and devices")
DATA_DIR = command_line.define_shared_flag("data_dir")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")

KINDS = (*PICTURES, "npz", *FILMS, "folder")
ONLY_OF = {
    "ddpm": ("timesteps", "mix", "shared_noise", "clip_denoised"),
    "ddim": ("walk", "solver", "sampling_steps"),
}


def main() -> None:
    """Finishes, or draws, a picture that nobody else writes meanwhile."""
    check_flags()
    check_name(OUT.value, KINDS, "a name for mixtures")
    check_free(lock_beside(OUT.value), OUT.value)
    check_files()
    quiet.import_tensorflow()
    from diffusion_tf.sampling import files  # after the flags: it takes time

    asked = hashlib.sha256(flags.FLAGS.flags_into_string().encode()).hexdigest()
    with locked(lock_beside(OUT.value), OUT.value) as lock:
        finished = lock.noted == asked and os.path.exists(OUT.value) and not OVERWRITE.value
        if not finished:
            lock.note("")
            files.check_output(OUT.value, overwrite=OVERWRITE.value, kinds=KINDS)
            interpolate(lambda: lock.note("" if OVERWRITE.value else asked))
    logging.info("Wrote %s.", OUT.value)


def check_flags() -> None:
    """Raises a ValueError where flags do not go together."""
    if not command_line.parse_ints("timesteps", TIMESTEPS.value) and TIMESTEPS.present:
        raise ValueError("--timesteps is empty; give one number or more, such as 125,250,500.")
    for method, names in ONLY_OF.items():
        for name in names if method != METHOD.value else ():
            if flags.FLAGS[name].present:
                raise ValueError(
                    f"--{name} belongs to --method={method}, not to {METHOD.value}; leave it out,"
                    f" or give --method={method}."
                )
    for flag in (IMAGE1, IMAGE2) if IMAGES.value else ():
        if flags.FLAGS[flag.name].present:
            raise ValueError(f"--images and --{flag.name} were both given; give one of them.")


def check_files() -> None:
    """Raises a ValueError or FileNotFoundError where a file or a run is not what it should be."""
    from diffusion_tf.command_line import early  # now: NumPy takes its time, TensorFlow more
    from diffusion_tf.sampling.choices import check_num_lambdas
    from diffusion_tf.sampling.outputs import check_output

    check_num_lambdas(NUM_LAMBDAS.value)
    check_output(OUT.value, overwrite=OVERWRITE.value, kinds=KINDS)
    config = early.check_drawing(WORKDIR.value, sampling_steps=SAMPLING_STEPS.value)
    T = config.num_diffusion_timesteps
    for t in TIMESTEPS.value:
        if not 0 <= int(t) < T:
            raise ValueError(f"--timesteps has {t}; each must lie in 0..{T - 1}.")
    early.check_image_files(IMAGES.value or [IMAGE1.value, IMAGE2.value], config)
    early.check_checkpoint(WORKDIR.value)


def interpolate(before_saving: Callable[[], None]) -> None:
    """Loads, mixes, writes."""
    from diffusion_tf.convert.loading import load_config, load_model
    from diffusion_tf.datasets import get_images
    from diffusion_tf.datasets.paths import stops_of
    from diffusion_tf.datasets.record import load_record
    from diffusion_tf.sampling import walks
    from diffusion_tf.sampling.guidance import get_one_condition
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.sampling.times import timesteps_to_mix_at
    from diffusion_tf.utils.devices import use_xla

    stops = stops_of(IMAGES.value) if IMAGES.value else [IMAGE1.value, IMAGE2.value]
    config = load_config(WORKDIR.value)
    if config.data_dim:
        raise ValueError(f"{WORKDIR.value} is a run on vectors; only images can be mixed here.")
    record = load_record(WORKDIR.value, config)
    conditions = get_one_condition(
        config,
        CONDITIONS.value,
        GUIDANCE_SCALE.value,
        class_names=record.class_names,
    )
    _, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)
    path = get_images(config, stops, DATA_DIR.value)
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
    if METHOD.value == "ddpm":
        walk = walks.draw_ddpm_walk(
            sampler,
            path,
            timesteps=command_line.parse_ints("timesteps", TIMESTEPS.value)
            or timesteps_to_mix_at(config.num_diffusion_timesteps),
            num_lambdas=NUM_LAMBDAS.value,
            mix=MIX.value,
            shared_noise=SHARED_NOISE.value,
        )
    else:
        walk = walks.draw_ddim_walk(
            sampler,
            path,
            num_lambdas=NUM_LAMBDAS.value,
            straight=WALK.value == "linear",
            solver=SOLVER.value,
            sampling_steps=SAMPLING_STEPS.value,
        )
    distances = walks.distances_at_the_ends(walk)
    logging.info(
        "Mean square between the ends and the images, pixels in [0, 1]: %s.",
        ", ".join(f"{label} {distance:.2g}" for label, distance in distances.items()),
    )
    before_saving()
    walks.save_walk(OUT.value, walk)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
