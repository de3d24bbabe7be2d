"""The evaluations of runs of a command: the program's own scores, and those of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.plan import plan
from ablations.plan.plan import PlanRequest
from ablations.schema import Ablation
from uniclip.commands import evaluation
from uniclip.commands.definition import CommandDefinition
from uniclip.commands.score_file import compute_evaluation_hash
from uniclip.commands.template import render_text
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.store import Margin, PrimaryMetric


@dataclass(frozen=True, kw_only=True)
class CommandEvaluations:
    """On what the runs of a command are scored; the fields are as those of a plan."""

    benchmark: tuple[str, ...]
    """The data sets, that of the program's own scores first if it writes any."""
    hashes: dict[str, dict[str, str]]
    missing_datasets: dict[str, str]
    missing_probe_data: dict[str, str]
    primary_metric: PrimaryMetric
    co_primary_metric: PrimaryMetric | None
    margins: tuple[Margin, ...]
    notes: tuple[str, ...]
    """What the user should know of the primary score."""


def resolve_evaluations(
    request: PlanRequest,
    definition: CommandDefinition,
    runtime: Mapping[str, Any],
    arm_values: Mapping[str, Mapping[str, Any]],
) -> CommandEvaluations:
    """Return the evaluations of every arm.

    Args:
        request: The request of the user.
        definition: The program.
        runtime: The section `runtime` of the plan.
        arm_values: Arm -> the values of its command line.

    Raises:
        UserError: there is no such data set, or a checkpoint and no data set is named.
    """
    folder = Path(request.ablation.folder)
    names = _list_benchmark(request, definition, next(iter(arm_values.values())))
    own_names = (definition.dataset,) if definition.scores else ()
    own_hashes = {name: compute_evaluation_hash(definition) for name in own_names}
    config = evaluation.build_evaluation_config(runtime, names)
    hashes, missing_datasets, missing_probe_data = plan.resolve_evaluations(
        dict.fromkeys(arm_values, config), request.cache_path
    )
    for arm, values in arm_values.items():
        if names:
            checkpoint = evaluation.describe_checkpoint(definition, folder, values)
            hashes[arm] = {
                name: evaluation.hash_evaluation(protocol_hash, checkpoint)
                for name, protocol_hash in hashes[arm].items()
            }
    benchmark = (*own_names, *names)
    primary_metric = _select_primary_metric(request.ablation, definition, benchmark)
    return CommandEvaluations(
        benchmark=benchmark,
        hashes={arm: {**own_hashes, **hashes[arm]} for arm in arm_values},
        missing_datasets=missing_datasets,
        missing_probe_data=missing_probe_data,
        primary_metric=primary_metric,
        co_primary_metric=_select_co_primary_metric(request.ablation, definition, primary_metric),
        margins=_select_margins(request.ablation, definition, benchmark),
        notes=_describe_other_primary_metrics(request.ablation, primary_metric, benchmark),
    )


def _list_benchmark(
    request: PlanRequest, definition: CommandDefinition, values: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the data sets on which the checkpoint is evaluated."""
    if not definition.checkpoint:
        return ()
    entries: Any = request.overrides.get("benchmark")
    if entries is None:
        substitutions = {**values, "here": request.ablation.folder}
        entries = [render_text(template, substitutions) for template in definition.benchmark]
    names = evaluation.expand_benchmark([entries] if isinstance(entries, str) else list(entries))
    if not names and not definition.scores:
        raise UserError(
            f"ablation {request.ablation.name} has a checkpoint and no scores: name the data sets "
            "on which it is evaluated (benchmark=...)"
        )
    return names


def _select_primary_metric(
    ablation: Ablation, definition: CommandDefinition, benchmark: Sequence[str]
) -> PrimaryMetric:
    """Return the primary score: what the ablation names, the program's first one, or the usual one
    of the first data set.

    Raises:
        UserError: there is no such score, or the first data set has no usual one.
    """
    named = ablation.primary_metrics
    dataset = next((name for name in benchmark if name in named), benchmark[0])
    if dataset == definition.dataset:
        score = named.get(dataset) or definition.primary_score
        if score not in definition.scores:
            raise make_unknown_name_error("score", str(score), definition.scores)
        return PrimaryMetric(dataset=dataset, metric=str(score))
    score = named.get(dataset) or evaluation.get_primary_score(dataset)
    if score is None:
        raise UserError(
            f"ablation {ablation.name} names no primary score of {dataset}: write "
            f"primary_metrics: {{{dataset}: <score>}}"
        )
    return PrimaryMetric(dataset=dataset, metric=score)


def _select_co_primary_metric(
    ablation: Ablation, definition: CommandDefinition, primary: PrimaryMetric
) -> PrimaryMetric | None:
    """Return the second score that the ablation names for the data set of the primary one.

    Raises:
        UserError: the program writes no such score.
    """
    score = ablation.co_primary_metrics.get(primary.dataset)
    if score is None or score == primary.metric:
        return None
    if primary.dataset == definition.dataset and score not in definition.scores:
        raise make_unknown_name_error("score", score, definition.scores)
    return PrimaryMetric(dataset=primary.dataset, metric=score)


def _describe_other_primary_metrics(
    ablation: Ablation, primary: PrimaryMetric, benchmark: Sequence[str]
) -> tuple[str, ...]:
    """Return which of several declared primary scores is the primary one, if there are several."""
    others = [n for n in benchmark if n in ablation.primary_metrics and n != primary.dataset]
    if not others:
        return ()
    return (
        f"primary_metrics names several data sets: the primary score is {primary.metric} of "
        f"{primary.dataset}, the first of them in benchmark; {', '.join(others)}: secondary",
    )


def _select_margins(
    ablation: Ablation, definition: CommandDefinition, benchmark: Sequence[str]
) -> tuple[Margin, ...]:
    """Return the declared margins.

    Raises:
        UserError: one is of a score that does not exist.
    """
    margins = ablation.build_margins()
    for margin in margins:
        is_own = margin.dataset == definition.dataset and margin.metric in definition.scores
        if not is_own and margin.dataset not in set(benchmark) - {definition.dataset}:
            raise UserError(
                f"ablation {ablation.name}: margins.{margin.dataset}.{margin.metric}: with a "
                f"command write margins: {{{definition.dataset}: {{<score>: ...}}}}"
            )
    return margins
