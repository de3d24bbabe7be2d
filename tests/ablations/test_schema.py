"""Ablations and components are read from YAML; errors name file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablations import schema
from ablations.schema import Ablation
from uniclip.config import METHODS, RunConfig
from uniclip.config.binding import to_builtins
from uniclip.config.keys import collect_sections
from uniclip.errors import UserError
from uniclip.store import DEFAULT_LOOKS, Look, Margin

SHIPPED = [schema.CONF]
LISTED = """
title: T
design: listed
reference: one
arms:
  one: {label: One}
  two: {components_off: [awareness], overrides: {train.steps: 3}}
primary_metrics: {scenes: minimal.side}
"""


def write_ablation(folder: Path, text: str, name: str = "custom") -> list[Path]:
    """The folders among which `folder` declares an ablation."""
    (folder / "ablation").mkdir(exist_ok=True)
    (folder / "ablation" / f"{name}.yaml").write_text(text)
    return [*SHIPPED, folder]


@pytest.mark.parametrize("name", schema.list_ablations(SHIPPED))
def test_every_shipped_ablation_is_read(name: str) -> None:
    ablation = schema.load_ablation(name, SHIPPED)
    assert isinstance(ablation, Ablation)
    assert ablation.name == name
    assert ablation.title
    assert ablation.primary_metrics


def test_components_declare_keys_reason_and_manipulation_check() -> None:
    components = schema.load_components(SHIPPED)
    assert list(components) == ["awareness", "mp_nce", "domain_similarity"]
    keys = {f"method.{k}" for k in to_builtins(METHODS["uniclip"]())}
    for name, component in components.items():
        assert component.name == name
        assert component.label
        assert len(component.reason) > 40
        assert component.off_overrides
        assert set(component.off_overrides) <= keys
        assert "kind" in component.manipulation_check


def test_turning_a_component_off_changes_a_default() -> None:
    defaults = to_builtins(METHODS["uniclip"]())
    for component in schema.load_components(SHIPPED).values():
        for key, value in component.off_overrides.items():
            assert defaults[key.removeprefix("method.")] != value


def test_ablation_and_component_of_a_user_are_read(tmp_path: Path) -> None:
    ablation = schema.load_ablation("custom", write_ablation(tmp_path, LISTED))
    assert ablation.arms["two"].components_off == ("awareness",)
    assert ablation.arms["two"].overrides == {"train.steps": 3}
    assert ablation.arms["one"].budgets is None
    (tmp_path / "components.yaml").write_text(
        "extra: {label: E, reason: R, off_overrides: {method.fusion: concat},"
        " manipulation_check: {kind: none}}\n"
    )
    components = schema.load_components([*SHIPPED, tmp_path])
    assert components["extra"].off_overrides == {"method.fusion": "concat"}
    assert list(components)[-1] == "extra"


def test_unknown_ablation_suggests_a_similar_name() -> None:
    with pytest.raises(UserError, match=r"unknown ablation 'component': did you mean components"):
        schema.load_ablation("component", SHIPPED)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (LISTED.replace("title: T", "titel: T"), "'titel': did you mean title"),
        (LISTED.replace("listed", "lsited"), "unknown design 'lsited': did you mean listed"),
        (
            LISTED.replace("reference: one", "reference: on3"),
            "unknown arm 'on3': did you mean one",
        ),
        (LISTED.replace("design: listed", "design: crossed"), "needs components"),
        ("title: T\ndesign: listed\ncomponents: [awareness]\n", "a listed design needs arms"),
        (LISTED.replace("{label: One}", "{labl: One}"), "arms.one.labl"),
        (LISTED.replace("{label: One}", "3"), "must be a mapping"),
        (
            LISTED + "conditional_overrides: {date=scenes: {train.steps: 3}}\n",
            "conditional_overrides: unknown group 'date'.*data",
        ),
        (
            LISTED + "conditional_overrides: {model=tini: {train.steps: 3}}\n",
            "conditional_overrides: unknown model 'tini'.*tiny",
        ),
        (
            LISTED.replace("{label: One}", "{conditional_overrides: {method: {train.steps: 3}}}"),
            "arms.one.conditional_overrides: unknown method ''",
        ),
        (
            LISTED.replace("{label: One}", "{match_budget: compute}"),
            "one.match_budget: the reference",
        ),
        (
            LISTED.replace("{label: One}", "{match_budget: time}"),
            "unknown arms.one.match_budget 'time'",
        ),
        (
            LISTED + "planted_effects:\n  - {kind: positive_efect, description: x}\n",
            "did you mean positive_effect",
        ),
        ("- a list\n", "must hold a mapping"),
        ("a: [1\n", "cannot be read"),
        ("a: ${nowhere}\n", "cannot be read"),
    ],
)
def test_error_names_file_and_key(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        schema.load_ablation("custom", write_ablation(tmp_path, text))
    assert "custom.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_component_declared_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "components.yaml").write_text(
        "mp_nce: {label: E, reason: R, off_overrides: {x: 1}, manipulation_check: {}}\n"
    )
    with pytest.raises(UserError, match="mp_nce is declared a second time") as caught:
        schema.load_components([*SHIPPED, tmp_path])
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "values", ["{label: x}", "{label: x, reason: r, off_overrides: 3, manipulation_check: {}}", "3"]
)
def test_incomplete_component_is_refused(tmp_path: Path, values: Any) -> None:
    (tmp_path / "components.yaml").write_text(f"extra: {values}\n")
    with pytest.raises(UserError, match="components.yaml"):
        schema.load_components([*SHIPPED, tmp_path])


def list_reconstruction_keys() -> set[str]:
    """Return the keys of a UniCLIP run whose help says that no source states the value."""
    sections = [
        *collect_sections(RunConfig),
        *collect_sections(METHODS["uniclip"], "method."),
    ]
    return {k.name for s in sections for k in s.keys if "our reconstruction" in k.meaning}


def test_every_choice_of_ours_is_a_setting_of_the_reconstruction() -> None:
    ablation = schema.load_ablation("reconstruction", SHIPPED)
    changed = {key for setting in ablation.settings.values() for key in setting.overrides}
    assert changed == list_reconstruction_keys()
    assert len(changed) > 10


def test_settings_need_a_design_that_is_repeated(tmp_path: Path) -> None:
    text = LISTED + "settings:\n  warm: {label: warm, overrides: {train.steps: 3}}\n"
    folders = write_ablation(tmp_path, text)
    with pytest.raises(UserError, match=r"custom\.yaml: settings need design: leave_one_out"):
        schema.load_ablation("custom", folders)


def test_the_studies_of_the_head_have_the_same_candidates_and_seeds_of_their_own() -> None:
    heads, flips = (schema.load_ablation(n, SHIPPED) for n in ("heads", "heads_flip"))
    candidates = {n: s.overrides for n, s in heads.settings.items()}
    arms = {n: a.overrides for n, a in flips.arms.items() if n not in ("film-6", "nothing")}
    assert arms == candidates
    assert set(flips.contrasts) == {*candidates, "film-6"}
    names = schema.list_ablations(SHIPPED)
    first_seeds = {n: schema.load_ablation(n, SHIPPED).first_seed for n in names}
    assert {n for n, seed in first_seeds.items() if seed} == {"heads", "heads_flip"}
    for study in (heads, flips):
        assert study.first_seed == 100
        assert study.overrides["runtime.evaluation_split"] == "validation"


@pytest.mark.parametrize("name", schema.list_ablations(SHIPPED))
def test_every_shipped_ablation_has_looks_and_a_margin_for_each_primary_score(name: str) -> None:
    ablation = schema.load_ablation(name, SHIPPED)
    looks = ablation.build_looks()
    assert sum(look.level for look in looks) == pytest.approx(schema.MAX_ERROR)
    assert looks == DEFAULT_LOOKS or name == "truth"
    margins = ablation.build_margins()
    scores = {(m.dataset, m.metric) for m in margins}
    assert scores >= {(source, metric) for source, metric in ablation.primary_metrics.items()}
    assert all(0 < m.value <= 0.05 and len(m.reason) > 20 for m in margins)


def test_looks_and_margins_are_read(tmp_path: Path) -> None:
    text = LISTED + (
        "looks: {8: 0.03, 3: 0.01}\n"
        "margins: {scenes: {minimal.side: 0.02}}\n"
        "margin_reason: it would cost more than it gains\n"
    )
    ablation = schema.load_ablation("custom", write_ablation(tmp_path, text))
    assert ablation.build_looks() == (
        Look(num_seeds=3, level=0.01),
        Look(num_seeds=8, level=0.03),
    )
    reason = "it would cost more than it gains"
    assert ablation.build_margins() == (
        Margin(dataset="scenes", metric="minimal.side", value=0.02, reason=reason),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("looks: {3: 0.03, 5: 0.03}", "looks: the levels must add up to at most 0.05, got 0.06"),
        ("looks: {2: 0.01}", "looks: 2 must be a number of seeds of at least 3"),
        ("looks: {3: 0}", "looks.3 must be above 0, got 0"),
        ("looks: {}", "looks: the levels must add up to at most 0.05, got 0"),
        ("margins: {scenes: {minimal.side: 0.02}}", "margin_reason is missing"),
        (
            "margins: {scenes: {minimal.side: 0}}\nmargin_reason: r",
            "margins.scenes.minimal.side must be above 0, got 0",
        ),
    ],
)
def test_looks_and_margins_that_are_not_valid_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        schema.load_ablation("custom", write_ablation(tmp_path, f"{LISTED}{text}\n"))
    assert message in str(caught.value)
    assert "custom.yaml" in str(caught.value)


def write_designed(folder: Path, text: str, components: str = "") -> Ablation:
    """Write an ablation of the components a and b, and return it as it is read."""
    (folder / "ablation").mkdir()
    (folder / "ablation" / "x.yaml").write_text(f"title: T\ncomponents: [a, b]\n{text}")
    entry = "{label: L, reason: r, off_overrides: {k: 0}, manipulation_check: {kind: settings}"
    (folder / "components.yaml").write_text(f"a: {entry}{components}}}\nb: {entry}}}\n")
    return schema.load_ablation("x", [folder])


def test_rules_and_doses_of_components_are_those_of_the_ablation(tmp_path: Path) -> None:
    declared = ", requires: [b], full_dose: 2, doses: {0.5: {k: 1}, 1: {k: 2}}"
    it = write_designed(tmp_path, "design: dose\nexcludes: {b: [c]}\n", declared)
    assert it.requires == {"a": ("b",)}
    assert it.excludes == {"b": ("c",)}
    assert set(it.doses) == {"a"}
    assert it.doses["a"].full == 2
    assert it.doses["a"].overrides == {"0.5": {"k": 1}, "1": {"k": 2}}


def test_requirements_are_followed_through_components_that_are_not_varied(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "x.yaml").write_text("title: T\ncomponents: [a, c]\ndesign: crossed\n")
    entry = "label: L, reason: r, off_overrides: {k: 0}, manipulation_check: {kind: settings}"
    rules = {"a": "[b]", "b": "[c, a]", "c": "[]"}
    text = "".join(f"{name}: {{{entry}, requires: {rule}}}\n" for name, rule in rules.items())
    (tmp_path / "components.yaml").write_text(text)
    assert schema.load_ablation("x", [tmp_path]).requires == {"a": ("b", "c")}


def test_keys_of_the_file_can_be_replaced(tmp_path: Path) -> None:
    write_designed(tmp_path, "design: crossed\n")
    it = schema.load_ablation("x", [tmp_path], {"design": "add_one_in", "components": ["a"]})
    assert (it.design, it.components, it.reference) == ("add_one_in", ("a",), "none")


def test_the_reference_of_add_one_in_is_the_arm_without_components(tmp_path: Path) -> None:
    assert write_designed(tmp_path, "design: add_one_in\n").reference == "none"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("design: shapley\nnum_orders: 7\n", r"x\.yaml: num_orders must be even, got 7"),
        ("design: fractional\nresolution: 6\n", r"x\.yaml: resolution must be at most 5"),
        ("design: paths\npredictions: [{component: a, sign: up, reason: r}]\n", "sign"),
    ],
)
def test_values_of_designs_are_checked(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        write_designed(tmp_path, text)
