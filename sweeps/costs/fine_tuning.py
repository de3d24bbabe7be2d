"""What fine-tuning, an evaluation that trains the model, adds to the cost of a run.

A sample of fine-tuning is taken to cost as much as one of training. That is an upper bound as a
rule: it has one view and no text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from uniclip.config import select_run_only
from uniclip.config.compose import flatten
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.fine_tuning import count_published_images
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.protocols.published import DEFAULT_PROTOCOL
from uniclip.store import Arm, Plan, RunFolder, Store


def list_fine_tuning(plan: Plan, arm: Arm) -> dict[str, str]:
    """Return data set -> evaluation hash, of those on which an arm is fine-tuned."""
    evaluations = plan.evaluation_hashes.get(arm.name, {})
    return {name: h for name, h in evaluations.items() if datasets.is_fine_tuning(name)}


def list_pending(plan: Plan, arm: Arm, run: RunFolder | None = None) -> list[str]:
    """Return the data sets on which an arm is fine-tuned.

    Args:
        plan: The plan.
        arm: One of its arms.
        run: Data sets of which it has scores are left out; None: all count.
    """
    return [
        name
        for name, evaluation_hash in list_fine_tuning(plan, arm).items()
        if run is None or not run.has_scores({name: evaluation_hash})
    ]


def count_pending_steps(plan: Plan, arm: Arm, run: RunFolder | None = None) -> float:
    """Return the training steps of an arm that cost as much as its fine-tuning.

    The arguments are those of `list_pending`.
    """
    names = list_pending(plan, arm, run)
    if not names:
        return 0.0
    num_samples = sum(_count_training_samples(plan, arm, name) for name in names)
    batch_size: int = (flatten(plan.base_config) | arm.config_diff)["train.batch_size"]
    return num_samples / batch_size


def describe_fine_tuning(store: Store, plan: Plan, runs: Collection[str]) -> Iterator[str]:
    """Yield what the fine-tuning of one run costs, in one line; nothing without any.

    Args:
        store: The store.
        plan: The plan.
        runs: The runs that are executed. The line is about the first that is fine-tuned, one of the
            reference arm if there is one.
    """
    for cell in sorted(plan.cells, key=lambda c: c.arm != plan.reference):
        arm = plan.get_arm(cell.arm)
        if cell.run_id not in runs or not list_fine_tuning(plan, arm):
            continue
        run = store.get_run(cell.run_id)
        if names := list_pending(plan, arm, run):
            steps = (flatten(plan.base_config) | arm.config_diff)["train.steps"]
            noun = "data set" if len(names) == 1 else "data sets"
            yield (
                f"fine-tuning on {len(names)} {noun} costs a run about as much as "
                f"{count_pending_steps(plan, arm, run):,.0f} training steps (it has {steps:,})"
            )
            return


def _count_training_samples(plan: Plan, arm: Arm, name: str) -> int:
    """Return the samples of training that cost as much as fine-tuning an arm on a data set."""
    runtime = select_run_only(plan.base_config, arm.config_diff).get("runtime", {})
    recipe = custom.build_protocol(runtime.get("protocol", DEFAULT_PROTOCOL)).fine_tuning
    return recipe.count_training_samples(*count_published_images(datasets.get(name)))
