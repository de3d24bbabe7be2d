"""Stamps: what a comparison holds equal, of what is counted, probed and measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.collect.frame import collect_sweep_data
from analysis.results import comparability
from analysis.results.results import analyze
from analysis.tables import costs, scores
from tests.helpers import fake_sweep
from uniclip.io.atomic import append_jsonl
from uniclip.store import Contrast, Store

POSITIVES = "positives of a picture among texts"


def difference(plus: str, minus: str) -> Contrast:
    weights = {plus: 1.0, minus: -1.0}
    return Contrast(name="c", label="c", kind="difference", weights=weights, primary=True)


def test_what_labels_decide_is_never_called_equal() -> None:
    known = {
        "unicl": {"samples seen": 10.0, POSITIVES: None},
        "again": {"samples seen": 10.0, POSITIVES: None},
        "clip": {"samples seen": 10.0, POSITIVES: 1.0},
    }
    said = "equal in samples seen; not counted (labels): positives of a picture among texts"
    assert comparability.compare_conditions(known, difference("unicl", "clip")) == said
    assert comparability.compare_conditions(known, difference("unicl", "again")) == said


def test_sizes_are_equal_within_their_share_and_counts_exactly() -> None:
    known: comparability.ComparisonFacts = {
        "a": {comparability.PARAMETERS: 1000.0, "samples seen": 1000.0},
        "b": {comparability.PARAMETERS: 1009.0, "samples seen": 1009.0},
        "c": {comparability.PARAMETERS: 1030.0, "samples seen": 1000.0},
    }
    said = "equal in parameters; not equal in samples seen (1,000 against 1,009)"
    assert comparability.compare_conditions(known, difference("a", "b")) == said
    said = "equal in samples seen; not equal in parameters (1,000 against 1,030)"
    assert comparability.compare_conditions(known, difference("a", "c")) == said
    assert (
        comparability.compare_conditions({**known, "d": {}}, difference("a", "d")) == "not stated"
    )


def test_probed_time_and_memory_are_stamped_apart_from_counts(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    one, two, *_ = (a.name for a in plan.arms)
    steps = plan.base_config["train"]["steps"]
    probes = [
        {"arm": one, "seconds_per_step": 0.5, "fixed_seconds": 10.0, "peak_memory_bytes": 5e8},
        {"arm": two, "seconds_per_step": 0.5, "fixed_seconds": 11.0, "peak_memory_bytes": 6e8},
    ]
    known = comparability.collect_measured_facts(plan, probes)
    assert known[one] == {comparability.TIME: 0.5 * steps + 10, comparability.MEMORY: 500.0}
    said = "equal in seconds a run; not equal in peak MB (500 against 600)"
    assert (
        comparability.compare_conditions(
            known, difference(one, two), comparability.MEASURED_TOLERANCES
        )
        == said
    )
    sized = [{**probe, "flops_per_step": 10**6, "parameters": 10} for probe in probes]
    counted = comparability.collect_comparison_facts(
        replace(plan, comparison_facts={one: {"samples seen": 1.0}}), sized
    )
    assert set(counted[one]) == {comparability.FLOPS, comparability.PARAMETERS, "samples seen"}


def test_probed_sizes_stand_in_the_table_and_measured_costs_beside_the_bill(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    counted = {a.name: {"samples seen": 25_600.0, POSITIVES: 1.0} for a in plan.arms}
    store.get_sweep(sweep).write_plan(replace(plan, comparison_facts=counted))
    for arm in plan.arms:
        size = {"flops_per_step": 10**6 * (1 + 2 * (arm.name != "clip")), "parameters": 4000}
        append_jsonl(store.get_sweep(sweep).probes_path, {"arm": arm.name, **size})
    gathered = collect_sweep_data(Store(tmp_path), sweep)
    table = next(t for t in scores.build_tables(analyze(store, gathered)) if t.name == "fairness")
    assert table.headings == ("arm", comparability.FLOPS)
    assert (
        "UniCLIP against CLIP: equal in parameters, samples seen, positives of a picture among "
        "texts; not equal in floating-point operations (600,000,000 against 200,000,000)."
    ) in table.notes
    notes = costs.build_cost_report(gathered).table.notes
    assert "Training time and peak memory count as equal within 10%." in notes
    assert "UniCLIP against CLIP: equal in all that is known." in notes
