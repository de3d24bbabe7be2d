"""The scores on which contrasts are tested: those of the data, or of the ablation."""

from __future__ import annotations

import pytest

from ablations import schema
from ablations.plan.primary_metrics import get_primary_metrics
from tests.helpers.plans import OWN_ABLATIONS, plan_from_words
from uniclip.config import DATA


@pytest.mark.parametrize("ablation", OWN_ABLATIONS)
def test_every_ablation_has_a_primary_metric_for_every_data_source(ablation: str) -> None:
    named = schema.load_ablation(ablation, [schema.CONF]).primary_metrics
    limited = {"truth": {"scenes"}, "heads_flip": {"scenes"}, "heads": {"scenes", "openmoji"}}
    if named:
        assert set(named) == limited.get(ablation, set(DATA))
    else:
        assert all(config.primary_score for config in DATA.values())


@pytest.mark.parametrize("ablation", OWN_ABLATIONS)
def test_every_primary_and_co_primary_score_has_a_margin_with_a_reason(ablation: str) -> None:
    """Without one no effect on it could ever be called practically nothing."""
    loaded = schema.load_ablation(ablation, [schema.CONF])
    margins = {(m.dataset, m.metric): m for m in loaded.build_margins()}
    expected = set()
    for name in loaded.primary_metrics or DATA:
        metrics = get_primary_metrics(
            loaded, DATA[name](**({"path": "data.csv"} if name == "csv" else {}))
        )
        expected |= {(m.dataset, m.metric) for m in metrics if m is not None}
    assert set(margins) == expected
    for margin in margins.values():
        is_in_nats = margin.metric.endswith("log_likelihood")
        assert (" nats " in margin.reason) or not is_in_nats, margin


def test_primary_scores_are_those_of_the_data_unless_the_ablation_names_others() -> None:
    def read_metrics(*words: str) -> list[str]:
        return [m.metric for m in plan_from_words(*words, "budget=smoke").plan.primary_metrics]

    likelihood = "retrieval.caption.log_likelihood"
    losses = read_metrics("ablation=losses", "data=scenes")
    assert losses == ["retrieval.caption.r1", likelihood]
    assert read_metrics("ablation=awareness", "data=scenes") == ["minimal.damaged"]
    assert read_metrics("ablation=truth") == ["minimal.side"]
    openmoji = read_metrics("ablation=components", "data=openmoji")
    assert openmoji == ["retrieval.r1", "retrieval.log_likelihood"]


@pytest.mark.parametrize(
    ("benchmark", "num_notes"), [("[openmoji]", 0), ("[scenes]", 1), ("[openmoji,scenes]", 0)]
)
def test_a_primary_score_that_is_not_evaluated_is_a_note(benchmark: str, num_notes: int) -> None:
    words = ("ablation=methods", "data=openmoji", "budget=smoke", f"benchmark={benchmark}")
    notes = [note for note in plan_from_words(*words).plan.data_notes if "primary score" in note]
    assert len(notes) == num_notes
    assert all("add openmoji to benchmark=" in note for note in notes)
