"""Tables of single designs: their rows are those of the results, and other designs have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.schema import DoseScale
from analysis.report.summary import build_summary_sentences
from tests.helpers.analyzed_sweeps import read_records, select_record, tables_by_name
from tests.helpers.designed_sweeps import analyze_design
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth
from uniclip.store import Arm

TRUTH = Truth(seeds=(0, 1, 2), noise=0.002)
NAMES = {"aliases", "shapley", "doses", "predictions"}


def test_every_alias_is_listed_with_its_effect(tmp_path: Path) -> None:
    it = ablation(5, "fractional", resolution=3)
    results = analyze_design(tmp_path, it, lambda arm: 0.3 + 0.1 * arm.levels["a"], TRUTH)
    tables = tables_by_name(results)
    assert NAMES & set(tables) == {"aliases"}
    assert any("cannot be told from" in note for note in tables["effects"].notes)
    table = tables["aliases"]
    rows = {row[0].text: row[1].text for row in table.rows}
    assert rows["d"].startswith("d + a x b ")
    assert len(rows) == 7
    listed = read_records(table)
    assert len(listed) == sum(len(c.aliases) for c in results.plan.contrasts)
    assert any("fold_over=[all] would separate 5 main effects" in note for note in table.notes)


def test_sampled_shapley_values_have_their_error_and_add_up(tmp_path: Path) -> None:
    def score(arm: Arm) -> float:
        on = arm.levels
        return 0.3 + ((0.1 if on["b"] else -0.08) if on["a"] else 0.0) + 0.05 * on["f"]

    results = analyze_design(tmp_path, ablation(6, "shapley", num_orders=4), score, TRUTH)
    table = tables_by_name(results)["shapley"]
    record = select_record(table, component="f")
    assert float(record["shapley_value"]) == pytest.approx(0.05, abs=0.01)
    assert record["num_orders"] == "4"
    assert 0 < float(record["ci_low"]) < float(record["ci_high"])
    assert float(record["seeds_and_orders_low"]) < float(record["seeds_and_orders_high"])
    total = sum(float(r["shapley_value"]) for r in read_records(table))
    whole = results.effects["full - none"].mean
    assert total == pytest.approx(whole)
    assert any("the values add up to +" in note for note in table.notes)
    assert {r["component"]: r["sign_changes"] for r in read_records(table)} == {
        **dict.fromkeys("bcdef", "false"),
        "a": "true",
    }
    (warning,) = (s for s in build_summary_sentences(results) if s.startswith("The sign of A"))
    assert warning in table.notes


@pytest.mark.parametrize(("components", "error"), [(3, "0"), (6, "")])
def test_the_error_of_two_orders_is_unknown_and_of_all_orders_0(
    tmp_path: Path, components: int, error: str
) -> None:
    it = ablation(components, "shapley", num_orders=2)
    results = analyze_design(tmp_path, it, lambda arm: 0.3 + 0.1 * arm.levels["a"], TRUTH)
    table = tables_by_name(results)["shapley"]
    assert {record["order_se"] for record in read_records(table)} == {error}
    assert {row[4].text for row in table.rows} == ({"n/a"} if components == 6 else {"0.00"})


def test_doses_are_shown_with_their_monotone_fit(tmp_path: Path) -> None:
    doses = {"a": DoseScale(full=1.0, overrides={"0.5": {}})}
    values = {"no-a": 0.3, "a-at-0.5": 0.4, "full": 0.38}
    it = ablation(1, "dose", doses=doses)
    results = analyze_design(tmp_path, it, lambda arm: values[arm.name], TRUTH)
    table = tables_by_name(results)["doses"]
    records = read_records(table)
    assert [r["arm"] for r in records] == ["no-a", "a-at-0.5", "full"]
    assert [float(r["mean"]) for r in records] == pytest.approx([0.3, 0.4, 0.38], abs=0.03)
    assert records[1]["monotone_fit"] == records[2]["monotone_fit"]
    (note,) = (n for n in table.notes if "Page" in n)
    assert "the fit rises; the means are not monotone" in note
