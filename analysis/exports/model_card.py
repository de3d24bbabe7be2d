"""The model card of a run: what it is, how it was trained, and its scores as the store has them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from huggingface_hub import EvalResult, ModelCardData

from analysis.exports.source import ExportedCell
from analysis.formatting import PLUS_MINUS, choose_proportion_format, make_number_format
from uniclip.store import Plan, Score, get_score_kind_traits

SETTINGS_SHOWN = (
    "method.name",
    "model.image.name",
    "model.image.image_size",
    "model.text.name",
    "model.embed_dim",
    "data.name",
    "train.steps",
    "train.batch_size",
    "train.learning_rate",
    "seed",
)
"""Keys of the configuration in the card; the others are in `uniclip/spec.json`."""
USAGE = {
    "transformers": (
        "from transformers import CLIPModel, CLIPProcessor\n\n"
        "model = CLIPModel.from_pretrained(folder)"
    ),
    "encoders": (
        "import timm\nfrom transformers import AutoModel\n\n"
        'image_encoder = timm.create_model(f"local-dir:{folder}/image")\n'
        'text_encoder = AutoModel.from_pretrained(f"{folder}/text")'
    ),
}
"""Format of the exported model -> code that loads it."""


def build_model_card(
    cell: ExportedCell, plan: Plan, arm_scores: Mapping[str, Sequence[float]], model_format: str
) -> str:
    """Return the card of a cell in Markdown, with its metadata as YAML.

    Args:
        cell: the cell, with its scores.
        plan: the plan of its sweep.
        arm_scores: score -> its values for all seeds of the arm that have it.
        model_format: "transformers" or "encoders".
    """
    metadata = ModelCardData(
        library_name="transformers" if model_format == "transformers" else "timm",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "contrastive-learning", "uniclip"],
        model_name=f"{plan.sweep_id} {cell.name}",
        eval_results=list(_list_results(cell)) or None,
    )
    arm = plan.get_arm(cell.arm)
    lines = [
        "---",
        metadata.to_yaml(),
        "---",
        "",
        f"# {cell.name} of {plan.sweep_id}",
        "",
        f"{plan.title} This is the model of arm `{cell.arm}` ({arm.label}), seed {cell.seed}: "
        f"run `{cell.run_id}`, {cell.status} after {cell.last_step} steps.",
        "",
        "```python",
        USAGE[model_format],
        "```",
        "",
        '`uniclip.load(f"{folder}/uniclip")` returns the whole model, with its heads and learned '
        "temperatures.",
        "",
        "## Training",
        "",
        "| key | value |",
        "|---|---|",
        *(f"| `{key}` | {cell.config[key]} |" for key in SETTINGS_SHOWN if key in cell.config),
        "",
        "## Scores",
        "",
        *_list_score_lines(cell, arm_scores),
        *(f"\n{caveat}" for caveat in plan.caveats),
    ]
    return "\n".join(lines) + "\n"


def _list_results(cell: ExportedCell) -> Iterator[EvalResult]:
    """Yield the scores as the Hub's metadata, unrounded and not in percent."""
    for name, score in cell.scores.items():
        dataset = _get_dataset(name, score)
        yield EvalResult(
            task_type="zero-shot-image-classification",
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type=score.name,
            metric_value=score.value,
        )


def _get_dataset(name: str, score: Score) -> str:
    """Return the data set of a score that is called `<data set>/<score>`."""
    return name[: -len(score.name) - 1] if name.endswith(f"/{score.name}") else name


def _list_score_lines(
    cell: ExportedCell, arm_scores: Mapping[str, Sequence[float]]
) -> Iterator[str]:
    if not cell.scores:
        yield "None: the run is not evaluated."
        return
    yield "| data set | score | this run | mean over seeds | seeds | test samples |"
    yield "|---|---|---:|---:|---:|---:|"
    for name, score in cell.scores.items():
        values = arm_scores.get(name, ())
        row = (
            *(_get_dataset(name, score), score.name, _format_value(score)),
            *(_format_mean(score, values), str(len(values)), str(score.num_samples)),
        )
        yield f"| {' | '.join(row)} |"
    yield ""
    yield f"Mean {PLUS_MINUS} standard deviation over the seeds of this arm."


def _format_value(score: Score) -> str:
    if get_score_kind_traits(score.kind).is_percent:
        return choose_proportion_format(score.value, score.num_samples).format_with_unit(
            score.value
        )
    return make_number_format(score.kind, None).format_with_unit(score.value)


def _format_mean(score: Score, values: Sequence[float]) -> str:
    """Return mean and standard deviation; the mean alone for one seed."""
    if not values:
        return ""
    if len(values) == 1:
        return make_number_format(score.kind, None).format_with_unit(values[0])
    deviation = statistics.stdev(values)
    number_format = make_number_format(score.kind, deviation / math.sqrt(len(values)))
    mean = number_format.format(statistics.fmean(values))
    return f"{mean} {PLUS_MINUS} {number_format.format_with_unit(deviation)}"
