"""Draws samples from a trained run.

ddpm-sample --workdir=runs/digits --num_samples=256 --out=samples.npz

Interrupted in whatever way, it goes on when the same command is given again.
"""

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.sampling.choices import (
    check_progressive,
    labels_of_each,
    number_of_samples,
    parse_seeds,
)
from diffusion_tf.utils.locks import check_free, lock_beside

command_line.group("What to draw from")
WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "number of samples, exactly [64, or as many as --seeds or --per_class say]"
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "samples drawn at once on each device")
SEED = flags.DEFINE_integer(
    "seed",
    0,
    "seed of the noise, from -2**63 to 2**63 - 1; what is drawn depends on --batch_size, too",
)
SEEDS = flags.DEFINE_list(
    "seeds",
    [],
    "instead, a seed for each sample, such as 0-63 or 3,5,10-12: a sample then depends on its own"
    " seed alone, whatever --batch_size, up to rounding",
)
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
PER_CLASS = flags.DEFINE_integer(
    "per_class", None, "instead of --conditions, so many samples of each class, in their order"
)
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
    trajectory = command_line.parse_ints("trajectory", TRAJECTORY.value)
    num_samples, asked_for = check_flags(trajectory)
    quiet.import_tensorflow()
    # After the flags: TensorFlow takes its time.
    from diffusion_tf.convert.loading import load_config, load_model
    from diffusion_tf.datasets.record import load_record
    from diffusion_tf.gaussian_diffusion import get_diffusion
    from diffusion_tf.sampling import files
    from diffusion_tf.sampling.guidance import get_conditions
    from diffusion_tf.sampling.intermediate_states import checked_paths
    from diffusion_tf.sampling.registry import get_sampling_process
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.utils.devices import get_strategy, use_xla

    strategy = get_strategy(STRATEGY.value, deterministic=DETERMINISTIC.value)
    config = load_config(WORKDIR.value)
    record = load_record(WORKDIR.value, config)
    process = get_sampling_process(
        get_diffusion(config), SAMPLER.value, SAMPLING_STEPS.value, eta=ETA.value
    )
    checked_paths(process, PROGRESSIVE.value, trajectory)
    conditions = get_conditions(
        config, asked_for, GUIDANCE_SCALE.value, class_names=record.class_names
    )
    with strategy.scope():
        _, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)
    sampler = Sampler.of_run(
        config,
        model,
        process=process,
        seed=SEED.value,
        seeds=parse_seeds(SEEDS.value),
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
        num_samples=num_samples,
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
    logging.info("Wrote %d samples to %s.", num_samples, OUT.value)


def check_flags(trajectory: tuple[int, ...]) -> tuple[int, str | None]:
    """The number of samples and their conditions.

    Raises:
        ValueError, FileNotFoundError: flags that cannot be meant.
    """
    from diffusion_tf.command_line import early
    from diffusion_tf.sampling.outputs import check_output
    from diffusion_tf.utils.numbers import whole

    check_output(OUT.value, overwrite=OVERWRITE.value, float32=FLOAT32.value)
    whole(BATCH_SIZE.value, "batch_size", 1)
    config = early.check_drawing(WORKDIR.value, SAMPLER.value, SAMPLING_STEPS.value, eta=ETA.value)
    T = SAMPLING_STEPS.value or config.num_diffusion_timesteps
    for time in trajectory:
        if not -1 <= time < T:
            raise ValueError(f"--trajectory has {time}; each time must lie in -1..{T - 1}.")
    check_progressive(PROGRESSIVE.value, T)
    conditions = CONDITIONS.value
    if PER_CLASS.value is not None:
        if conditions is not None:
            raise ValueError("--conditions and --per_class were both given; give one of them.")
        conditions = labels_of_each(PER_CLASS.value, config)
    seeds = parse_seeds(SEEDS.value)
    if SEEDS.present and not seeds:
        raise ValueError("--seeds is empty; give some, such as 0-63, or leave the flag out.")
    if seeds and SEED.present:
        raise ValueError("--seed and --seeds were both given; give one of them.")
    number = number_of_samples(NUM_SAMPLES.value, seeds, PER_CLASS.value, config)
    early.check_checkpoint(WORKDIR.value)
    return whole(number, "num_samples", 1), conditions


def command() -> None:
    """Runs this command."""
    command_line.run(main)
