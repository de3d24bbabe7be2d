"""What fine-tuning, an evaluation that trains the model, adds to the cost of a run.

A sample of fine-tuning is taken to cost as much as one of training. That is an upper bound as a
rule: it has one view and no text. Of a program the samples of a step are not known: nothing is
added to its cost before a run had it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

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

    The arguments are those of `list_pending`. 0 for the runs of a program.
    """
    names = list_pending(plan, arm, run)
    batch_size = _get_batch_size(plan, arm) if names else None
    return _sum_training_samples(plan, arm, names) / batch_size if batch_size else 0.0


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
            noun = "data set" if len(names) == 1 else "data sets"
            text = f"fine-tuning on {len(names)} {noun}"
            if _get_batch_size(plan, arm) is None:
                num_samples = _sum_training_samples(plan, arm, names)
                yield f"{text}, {num_samples:,} samples a run: in no estimate before a run had it"
            else:
                steps = (flatten(plan.base_config) | arm.config_diff)["train.steps"]
                yield (
                    f"{text} costs a run about as much as "
                    f"{count_pending_steps(plan, arm, run):,.0f} training steps (it has {steps:,})"
                )
            return


def _get_batch_size(plan: Plan, arm: Arm) -> int | None:
    """Return the samples of a training step; None for a program."""
    if plan.is_scored_by_program:
        return None
    batch_size: int = (flatten(plan.base_config) | arm.config_diff)["train.batch_size"]
    return batch_size


def _sum_training_samples(plan: Plan, arm: Arm, names: Iterable[str]) -> int:
    return sum(_count_training_samples(plan, arm, name) for name in names)


def _count_training_samples(plan: Plan, arm: Arm, name: str) -> int:
    """Return the samples of training that cost as much as fine-tuning an arm on a data set."""
    runtime = select_run_only(plan.base_config, arm.config_diff).get("runtime", {})
    recipe = custom.build_protocol(runtime.get("protocol", DEFAULT_PROTOCOL)).fine_tuning
    return recipe.count_training_samples(*count_published_images(datasets.get(name)))
