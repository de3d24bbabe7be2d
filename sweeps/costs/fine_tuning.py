"""What fine-tuning, an evaluation that trains the model, adds to the cost of a run.

A sample of fine-tuning is taken to cost as much as one of training. That is an upper bound as a
rule: it has one view and no text.
"""

from __future__ import annotations

from collections.abc import Iterator

from uniclip.config.compose import flatten
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.fine_tuning import count_published_images
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.protocols.published import DEFAULT_PROTOCOL
from uniclip.store import Arm, Plan, RunFolder


def list_fine_tuning(plan: Plan, arm: Arm) -> dict[str, str]:
    """Return data set -> evaluation hash, of those on which an arm is fine-tuned."""
    evaluations = plan.evaluation_hashes.get(arm.name, {})
    return {name: h for name, h in evaluations.items() if datasets.is_fine_tuning(name)}


def count_pending_steps(plan: Plan, arm: Arm, run: RunFolder | None = None) -> float:
    """Return the training steps of an arm that cost as much as its fine-tuning.

    Args:
        plan: The plan.
        arm: One of its arms.
        run: Data sets of which it has scores are left out; None: all count.
    """
    names = [
        name
        for name, evaluation_hash in list_fine_tuning(plan, arm).items()
        if run is None or not run.has_scores({name: evaluation_hash})
    ]
    if not names:
        return 0.0
    num_samples = sum(_count_training_samples(plan, arm, name) for name in names)
    batch_size: int = (flatten(plan.base_config) | arm.config_diff)["train.batch_size"]
    return num_samples / batch_size


def describe_fine_tuning(plan: Plan) -> Iterator[str]:
    """Yield what the fine-tuning of one run costs, in one line; nothing without any."""
    arm = next(a for a in plan.arms if a.name == plan.reference)
    names = list_fine_tuning(plan, arm)
    if names:
        steps = flatten(plan.base_config)["train.steps"]
        noun = "data set" if len(names) == 1 else "data sets"
        yield (
            f"fine-tuning on {len(names)} {noun} costs a run about as much as "
            f"{count_pending_steps(plan, arm):,.0f} training steps (it has {steps:,})"
        )


def _count_training_samples(plan: Plan, arm: Arm, name: str) -> int:
    """Return the samples of training that cost as much as fine-tuning an arm on a data set."""
    base_protocol = plan.base_config.get("runtime", {}).get("protocol", DEFAULT_PROTOCOL)
    protocol = arm.config_diff.get("runtime.protocol", base_protocol)
    recipe = custom.build_protocol(protocol).fine_tuning
    return recipe.count_training_samples(*count_published_images(datasets.get(name)))
