"""Finished sweeps for reviews: real plans of command lines, and records with chosen numbers."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np

from analysis.review.checks import review_sweep
from analysis.review.finding import Finding
from sweeps.config.request import parse_request
from sweeps.config.selection import expand_names, find_sweep
from sweeps.review.proposal import build_proposal
from sweeps.tuning.tuner import build_tuner
from tests.helpers.command_line import execute
from tests.helpers.store_records import make_claim_record, make_outcome
from uniclip import rng
from uniclip.evaluate.checks import near_duplicates
from uniclip.io.atomic import append_jsonl, write_once
from uniclip.store import Cell, DatasetScores, Plan, Score, Store, Trial, TunedArm, Tuning
from uniclip.store.json_io import to_json_bytes

WORDS = ("ablation=controls", "data=scenes", "budget=smoke", "arms=[uniclip,clip-equal-forwards]")
"""Two arms, trained with equal forward passes, and their primary contrast."""
COMPONENTS = ("ablation=components", "data=scenes", "budget=smoke")
CROSSED = "arms=[full,no-domain-similarity,no-mp-nce,no-mp-nce-domain-similarity,no-awareness,"
CROSSED += "no-awareness-domain-similarity,no-awareness-mp-nce,none]"
WITH_OTHER_CELLS = ("aliased_effects", "mixed_versions")
"""Checks whose cells are not of the sweep's own arms, or have a result already."""
REFERENCE, OTHER = "uniclip", "clip-equal-forwards"
TWO_DATASETS = ("scenes", "cifar10")
NUM_SAMPLES = 500
KINDS = {
    "retrieval.caption.r1": ("recall", 0.01),
    "retrieval.caption.log_likelihood": ("log_likelihood", -4.6),
    "zeroshot": ("accuracy", 0.1),
}
"""Score -> its kind and chance level."""
SCORES = {"scenes": (*KINDS,)[:2], "cifar10": ("zeroshot",)}
SMALLER_WORDS = ("train.batch_size=32",)
"""The same sweep at another scale."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happened in a sweep; by default nothing that a reviewer would attack."""

    words: tuple[str, ...] = WORDS
    seeds: str = "seeds=5"
    datasets: tuple[str, ...] = TWO_DATASETS
    effect: float = 0.1
    """How much better the reference arm is than all others, on shares."""
    base: float = 0.5
    noise: float = 0.004
    seed_noise: float = 0.01
    """Standard deviation of what a seed does to all arms."""
    unfinished: Collection[tuple[str, int]] = ()
    diverged: Collection[tuple[str, int]] = ()
    other_code: Collection[tuple[str, int]] = ()
    knockout: Mapping[str, float] = field(default_factory=dict)
    """Component -> change of the validation loss; without it, 0.3."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further arrays that each run saves with its scores on cifar10."""
    change: Callable[[Plan], Plan] = lambda plan: plan
    is_tuned: bool = True
    has_other_scale: bool = True


def write_sweep(root: Path, story: Story) -> tuple[Store, Plan]:
    """Write a sweep, its tuned arms and a sweep of another scale; return the first."""
    store = Store(root)
    with mock.patch("os.fsync"):  # nothing here must outlast a crash of the machine
        plan = story.change(_write_planned(store, story, story.words, story.seeds))
        store.get_sweep(plan.sweep_id).write_plan(plan)
        if story.has_other_scale:
            smaller = replace(story, unfinished=(), diverged=())
            _write_planned(store, smaller, (*story.words, *SMALLER_WORDS), "seeds=1")
        if story.is_tuned:
            tuned = replace(
                plan, sweep_id=f"{plan.ablation}-tuned-1234abcd", tuning=make_tuning(plan)
            )
            store.get_sweep(tuned.sweep_id).write_plan(tuned)
    return store, plan


def make_tuning(plan: Plan, **changes: object) -> Tuning:
    """Return how the arms of a plan were tuned: alike, with optima inside the space."""
    best = Trial(
        number=3,
        params={"train.learning_rate": 2e-3},
        rung_scores={"0": 0.5},
        completed=True,
        steps=240,
    )
    arms = tuple(
        TunedArm(
            arm=arm.name, best_trial=best, default_score=0.4, n_trials=8, n_pruned=0, n_diverged=0,
            steps=8 * 240, at_boundary={},
        )
        for arm in plan.arms
    )  # fmt: skip
    tuning = Tuning(
        default_sweep=plan.sweep_id, space="optimizer", pruner="none", n_trials=8, seeds=(1000,),
        arms=arms,
        dimensions={"train.learning_rate": {"low": 2e-4, "high": 2e-2, "log": True}},
    )  # fmt: skip
    return replace(tuning, **changes)  # type: ignore[arg-type]


def _write_planned(store: Store, story: Story, words: tuple[str, ...], seeds: str) -> Plan:
    request = parse_request([*words, seeds, f"store={store.root}"])
    resolved_plan = request.build_plan()
    plan = resolved_plan.plan
    hashes = {
        arm: {name: evaluations.get(name, "0000c1fa") for name in story.datasets}
        for arm, evaluations in plan.evaluation_hashes.items()
    }
    plan = replace(plan, evaluation_hashes=hashes)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    for cell in plan.cells:
        run = store.get_run(cell.run_id)
        if (cell.arm, cell.seed) not in story.unfinished and not run.has_spec():
            run.write_spec(resolved_plan.specs[cell.run_id])
            write_run(store, plan, cell, story)
    return plan


def write_run(store: Store, plan: Plan, cell: Cell, story: Story) -> None:
    """Write the records of a finished run."""
    run = store.get_run(cell.run_id)
    attempt = run.claim_attempt(1, make_claim_record())
    assert attempt is not None
    diverged = (cell.arm, cell.seed) in story.diverged
    names = [component.name for component in plan.components]
    knockout = {name: story.knockout.get(name, 0.3) for name in names}
    changes = {"augmentation_encoder": 0.5, "image_head": 0.5, "similarity": 0.5}
    if any(abs(change) < 0.01 for change in knockout.values()):
        changes = dict.fromkeys(changes, 0.001)
    record = {"step": 240, "phase": "knockout", "knockout_effect": knockout}
    append_jsonl(attempt.metrics_path, {**record, "relative_change": changes})
    other = (cell.arm, cell.seed) in story.other_code
    run.write_outcome(
        make_outcome(
            kind="diverged" if diverged else "trained",
            step=240,
            training_hash="other" if other else "t",
            numerics_class={"device": "cpu"},
            weights_digest=None if diverged else "w" * 32,
            cost={"training_seconds": 60.0, "seconds_per_step": 0.25},
        )
    )
    for dataset in () if diverged else story.datasets:
        _write_scores(store, plan, cell, story, dataset)


def _write_scores(store: Store, plan: Plan, cell: Cell, story: Story, dataset: str) -> None:
    run, evaluation = store.get_run(cell.run_id), plan.evaluation_hashes[cell.arm][dataset]
    scores = tuple(
        Score(
            name=name,
            value=_draw_value(plan, cell, story, name),
            kind=KINDS[name][0],  # type: ignore[arg-type]
            chance=KINDS[name][1],
            num_samples=NUM_SAMPLES,
        )
        for name in SCORES[dataset]
    )
    stream = io.BytesIO()
    arrays = story.arrays if dataset == "cifar10" else {}
    np.savez(stream, allow_pickle=False, ids=np.arange(NUM_SAMPLES), **arrays)
    write_once(run.predictions_path(dataset, evaluation), stream.getvalue())
    dataset_scores = DatasetScores(
        dataset=dataset,
        evaluation_hash=evaluation,
        protocol={"protocol": "clip2021"},
        weights_digest="w" * 32,
        scores=scores,
    )
    write_once(run.scores_path(dataset, evaluation), to_json_bytes(dataset_scores))


def _draw_value(plan: Plan, cell: Cell, story: Story, name: str) -> float:
    """Return a score: an effect of each component and of the reference, a seed's, and noise."""
    levels = plan.get_arm(cell.arm).levels
    is_reference = cell.arm == plan.reference
    size = sum(levels.values()) / len(levels) if levels else float(is_reference)
    draws = np.random.Generator(np.random.Philox(key=rng.derive_key("run", cell.arm, cell.seed)))
    by_seed = np.random.Generator(np.random.Philox(key=rng.derive_key("seed", cell.seed)))
    value = story.effect * size + story.noise * draws.normal() + story.seed_noise * by_seed.normal()
    if KINDS[name][0] == "log_likelihood":
        return float(-2 + 10 * value)
    return float(min(1.0, max(0.0, story.base + value)))


def assert_only_finding(root: Path, name: str) -> Finding:
    """Check that a review of the sweep with a planted flaw finds this flaw alone, with numbers, and
    that its commands can be run; return the finding."""
    story, texts = FLAWS[name]
    store, plan = write_sweep(root, story)
    findings = review_sweep(store, plan)
    assert [f.check for f in findings] == [name], [(f.check, f.evidence) for f in findings]
    (finding,) = findings
    evidence = " ".join(finding.evidence)
    assert all(text in evidence for text in texts), evidence
    assert finding.reason
    assert finding.remedy.description
    assert_commands_are_valid(store, plan, findings)
    return finding


def assert_commands_are_valid(store: Store, plan: Plan, findings: Sequence[Finding]) -> None:
    """Check that `plan` accepts the words of each command, or `tune` does; nothing is run."""
    for finding in findings:
        for line in build_proposal(finding, store, plan, {}, 0).command_lines:
            command, *words = shlex.split(line)
            names = [word for word in words if "=" not in word]
            overrides = [word for word in words if "=" in word]
            if command == "report":
                assert find_sweep(store, names[0]) is not None
            elif command == "tune":
                expanded, stored_plan, _ = expand_names("tune", names, overrides)
                assert build_tuner(expanded, stored_plan).resolved_plan.plan.cells
            else:
                assert command == "run"
                assert_priced_arms_are_open(words, finding)


def assert_priced_arms_are_open(words: Sequence[str], finding: Finding) -> None:
    """Check that a command would run cells of arms that are priced, and of no others."""
    output = io.StringIO()
    with redirect_stdout(output):
        assert execute("plan", *words, "--json") == 0, words
    records = json.loads(output.getvalue())
    open_arms = {r["cell"].split("/")[0] for r in records if r["status"] == "pending"}
    if finding.check not in WITH_OTHER_CELLS:
        assert open_arms <= set(finding.remedy.runs), words
        assert bool(open_arms) == bool(finding.remedy.runs), words


def plant_change(plan: Plan) -> Plan:
    """Return the plan with a rule that was changed."""
    return replace(plan, rule_changes=("The margin was changed after runs had started.",))


def plant_provenance_note(plan: Plan) -> Plan:
    """Return the plan with runs whose ids do not cover the program."""
    return replace(plan, provenance_notes=("Provenance unverified: train.py is not declared.",))


def plant_half_fraction(plan: Plan) -> Plan:
    """Return the plan with half of the crossed arms, in which each effect has an alias."""
    arms = tuple(a for a in plan.arms if sum(a.levels.values()) % 2)
    names = {a.name for a in arms}
    contrasts = tuple(
        replace(
            c,
            weights={a.name: (0.5 if a.levels[c.component] else -0.5) for a in arms},
        )
        for c in plan.contrasts
        if c.kind == "main" and c.component
    )
    hashes = {name: h for name, h in plan.evaluation_hashes.items() if name in names}
    cells = tuple(c for c in plan.cells if c.arm in names)
    return replace(plan, arms=arms, contrasts=contrasts, cells=cells, evaluation_hashes=hashes)


def plant_leak() -> dict[str, np.ndarray]:
    """Return the arrays of a run with 40 leaked test images, which it recognizes."""
    labels = np.full(NUM_SAMPLES, near_duplicates.DISTINCT)
    labels[:40] = near_duplicates.DUPLICATE
    return {"near_duplicate": labels, "zeroshot": np.arange(NUM_SAMPLES) < NUM_SAMPLES // 2}


FLAWS: dict[str, tuple[Story, Sequence[str]]] = {
    "unfinished_cells": (
        Story(unfinished=[(OTHER, 5)], seeds="seeds=6"),
        (f"1 of 12 cells: {OTHER}/5 (pending)", "5 of 6 seeds are paired"),
    ),
    "unequal_compute": (
        Story(words=(*WORDS[:3], "arms=[uniclip,clip]")),
        ("image forward passes 46,080 vs. 15,360",),
    ),
    "untuned_arms": (Story(is_tuned=False), ("2 arms share", "train.learning_rate=0.001")),
    "too_few_seeds": (
        Story(effect=0.002, noise=0.02),
        ("unresolved at 5 seeds", "MDE", "margin 1.0 pp"),
    ),
    "best_of_seeds": (Story(seeds="seeds=[0,1,2,3,4,7,9]"), ("left out between them: 5, 6, 8",)),
    "unequal_divergence": (
        Story(seeds="seeds=6", diverged=[(OTHER, 5), (OTHER, 4)]),
        (f"{OTHER} 2", "with diverged runs at chance"),
    ),
    "aliased_effects": (
        Story(words=(*COMPONENTS, CROSSED), change=plant_half_fraction),
        ("cannot be told from",),
    ),
    "idle_component": (
        Story(words=(*COMPONENTS, CROSSED), knockout={"awareness": 0.0}),
        ("the validation loss changes by +0.0000", "augmentation_encoder moved by 0.001"),
    ),
    "floor": (Story(base=0.01, effect=0.0, noise=0.0001), ("chance is 1.0",)),
    "ceiling": (Story(base=0.985, effect=0.012, noise=0.0002, seed_noise=0.0005), ("R@1",)),
    "leakage": (Story(arrays=plant_leak()), ("40 of 500 test images", "without them 45.7 %")),
    "validation_split": (
        Story(words=(*WORDS, "runtime.evaluation_split=validation")),
        ("validation split",),
    ),
    "changed_rules": (Story(change=plant_change), ("The margin was changed",)),
    "mixed_versions": (Story(other_code=[(REFERENCE, 2)]), (f"{REFERENCE}/2",)),
    "unverified_provenance": (Story(change=plant_provenance_note), ("train.py",)),
    "one_dataset": (Story(datasets=("scenes",)), ("every score is on scenes",)),
    "one_scale": (Story(has_other_scale=False), ("train.steps=240",)),
}
"""Check -> a sweep with this flaw, and texts of the evidence."""
