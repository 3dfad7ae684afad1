"""The presets: the paper's runs, and small ones that train in minutes."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from diffusion_tf.config.fields import Config
from diffusion_tf.utils.numbers import shown


def digits() -> Config:
    """Scikit-learn's handwritten digits: 1,797 real 8x8 images, in the package, no download.

    `ddpm-train --config=digits`: three to ten minutes on two CPU cores. The cosine schedule,
    because the paper's linear one leaves next to nothing of so small an image halfway through
    (Nichol & Dhariwal 2021, section 3.2): after equal training, samples are closer to the data.
    So many steps, because the last thing that is learned is the little to be seen in what is
    almost noise; on that DDIM's samples depend most.
    """
    return Config(beta_schedule="cosine", lr=1e-3, steps=6000)


def _paper(**fields: Any) -> Config:
    """What the paper's experiments share, besides the defaults (appendix B, `run_training`)."""
    common = {
        "channels": 3,
        "ch": 128,
        "num_res_blocks": 2,
        "attn_resolutions": (16,),
        "warmup": 5000,
        "ema_decay": 0.9999,
        "log_steps": 100,
        "steps_per_call": 100,
        "checkpoint_steps": 10_000,
        "checkpoint_minutes": 27,
        "grid_steps": 10_000,
    }
    return Config(**{**common, **fields})


def _paper_256(**fields: Any) -> Config:
    """What CelebA-HQ and LSUN share: `unet2d16b2c112244` at 256x256, the script's defaults."""
    common = {
        "image_size": 256,
        "model_var_type": "fixedsmall",
        "ch_mult": (1, 1, 2, 2, 4, 4),
        "batch_size": 64,
        "lr": 2e-5,
    }
    return _paper(**{**common, **fields})


def cifar10() -> Config:
    """CIFAR-10 as in the paper, 35.7M parameters: the defaults of the original's `run_cifar.py`.

    `ddpm-train --config=cifar10`. To expect, from 50,000 samples with the averaged
    weights (table 1, L_simple): FID 3.17 against the training set, 5.24 against the test set, IS
    9.46 +- 0.11, and at most 3.75 bits/dim on the test set (3.72 on the training set). The paper
    trains for 10.6 hours, 21 steps/s on a TPU v3-8, and reports the point of the lowest FID
    (appendix B).
    """
    return _paper(
        dataset="cifar10",
        image_size=32,
        random_flip=True,
        ch_mult=(1, 2, 2, 2),
        dropout=0.1,
        batch_size=128,
        steps=800_000,
        lr=2e-4,
    )


def celebahq256() -> Config:
    """CelebA-HQ at 256x256, 114M parameters: the defaults of the original's `run_celebahq.py`.

    `ddpm-train --config=celebahq256`. The paper shows samples and interpolations, but
    no FID. At its 2.2 steps/s on a TPU v3-8 (appendix B), 500,000 steps take 63 hours.
    """
    return _paper_256(dataset="celebahq256", random_flip=True, steps=500_000)


def lsun_church() -> Config:
    """LSUN Church at 256x256, 114M parameters: the defaults of the original's `run_lsun.py`.

    `ddpm-train --config=lsun_church --data_dir=church-r08.tfrecords`. To expect: FID
    7.89 from 50,000 samples (table 3). At the paper's 2.2 steps/s on a TPU v3-8 (appendix B),
    1,200,000 steps take 152 hours.
    """
    return _paper_256(dataset="lsun", random_flip=True, steps=1_200_000)


def lsun_bedroom() -> Config:
    """LSUN Bedroom at 256x256, 114M parameters.

    `ddpm-train --config=lsun_bedroom --data_dir=bedroom-full-r08.tfrecords`. To
    expect: FID 6.36 from 50,000 samples (table 3). At the paper's 2.2 steps/s on a TPU v3-8
    (appendix B), 2,400,000 steps take 303 hours. No image is mirrored, as appendix B says; the
    original's command for it mirrors them.
    """
    return _paper_256(dataset="lsun", steps=2_400_000)


def lsun_bedroom_large() -> Config:
    """LSUN Bedroom with 255,677,955 parameters; appendix B says about 256 million.

    `ddpm-train --config=lsun_bedroom_large --data_dir=bedroom-full-r08.tfrecords`. To
    expect: FID 4.90 from 50,000 samples (table 3). Appendix B says no more than that there are more
    filters; that ch is 192 follows from the number of parameters, and the rest is as in
    `lsun_bedroom`. The paper gives no speed for it, and the original no script.
    """
    return dataclasses.replace(lsun_bedroom(), ch=192, steps=1_150_000)


def lsun_cat() -> Config:
    """LSUN Cat at 256x256, 114M parameters.

    `ddpm-train --config=lsun_cat --data_dir=cat-r08.tfrecords`. To expect: FID 19.75
    from 50,000 samples (table 3). At the paper's 2.2 steps/s on a TPU v3-8 (appendix B), 1,800,000
    steps take 227 hours. No image is mirrored, as in the original's command (`--randflip 0`);
    appendix B says that they are.
    """
    return _paper_256(dataset="lsun", steps=1_800_000)


def folder() -> Config:
    """Any folder of images, at 64x64: the paper's network for CIFAR-10 with a gentler training.

    `ddpm-train --config=folder --data_dir=FOLDER --workdir=runs/NAME`, with whatever
    differs: `--image_size` (96, or 48x64), `--channels=1` for grey ones, `--random_flip` where a
    mirrored image is as good. A place to start from, not an experiment of the paper: it has no
    result to expect.
    """
    return _paper(
        dataset="folder",
        image_size=64,
        ch_mult=(1, 2, 2, 2),
        dropout=0.1,
        batch_size=64,
        steps=200_000,
        lr=1e-4,
    )


def arrays() -> Config:
    """Images in an array, `.npz` or `.npy`: the network of `folder` at the size that they have.

    `ddpm-train --config=arrays --data_dir=FILE --workdir=runs/NAME`. The size and the
    channels follow from the data, and with `--labels=auto` the classes. Without attention but for
    the lowest resolution, so that 28x28 is as good as 32x32.
    """
    return dataclasses.replace(
        folder(), dataset="arrays", image_size=32, ch_mult=(1, 2, 2), attn_resolutions=()
    )


def digits_conditional() -> Config:
    """The digits with their classes as conditions, for classifier-free guidance.

    `ddpm-train --config=digits_conditional`: seven minutes on two CPU cores. A tenth
    of the examples is trained without its class (Ho & Salimans 2022, section 3.2), so that
    `ddpm-sample --guidance_scale=2` can go beyond the conditional model.
    """
    return Config(beta_schedule="cosine", num_classes=10, cond_drop_prob=0.1)


def _points(**fields: Any) -> Config:
    """What points in the plane share: an MLP, and 100 steps of the `sigmoid` schedule.

    The first betas are those of points a tenth as far apart as pixels are; the last ones make x_T
    noise.
    """
    common = {
        "data_dim": 2,
        "model": "mlp",
        "num_diffusion_timesteps": 100,
        "beta_schedule": "sigmoid",
        "beta_start": 1e-5,
        "beta_end": 0.04,
        "model_var_type": "fixedsmall",
        "antithetic": True,
        "ch": 128,
        "num_res_blocks": 2,
        "batch_size": 256,
        "steps": 12_000,
        "lr": 1e-3,
        "ema_decay": 0.9995,
        "steps_per_call": 1000,
        "log_steps": 100,
        "checkpoint_steps": 10_000,
        "grid_steps": 0,
    }
    return Config(**{**common, **fields})


def s_curve() -> Config:
    """10,000 points of scikit-learn's S-curve, x and z / 10.

    `ddpm-train --config=s_curve`: two minutes on two CPU cores.
    """
    return _points(dataset="s_curve")


def swiss_roll() -> Config:
    """10,000 points of scikit-learn's Swiss roll, x and z / 20.

    `ddpm-train --config=swiss_roll`: minutes on two CPU cores.
    """
    return _points(dataset="swiss_roll", beta_start=1e-4)


def vectors() -> Config:
    """Vectors of any mean and scale, in `.npz`, `.npy` or `.csv`, with conditions or without.

    `ddpm-train --config=vectors --data_dir=FILE --workdir=runs/NAME`. Their length
    follows from the data, and with `--labels=auto` the classes, or the length of the vectors that
    they are conditioned on. Each dimension is brought to mean 0 and a standard deviation of 1, for
    which all 1000 steps and the cosine schedule leave noise at the end. The network predicts v
    (Salimans & Ho 2022): x_0 from eps is off by sqrt(1 / abar - 1) times what eps is, thousands of
    times at the end of this schedule, and nothing is clipped.
    """
    return _points(
        dataset="vectors",
        standardize=1.0,
        num_diffusion_timesteps=1000,
        beta_schedule="cosine",
        model_mean_type="v",
        ch=256,
        steps=20_000,
    )


def sprites() -> Config:
    """16x16 sprites with five attributes as conditions.

    `ddpm-train --config=sprites`: a quarter of an hour on two CPU cores. Without
    `--data_dir` sprites are drawn; with it, they are the images [N, 16, 16, 3] and vectors [N, 5]
    of two .npy files in that folder. The network predicts x_0: what a condition says about the mean
    of a whole image, night here, hardly shows in the noise at the steps that decide it, and was
    not learned from its loss in so short a training.
    """
    return Config(
        dataset="sprites",
        image_size=16,
        channels=3,
        num_diffusion_timesteps=500,
        beta_schedule="cosine",
        model_mean_type="xstart",
        ch=64,
        ch_mult=(1, 1),
        block_size=2,  # four times as fast
        cond_dim=5,
        cond_drop_prob=0.1,
        steps=3000,
    )


def embeddings() -> Config:
    """Vectors conditioned on vectors: digits' principal components, given their images.

    `ddpm-train --config=embeddings`: minutes on two CPU cores. With `--data_dir`,
    an .npz with vectors `x` [N, D] and conditions `y` [N, C], from which `data_dim` and `cond_dim`
    follow. Own vectors are brought to a standard deviation of 1/4, for which the schedule is.
    """
    return _points(
        dataset="embeddings",
        data_dim=16,
        cond_dim=64,
        cond_drop_prob=0.1,
        standardize=0.25,
        beta_start=1e-4,
        steps=10_000,
    )


def _tutorial(**fields: Any) -> Config:
    """What lessons share: Adam at 1e-3, neither warmup nor averaged weights."""
    common = {
        "lr": 1e-3,
        "warmup": 0,
        "ema_decay": 0.0,
        "log_steps": 100,
        "steps_per_call": 1000,
        "checkpoint_steps": 10_000,
    }
    return Config(**{**common, **fields})


def s_curve_tutorial() -> Config:
    """The S-curve as lessons have it: tables of t in an MLP of 72,066 weights, 100 steps.

    `ddpm-train --config=s_curve_tutorial`: 4,000 epochs of 79 batches. Lessons sample
    with noise after the last step, too: `--sampler=noisy_end`.
    """
    return _tutorial(
        dataset="s_curve",
        data_dim=2,
        model="table_mlp",
        num_diffusion_timesteps=100,
        beta_schedule="sigmoid",
        beta_start=1e-5,
        beta_end=5e-3,
        antithetic=True,
        ch=128,
        batch_size=128,
        steps=316_000,
        grid_steps=7900,
    )


def sprites_tutorial() -> Config:
    """16x16 sprites with a context of five numbers, as lessons have them.

    `ddpm-train --config=sprites_tutorial`: 32 epochs of the 8,000 sprites drawn here,
    or of `images.npy` and `vectors.npy` in --data_dir. The betas are numbers 1 to 500 of 501
    from 1e-4 to 0.02.
    """
    epoch = 80  # batches
    return _tutorial(
        dataset="sprites",
        image_size=16,
        channels=3,
        model="context_unet",
        num_diffusion_timesteps=500,
        beta_start=1e-4 + (0.02 - 1e-4) / 500,
        clipping="off",
        ch=64,
        cond_dim=5,
        cond_drop_prob=0.1,
        batch_size=100,
        steps=32 * epoch,
        lr_decay_steps=32 * epoch,
        grad_clip=1e9,  # none
        grid_steps=4 * epoch,
        checkpoint_steps=1000,
        log_steps=10,
        steps_per_call=10,
    )


def embeddings_tutorial() -> Config:
    """Embeddings given embeddings, as lessons have them: scales and shifts, the l1 distance.

    `ddpm-train --config=embeddings_tutorial`, with --data_dir as for `embeddings`.
    In the lesson no dense layer stands between x and the output (`--model=scale_shift`), although
    each block defines one; `--model=scale_shift_mixing` has them.
    """
    return _tutorial(
        dataset="embeddings",
        data_dim=16,
        cond_dim=64,
        model="scale_shift",
        standardize=0.25,
        num_diffusion_timesteps=200,
        model_var_type="fixedsmall",
        loss_type="l1",
        cond_drop_prob=0.1,
        batch_size=256,
        steps=10_000,
        grid_steps=5000,
    )


_PRESETS = (
    digits, cifar10, celebahq256, lsun_church, lsun_bedroom, lsun_bedroom_large, lsun_cat, folder,
    arrays, digits_conditional, s_curve, swiss_roll, vectors, sprites, embeddings,
    s_curve_tutorial, sprites_tutorial, embeddings_tutorial,
)  # fmt: skip
PRESETS: dict[str, Callable[[], Config]] = {preset.__name__: preset for preset in _PRESETS}


def get_config(name: str, **overrides: Any) -> Config:
    """Returns a preset, with fields replaced.

    Args:
        name: one of `PRESETS`.
        **overrides: fields of `Config` and their values.

    Raises:
        ValueError: unknown preset or field, or a value that no run could use.
    """
    if not isinstance(name, str) or name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"Unknown config {shown(name)}; choose one of {', '.join(sorted(PRESETS))}.{hint}"
        )
    return Config.from_dict({**dataclasses.asdict(PRESETS[name]()), **overrides})
