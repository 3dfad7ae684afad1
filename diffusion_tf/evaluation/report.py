"""One self-contained HTML file that shows an evaluation: numbers, pictures, circumstances."""

import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_tf.evaluation import plots
from diffusion_tf.evaluation.comparison import RATE_DISTORTION, compare
from diffusion_tf.evaluation.page import Markup, element, facts, figure, join, page, row, table
from diffusion_tf.files import replacing

_METRICS = {
    "fid": "FID",
    "is": "Inception score",
    "bpd": "bits/dim",
    "rate": "rate, bits/dim",
    "distortion": "distortion, bits/dim",
    "rmse": "distortion, RMSE 0..255",
}
_WEIGHTS = {"ema": "averaged weights (EMA)", "raw": "raw weights"}
_KINDS = {"workdir": "a run", "original": "a run of the original", "images": "images"}
_MAX_ROWS = 12  # of the table of rate and distortion


@dataclass(frozen=True)
class Picture:
    """A picture for the report.

    Attributes:
        title: heading of its section.
        caption: what is to be seen.
        png: the bytes of a PNG file, or its path.
    """

    title: str
    caption: str
    png: bytes | str | Path


def write_report(
    path: str | Path, metrics: Mapping[str, Any], pictures: Sequence[Picture] = ()
) -> None:
    """Writes the report; what was not measured has no place in it.

    It holds its pictures and style, asks for nothing from anywhere, and has no script.

    Args:
        path: of the HTML file.
        metrics: what `metrics.json` holds. The plots are drawn from it, and `comparison` is made
            if it is missing.
        pictures: samples, neighbours and others, in this order.

    Raises:
        FileNotFoundError: no such picture.
        ValueError: a picture that is no PNG.
        OSError: the file cannot be written.
    """
    title = f"Evaluation of {metrics['source']['path']}"
    body = [
        element("h1", title),
        element("p", _summary(metrics), class_="soft"),
        _numbers(metrics),
        *map(_picture, pictures),
        _bits_per_dim(metrics.get("bpd")),
        _rate_distortion(metrics.get("rate_distortion"), metrics["data"]["name"] == "cifar10"),
        _circumstances(metrics),
    ]
    text = page(title, body)
    with replacing(path) as temporary:  # a file's name may be no valid Unicode
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _summary(metrics: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    source = metrics["source"]
    step = source.get("step")
    parts = [
        _WEIGHTS.get(source.get("weights")),
        None if step is None else f"step {step:,}",
        f"data set {metrics['data']['name']}",
        metrics["created"][:10],
    ]
    return " · ".join(filter(None, parts))


def _numbers(metrics: Mapping[str, Any]) -> Markup:
    """A group of rows for each sentence, which stands below them."""
    comparison = metrics.get("comparison") or compare(metrics)
    if not comparison:
        return Markup()
    features = metrics.get("features", {}).get("name", "inception")
    labels = dict(_METRICS)
    if features != "inception":
        labels["fid"] = f"Fréchet distance of {features}"
    groups = [
        [*(_number_row(labels, r) for r in group), _sentence_row(sentence)]
        for sentence, group in itertools.groupby(comparison, key=lambda r: r["sentence"])
    ]
    caption = (
        "Measured, and in the paper (Ho, Jain & Abbeel 2020, arXiv 2006.11239), which reports the"
        " checkpoint of the lowest FID in a run. Bits/dim are upper bounds."
    )
    header = ["", "split", "measured", "paper", "fair?"]
    return _section("Numbers beside the paper's", table(caption, header, groups))


def _number_row(labels: Mapping[str, str], r: Mapping[str, Any]) -> Markup:
    paper, verdict = "none", ""
    if r["paper"] is not None:
        paper = join([f"{r['paper']:.2f}", element("small", r["source"])])
        verdict = ("yes", "good") if r["fair"] else ("no", "bad")
        verdict = element("span", verdict[0], class_=verdict[1])
    cells = [labels.get(r["metric"], r["metric"]), r["split"] or "", _number(r["measured"])]
    return row([*cells, paper, verdict])


def _sentence_row(sentence: str) -> Markup:
    return element("tr", element("td", sentence, colspan=5), class_="sentence")


def _picture(picture: Picture) -> Markup:
    png = picture.png
    if not isinstance(png, bytes):
        if not Path(png).is_file():
            raise FileNotFoundError(f"There is no picture {png}; draw it, or leave it out.")
        png = Path(png).read_bytes()
    return _section(picture.title, figure(png, alt=picture.title, caption=picture.caption))


def _bits_per_dim(bpd: Mapping[str, Mapping[str, Any]] | None) -> Markup:
    if not bpd:
        return Markup()
    rows = [row([split, *_parts(values)]) for split, values in bpd.items()]
    header = ["split", "total", "prior, L_T", "L_1 to L_T-1", "decoder, L_0", "images"]
    caption = "The variational bound and its parts, in bits/dim (eq. 5); ± is the standard error."
    figures = []
    if any("terms" in values for values in bpd.values()):
        figures.append(
            figure(
                plots.bpd_by_timestep(bpd),
                alt="Plot of the bound's terms over the timestep",
                caption="The terms of the bound, without the prior. At t = 1 it is the decoder's.",
            )
        )
    if any("mse" in values for values in bpd.values()):
        figures.append(
            figure(
                plots.mse_by_timestep(bpd),
                alt="Plot of the error of the predicted x_0 over the timestep",
                caption="Mean square error of the x_0 predicted from x_t, for pixels in [-1, 1].",
            )
        )
    contents = [table(caption, header, [rows]), element("div", *figures, class_="side")]
    return _section("Bits per dimension", *contents)


def _parts(bpd: Mapping[str, Any]) -> list[str]:
    total = f"{bpd['total']:.4f}"
    if "standard_error" in bpd:
        total += f" ± {bpd['standard_error']:.4f}"
    middle = bpd["total"] - bpd["prior"] - bpd["decoder"]
    number = bpd.get("num_images")
    parts = [f"{part:.4f}" for part in (bpd["prior"], middle, bpd["decoder"])]
    return [total, *parts, "" if number is None else f"{number:,}"]


def _rate_distortion(curves: Mapping[str, Mapping[str, Any]] | None, with_paper: bool) -> Markup:
    if not curves:
        return Markup()
    plot = figure(
        plots.rate_distortion(curves, with_paper=with_paper),
        alt="Plots of distortion and rate over the reverse steps, and of one over the other",
        caption="What a receiver knows after so many steps of the reverse process, and how far the"
        " x_0 that it predicts is from the truth (section 4.3, figure 5).",
        wide=True,
    )
    columns = {
        split: dict(
            zip(c["reverse_steps"], zip(c["rate"], c["distortion"], strict=True), strict=True)
        )
        for split, c in curves.items()
    }
    if with_paper:
        columns["paper, test"] = {step: values for step, *values in RATE_DISTORTION}
    header = ["reverse steps"]
    for name in columns:
        header += [f"{name}: rate", f"{name}: RMSE"]
    rows = []
    for step in _some(next(iter(curves.values()))["reverse_steps"]):
        cells = [f"{step:,}"]
        for values in columns.values():
            rate, distortion = values.get(step, (None, None))
            cells += ["", ""] if rate is None else [f"{rate:.5f}", f"{distortion:.5f}"]
        rows.append(row(cells))
    caption = (
        "Rate in bits/dim, distortion as root mean square error on the scale 0..255 (table 4)."
    )
    return _section("Rate and distortion", plot, table(caption, header, [rows]))


def _some(steps: Sequence[int]) -> Sequence[int]:
    """All steps if they are few, else every tenth part of them, as in table 4."""
    if len(steps) <= _MAX_ROWS:
        return steps
    return [steps[len(steps) * i // 10 - 1] for i in range(1, 11)]


def _circumstances(metrics: Mapping[str, Any]) -> Markup:
    source, samples = metrics["source"], metrics.get("samples", {})
    features, device = metrics.get("features", {}), metrics["device"]
    score, fids = metrics.get("is", {}), list(metrics.get("fid", {}).values())
    contents = [
        facts(
            "What was evaluated",
            [
                ("kind", _KINDS.get(source["kind"], source["kind"])),
                ("path", source["path"]),
                ("step", _count(source.get("step"))),
                ("weights", _WEIGHTS.get(source.get("weights"))),
            ],
        ),
        facts(
            "Samples",
            [
                ("path", samples.get("path")),
                ("number N", _count(samples.get("num_samples"))),
                ("sampler", samples.get("sampler")),
                ("sampling steps", _count(samples.get("sampling_steps"))),
                ("eta", samples.get("eta")),
                ("T of training", _count(samples.get("T"))),
                ("variance", samples.get("variance")),
                ("seed", samples.get("seed")),
                ("dtype", samples.get("dtype")),
                ("black and white", _pair(samples.get("range"))),
                ("batch size", samples.get("batch_size")),
            ],
        ),
        facts(
            "Features",
            [
                ("of", features.get("name")),
                ("dimensions", _count(fids[0].get("dimensions") if fids else None)),
                ("preprocessing", features.get("preprocessing")),
                ("rounded to 8 bits", _yes_no(features.get("quantized"))),
                ("SHA-256 of the graph", features.get("graph_sha256")),
                ("parts of the Inception score", score.get("num_splits")),
                ("Inception score of all", score.get("value") and _number(score["value"])),
            ],
        ),
        _splits(metrics["data"].get("splits", {})),
        facts("Bits per dimension", _likelihood_facts(metrics.get("bpd", {}))),
        facts(
            "Software and device",
            [
                *metrics["versions"].items(),
                ("device", f"{device['number']} x {device['kind']}, {device['name']}"),
                ("TF32 instead of float32", _yes_no(device.get("tf32"))),
                ("created", metrics["created"]),
            ],
        ),
        facts(
            "Time taken, h:mm:ss", [(k, _time(s)) for k, s in metrics.get("seconds", {}).items()]
        ),
    ]
    config = _config(source.get("config"))
    return _section("How it was measured", element("div", *contents, class_="columns"), config)


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> Markup:
    if not splits:
        return Markup()
    rows = [
        row(
            [name, _count(s["num_images"]), _count(s["of"]), element("code", s["fingerprint"][:16])]
        )
        for name, s in splits.items()
    ]
    caption = "Real images, and the first digits of the fingerprint of their content."
    return table(caption, ["split", "used", "of", "fingerprint"], [rows])


def _likelihood_facts(bpd: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [
        (f"{name}, {split}", value)
        for split, b in bpd.items()
        for name, value in (
            ("seed", b.get("seed")),
            ("predictions clipped", _yes_no(b.get("clip_denoised"))),
        )
    ]


def _config(fields: Mapping[str, Any] | None) -> Markup:
    if not fields:
        return Markup()
    items = (
        element("li", f"{name} = {list(value) if isinstance(value, tuple) else value}")
        for name, value in fields.items()
    )
    return join(
        [element("p", "Config of the run", class_="soft"), element("ul", *items, class_="config")]
    )


def _section(title: str, *contents: Markup) -> Markup:
    return element("section", element("h2", title), *contents)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:#.4g}"


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _pair(values: Sequence[float] | None) -> str | None:
    return None if values is None else " and ".join(f"{value:g}" for value in values)


def _time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
