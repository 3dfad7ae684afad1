"""Draws samples from a trained run.

python scripts/sample.py --workdir=runs/digits --num_samples=256 --out=samples.npz
"""

from absl import flags, logging

from diffusion_tf import command_line

WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 64, "number of samples")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "samples drawn at once")
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise")
WEIGHTS = command_line.define_shared_flag("weights")
OUT = flags.DEFINE_string(
    "out", "samples.npz", "*.npz (uint8 NHWC, arr_0), *.png (one grid), or a folder for PNG files"
)
OVERWRITE = command_line.define_shared_flag("overwrite")
SAMPLER = flags.DEFINE_enum(
    "sampler", "ancestral", ["ancestral", "ddim"], "the paper's sampler, or DDIM with eta 0"
)
SAMPLING_STEPS = flags.DEFINE_integer(
    "sampling_steps", None, "steps, spread over the T of training [all T]"
)
JIT_COMPILE = command_line.define_shared_flag("jit_compile")


def main() -> None:
    """Loads, draws, writes."""
    from diffusion_tf import sampling  # after the flags: TensorFlow takes its time
    from diffusion_tf.checkpoints import load_model
    from diffusion_tf.devices import use_xla

    sampling.check_output(OUT.value, overwrite=OVERWRITE.value)
    config, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)
    logging.info("Sampling from %s, %s weights of step %d.", WORKDIR.value, WEIGHTS.value, step)
    batches = sampling.sample(
        model,
        sampling.get_sampler(config, SAMPLER.value, SAMPLING_STEPS.value),
        num_samples=NUM_SAMPLES.value,
        batch_size=BATCH_SIZE.value,
        sample_shape=config.image_shape,
        seed=SEED.value,
        jit_compile=use_xla(JIT_COMPILE.value, config.image_size),
    )
    number = sampling.save_samples(OUT.value, batches)
    logging.info("Wrote %d samples to %s.", number, OUT.value)


if __name__ == "__main__":
    command_line.run(main)
