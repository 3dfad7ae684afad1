"""Draws samples from a trained run.

ddpm-sample --workdir=runs/digits --num_samples=256 --out=samples.npz

Interrupted in whatever way, it goes on when the same command is given again.
"""

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.utils.locks import check_free, lock_beside

command_line.group("What to draw from")
WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 64, "number of samples, exactly")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "samples drawn at once on each device")
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise, from -2**63 to 2**63 - 1")
WEIGHTS = command_line.define_shared_flag("weights")
command_line.group("What to write")
OUT = flags.DEFINE_string(
    "out",
    "samples.npz",
    "*.npz (uint8 NHWC, arr_0; vectors float32), *.png or *.jpg (one grid), or without an ending: a"
    " folder for PNG files",
)
FLOAT32 = flags.DEFINE_boolean(
    "float32",
    False,
    "write float32 as the sampler gives them, -1 black and 1 white, not uint8; for *.npz",
)
PROGRESSIVE = flags.DEFINE_integer(
    "progressive",
    None,
    "of the first --batch_size samples, also keep the predictions of x_0 after every so many steps"
    " (50 in the paper): NAME.progressive.npz and .png",
)
TRAJECTORY = flags.DEFINE_list(
    "trajectory",
    [],
    "of the first --batch_size samples, also keep the images at these times, comma-separated, from"
    " T-1 (noise) to -1 (sample): NAME.trajectory.npz and .png",
)
OVERWRITE = command_line.define_shared_flag("overwrite")
command_line.group("How to draw")
CONDITIONS = command_line.define_shared_flag("conditions")
GUIDANCE_SCALE = command_line.define_shared_flag("guidance_scale")
SAMPLER = command_line.define_shared_flag("sampler")
CLIP_DENOISED = command_line.define_shared_flag("clip_denoised")
ETA = command_line.define_shared_flag("eta")
SAMPLING_STEPS = command_line.define_shared_flag("sampling_steps")
command_line.group("Devices")
STRATEGY = command_line.define_shared_flag("strategy")
DETERMINISTIC = command_line.define_shared_flag("deterministic")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")


def main() -> None:
    """Loads, draws, writes."""
    command_line.check_one_machine(STRATEGY.value)
    check_free(lock_beside(OUT.value), OUT.value)
    # After the flags: TensorFlow takes its time.
    from diffusion_tf.convert.loading import load_config, load_model
    from diffusion_tf.datasets.record import load_record
    from diffusion_tf.gaussian_diffusion import get_diffusion
    from diffusion_tf.sampling import files, shards
    from diffusion_tf.sampling.guidance import get_conditions
    from diffusion_tf.sampling.intermediate_states import checked_paths
    from diffusion_tf.sampling.registry import get_sampling_process
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.utils.devices import get_strategy, use_xla

    trajectory = command_line.parse_ints("trajectory", TRAJECTORY.value)
    files.check_output(OUT.value, overwrite=OVERWRITE.value, float32=FLOAT32.value)
    shards.split(NUM_SAMPLES.value, BATCH_SIZE.value)
    strategy = get_strategy(STRATEGY.value, deterministic=DETERMINISTIC.value)
    config = load_config(WORKDIR.value)
    record = load_record(WORKDIR.value, config)
    process = get_sampling_process(
        get_diffusion(config), SAMPLER.value, SAMPLING_STEPS.value, eta=ETA.value
    )
    checked_paths(process, PROGRESSIVE.value, trajectory)
    conditions = get_conditions(
        config, CONDITIONS.value, GUIDANCE_SCALE.value, class_names=record.class_names
    )
    with strategy.scope():
        _, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)
    sampler = Sampler.of_run(
        config,
        model,
        process=process,
        seed=SEED.value,
        jit_compile=use_xla(JIT_COMPILE.value, config.image_size),
        conditions=conditions,
        strategy=strategy,
        clip_denoised=CLIP_DENOISED.value,
        scaling=record.scaling,
    )
    logging.info("Sampling from %s, %s weights of step %d.", WORKDIR.value, WEIGHTS.value, step)
    files.write_samples(
        OUT.value,
        sampler,
        num_samples=NUM_SAMPLES.value,
        batch_size=BATCH_SIZE.value,
        origin={
            "step": step,
            "weights": WEIGHTS.value,
            "sampler": SAMPLER.value,
            "eta": ETA.value or 0.0,
        },
        float32=FLOAT32.value,
        overwrite=OVERWRITE.value,
        progressive=PROGRESSIVE.value,
        trajectory=trajectory,
    )
    logging.info("Wrote %d samples to %s.", NUM_SAMPLES.value, OUT.value)


def command() -> None:
    """Runs this command."""
    command_line.run(main)
