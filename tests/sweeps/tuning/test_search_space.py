"""Search spaces: read, checked against every arm, and their edges."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.plan.plan import ResolvedPlan, build_plan
from sweeps.config import request
from sweeps.tuning import search_space
from sweeps.tuning.search_space import Dimension, SearchSpace
from uniclip.errors import UserError

WORDS = ["ablation=components", "data=scenes", "budget=smoke"]


@pytest.fixture(scope="module")
def planned() -> ResolvedPlan:
    return build_plan(request.parse_request(WORDS).plan_request)


def load(folder: Path, text: str) -> SearchSpace:
    """The space that a user's own YAML says."""
    (folder / "space").mkdir(exist_ok=True)
    (folder / "space" / "own.yaml").write_text(text)
    return search_space.load_search_space("own", request.list_conf_dirs(str(folder)))


@pytest.mark.parametrize("name", search_space.list_search_spaces(request.list_conf_dirs()))
def test_our_spaces_fit_every_arm_and_hold_the_defaults(name: str, planned: ResolvedPlan) -> None:
    fitted = search_space.resolve_search_space(
        name, search_space.load_search_space(name, request.list_conf_dirs()), planned
    )
    train = planned.plan.base_config["train"]
    assert all(d.contains(train[key.removeprefix("train.")]) for key, d in fitted.items())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("train.learning_rate: {low: 1, high: 1}", "own.yaml: train.learning_rate.*below high"),
        ("train.learning_rate: {low: 0, high: 1, log: true}", "above 0 where log is true"),
        ("train.learning_rate: {low: 0.1, hihg: 1}", "did you mean train.learning_rate.high"),
        ("train.learning_rate: {choices: [0.1]}", "two or more"),
        ("train.learning_rate: {choices: [0.1, 0.2], low: 0}", "choices, or low and high"),
        ("train.learning_rate: 3", "must be a mapping"),
        ("{}", "names no key"),
        ("[1, 2]", "must hold a mapping"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("train.learning_rat: {low: 0.1, high: 1}", "did you mean train.learning_rate"),
        ("train: {low: 0.1, high: 1}", "train is a section"),
        ("train.learning_rate: {low: -1, high: 1}", "must be above 0"),
        ("model.embed_dim: {low: 2.5, high: 8}", "must be a whole number"),
        ("method.loss: {choices: [mp_nce, sup_con]}", "method.loss is changed by arm no-"),
        ("method.fusion: {choices: [film, concat]}", "arm clip: unknown key 'method.fusion'"),
        ("views.num_strong: {low: 1, high: 3}", "changed by arm clip"),
        ("train.steps: {low: 1, high: 3}", "cannot be tuned: every trial must share it"),
        ("runtime.stop_fraction: {low: 0.1, high: 0.3}", "cannot be tuned"),
        ("seed: {low: 1, high: 3}", "cannot be tuned"),
        ("data.num_train: {low: 100, high: 300}", "cannot be tuned"),
    ],
)
def test_what_cannot_be_tuned_alike_is_refused(
    tmp_path: Path, planned: ResolvedPlan, text: str, match: str
) -> None:
    with pytest.raises(UserError, match=match) as caught:
        search_space.resolve_search_space("own", load(tmp_path, text), planned)
    assert "\n" not in str(caught.value)


def test_numbers_take_the_type_of_their_key(tmp_path: Path, planned: ResolvedPlan) -> None:
    own = load(
        tmp_path, "train.weight_decay: {low: 0, high: 1}\nmodel.embedding: {low: 2, high: 9}"
    )
    fitted = search_space.resolve_search_space("own", own, planned)
    assert not fitted["train.weight_decay"].is_integer
    assert fitted["model.embed_dim"].is_integer


def test_there_is_no_such_space() -> None:
    with pytest.raises(UserError, match="unknown space 'optimiser': did you mean optimizer"):
        search_space.load_search_space("optimiser", request.list_conf_dirs())


@pytest.mark.parametrize(
    ("dimension", "value", "edge"),
    [
        (Dimension(low=1e-4, high=1e-2, log=True), 1e-3, None),
        (Dimension(low=1e-4, high=1e-2, log=True), 1.2e-4, "lower"),
        (Dimension(low=1e-4, high=1e-2, log=True), 9e-3, "upper"),
        (Dimension(low=0.0, high=1.0), 0.9, None),
        (Dimension(low=0.0, high=1.0), 0.96, "upper"),
        (Dimension(low=1, high=4), 1, "lower"),
        (Dimension(low=1, high=4), 2, None),
        (Dimension(choices=(1.0, 3.0, 10.0)), 10.0, "upper"),
        (Dimension(choices=(1.0, 3.0, 10.0)), 3.0, None),
        (Dimension(choices=(1.0, 3.0)), 1.0, None),
        (Dimension(choices=("a", "b", "c")), "a", None),
        (Dimension(choices=(True, False, None)), True, None),
    ],
)
def test_edges(dimension: Dimension, value: object, edge: str | None) -> None:
    assert dimension.boundary_side(value) == edge


def test_rounding_stays_inside() -> None:
    dimension = Dimension(low=0.123449, high=0.987654)
    assert dimension.round_value(0.123449) == 0.123449, "0.1234 lies outside"
    assert dimension.round_value(0.987653) == 0.987654, "so does 0.9877"
    assert dimension.round_value(0.5000049) == 0.5
    assert Dimension(low=1, high=12345678).round_value(7654321) == 7654321
