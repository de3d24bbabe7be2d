"""Predictions of a plan: on which contrasts, and a hash that fixes what they were made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ablations.designs.validation import select_predicted
from ablations.schema import Ablation
from uniclip.errors import UserError
from uniclip.io.hashing import digest
from uniclip.store import Contrast, Plan, Prediction


def add_predictions(plan: Plan, ablation: Ablation) -> Plan:
    """Return the plan with the predictions of the ablation, and those that it cannot grade."""
    plan = replace(
        plan,
        predictions=resolve_predictions(ablation, plan.contrasts),
        skipped=(*plan.skipped, *describe_ungraded_predictions(ablation, plan.contrasts)),
    )
    return replace(plan, predictions_digest=compute_predictions_digest(plan))


def check_null_predictions(plan: Plan) -> None:
    """Raise `UserError` if an effect is predicted to be null and its score has no margin."""
    metric = plan.primary_metric
    if plan.get_margin(metric.dataset, metric.metric) is not None:
        return
    for prediction in plan.predictions:
        if prediction.sign == "null":
            raise UserError(
                f"ablation {plan.ablation}: predictions: {prediction.description} needs a margin "
                f"of {metric.metric}: declare it in the ablation, or give margin="
            )


def resolve_predictions(
    ablation: Ablation, contrasts: Sequence[Contrast]
) -> tuple[Prediction, ...]:
    """Return a prediction for each contrast of the plan that the declared ones are on."""
    return tuple(
        replace(prediction, contrast=contrast.name, component=contrast.component or "")
        for prediction in ablation.predictions
        for contrast in select_predicted(prediction, contrasts)
    )


def describe_ungraded_predictions(ablation: Ablation, contrasts: Sequence[Contrast]) -> list[str]:
    """Return a sentence for each prediction on a contrast that this plan does not have."""
    return [
        f"not graded: {prediction.description} (its arms are not in this sweep, or share their "
        "runs)"
        for prediction in ablation.predictions
        if not select_predicted(prediction, contrasts)
    ]


def compute_predictions_digest(plan: Plan) -> str:
    """Return the hash of the predictions, the configurations and the rules by which they are
    graded; seeds may be added later. Empty without predictions."""
    if not plan.predictions:
        return ""
    return digest(
        {
            "sweep": plan.sweep_id,
            "predictions": [[p.contrast, p.sign, p.reason] for p in plan.predictions],
            "contrasts": [[c.name, c.primary, sorted(c.weights.items())] for c in plan.contrasts],
            "metrics": [[m.dataset, m.metric] for m in plan.primary_metrics],
            "looks": [[look.num_seeds, look.level] for look in plan.looks],
            "margins": [[m.dataset, m.metric, m.value] for m in plan.margins],
        }
    )
