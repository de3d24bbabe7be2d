"""Rules between components: which combinations exist."""

from __future__ import annotations

import pytest

from ablations.designs.rules import (
    check_order,
    close_under_requirements,
    describe_rule,
    find_dependents,
    is_valid,
    refuse_exclusions,
    refuse_rules,
)
from tests.helpers.designs import ablation
from uniclip.errors import UserError

CHAIN = ablation(4, requires={"c": ("b",), "b": ("a",)})
EXCLUSIVE = ablation(3, excludes={"a": ("c",)})


def test_a_component_is_valid_with_what_it_requires_and_without_what_it_excludes() -> None:
    assert is_valid("abc", CHAIN)
    assert is_valid("d", CHAIN)
    assert not is_valid("bc", CHAIN)
    assert is_valid("ab", EXCLUSIVE)
    assert not is_valid("abc", EXCLUSIVE)


def test_requirements_are_followed_both_ways() -> None:
    assert close_under_requirements(["c"], CHAIN) == ("a", "b", "c")
    assert find_dependents("a", CHAIN) == ("a", "b", "c")
    assert find_dependents("d", CHAIN) == ("d",)


def test_a_requirement_of_a_component_that_is_not_varied_is_always_met() -> None:
    assert is_valid("a", ablation(2, requires={"a": ("elsewhere",)}))


def test_rules_are_refused_by_designs_that_need_every_combination() -> None:
    assert describe_rule(CHAIN) == "b requires a"
    assert describe_rule(ablation(3)) is None
    with pytest.raises(UserError, match="b requires a.*fractional.*crossed"):
        refuse_rules(ablation(4, "fractional", requires={"b": ("a",)}))
    with pytest.raises(UserError, match="a excludes c.*leave_one_out.*use design: crossed"):
        refuse_exclusions(ablation(3, "leave_one_out", excludes={"a": ("c",)}))
    refuse_exclusions(CHAIN)


def test_an_order_adds_a_component_after_those_that_it_requires() -> None:
    check_order("abdc", CHAIN)
    with pytest.raises(UserError, match="c requires b, which the order adds later"):
        check_order("acbd", CHAIN)
