"""The scores on which the contrasts of an ablation are tested."""

from __future__ import annotations

from ablations.schema import Ablation
from uniclip.config import DataConfig
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.store import Margin, Plan, PrimaryMetric


def get_primary_metrics(
    ablation: Ablation, data_config: DataConfig
) -> tuple[PrimaryMetric, PrimaryMetric | None]:
    """Return primary and co-primary score: what the ablation names, or else what the data declare.

    The co-primary score that the data declare is a more sensitive form of the primary one that they
    declare: it stands beside no other score.

    Raises:
        UserError: neither names a primary score, or the ablation is for other data.
    """
    source, named = data_config.name, ablation.primary_metrics
    primary = named.get(source) if named else data_config.primary_score
    if primary is None:
        named_text = f"; it has one for {', '.join(sorted(named))}" if named else ""
        raise UserError(
            f"ablation {ablation.name} declares no primary score for data={source}{named_text}"
        )
    is_declared_by_data = primary == data_config.primary_score
    sensitive_score = data_config.sensitive_score if is_declared_by_data else None
    co_primary = ablation.co_primary_metrics.get(source, sensitive_score)
    primary_metric = PrimaryMetric(dataset=source, metric=primary)
    if co_primary is None or co_primary == primary:
        return primary_metric, None
    return primary_metric, PrimaryMetric(dataset=source, metric=co_primary)


def select_margins(ablation: Ablation, plan: Plan) -> tuple[Margin, ...]:
    """Return the margins of the primary scores of a plan.

    Raises:
        UserError: a margin is of another score.
    """
    dataset, metrics = plan.primary_metric.dataset, [m.metric for m in plan.primary_metrics]
    margins = [m for m in ablation.build_margins() if m.dataset == dataset]
    for margin in margins:
        if margin.metric not in metrics:
            error = make_unknown_name_error("primary score", margin.metric, metrics)
            raise UserError(f"ablation {ablation.name}: margins.{dataset}: {error}")
    return tuple(margins)


def describe_missing_primary_score(plan: Plan) -> list[str]:
    """Return that the data set of the primary score is not evaluated, if so."""
    dataset, metric = plan.primary_metric.dataset, plan.primary_metric.metric
    evaluated_datasets = {name for hashes in plan.evaluation_hashes.values() for name in hashes}
    if dataset in evaluated_datasets | set(plan.missing_datasets):
        return []
    return [
        f"the primary score, {metric} of {dataset}, is not evaluated and will be n/a: add "
        f"{dataset} to benchmark="
    ]
