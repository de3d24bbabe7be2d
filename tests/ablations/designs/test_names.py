"""Names and labels of arms."""

from __future__ import annotations

import pytest

from ablations import designs, schema
from ablations.designs.names import METHOD_LABELS
from uniclip.config import compose
from uniclip.errors import UserError


@pytest.mark.parametrize(
    ("off", "names", "arm_name"),
    [
        ((), "abc", "full"),
        (("a",), "abc", "no-a"),
        (("a", "c"), "abc", "no-a-c"),
        (("a", "b", "c"), "abc", "none"),
        (("a",), "a", "no-a"),
    ],
)
def test_arms_are_named_by_the_components_that_are_off(
    off: tuple[str, ...], names: str, arm_name: str
) -> None:
    assert designs.format_arm_name(off, tuple(names)) == arm_name


def test_names_of_arms_have_one_kind_of_hyphen_and_are_found_by_both() -> None:
    for name in schema.list_ablations([schema.CONF]):
        arms = designs.build_arms(schema.load_ablation(name, [schema.CONF]))
        assert not [arm for arm in arms if "_" in arm]
    names = ["full", "no-mp-nce", "a_b", "a-b"]
    assert designs.find_arm_name("no-mp_nce", names) == "no-mp-nce"
    assert designs.find_arm_name("a_b", names) == "a_b"
    assert designs.find_arm_name("a-b", names) == "a-b"
    with pytest.raises(UserError, match="full"):
        designs.find_arm_name("fill", names)


@pytest.mark.parametrize(
    ("off", "method", "label"),
    [
        ((), "uniclip", "UniCLIP, all components"),
        ((), "siglip", "SigLIP, all components"),
        ((), "my_method", "my_method, all components"),
        ((), None, "all components"),
        (("a",), "clip", "without A1"),
        (("a", "b_c"), "clip", "no component"),
    ],
)
def test_the_full_arm_is_labelled_by_its_method(
    off: tuple[str, ...], method: str | None, label: str
) -> None:
    assert designs.format_arm_label(off, ("a", "b_c"), {"a": "A1"}, method) == label


def test_every_method_has_a_label() -> None:
    assert set(METHOD_LABELS) == set(compose.list_choices("method", [compose.CONF]))
