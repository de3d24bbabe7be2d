"""Search spaces: read, checked against every arm, and their boundaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablations.plan.plan import ResolvedPlan, build_plan
from sweeps.config import request
from sweeps.tuning import search_space
from sweeps.tuning.search_space import Dimension, SearchSpace
from uniclip.errors import UserError

OVERRIDES = ["ablation=components", "data=scenes", "budget=smoke"]


@pytest.fixture(scope="module")
def resolved_plan() -> ResolvedPlan:
    return build_plan(request.parse_request(OVERRIDES).plan_request)


def load(folder: Path, text: str) -> SearchSpace:
    """Return the space of a user-defined YAML file."""
    (folder / "space").mkdir(exist_ok=True)
    (folder / "space" / "custom.yaml").write_text(text)
    return search_space.load_search_space("custom", request.list_conf_dirs(str(folder)))


@pytest.mark.parametrize("name", search_space.list_search_spaces(request.list_conf_dirs()))
def test_the_spaces_fit_every_arm_and_contain_the_defaults(
    name: str, resolved_plan: ResolvedPlan
) -> None:
    resolved_space = search_space.resolve_search_space(
        name, search_space.load_search_space(name, request.list_conf_dirs()), resolved_plan
    )
    train = resolved_plan.plan.base_config["train"]
    assert all(d.contains(train[key.removeprefix("train.")]) for key, d in resolved_space.items())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("train.learning_rate: {low: 1, high: 1}", "custom.yaml: train.learning_rate.*below high"),
        ("train.learning_rate: {low: 0, high: 1, log: true}", "above 0 where log is true"),
        ("train.learning_rate: {low: 0.1, hihg: 1}", "did you mean train.learning_rate.high"),
        ("train.learning_rate: {choices: [0.1]}", "two or more"),
        ("train.learning_rate: {choices: [0.1, 0.2], low: 0}", "choices, or low and high"),
        (
            "train.learning_rate: {choices: [null, 1, 2.5, x, true]}",
            r"train.learning_rate: choices must differ, got 1 and True \(equal\)",
        ),
        ("train.learning_rate: {choices: [1, true, 0]}", "must differ, got 1 and True"),
        ("train.learning_rate: {choices: [1, 2, 1.0]}", "must differ, got 1 and 1.0"),
        ("train.learning_rate: 3", "must be a mapping"),
        ("train.precision: [fp32, bf16]", r"train.precision must be .*\{choices: \[a, b\]\}, got"),
        ("train.learning_rate: {min: 0.1, max: 1}", "has no min: choose from low, high, log"),
        ("model.embed_dim: {low: 16, high: 60, step: 16}", "high must be low plus a multiple"),
        ("train.learning_rate: {low: 0.1, high: 1, step: 0.1, log: true}", "step.*log false"),
        ("train.learning_rate: {choices: [0.1, 0.2], step: 0.1}", "choices, or low and high"),
        ("train.adam_eps: {low: 0.1, high: 1, when: {}}", "must name a key"),
        (
            "train.adam_eps: {low: 0.1, high: 1, when: {train.precision: bf16}}",
            "train.adam_eps.when: train.precision must stand before train.adam_eps",
        ),
        (
            "train.precision: {choices: [fp32, bf16]}\n"
            "train.adam_eps: {low: 0.1, high: 1, when: {train.precision: fp16}}",
            "train.precision never has the value 'fp16'",
        ),
        ("{}", "names no key"),
        ("[1, 2]", "must hold a mapping"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("train.learning_rat: {low: 0.1, high: 1}", "did you mean train.learning_rate"),
        ("train: {low: 0.1, high: 1}", "train is a section"),
        ("train.learning_rate: {low: -1, high: 1}", "must be above 0"),
        ("model.embed_dim: {low: 2.5, high: 8}", "must be a whole number"),
        ("model.embed_dim: {low: 2, high: 8, step: 0.5}", "must be a whole number"),
        ("method.loss: {choices: [mp_nce, sup_con]}", "method.loss is changed by arm no-"),
        ("method.fusion: {choices: [film, concat]}", "arm clip: unknown key 'method.fusion'"),
        ("views.num_strong: {low: 1, high: 3}", "changed by arm clip"),
        ("train.steps: {low: 1, high: 3}", "cannot be tuned: every trial must share it"),
        ("runtime.stop_fraction: {low: 0.1, high: 0.3}", "cannot be tuned"),
        ("seed: {low: 1, high: 3}", "cannot be tuned"),
        ("data.num_train: {low: 100, high: 300}", "cannot be tuned"),
    ],
)
def test_keys_that_cannot_be_tuned_alike_in_all_arms_are_refused(
    tmp_path: Path, resolved_plan: ResolvedPlan, text: str, match: str
) -> None:
    with pytest.raises(UserError, match=match) as error:
        search_space.resolve_search_space("custom", load(tmp_path, text), resolved_plan)
    assert "\n" not in str(error.value)


def test_numbers_take_the_type_of_their_key(tmp_path: Path, resolved_plan: ResolvedPlan) -> None:
    space = load(
        tmp_path, "train.weight_decay: {low: 0, high: 1}\nmodel.embed_dim: {low: 2, high: 9}"
    )
    resolved_space = search_space.resolve_search_space("custom", space, resolved_plan)
    assert not resolved_space["train.weight_decay"].is_integer
    assert resolved_space["model.embed_dim"].is_integer


CONDITIONAL = """
train.precision: {choices: [fp32, bf16]}
train.warmup_ratio: {low: 0, high: 1, step: 0.25, when: {train.precision: bf16}}
train.similarity_lr_mult: {choices: [1.0, 10.0], when: {train.warmup_ratio: [0.25, 0.5]}}
"""


def test_conditional_keys_are_checked_with_the_values_that_activate_them(
    tmp_path: Path, resolved_plan: ResolvedPlan
) -> None:
    space = search_space.resolve_search_space("custom", load(tmp_path, CONDITIONAL), resolved_plan)
    assert not search_space.is_conditional({"a": Dimension(low=0, high=1)})
    assert search_space.is_conditional(space)
    mult = space["train.similarity_lr_mult"]
    assert mult.is_active({"train.warmup_ratio": 0.5})
    assert not mult.is_active({"train.warmup_ratio": 0.75})
    assert not mult.is_active({"train.precision": "bf16"})


@pytest.mark.parametrize(
    ("base_values", "expected"),
    [
        ({"precision": "fp32"}, {"precision": "fp32"}),
        ({"precision": "bf16", "eps": 0.5}, {"precision": "bf16", "eps": 0.5}),
        ({"precision": "bf16", "eps": 0.6}, None),
    ],
)
def test_default_values_are_those_of_active_keys_inside_the_space(
    base_values: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    space = {
        "precision": Dimension(choices=("fp32", "bf16")),
        "eps": Dimension(low=0.0, high=1.0, step=0.25, when={"precision": "bf16"}),
    }
    assert search_space.select_default_values(space, base_values) == expected


def test_an_unknown_space_is_one_line() -> None:
    with pytest.raises(UserError, match="unknown space 'optimiser': did you mean optimizer"):
        search_space.load_search_space("optimiser", request.list_conf_dirs())


@pytest.mark.parametrize(
    ("dimension", "value", "side"),
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
def test_a_value_near_an_end_lies_at_the_boundary(
    dimension: Dimension, value: object, side: str | None
) -> None:
    assert dimension.boundary_side(value) == side


def test_rounded_values_stay_inside_the_range() -> None:
    dimension = Dimension(low=0.123449, high=0.987654)
    assert dimension.round_value(0.123449) == 0.123449, "0.1234 lies outside"
    assert dimension.round_value(0.987653) == 0.987654, "so does 0.9877"
    assert dimension.round_value(0.5000049) == 0.5
    assert Dimension(low=1, high=12345678).round_value(7654321) == 7654321
    assert Dimension(low=0.0, high=1.0, step=0.05).round_value(0.05 * 3) == 0.15
