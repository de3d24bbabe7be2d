"""Command lines that answer the findings of a review."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from analysis.review.finding import CommandWords, Finding, has_evaluated_models
from uniclip.commands.definition import EXECUTOR
from uniclip.config.override_keys import get_key, replace_overrides
from uniclip.store import Plan, Store
from uniclip.store.sweep_records import IMPORTED

TRAINING_SECTIONS = ("train.", "data.", "model.", "method.", "views.")
"""Sections of the configuration that a sweep of another program's runs does not have."""
DEFAULT_STORE = "store"
TUNE_KEYS = (
    *("n_trials", "space", "sampler", "sampler_options", "pruner", "pruner_options", "storage"),
    *("tuning_seeds", "parallel_trials", "sampler_seed"),
)
"""Keys of `sweeps.tuning.tuner.TuneConfig`, which a sweep that is not tuned does not take."""


def format_command_lines(
    finding: Finding, plan: Plan, store_words: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the command lines that answer a finding: "run ablation=components seeds=8".

    Runs that were imported have no command that runs more of them, those of another program none
    that tunes, or sets a key of this package's training.

    Args:
        finding: the finding.
        plan: the plan that was reviewed.
        store_words: the word that names the store, if it is not the default one.
    """
    return tuple(
        shlex.join([*build_command_line(words, plan), *store_words])
        for words in finding.remedy.commands
        if _is_applicable(words, plan)
    )


def list_store_words(store: Store) -> list[str]:
    """Return the word that names a store; nothing for the default one."""
    return [] if store.root == Store(DEFAULT_STORE).root else [f"store={store.root}"]


def _is_applicable(words: CommandWords, plan: Plan) -> bool:
    """Return whether a command exists for the runs of a plan."""
    if words.command == "report" or plan.executor not in (IMPORTED, EXECUTOR):
        return True
    if plan.executor == IMPORTED or words.command == "tune":
        return False
    keys = {get_key(word) for word in words.changes}
    return (has_evaluated_models(plan) or "benchmark" not in keys) and not any(
        key.startswith(TRAINING_SECTIONS) for key in keys
    )


def build_command_line(words: CommandWords, plan: Plan) -> list[str]:
    """Return the words of a command line, without the store.

    A command that extends a sweep takes its id; one that makes another sweep takes the words that
    made it, with the changes (of a plan from before words were recorded, those that are known).
    """
    base_plan = words.plan or plan
    command = words.command
    if command == "report":
        return [command, base_plan.sweep_id]
    if words.same_sweep:
        is_tuned = base_plan.tuning is not None
        return ["tune" if is_tuned else command, base_plan.sweep_id, *words.changes]
    known = (f"ablation={base_plan.ablation}", f"budget={base_plan.budget}")
    recorded = base_plan.overrides or (*known, f"data={base_plan.data}")
    merged = replace_overrides(recorded, words.changes)
    if command == "run":
        merged = [word for word in merged if get_key(word) not in TUNE_KEYS]
    return [command, *merged]
