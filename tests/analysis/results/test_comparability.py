"""Comparability: quantities that are counted, probed and measured, and their tolerances."""

from __future__ import annotations

from analysis.results import comparability
from tests.helpers import fake_sweep
from uniclip.store import Contrast

POSITIVES = "positives per image among texts"


def difference(positive_arm: str, negative_arm: str) -> Contrast:
    weights = {positive_arm: 1.0, negative_arm: -1.0}
    return Contrast(name="c", label="c", kind="difference", weights=weights, primary=True)


def test_quantities_that_labels_decide_never_count_as_matched() -> None:
    facts = {
        "unicl": {"samples seen": 10.0, POSITIVES: None},
        "again": {"samples seen": 10.0, POSITIVES: None},
        "clip": {"samples seen": 10.0, POSITIVES: 1.0},
    }
    text = f"matched: samples seen; not counted (labels): {POSITIVES}"
    assert comparability.compare_conditions(facts, difference("unicl", "clip")) == text
    assert comparability.compare_conditions(facts, difference("unicl", "again")) == text


def test_sizes_are_matched_within_a_tolerance_and_counts_exactly() -> None:
    facts: comparability.ComparisonFacts = {
        "a": {comparability.PARAMETERS: 1000.0, "samples seen": 1000.0},
        "b": {comparability.PARAMETERS: 1009.0, "samples seen": 1009.0},
        "c": {comparability.PARAMETERS: 1030.0, "samples seen": 1000.0},
        "d": {},
        "e": {comparability.PARAMETERS: 1001.0, "samples seen": 1000.0},
    }

    def compare(positive_arm: str, negative_arm: str) -> str:
        return comparability.compare_conditions(facts, difference(positive_arm, negative_arm))

    assert compare("a", "b") == "matched: parameters; not matched: samples seen (1,000 vs. 1,009)"
    assert compare("a", "c") == "matched: samples seen; not matched: parameters (1,000 vs. 1,030)"
    assert compare("a", "d") == "not stated"
    assert compare("a", "e") == "matched in all counted quantities"


def test_many_counts_of_a_side_are_a_range() -> None:
    quantity = comparability.TIME
    facts = {
        f"{side}{i}": {quantity: i / (3 if side == "a" else 1)}
        for side in "ab"
        for i in range(1, 6)
    }
    weights = {arm: 1.0 if arm[0] == "a" else -1.0 for arm in facts}
    few = {arm: w for arm, w in weights.items() if arm[1] in "12"}
    for used, text in (
        (weights, "(0.333 to 1.67 vs. 1 to 5)"),
        (few, "(0.333 or 0.667 vs. 1 or 2)"),
    ):
        contrast = Contrast(name="c", label="c", kind="main", weights=used, primary=True)
        assert (
            comparability.compare_conditions(facts, contrast) == f"not matched: {quantity} {text}"
        )


def test_probed_time_and_memory_are_apart_from_counts() -> None:
    plan = fake_sweep.plan(fake_sweep.Truth())
    first, second, *_ = (a.name for a in plan.arms)
    steps = plan.base_config["train"]["steps"]
    probes = [
        {
            "arm": first,
            "seconds_per_step": 0.5,
            "setup_and_eval_seconds": 10.0,
            "peak_memory_bytes": 5e8,
        },
        {
            "arm": second,
            "seconds_per_step": 0.5,
            "setup_and_eval_seconds": 11.0,
            "peak_memory_bytes": 6e8,
        },
    ]
    measured = comparability.collect_measured_facts(plan.base_config, plan.arms, probes)
    assert measured[first] == {comparability.TIME: 0.5 * steps + 10, comparability.MEMORY: 500.0}
    text = "matched: seconds per run; not matched: peak memory (MB) (500 vs. 600)"
    contrast, tolerances = difference(first, second), comparability.MEASURED_TOLERANCES
    assert comparability.compare_conditions(measured, contrast, tolerances) == text
    sized_probes = [{**probe, "flops_per_step": 10**6, "parameters": 10} for probe in probes]
    counted = comparability.combine_comparison_facts(
        {first: {"samples seen": 1.0}}, plan.base_config, plan.arms, sized_probes
    )
    assert list(counted[first]) == [comparability.FLOPS, comparability.PARAMETERS, "samples seen"]
    assert counted[first][comparability.FLOPS] == 10**6 * steps


def test_counts_have_separators_or_three_digits() -> None:
    counts = [3.0, 1234.0, 0.25, 2.5e12]
    assert [comparability.format_count(n) for n in counts] == ["3", "1,234", "0.25", "2.5e+12"]
