"""The paper's numbers as data, and whether a measurement may be held against them.

A number without its circumstances misleads: from fewer samples, from other weights or with another
sampler it is another quantity. `compare` puts into words what separates the two.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from diffusion_tf.config import PRESETS, Config

NUM_SAMPLES = 50_000  # appendix B, for every FID and Inception score
NUM_SPLITS = 10  # of the Inception score's "+-", as everywhere since arXiv:1606.03498

# A key is (metric, split). Values: the number and where it stands. The bits/dim are upper bounds.
Numbers = Mapping[tuple[str, str | None], tuple[float, str]]

# By what the network predicts, the loss, and whether the variance is learned. Table 2 has no
# number for the other combinations.
CIFAR10: dict[tuple[str, str, bool], Numbers] = {
    ("eps", "mse", False): {
        ("fid", "train"): (3.17, "table 1, L_simple"),
        ("fid", "test"): (5.24, "section 4.1"),
        ("is", None): (9.46, "table 1, L_simple, ± 0.11"),
        ("bpd", "train"): (3.72, "table 1, L_simple"),
        ("bpd", "test"): (3.75, "table 1, L_simple"),
        ("rate", "test"): (1.78, "section 4.3"),
        ("distortion", "test"): (1.97, "section 4.3"),
        ("rmse", "test"): (0.95, "section 4.3"),
    },
    ("eps", "kl", False): {
        ("fid", "train"): (13.51, "table 1, L"),
        ("is", None): (7.67, "table 1, L, ± 0.13"),
        ("bpd", "train"): (3.69, "table 1, L"),
        ("bpd", "test"): (3.70, "table 1, L"),
    },
    ("xprev", "kl", False): {
        ("fid", "train"): (13.22, "table 2, µ̃ prediction"),
        ("is", None): (8.06, "table 2, µ̃ prediction, ± 0.09"),
    },
    ("xprev", "kl", True): {
        ("fid", "train"): (23.69, "table 2, µ̃ prediction, learned Σ"),
        ("is", None): (7.28, "table 2, µ̃ prediction, learned Σ, ± 0.10"),
    },
}
LSUN = {"lsun_church": 7.89, "lsun_bedroom": 6.36, "lsun_bedroom_large": 4.90, "lsun_cat": 19.75}
# Table 4, on CIFAR-10's test set: steps of the reverse process, T - t + 1 with t from 1 to T; rate
# in bits/dim; distortion as root mean square error on the scale 0..255.
RATE_DISTORTION: tuple[tuple[int, float, float], ...] = (
    (100, 0.00000, 67.60125),
    (200, 0.00013, 60.97170),
    (300, 0.00081, 54.18826),
    (400, 0.00282, 46.12765),
    (500, 0.00716, 38.03236),
    (600, 0.01507, 30.80948),
    (700, 0.02866, 24.43656),
    (800, 0.05415, 18.47482),
    (900, 0.11994, 12.02277),
    (1000, 1.77581, 0.95136),
)

_IRRELEVANT = {"seed", "unreadable"}  # fields of a config that leave what is measured the same


def compare(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every number that was measured, beside the paper's.

    Args:
        metrics: what `metrics.json` holds.

    Returns:
        A row for each number, its keys: `metric` (fid, is, bpd, rate, distortion, rmse; the
        likelihoods in bits/dim, rmse on the scale 0..255), `split` (train, test, None), `measured`,
        `paper` (None if it has no such number), `source` in the paper ("" if none), `fair`, and a
        `sentence` with all that stands in the way of a comparison.

    Raises:
        ValueError: the config in metrics is none.
    """
    numbers, reference, missing = _reference(metrics)
    rows = []
    for metric, split, measured in _measured(metrics):
        paper, source = numbers.get((metric, split), (None, ""))
        reasons = list(_reasons(metrics, metric, split, reference))
        notes = list(_notes(metrics, metric, split, paper))
        rows.append(
            {
                "metric": metric,
                "split": split,
                "measured": measured,
                "paper": paper,
                "source": source,
                "fair": paper is not None and not reasons,
                "sentence": _sentence("" if paper is not None else missing, reasons, notes),
            }
        )
    return rows


def _measured(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str | None, float]]:
    """(metric, split, value), in the order of the report."""
    for split, fid in metrics.get("fid", {}).items():
        yield "fid", split, fid["value"]
    if "is" in metrics:
        yield "is", None, metrics["is"].get("split_mean", metrics["is"].get("value"))
    likelihoods = metrics.get("bpd", {})
    for split, bpd in likelihoods.items():
        yield "bpd", split, bpd["total"]
    for split, bpd in likelihoods.items():
        # Section 4.3: L_1 + ... + L_T is the rate, L_0 the distortion.
        yield "rate", split, bpd["total"] - bpd["decoder"]
        yield "distortion", split, bpd["decoder"]
        if "mse" in bpd:
            yield "rmse", split, 127.5 * bpd["mse"][0] ** 0.5  # [-1, 1] is 0..255
    for split, curve in metrics.get("rate_distortion", {}).items():
        if split not in likelihoods:
            yield "rate", split, curve["rate"][-1]
            yield "rmse", split, curve["distortion"][-1]


def _reference(metrics: Mapping[str, Any]) -> tuple[Numbers, Config | None, str]:
    """The paper's numbers for this model, their config, and what to say where there is none."""
    name = metrics["data"]["name"]
    if name == "cifar10":
        preset = PRESETS[name]()
        own = _config(metrics) or preset
        learned = own.model_var_type == "learned"
        variant = {"model_mean_type": own.model_mean_type, "loss_type": own.loss_type}
        numbers = CIFAR10.get((*variant.values(), learned))
        if numbers is None:  # its nearest relative, from which the config then differs
            return CIFAR10["eps", "mse", False], preset, "The paper does not give this number."
        if learned:
            variant["model_var_type"] = "learned"
        reference = dataclasses.replace(preset, **variant)
        return numbers, reference, "The paper does not give this number for this model."
    if name in LSUN:
        numbers = {("fid", "train"): (LSUN[name], "table 3")}
        return numbers, PRESETS[name](), "Of LSUN, the paper gives no more than this FID."
    if name == "lsun":
        fids = ", ".join(f"{fid} ({category})" for category, fid in LSUN.items())
        return {}, None, f"Of which category of LSUN this is, is not recorded; table 3 has {fids}."
    return {}, None, f"The paper has no number for {name}."


def _config(metrics: Mapping[str, Any]) -> Config | None:
    fields = metrics["source"].get("config")
    return Config.from_dict(fields) if fields else None


def _reasons(
    metrics: Mapping[str, Any], metric: str, split: str | None, reference: Config | None
) -> Iterator[str]:
    """What is not as in the paper; each reason alone makes a comparison unfair."""
    yield from _reasons_in_model(metrics, reference)
    if metric == "is":
        yield from _reasons_in_samples(metrics, metrics["is"])
        splits = metrics["is"].get("num_splits")
        if "split_mean" not in metrics["is"]:
            yield f"it is over all samples at once, not the mean of {NUM_SPLITS} parts"
        elif splits != NUM_SPLITS:
            yield f"it is the mean of {splits} parts, not of {NUM_SPLITS}"
    elif metric == "fid":
        yield from _reasons_in_samples(metrics, metrics["fid"][split])
        yield from _reasons_in_images(metrics, split, metrics["fid"][split])
    else:
        bpd = metrics.get("bpd", {}).get(split, {})
        yield from _reasons_in_images(metrics, split, bpd)
        if not bpd.get("clip_denoised", True):
            yield "predictions of x_0 are not clipped"


def _reasons_in_model(metrics: Mapping[str, Any], reference: Config | None) -> Iterator[str]:
    source, config = metrics["source"], _config(metrics)
    if source["kind"] == "images":
        yield "how the images were made, and whether they were compressed with loss, is not known"
        return
    if source.get("weights") != "ema":
        weights = "raw weights" if source.get("weights") == "raw" else "weights of unknown kind"
        yield f"{weights}, not the averaged ones (EMA)"
    if config is None:
        yield "the config is not recorded"
    if reference is None:
        return
    if config is not None:
        differences = config.differences(reference)
        fields = [
            f"{name} {own!r} for {theirs!r}"
            for name, (own, theirs) in differences.items()
            if name not in _IRRELEVANT
        ]
        if fields:
            yield f"another config ({', '.join(fields)})"
    step = source.get("step")
    if step is not None and step < reference.steps:
        yield f"{step:,} training steps instead of {reference.steps:,}"


def _reasons_in_samples(metrics: Mapping[str, Any], score: Mapping[str, Any]) -> Iterator[str]:
    samples, features = metrics.get("samples", {}), metrics.get("features", {})
    number = score.get("num_samples", samples.get("num_samples"))
    if number is None:
        yield "the number of samples is not recorded"
    elif number != NUM_SAMPLES:
        yield f"{number:,} samples instead of {NUM_SAMPLES:,}"
    sampler, steps, T = (samples.get(key) for key in ("sampler", "sampling_steps", "T"))
    if sampler is None and metrics["source"]["kind"] != "images":
        yield "the sampler is not recorded"
    if sampler not in (None, "ancestral"):
        yield f"the sampler is {sampler}, not the ancestral one"
    if steps is not None and T is not None and steps != T:
        yield f"{steps:,} sampling steps instead of {T:,}"
    config, variance = _config(metrics), samples.get("variance")
    if config is not None and variance not in (None, config.model_var_type):
        yield f"sampled with variance {variance}, not {config.model_var_type}"
    if features.get("name") != "inception":
        yield f"the features are {features.get('name', 'unknown')}, not those of Inception"
    if metrics["data"]["name"] in LSUN:
        yield "the paper's is by StyleGAN2's code: 8-bit samples against 50,000 real images"
    elif features.get("quantized") or samples.get("dtype") == "uint8":
        yield "samples are rounded to 8 bits, the original's are not"


def _reasons_in_images(
    metrics: Mapping[str, Any], split: str | None, score: Mapping[str, Any]
) -> Iterator[str]:
    data = metrics["data"].get("splits", {}).get(split, {})
    number, of = score.get("num_images", data.get("num_images")), data.get("of")
    if number is None or of is None:
        yield "the number of real images is not recorded"
    elif number < of:
        yield f"{number:,} of the {of:,} {split} images"


def _notes(
    metrics: Mapping[str, Any], metric: str, split: str | None, paper: float | None
) -> Iterator[str]:
    """What a reader should know, fair or not."""
    if metric == "fid":
        yield metrics["fid"][split].get("warning") or ""
    if metric == "is" and "split_std" in metrics["is"]:
        yield f"The standard deviation over the parts is {metrics['is']['split_std']:.2g}."
    if metric == "is" and paper is not None:
        yield "The paper's is by OpenAI's code, which leaves out the last layer's biases."
    if metric == "bpd" and "standard_error" in metrics["bpd"][split]:
        yield f"The standard error is {metrics['bpd'][split]['standard_error']:.2g} bits/dim."


def _sentence(missing: str, reasons: list[str], notes: list[str]) -> str:
    if missing:
        verdict = f"{missing} To mind in any comparison: " if reasons else missing
    else:
        verdict = "Not a fair comparison: " if reasons else "A fair comparison."
    verdict += "; ".join(reasons) + "." * bool(reasons)
    return " ".join([verdict, *filter(None, notes)])
