"""One self-contained HTML file that shows an evaluation: numbers, pictures, circumstances."""

import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_tf.evaluation.likelihood_metrics import BoundResult, CurveResult
from diffusion_tf.evaluation.metric import Metric, get_metric, in_report_order
from diffusion_tf.evaluation.report import plots
from diffusion_tf.evaluation.report.html import (
    Markup,
    element,
    facts,
    figure,
    join,
    number,
    page,
    row,
    table,
)
from diffusion_tf.evaluation.report.paper import RATE_DISTORTION, compare_numbers, said_once
from diffusion_tf.evaluation.schema import Evaluation, Row, Samples, Split
from diffusion_tf.utils.files import replacing

_WEIGHTS = {"ema": "averaged weights (EMA)", "raw": "raw weights"}
_KINDS = {"workdir": "a run", "original": "a run of the original", "images": "images"}
_MAX_CLASSES = 100  # rows of the table of classes
_MAX_ROWS = 12  # of the table of rate and distortion
_REAL = "real against real"
_ABOUT_REAL = (
    "Real against real is the distance between every second image of the split and the others: what"
    " samples as good as real images would reach, from so few."
)
_PAPER = (
    "Measured, and in the paper (Ho, Jain & Abbeel 2020, arXiv 2006.11239), which reports the"
    " checkpoint of the lowest FID in a run."
)


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
        ValueError: metrics are not those of an evaluation, or a picture is not a PNG.
        OSError: the file cannot be written.
    """
    evaluation = Evaluation.from_json(metrics)
    title = f"Evaluation of {evaluation.source.path}"
    body = [
        element("h1", title),
        element("p", _summary(evaluation), class_="soft"),
        _numbers(evaluation),
        *map(_picture, pictures),
        _bits_per_dim(evaluation),
        _rate_distortion(evaluation),
        _circumstances(evaluation),
    ]
    text = page(title, body)
    with replacing(path) as temporary:  # a file's name may not be valid Unicode
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _summary(evaluation: Evaluation) -> str:
    """What was measured, in a line."""
    source = evaluation.source
    parts = [
        _WEIGHTS.get(source.weights or ""),
        None if source.step is None else f"step {source.step:,}",
        f"data set {evaluation.data.name}",
        evaluation.created[:10],
    ]
    return " · ".join(filter(None, parts))


def _numbers(evaluation: Evaluation) -> Markup:
    """A group of rows for each sentence, which stands below them; columns that hold something."""
    comparison = evaluation.comparison or compare_numbers(evaluation)
    if not comparison:
        return Markup()
    once, sentences = said_once(evaluation, comparison)
    columns = ["measured"]
    if any(r.real is not None for r in comparison):
        columns.append(_REAL)
    if not once:
        columns += ["paper", "fair?"]
    labels = {n: _label(m, n, evaluation) for m in in_report_order() for n in m.numbers}
    groups = [
        [
            *(_number_row(labels.get(r.metric, r.metric), r, columns) for r, _ in group),
            *([_sentence_row(sentence, 2 + len(columns))] if sentence else []),
        ]
        for sentence, group in itertools.groupby(
            zip(comparison, sentences, strict=True), key=lambda pair: pair[1]
        )
    ]
    caption = [once or _PAPER, *["Bits/dim are upper bounds."] * ("bpd" in evaluation.measured)]
    if _REAL in columns:
        caption.append(_ABOUT_REAL)
    title = "Numbers" if once else "Numbers beside the paper's"
    return _section(title, table(" ".join(caption), ["", "split", *columns], groups))


def _label(metric: Metric, name: str, evaluation: Evaluation) -> Markup:
    """What a number is called, and which way is better."""
    better = element("small", f"{metric.numbers[name].better} is better")
    return join([metric.label(name, evaluation), better])


def _number_row(label: str, r: Row, columns: Sequence[str]) -> Markup:
    cells: dict[str, str | Markup] = {"measured": number(r.measured), "paper": "none", _REAL: ""}
    if r.real is not None:
        count = element("small", f"{_count(r.real_images)} against as many")
        cells[_REAL] = join([number(r.real), count])
    if r.paper is not None:
        cells["paper"] = join([number(r.paper), element("small", r.source)])
        word, class_ = ("yes", "good") if r.fair else ("no", "bad")
        cells["fair?"] = element("span", word, class_=class_)
    return row([label, r.split or "", *(cells.get(column, "") for column in columns)])


def _sentence_row(sentence: str, columns: int) -> Markup:
    return element("tr", element("td", sentence, colspan=columns), class_="sentence")


def _picture(picture: Picture) -> Markup:
    png = picture.png
    if not isinstance(png, bytes):
        if not Path(png).is_file():
            raise FileNotFoundError(f"There is no picture {png}; draw it, or leave it out.")
        png = Path(png).read_bytes()
    return _section(
        picture.title, figure(png, alt=picture.title, caption=picture.caption, pixels=True)
    )


def _bits_per_dim(evaluation: Evaluation) -> Markup:
    bounds: dict[str | None, BoundResult] = get_metric("bpd").results(evaluation)
    if not bounds:
        return Markup()
    rows = [row([split, *_parts(bound)]) for split, bound in bounds.items()]
    header = ["split", "total", "prior, L_T", "L_1 to L_T-1", "decoder, L_0", "images"]
    caption = "The variational bound and its parts, in bits/dim (eq. 5); ± is the standard error."
    figures = []
    if any(bound.terms is not None for bound in bounds.values()):
        figures.append(
            figure(
                plots.bpd_by_timestep(evaluation.measured["bpd"]),
                alt="Plot of the bound's terms over the timestep",
                caption="The terms of the bound, without the prior. At t = 0, on the left, it is"
                " the decoder's.",
            )
        )
    if any(bound.mse is not None for bound in bounds.values()):
        figures.append(
            figure(
                plots.mse_by_timestep(evaluation.measured["bpd"]),
                alt="Plot of the error of the predicted x_0 over the timestep",
                caption="Mean square error of the x_0 predicted from x_t, for pixels in [-1, 1].",
            )
        )
    contents = [table(caption, header, [rows]), element("div", *figures, class_="side")]
    return _section("Bits per dimension", *contents)


def _parts(bound: BoundResult) -> list[str]:
    total = number(bound.total)
    if bound.standard_error is not None:
        total += f" ± {bound.standard_error:.2g}"
    middle = bound.total - bound.prior - bound.decoder
    parts = [number(part) for part in (bound.prior, middle, bound.decoder)]
    return [total, *parts, _count(bound.num_images) or ""]


def _rate_distortion(evaluation: Evaluation) -> Markup:
    curves: dict[str | None, CurveResult] = get_metric("rate_distortion").results(evaluation)
    if not curves:
        return Markup()
    with_paper = evaluation.data.name == "cifar10"
    plot = figure(
        plots.rate_distortion(evaluation.measured["rate_distortion"], with_paper=with_paper),
        alt="Plots of distortion and rate over the reverse steps, and of one over the other",
        caption="What a receiver knows after so many steps of the reverse process, and how far the"
        " x_0 that it predicts is from the truth (section 4.3, figure 5).",
        wide=True,
    )
    columns: dict[str | None, dict[int, tuple[float, float]]] = {
        split: dict(zip(c.reverse_steps, zip(c.rate, c.distortion, strict=True), strict=True))
        for split, c in curves.items()
    }
    if with_paper:
        columns["paper, test"] = {step: (rate, rmse) for step, rate, rmse in RATE_DISTORTION}
    header = ["reverse steps"]
    for name in columns:
        header += [f"{name}: rate", f"{name}: RMSE"]
    rows = []
    for step in _some(next(iter(curves.values())).reverse_steps):
        cells = [f"{step:,}"]
        for values in columns.values():
            cells += [number(value) for value in values[step]] if step in values else ["", ""]
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


def _circumstances(evaluation: Evaluation) -> Markup:
    source, device = evaluation.source, evaluation.device
    contents = [
        facts(
            "What was evaluated",
            [
                ("kind", _KINDS.get(source.kind, source.kind)),
                ("path", source.path),
                ("step", _count(source.step)),
                ("weights", _WEIGHTS.get(source.weights or "")),
            ],
        ),
        _samples(evaluation.samples),
        _features(evaluation),
        _splits(evaluation.data.splits),
        facts("Bits per dimension", _likelihood_facts(get_metric("bpd").results(evaluation))),
        facts(
            "Software and device",
            [
                *evaluation.versions.items(),
                ("device", f"{device.number} x {device.kind}, {device.name}"),
                ("TF32 instead of float32", _yes_no(device.tf32)),
                ("created", evaluation.created),
            ],
        ),
        facts("Time taken, h:mm:ss", [(k, _time(s)) for k, s in evaluation.seconds.items()]),
    ]
    return _section(
        "How it was measured", element("div", *contents, class_="columns"), _config(source.config)
    )


def _samples(samples: Samples | None) -> Markup:
    samples = samples or Samples()
    return facts(
        "Samples",
        [
            ("path", samples.path),
            ("number N", _count(samples.num_samples)),
            ("sampler", samples.sampler),
            ("sampling steps", _count(samples.sampling_steps)),
            ("eta", samples.eta),
            ("predictions clipped", _yes_no(samples.clip_denoised)),
            ("T of training", _count(samples.T)),
            ("variance", samples.variance),
            ("seed", samples.seed),
            ("dtype", samples.dtype),
            ("black and white", _pair(samples.range)),
            ("cropped and resized", _yes_no(samples.resized)),
            ("batch size", samples.batch_size),
        ],
    )


def _features(evaluation: Evaluation) -> Markup:
    features, score = evaluation.features, get_metric("is").results(evaluation).get(None)
    distance = next(iter(get_metric("fid").results(evaluation).values()), None)
    return facts(
        "Features",
        [
            ("of", features and features.name),
            ("dimensions", distance and _count(distance.dimensions)),
            ("preprocessing", features and features.preprocessing),
            ("rounded to 8 bits", features and _yes_no(features.quantized)),
            ("SHA-256 of the graph", features and features.graph_sha256),
            ("parts of the Inception score", score and score.num_splits),
            ("Inception score of all", score and number(score.value)),
        ],
    )


def _splits(splits: Mapping[str, Split]) -> Markup:
    if not splits:
        return Markup()
    rows = [
        row([name, _count(s.num_images), _count(s.of), element("code", s.fingerprint[:16])])
        for name, s in splits.items()
    ]
    caption = "Real images, and the first digits of the fingerprint of their content."
    counts = table(caption, ["split", "used", "of", "fingerprint"], [rows])
    return join([counts, _classes(splits)])


def _classes(splits: Mapping[str, Split]) -> Markup:
    """How many real images of each class there are, where classes have names."""
    by_split = {name: s.classes for name, s in splits.items() if s.classes}
    if not by_split:
        return Markup()
    names = list(dict.fromkeys(name for classes in by_split.values() for name in classes))
    rows = [
        row([name, *(_count(classes.get(name, 0)) or "0" for classes in by_split.values())])
        for name in names[:_MAX_CLASSES]
    ]
    more = f" The first {_MAX_CLASSES} of {len(names)}." if len(names) > _MAX_CLASSES else ""
    caption = f"Real images that are used of each class.{more}"
    return table(caption, ["class", *by_split], [rows])


def _likelihood_facts(bounds: Mapping[str | None, BoundResult]) -> list[tuple[str, Any]]:
    return [
        (f"{name}, {split}", value)
        for split, bound in bounds.items()
        for name, value in (
            ("seed", bound.seed),
            ("predictions clipped", _yes_no(bound.clip_denoised)),
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


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _pair(values: Sequence[float] | None) -> str | None:
    return None if values is None else " and ".join(f"{value:g}" for value in values)


def _time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
