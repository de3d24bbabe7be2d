"""What an arm is called no choice of the user's changes, and no word of hers where it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.plan.plan import ResolvedPlan, build_plan
from sweeps.config import request
from uniclip.errors import UserError

SMOKE = ("data=scenes", "budget=smoke", "seeds=1")


def planned(*words: str) -> ResolvedPlan:
    return build_plan(request.parse_request([*words]).plan_request)


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        planned(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "given", "own"),
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
            "ablation=awareness method=clip arms=[film]",
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
def test_a_choice_that_would_make_an_arm_another_is_refused(
    words: str, given: str, own: str
) -> None:
    chosen = () if "data=" in words else SMOKE[:1]
    said = refusal(*words.split(), *chosen, *SMOKE[1:])
    assert given in said
    assert own in said


@pytest.mark.parametrize(
    ("words", "arm"),
    [
        ("ablation=losses arms=[mp_nce,uniform] method.loss=sup_con", "mp_nce"),
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
def test_what_a_label_says_is_written_out(words: str, arm: str) -> None:
    assert f"is given by you and changed by arm {arm}:" in refusal(*words.split(), *SMOKE)


def test_planted_arms_stay_what_they_are_called() -> None:
    truth = ("ablation=truth", "budget=smoke", "arms=[aware-0.9,one-view-mp_nce]")
    for word, arm in (
        ("method.augmentation_input=identity", "aware-0.9"),
        ("views.num_strong=1", "one-view-mp_nce"),
    ):
        assert f"changed by arm {arm}" in refusal(*truth, word)


def test_views_are_those_of_any_method_that_takes_them() -> None:
    it = planned("ablation=views", "method=clip", *SMOKE)
    assert {c.method.name for c in it.configs.values()} == {"clip"}
    views = {n: (c.views.num_weak, c.views.num_strong) for n, c in it.configs.items()}
    assert (views["weak1-strong2"], views["weak1"]) == ((1, 2), (1, 0))
    assert len({c.run_id for c in it.plan.cells}) == len(views)


def test_what_is_so_anyhow_may_be_said() -> None:
    for ablation in ("methods", "components", "losses"):
        words = (f"ablation={ablation}", *SMOKE)
        assert planned(*words, "method=uniclip") == planned(*words)


def test_a_recipe_that_an_arm_chooses_is_not_chosen_for_all(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "own.yaml").write_text(
        "title: T\ndesign: listed\nreference: ours\ngroups: {data: scenes, method: clip}\n"
        "arms: {ours: {}, theirs: {groups: {recipe: published}}}\n"
        "primary_metrics: {scenes: minimal.side}\n"
    )
    own = ("ablation=own", f"conf_dir={tmp_path}", "recipe=published")
    assert "recipe=published is chosen by arm theirs" in refusal(*own)
    assert planned(*own, "arms=[ours]").configs["ours"].train.weight_decay == 0.5
