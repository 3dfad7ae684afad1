"""The paper's numbers as data, and whether a measurement may be held against them.

Each metric knows its own numbers and reasons; here stands whose numbers a model is compared with.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from diffusion_tf.config import PRESETS, Config
from diffusion_tf.evaluation import reasons
from diffusion_tf.evaluation.likelihood_metrics import RATE_DISTORTION
from diffusion_tf.evaluation.metric import SIMPLE, Model, Numbers, in_report_order
from diffusion_tf.evaluation.sample_metrics import LSUN
from diffusion_tf.evaluation.schema import Evaluation, Row, plain

__all__ = ["CIFAR10", "RATE_DISTORTION", "compare_numbers", "compare_with_paper", "numbers_of"]


def numbers_of(model: Model) -> Numbers:
    """All of the paper's numbers for a model, empty if it has none."""
    return {k: v for m in in_report_order() for k, v in m.paper.get(model, {}).items()}


# By what the network predicts, the loss, and whether the variance is learned. Table 2 has no
# number for the other combinations. The bits/dim are upper bounds.
CIFAR10: dict[Model, Numbers] = {
    model: numbers_of(model)
    for model in (model for metric in in_report_order() for model in metric.paper)
    if isinstance(model, tuple)
}


def compare_with_paper(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every number that was measured, beside the paper's.

    Args:
        metrics: what `metrics.json` holds.

    Returns:
        A row for each number, its keys: `metric` (fid, is, bpd, rate, distortion, rmse; the
        likelihoods in bits/dim, rmse on the scale 0..255), `split` (train, test, None), `measured`,
        `paper` (None if it has no such number), `source` in the paper ("" if none), `fair`, a
        `sentence` with all that stands in the way of a comparison; and where they were measured
        `real` and `real_images`, see `schema.Row`.

    Raises:
        ValueError: metrics are not those of an evaluation, or the config in them is not one.
    """
    return [plain(row) for row in compare_numbers(Evaluation.from_json(metrics))]


def compare_numbers(evaluation: Evaluation) -> list[Row]:
    """The rows of `compare`.

    Raises:
        ValueError: the config in the evaluation is not one.
    """
    numbers, reference, missing = _reference(evaluation)
    in_model = list(reasons.in_model(evaluation, reference))
    rows = []
    for metric in in_report_order():
        for number, split, measured in metric.rows(evaluation):
            paper, source = numbers.get((number, split), (None, ""))
            against = [*in_model, *metric.reasons(evaluation, split)]
            notes = list(metric.notes(evaluation, number, split, paper))
            sentence = _sentence("" if paper is not None else missing, against, notes)
            fair = paper is not None and not against
            real = metric.real(evaluation, split) or (None, None)
            rows.append(Row(number, split, measured, paper, source, fair, sentence, *real))
    return rows


def said_once(evaluation: Evaluation, rows: Sequence[Row]) -> tuple[str, list[str]]:
    """What the sentences of all rows begin with where the paper has none of their numbers.

    Returns:
        That beginning, "" if the paper has some; and what is left of each sentence.
    """
    missing = _reference(evaluation)[2]
    sentences = [row.sentence for row in rows]
    if not all(row.paper is None and row.sentence.startswith(missing) for row in rows):
        return "", sentences
    return missing, [sentence.removeprefix(missing).strip() for sentence in sentences]


def _reference(evaluation: Evaluation) -> tuple[Numbers, Config | None, str]:
    """The paper's numbers for this model, their config, and what to say where there is none."""
    name = evaluation.data.name
    if name == "cifar10":
        preset = PRESETS[name]()
        own = evaluation.source.parsed_config() or preset
        learned = own.learns_variance
        numbers = CIFAR10.get((own.model_mean_type, own.loss_type, learned))
        if numbers is None:  # its nearest relative, from which the config then differs
            return CIFAR10[SIMPLE], preset, "The paper does not give this number."
        reference = dataclasses.replace(
            preset,
            model_mean_type=own.model_mean_type,
            loss_type=own.loss_type,
            model_var_type="learned" if learned else preset.model_var_type,
        )
        return numbers, reference, "The paper does not give this number for this model."
    if name in LSUN:
        missing = "Of LSUN, the paper gives no more than this FID."
        return numbers_of(name), PRESETS[name](), missing
    if name == "lsun":
        fids = ", ".join(f"{fid} ({category})" for category, fid in LSUN.items())
        return {}, None, f"Of which category of LSUN this is, is not recorded; table 3 has {fids}."
    return {}, None, f"The paper has no number for {name}."


def _sentence(missing: str, against: list[str], notes: list[str]) -> str:
    if missing:
        verdict = f"{missing} To mind in any comparison: " if against else missing
    else:
        verdict = "Not a fair comparison: " if against else "A fair comparison."
    verdict += "; ".join(against) + "." * bool(against)
    return " ".join([verdict, *filter(None, notes)])
