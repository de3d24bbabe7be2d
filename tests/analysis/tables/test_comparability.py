"""Table of comparability: sizes from probes, and a line for each contrast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.collect.frame import collect_sweep_data
from analysis.results import comparability
from analysis.tables import costs
from analysis.tables.comparability import build_comparability_table
from tests.helpers import fake_sweep
from uniclip.io.atomic import append_jsonl


def test_probed_sizes_are_in_the_table_and_measured_costs_with_the_cost_report(
    tmp_path: Path,
) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    folder = store.get_sweep(sweep)
    plan = folder.read_plan()
    assert plan is not None
    facts = {
        a.name: {"samples seen": 25_600.0, "positives per image among texts": 1.0}
        for a in plan.arms
    }
    folder.write_plan(replace(plan, comparison_facts=facts))
    for arm in plan.arms:
        flops = 10**6 * (1 + 2 * (arm.name != "clip"))
        probe = {"arm": arm.name, "flops_per_step": flops, "parameters": 4000}
        append_jsonl(folder.probes_path, probe)
    sweep_data = collect_sweep_data(store, sweep)
    table = build_comparability_table(sweep_data.plan, sweep_data.probes)
    assert table.headings == ("arm", comparability.FLOPS)
    assert (
        "UniCLIP against CLIP: matched: parameters, samples seen, positives per image among "
        "texts; not matched: FLOPs (600,000,000 vs. 200,000,000)."
    ) in table.notes
    notes = costs.build_cost_report(sweep_data).table.notes
    assert "Training time and peak memory count as matched within 10%." in notes
    assert "UniCLIP against CLIP: matched in all counted quantities." in notes
