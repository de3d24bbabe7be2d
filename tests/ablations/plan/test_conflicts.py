"""No choice of groups by the user changes what the label of an arm says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ablations.plan.conflicts import describe_test_data
from ablations.plan.plan import ResolvedPlan, build_plan
from sweeps.config import request
from uniclip.errors import UserError

SMOKE = ("data=scenes", "budget=smoke", "seeds=1")


def planned(*words: str) -> ResolvedPlan:
    return build_plan(request.parse_request([*words]).plan_request)


def test_an_arm_with_other_test_data_is_said(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "sizes.yaml").write_text(
        "title: T\ngroups: {method: clip, data: scenes}\ndesign: listed\nreference: a\narms:\n"
        "  a: {label: A}\n  b: {label: B, overrides: {data.num_test: 64}}\n"
        "  c: {label: C, overrides: {data.num_train: 256}}\n"
        "primary_metrics: {scenes: retrieval.caption.r1}\n"
    )
    plan = planned("ablation=sizes", f"conf_dir={tmp_path}", *SMOKE).plan
    (text,) = describe_test_data(plan)
    assert text.startswith("arm b: data.num_test changes the test data of scenes: ")


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        planned(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "choice", "reason"),
    [
        ("ablation=methods method=clip", "method=clip", "method=uniclip is chosen by arm uniclip"),
        (
            "ablation=methods method=slip arms=[uniclip,slip]",
            "method=slip",
            "method=uniclip is chosen by arm uniclip",
        ),
        ("ablation=controls method=declip", "method=declip", "is chosen by arm uniclip"),
        ("ablation=controls method=clip arms=[no-image-image]", "method=clip", "arm no-image-imag"),
        ("ablation=controls method=clip arms=[again]", "method=clip", "chosen by arm again"),
        ("ablation=losses method=clip", "method=clip", "of method=uniclip, whose method.loss"),
        ("ablation=similarity method=slip", "method=slip", "of method=uniclip, whose method.simi"),
        (
            "ablation=awareness method=clip arms=[aware]",
            "method=clip",
            "whose method.augmentation_input",
        ),
        ("ablation=components method=clip arms=[full]", "method=clip", "of method=uniclip"),
        (
            "ablation=truth data=openmoji",
            "data=openmoji",
            "of data=scenes, whose data.redraw_prob.side",
        ),
    ],
)
def test_choice_that_contradicts_the_ablation_is_refused(
    words: str, choice: str, reason: str
) -> None:
    data_choice = () if "data=" in words else SMOKE[:1]
    message = refusal(*words.split(), *data_choice, *SMOKE[1:])
    assert choice in message
    assert reason in message


@pytest.mark.parametrize(
    ("words", "arm"),
    [
        ("ablation=losses arms=[mp_nce,uniform] method.loss=sup_con", "mp-nce"),
        ("ablation=losses arms=[by-domain,by-slot] method.loss=sup_con", "by-domain"),
        ("ablation=similarity arms=[both,no-text-text] method.similarity=shared", "both"),
        ("ablation=awareness arms=[film,none] method.fusion=concat", "film"),
        (
            "ablation=awareness arms=[only-crop,only-flip] method.augmentation_input=identity",
            "only-crop",
        ),
        ("ablation=views arms=[weak1-strong2] views.num_strong=1", "weak1-strong2"),
    ],
)
def test_override_of_a_key_that_a_label_names_is_refused(words: str, arm: str) -> None:
    assert f"is given by you and changed by arm {arm}:" in refusal(*words.split(), *SMOKE)


def test_override_of_a_planted_effect_is_refused() -> None:
    truth = ("ablation=truth", "budget=smoke", "arms=[aware-0.9,one-view-mp-nce]")
    for word, arm in (
        ("method.augmentation_input=identity", "aware-0.9"),
        ("views.num_strong=1", "one-view-mp-nce"),
    ):
        assert f"changed by arm {arm}" in refusal(*truth, word)


def test_another_method_can_be_chosen_if_no_arm_depends_on_it() -> None:
    it = planned("ablation=views", "method=clip", *SMOKE)
    assert {c.method.name for c in it.configs.values()} == {"clip"}
    views = {n: (c.views.num_weak, c.views.num_strong) for n, c in it.configs.items()}
    assert (views["weak1-strong2"], views["weak1"]) == ((1, 2), (1, 0))
    assert len({c.run_id for c in it.plan.cells}) == len(views)


def test_choice_that_changes_nothing_is_accepted() -> None:
    for ablation in ("methods", "components", "losses"):
        words = (f"ablation={ablation}", *SMOKE)
        chosen, default = planned(*words, "method=uniclip"), planned(*words)
        assert replace(chosen.plan, overrides=default.plan.overrides) == default.plan
        assert (chosen.configs, chosen.specs) == (default.configs, default.specs)


def test_recipe_that_an_arm_chooses_cannot_be_chosen_for_all(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "custom.yaml").write_text(
        "title: T\ndesign: listed\nreference: shared\ngroups: {data: scenes, method: clip}\n"
        "arms: {shared: {}, recipe: {groups: {recipe: published}}}\n"
        "primary_metrics: {scenes: minimal.side}\n"
    )
    words = ("ablation=custom", f"conf_dir={tmp_path}", "recipe=published")
    assert "recipe=published is chosen by arm recipe" in refusal(*words)
    assert planned(*words, "arms=[shared]").configs["shared"].train.weight_decay == 0.5
