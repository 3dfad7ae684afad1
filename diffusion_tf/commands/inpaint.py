"""Fills in a part of a real image through a trained run (RePaint).

ddpm-inpaint --workdir=runs/digits --image=0 --mask=bottom
"""

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.locks import check_free, lock_beside, locked
from diffusion_tf.utils.output_names import PICTURES, check_name

command_line.group("What to fill in")
WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
IMAGE = flags.DEFINE_string("image", "0", "index in the training data, or an image file")
MASK = flags.DEFINE_string(
    "mask",
    "bottom",
    "what is to be filled in: left, right, top, bottom, center; or a picture, white there",
)
command_line.group("How")
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 8, "different fillings")
JUMP_LENGTH = flags.DEFINE_integer("jump_length", 10, "steps that a jump back undoes")
NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 10, "times that every stretch is gone through; 1: no jumps"
)
SAMPLING_STEPS = flags.DEFINE_integer(
    "sampling_steps", None, "steps, spread over the T of training [250, or T where that is less]"
)
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise, from -2**63 to 2**63 - 1")
CONDITIONS = command_line.define_shared_flag("conditions")
GUIDANCE_SCALE = command_line.define_shared_flag("guidance_scale")
WEIGHTS = command_line.define_shared_flag("weights")
command_line.group("What to write")
OUT = flags.DEFINE_string(
    "out", "inpainting.png", "*.png or *.jpg (a row), or *.npz (the fillings, uint8 NHWC, arr_0)"
)
OVERWRITE = command_line.define_shared_flag("overwrite")
command_line.group("Data and devices")
DATA_DIR = command_line.define_shared_flag("data_dir")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")

KINDS = (*PICTURES, "npz")


def main() -> None:
    """Draws and writes what nobody else writes meanwhile."""
    check_name(OUT.value, KINDS, "a picture")
    check_free(lock_beside(OUT.value), OUT.value)
    from diffusion_tf.command_line import early  # now: NumPy takes its time, TensorFlow more
    from diffusion_tf.sampling.outputs import check_output
    from diffusion_tf.utils.numbers import whole

    check_output(OUT.value, overwrite=OVERWRITE.value, kinds=KINDS)
    config = early.check_drawing(WORKDIR.value, sampling_steps=SAMPLING_STEPS.value)
    early.check_image_files([IMAGE.value], config)
    early.check_checkpoint(WORKDIR.value)
    whole(NUM_SAMPLES.value, "num_samples", 1, 100)
    quiet.import_tensorflow()
    from diffusion_tf.gaussian_diffusion.inpainting import plan_jumps

    steps = SAMPLING_STEPS.value or min(250, config.num_diffusion_timesteps)
    plan = plan_jumps(steps, JUMP_LENGTH.value, NUM_RESAMPLES.value)
    if NUM_RESAMPLES.value > 1 and not plan.jumps.any():
        raise ValueError(
            f"--jump_length={JUMP_LENGTH.value} leaves no room for a jump in {steps} steps; make it"
            " smaller, or give --num_resamples=1, with which there is none."
        )
    with locked(lock_beside(OUT.value), OUT.value):
        check_output(OUT.value, overwrite=OVERWRITE.value, kinds=KINDS)
        inpaint(steps)
    logging.info("Wrote %s.", OUT.value)


def inpaint(steps: int) -> None:
    """Loads, fills in, writes."""
    from diffusion_tf.convert.loading import load_config, load_model
    from diffusion_tf.datasets import get_images
    from diffusion_tf.datasets.record import load_record
    from diffusion_tf.gaussian_diffusion import get_diffusion
    from diffusion_tf.sampling import filling_in
    from diffusion_tf.sampling.guidance import get_conditions
    from diffusion_tf.sampling.registry import get_sampling_process
    from diffusion_tf.sampling.room import check_batch
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.utils.devices import use_xla

    config = load_config(WORKDIR.value)
    if config.data_dim:
        raise ValueError(f"{WORKDIR.value} is a run on vectors; only images can be filled in.")
    record = load_record(WORKDIR.value, config)
    conditions = get_conditions(
        config, CONDITIONS.value, GUIDANCE_SCALE.value, class_names=record.class_names
    )
    known = filling_in.read_mask(MASK.value, config.image_shape)
    _, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)
    (image,) = get_images(config, [IMAGE.value], DATA_DIR.value)
    diffusion = get_diffusion(config)
    logging.info("Filling in with %s, %s weights of step %d.", WORKDIR.value, WEIGHTS.value, step)
    sampler = Sampler.of_run(
        config,
        model,
        process=get_sampling_process(diffusion, sampling_steps=steps),
        seed=SEED.value,
        jit_compile=use_xla(JIT_COMPILE.value, config.image_size),
        conditions=conditions,
    )
    check_batch(sampler, NUM_SAMPLES.value, "num_samples")
    fillings = filling_in.fill_in(
        sampler,
        image,
        known,
        number=NUM_SAMPLES.value,
        jump_length=JUMP_LENGTH.value,
        num_resamples=NUM_RESAMPLES.value,
    )
    filling_in.save_fillings(OUT.value, image, known, fillings)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
