"""Reasons why a measurement may not be held against the paper's, as sentences without a stop.

A number without its circumstances misleads: from fewer samples, from other weights or with another
sampler it is another quantity.
"""

from collections.abc import Iterator

from diffusion_tf.config import Config
from diffusion_tf.evaluation.schema import Evaluation

NUM_SAMPLES = 50_000  # appendix B, for every FID and Inception score

_IRRELEVANT = {"seed", "unreadable"}  # fields of a config that leave what is measured the same


def in_model(evaluation: Evaluation, reference: Config | None) -> Iterator[str]:
    """Those that lie in the weights, the config or the training.

    Args:
        evaluation: what was measured.
        reference: the config of the paper's run, None if it has none.

    Raises:
        ValueError: the config in the evaluation is none.
    """
    source, config = evaluation.source, evaluation.source.parsed_config()
    if source.kind == "images":
        yield "how the images were made, and whether they were compressed with loss, is not known"
        return
    if source.weights != "ema":
        weights = "raw weights" if source.weights == "raw" else "weights of unknown kind"
        yield f"{weights}, not the averaged ones (EMA)"
    if config is None:
        yield "the config is not recorded"
    if reference is None:
        return
    if config is not None:
        fields = [
            f"{name} {own!r} for {theirs!r}"
            for name, (own, theirs) in config.differences(reference).items()
            if name not in _IRRELEVANT
        ]
        if fields:
            yield f"another config ({', '.join(fields)})"
    if source.step is not None and source.step < reference.steps:
        yield f"{source.step:,} training steps instead of {reference.steps:,}"


def in_samples(evaluation: Evaluation, num_samples: int | None) -> Iterator[str]:
    """Those that lie in the samples and their features.

    Args:
        evaluation: what was measured.
        num_samples: that a number is measured from, None if it is not recorded with it.
    """
    samples, features = evaluation.samples, evaluation.features
    if num_samples is None and samples:
        num_samples = samples.num_samples
    if num_samples is None:
        yield "the number of samples is not recorded"
    elif num_samples != NUM_SAMPLES:
        yield f"{num_samples:,} samples instead of {NUM_SAMPLES:,}"
    yield from _in_sampler(evaluation)
    if not features or features.name != "inception":
        name = features.name if features else "unknown"
        yield f"the features are {name}, not those of Inception"
    rounded = (features and features.quantized) or (samples and samples.dtype == "uint8")
    if evaluation.data.name.startswith("lsun_"):
        yield "the paper's is by StyleGAN2's code: 8-bit samples against 50,000 real images"
    elif rounded:
        yield "samples are rounded to 8 bits, the original's are not"


def _in_sampler(evaluation: Evaluation) -> Iterator[str]:
    samples, source = evaluation.samples, evaluation.source
    if (samples is None or samples.sampler is None) and source.kind != "images":
        yield "the sampler is not recorded"
    if samples is None:
        return
    if samples.sampler not in (None, "ancestral"):
        yield f"the sampler is {samples.sampler}, not the ancestral one"
    steps, T = samples.sampling_steps, samples.T
    if steps is not None and T is not None and steps != T:
        yield f"{steps:,} sampling steps instead of {T:,}"
    if samples.clip_denoised is False:
        yield "predictions of x_0 are not clipped"
    config = source.parsed_config()
    if config is not None and samples.variance not in (None, config.model_var_type):
        yield f"sampled with variance {samples.variance}, not {config.model_var_type}"


def in_images(evaluation: Evaluation, split: str | None, number: int | None) -> Iterator[str]:
    """Those that lie in the real images.

    Args:
        evaluation: what was measured.
        split: of the real images.
        number: of images that were used, None if it is not recorded with the measurement.
    """
    data = evaluation.data.splits.get(split or "")
    if number is None and data:
        number = data.num_images
    if number is None or data is None:
        yield "the number of real images is not recorded"
    elif number < data.of:
        yield f"{number:,} of the {data.of:,} {split} images"
