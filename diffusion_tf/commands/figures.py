"""Draws the paper's figures from a trained run: rates, progress, shared latents, mixtures.

ddpm-figures --workdir=runs/digits --figures=7,8 --out=figures
"""

import os

from absl import flags, logging

from diffusion_tf import command_line
from diffusion_tf.command_line import quiet
from diffusion_tf.utils.locks import check_free, lock_beside, locked
from diffusion_tf.utils.output_names import check_name

command_line.group("Which figures, of what")
WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "folder of the run")
FIGURES = flags.DEFINE_list(
    "figures",
    "5,6,7,8,9,10",
    "numbers in the paper, comma-separated. 5: bits spent against what is seen; 6: predictions of"
    " x_0 on the way; 7: samples that share x_t; 8: interpolations of pairs; 9: of one pair, coarse"
    " to fine; 10: quality of the predictions over time",
)
IMAGES = flags.DEFINE_list(
    "images", "0,1,2,3,4,5", "real images of figures 5, 8 and 9: indices or files, an even number"
)
SHARE_FROM = flags.DEFINE_list(
    "share_from", [], "times of figure 7, comma-separated [T-1, 3T/4, T/2, T/4]"
)
BUDGETS = flags.DEFINE_list(
    "budgets", "0.05,0.1,0.25,0.5,1,1.5,2,3", "rates of figure 5 in bits/dim, comma-separated"
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 8, "samples of figures 6 and 7")
QUALITY_SAMPLES = flags.DEFINE_integer("quality_samples", 256, "samples of figure 10")
FEATURES = flags.DEFINE_enum(
    "features", "pixels", ["pixels", "inception"], "that figure 10 compares; the paper: inception"
)
SEED = flags.DEFINE_integer("seed", 0, "seed of the noise, from -2**63 to 2**63 - 1")
command_line.group("How to draw")
CONDITIONS = command_line.define_shared_flag("conditions")
GUIDANCE_SCALE = command_line.define_shared_flag("guidance_scale")
WEIGHTS = command_line.define_shared_flag("weights")
command_line.group("What to write")
OUT = flags.DEFINE_string("out", "figures", "folder for figure5.png, figure6.png, ...")
OVERWRITE = command_line.define_shared_flag("overwrite")
command_line.group("Data and devices")
DATA_DIR = command_line.define_shared_flag("data_dir")
JIT_COMPILE = command_line.define_shared_flag("jit_compile")


def main() -> None:
    """Draws figures that nobody else writes meanwhile."""
    share_from = command_line.parse_ints("share_from", SHARE_FROM.value)
    check_name(OUT.value, ("folder",), "a folder")
    check_free(lock_beside(OUT.value), OUT.value)
    check_folder()
    from diffusion_tf.command_line import early  # now: NumPy takes its time, TensorFlow more

    early.check_image_files(IMAGES.value, early.check_run(WORKDIR.value))
    quiet.import_tensorflow()
    from diffusion_tf.evaluation import figures
    from diffusion_tf.utils.numbers import whole

    figures.check_numbers(FIGURES.value)
    whole(NUM_SAMPLES.value, "num_samples", 1, 100)
    whole(QUALITY_SAMPLES.value, "quality_samples", 2, 100_000)
    figures.check_images(IMAGES.value)
    budgets = figures.parse_budgets(BUDGETS.value)
    with locked(lock_beside(OUT.value), OUT.value):
        check_folder()
        draw(share_from, budgets)


def path_of(number: str) -> str:
    """Where a figure is written."""
    return os.path.join(OUT.value, f"figure{number}.png")


def check_folder() -> None:
    """Raises a ValueError if a figure is there, or cannot be."""
    if os.path.lexists(OUT.value) and not os.path.isdir(OUT.value):
        raise ValueError(f"{OUT.value} is not a folder; choose another --out.")
    for number in FIGURES.value:
        if os.path.lexists(path_of(number)) and not OVERWRITE.value:
            raise ValueError(f"{path_of(number)} exists; choose another --out, or add --overwrite.")


def draw(share_from: tuple[int, ...], budgets: list[float]) -> None:
    """Loads, draws, writes one figure after the other."""
    import numpy as np

    from diffusion_tf.convert.loading import load_config, load_model
    from diffusion_tf.datasets import get_dataset, get_images
    from diffusion_tf.datasets.record import load_record
    from diffusion_tf.evaluation import figures
    from diffusion_tf.sampling.guidance import get_one_condition
    from diffusion_tf.sampling.sampler import Sampler
    from diffusion_tf.utils.devices import use_xla

    config = load_config(WORKDIR.value)
    record = load_record(WORKDIR.value, config)
    if config.data_dim:
        raise ValueError(f"{WORKDIR.value} is a run on vectors; these figures show images.")
    T = config.num_diffusion_timesteps
    share_from = share_from or tuple(sorted({k * T // 4 for k in (1, 2, 3)} | {T - 1}))[::-1]
    figures.check_share_from(share_from, T)
    conditions = get_one_condition(
        config, CONDITIONS.value, GUIDANCE_SCALE.value, class_names=record.class_names
    )
    _, model, step = load_model(WORKDIR.value, weights=WEIGHTS.value)

    def data() -> np.ndarray:
        dataset = get_dataset(config, DATA_DIR.value)
        return np.stack([dataset.example(i) for i in range(min(len(dataset), 10_000))])

    material = figures.Material(
        sampler=Sampler.of_run(
            config,
            model,
            seed=SEED.value,
            jit_compile=use_xla(JIT_COMPILE.value, config.image_size),
            conditions=conditions,
        ),
        images=get_images(config, IMAGES.value, DATA_DIR.value),
        data=data,
        number=NUM_SAMPLES.value,
        share_from=share_from,
        budgets=budgets,
        quality_samples=QUALITY_SAMPLES.value,
        features=FEATURES.value,
    )
    logging.info("Drawing with %s, %s weights of step %d.", WORKDIR.value, WEIGHTS.value, step)
    figures.check_memory_of(material.sampler, NUM_SAMPLES.value, QUALITY_SAMPLES.value)
    for number in FIGURES.value:
        figures.draw_figure(number, path_of(number), material)
        logging.info("Wrote %s.", path_of(number))


def command() -> None:
    """Runs this command."""
    command_line.run(main)
