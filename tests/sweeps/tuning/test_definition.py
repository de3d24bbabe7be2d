"""What determines a study: its identity and its rungs."""

from __future__ import annotations

import pytest

from sweeps.tuning.definition import Study, compute_rungs
from sweeps.tuning.search_space import Dimension
from tests.helpers.synthetic_study import make_study
from uniclip.errors import UserError
from uniclip.io.hashing import digest


def test_the_folder_of_a_study_of_the_first_version_is_found() -> None:
    """This digest names folders of users."""
    study = make_study(rung_steps={"low": (90,), "high": (90,)})
    assert digest({**study.identity, "seeds": [1000]}, 8) == "80b52771"


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "random"},
        {"sampler_options": {"n_ei_candidates": 8}},
        {"pruner": "MedianPruner"},
        {"space": {"a": Dimension(low=0, high=4, step=2)}},
        {"space": {"a": Dimension(low=0, high=4), "b": Dimension(low=0, high=1, when={"a": 2})}},
    ],
)
def test_what_determines_trials_is_part_of_the_identity(changes: dict[str, object]) -> None:
    plain = {"space": {"a": Dimension(low=0, high=4)}} if "space" in changes else {}
    assert make_study(**changes).identity != make_study(**plain).identity


def test_rungs_need_validations() -> None:
    assert compute_rungs("none", 1) == (1.0,)
    assert compute_rungs("median", 3) == (pytest.approx(1 / 3), 1.0)
    assert compute_rungs("MedianPruner", 3) == (pytest.approx(1 / 3), 1.0)
    assert compute_rungs("hyperband", 27)[0] == pytest.approx(1 / 27)
    assert len(compute_rungs("hyperband", 26)) == 3
    with pytest.raises(UserError, match="needs 3 validations a run, there would be 2"):
        compute_rungs("median", 2)


def test_scores_are_reported_at_training_steps() -> None:
    study = Study(arms=("a",), space={}, n_trials=1, rung_steps={"a": (3, 9)})
    assert [study.get_step("a", rung) for rung in (0, 1)] == [3, 9]
