"""Plans: cells, seeds, specs, evaluations and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ablations import schema
from ablations.plan.plan import ResolvedPlan, find_cell
from tests.helpers import dataset_trees
from tests.helpers.plans import (
    METHODS,
    SCENES,
    assert_refused,
    get_run_id,
    plan_from_words,
    write_ablation,
)
from uniclip.errors import UserError
from uniclip.evaluate.datasets import dataset
from uniclip.identity import build_spec, compute_run_id, config_from_spec
from uniclip.store import Plan, Store


@pytest.fixture(scope="module")
def crossed() -> ResolvedPlan:
    return plan_from_words(*SCENES)


def test_every_arm_and_seed_has_a_cell_and_a_spec(crossed: ResolvedPlan) -> None:
    plan = crossed.plan
    assert plan.seeds == (0, 1, 2, 3, 4)
    assert len(plan.arms) == 11
    assert {(c.arm, c.seed) for c in plan.cells} == {
        (a.name, s) for a in plan.arms for s in plan.seeds
    }
    assert set(crossed.specs) == {c.run_id for c in plan.cells}
    for run, hashed in crossed.specs.items():
        assert compute_run_id(hashed) == run
    assert [c.seed for c in plan.cells] == sorted(c.seed for c in plan.cells), "seed by seed"


def test_content_of_a_checkpoint_is_hashed_and_its_path_is_not(tmp_path: Path) -> None:
    """The path of the checkpoint is in the plan, not in the spec."""
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("c.pt", b"two")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (
        plan_from_words(
            "ablation=components", "data=scenes", "arms=[full]", f"pretrained={tmp_path / name}"
        )
        for name in ("a.pt", "b.pt", "c.pt")
    )
    assert one.plan.sweep_id == same.plan.sweep_id != other.plan.sweep_id
    assert one.specs == same.specs
    assert one.specs.keys().isdisjoint(other.specs)
    (arm,) = same.plan.arms
    moved = replace(
        arm, name="moved", config_diff={"pretrained": "d.pt", "allow_torchscript": True}
    )
    plan = replace(same.plan, arms=(arm, moved))
    for name, path, trust in (("full", str(tmp_path / "b.pt"), False), ("moved", "d.pt", True)):
        read_values = config_from_spec(
            same.specs[same.plan.cells[0].run_id], plan.run_only_values(name)
        )
        assert (read_values.pretrained, read_values.allow_torchscript) == (path, trust)


def test_spec_has_the_values_of_its_arm_and_seed(crossed: ResolvedPlan) -> None:
    for cell in crossed.plan.cells:
        config = config_from_spec(crossed.specs[cell.run_id])
        assert config.seed == cell.seed
        arm = crossed.configs[cell.arm]
        assert (config.method, config.views, config.train) == (arm.method, arm.views, arm.train)


def test_run_ids_differ_between_seeds_and_arms(crossed: ResolvedPlan) -> None:
    assert len({c.run_id for c in crossed.plan.cells}) == len(crossed.plan.cells)


def test_plan_is_read_as_it_was_written(crossed: ResolvedPlan, tmp_path: Path) -> None:
    sweep = Store(tmp_path).get_sweep(crossed.plan.sweep_id)
    sweep.write_plan(crossed.plan)
    read: Plan | None = sweep.read_plan()
    assert read == crossed.plan


def test_data_set_is_listed_once_for_all_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.imagenet(tmp_path)
    walked, listing = [], dataset._iterate_files
    monkeypatch.setattr(
        dataset, "_iterate_files", lambda f, *w: walked.append(f.name) or listing(f, *w)
    )
    words = (*SCENES, "benchmark=[scenes,imagenet]", f"data_root={tmp_path}")
    before = plan_from_words(*words).plan
    assert len(before.arms) > 3
    assert (walked.count("train"), walked.count("val")) == (1, 1)
    dataset_trees.draw(tmp_path / "imagenet/train/n01440764/new.JPEG", 0)
    assert (
        plan_from_words(*words).plan.evaluation_hashes["full"] != before.evaluation_hashes["full"]
    ), "each time anew"
    assert all("imagenet" in sets for sets in before.evaluation_hashes.values())


def test_planning_is_deterministic(crossed: ResolvedPlan) -> None:
    again = plan_from_words(*SCENES)
    assert again.plan == crossed.plan
    assert json.dumps(again.specs) == json.dumps(crossed.specs)


def test_arms_of_equal_configuration_share_a_run(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "twins.yaml").write_text(
        "title: T\ndesign: listed\nreference: one\ngroups: {data: scenes}\n"
        "arms:\n  one: {}\n  two: {overrides: {train.grad_clip_norm: 1}}\n"
        "  three: {overrides: {train.grad_clip_norm: 2}}\n"
        "primary_metrics: {scenes: minimal.side}\n"
    )
    resolved_plan = plan_from_words("ablation=twins", f"conf_dir={tmp_path}", "seeds=2")
    runs = {c.name: c.run_id for c in resolved_plan.plan.cells}
    assert len(runs) == 6
    assert runs["one/0"] == runs["two/0"]
    assert runs["one/1"] == runs["two/1"]
    assert len(set(runs.values())) == len(resolved_plan.specs) == 4
    assert find_cell(resolved_plan.plan, runs["one/0"][:6]).run_id == runs["one/0"]


def test_seeds_are_a_number_or_a_list(crossed: ResolvedPlan) -> None:
    named = plan_from_words(*SCENES, "seeds=[7,9]")
    assert named.plan.seeds == (7, 9)
    assert {c.seed for c in named.plan.cells} == {7, 9}
    assert not set(named.specs) & set(crossed.specs)


def test_more_seeds_keep_the_sweep_and_its_runs(crossed: ResolvedPlan) -> None:
    for words in (["seeds=8"], ["seeds=[4,3,2,1,0,9]"]):
        more = plan_from_words(*SCENES, *words)
        assert more.plan.sweep_id == crossed.plan.sweep_id
        assert set(more.specs) > set(crossed.specs)


def test_sweep_id_depends_on_what_is_compared(crossed: ResolvedPlan) -> None:
    name, budget, digits = crossed.plan.sweep_id.split("-")
    assert (name, budget, len(digits)) == ("components", "quick", 8)
    others = [
        plan_from_words(*SCENES, "train.steps=7"),
        plan_from_words(*SCENES, "arms=[full,no-awareness]"),
        plan_from_words(*SCENES, "budget=smoke"),
    ]
    assert len({o.plan.sweep_id for o in others} | {crossed.plan.sweep_id}) == 4
    assert plan_from_words(*SCENES, "runtime.num_workers=1").plan.sweep_id == crossed.plan.sweep_id


def test_validation_scores_have_a_sweep_and_a_caveat_of_their_own(crossed: ResolvedPlan) -> None:
    """The report on the validation split does not replace that on the test split."""
    validation = plan_from_words(*SCENES, "runtime.evaluation_split=validation")
    assert validation.specs == crossed.specs, "the runs are the same"
    assert validation.plan.sweep_id != crossed.plan.sweep_id
    hashes = [p.plan.evaluation_hashes["full"]["scenes"] for p in (crossed, validation)]
    assert len(set(hashes)) == 2
    assert crossed.plan.caveats == ()
    (caveat,) = validation.plan.caveats
    assert "of the validation split" in caveat


def test_arms_that_are_scored_on_different_splits_are_refused(tmp_path: Path) -> None:
    words = write_ablation(
        tmp_path,
        "title: Splits\n"
        "groups: {method: uniclip}\n"
        "design: listed\n"
        "reference: one\n"
        "arms:\n"
        "  one: {label: one}\n"
        "  two: {label: two, overrides: {runtime.evaluation_split: validation}}\n"
        "primary_metrics: {scenes: minimal.side}\n",
    )
    match = "evaluation_split is test in one, and validation in two"
    assert_refused(match, *words, "data=scenes")
    plan = plan_from_words(*words, "data=scenes", "arms=[two]").plan
    assert plan.run_only_values("two")["runtime"]["evaluation_split"] == "validation"
    assert len(plan.caveats) == 1
    ablation = Path(tmp_path).rglob("*.yaml")
    (path,) = [path for path in ablation if "Splits" in path.read_text()]
    path.write_text(path.read_text().replace("split: validation", "precision: bf16"))
    assert_refused("evaluation_precision is fp32 in one, and bf16 in two", *words, "data=scenes")


def test_scores_in_bfloat16_have_a_sweep_and_a_caveat_of_their_own(crossed: ResolvedPlan) -> None:
    bfloat16 = plan_from_words(*SCENES, "runtime.evaluation_precision=bf16")
    assert bfloat16.specs == crossed.specs, "the runs are the same"
    assert bfloat16.plan.sweep_id != crossed.plan.sweep_id
    hashes = [p.plan.evaluation_hashes["full"]["scenes"] for p in (crossed, bfloat16)]
    assert len(set(hashes)) == 2
    (caveat,) = bfloat16.plan.caveats
    assert "embeddings in bfloat16" in caveat


def test_selected_arms_have_the_same_runs(crossed: ResolvedPlan) -> None:
    some = plan_from_words(*SCENES, "arms=[no-awareness,full]", "seeds=1")
    assert [a.name for a in some.plan.arms] == ["full", "no-awareness"], "in the design's order"
    for arm in ("full", "no-awareness"):
        assert get_run_id(some, arm, 0) == get_run_id(crossed, arm, 0)
    assert [c.name for c in some.plan.contrasts] == ["full - no-awareness"]


def test_first_arm_is_the_reference_if_that_is_not_selected() -> None:
    some = plan_from_words(*SCENES, "arms=[clip,no-mp-nce]")
    assert some.plan.reference == "no-mp-nce"
    assert some.plan.contrasts == ()


def test_user_overrides_seeds_and_schedule_of_the_budget() -> None:
    smoke = plan_from_words(*SCENES, "budget=smoke")
    assert smoke.plan.seeds == (0, 1)
    assert smoke.plan.budget == "smoke"
    custom = plan_from_words(
        *SCENES, "budget=smoke", "train.steps=7", "seeds=1", "method.temperature=0.1"
    )
    assert custom.plan.seeds == (0,)
    assert {c.train.steps for c in custom.configs.values()} == {7}
    assert custom.configs["full"].method.temperature == 0.1
    assert custom.configs["clip"].method.temperature == 0.1, "a key that both methods have"


def test_arms_that_the_budget_leaves_out_are_named() -> None:
    quick, smoke = (plan_from_words("ablation=truth", f"budget={b}") for b in ("quick", "smoke"))
    skipped_arms = {a.name for a in quick.plan.arms} - {a.name for a in smoke.plan.arms}
    assert skipped_arms == {"aware-0.5", "unaware-0.5", "aware-0", "unaware-0", "unaware-1"}
    for name in skipped_arms:
        assert any(name in text and "quick or study" in text for text in smoke.plan.skipped)
    assert quick.plan.skipped == ("arm concat-0.9: only at budget=study",)
    assert len(quick.plan.planted_effects) > len(smoke.plan.planted_effects)
    for expectation in quick.plan.planted_effects:
        read = expectation in smoke.plan.planted_effects
        assert read != any(expectation.description in text for text in smoke.plan.skipped)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("ablation=component",), r"unknown ablation 'component': did you mean components"),
        ((*SCENES, "arms=[ful]"), r"unknown arm 'ful': did you mean full"),
        ((*SCENES, "arms=[]"), r"leaves no arm"),
        (("ablation=truth", "budget=smoke", "arms=[aware-0]"), r"leaves no arm .*only at budget"),
        ((*SCENES, "budget=quik"), r"unknown budget 'quik': did you mean quick"),
        ((*SCENES, "benchmark=[scene]"), r"unknown benchmark 'scene': did you mean scenes"),
        (("ablation=truth", "data=openmoji"), r"data\.redraw_prob\.side"),
        ((*SCENES, "method=clip"), r"method=clip is given by you, but ablation=components is of"),
        ((*SCENES, "model.text.width=130"), r"model\.text\.width=130 must be a multiple"),
        (("ablation=components", "data=csv"), r"data\.path"),
        ((*SCENES, "stream=1"), r"stream= is set by arms"),
        (
            (*SCENES, "train.batch_size=16", "train.grad_cache_chunks=200"),
            r"train\.grad_cache_chunks=200 must",
        ),
        (
            ("ablation=losses", "data=mix", "data.labelled_fraction=0.99", "train.batch_size=16"),
            r"data\.labelled_fraction=0\.99 of train\.batch_size=16 leaves no pair",
        ),
        ((*METHODS, "train.batch_size=1"), r"train\.batch_size=1 must be at least 2 for method="),
        (
            ("ablation=views", "data=scenes", "method.positive_weights=[1,0,0]"),
            r"arm weak1: method\.positive_weights=\[1\.0, 0\.0, 0\.0\] leaves no positives",
        ),
        ((*SCENES, "seed=1"), r"seeds=\[\.\.\.\]"),
    ],
)
def test_error_of_a_plan_is_one_line(words: tuple[str, ...], match: str) -> None:
    assert_refused(match, *words)


def test_missing_primary_metric_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "blind.yaml").write_text(
        "title: T\ndesign: listed\nreference: one\ngroups: {data: scenes}\n"
        "arms: {one: {}}\nprimary_metrics: {openmoji: retrieval.r1}\n"
    )
    assert_refused(
        "no primary score for data=scenes.*openmoji", "ablation=blind", f"conf_dir={tmp_path}"
    )


def test_cell_is_found_by_name_or_by_the_start_of_its_run_id(crossed: ResolvedPlan) -> None:
    cell = crossed.plan.cells[5]
    assert find_cell(crossed.plan, cell.name) == cell
    assert find_cell(crossed.plan, cell.run_id) == cell
    assert find_cell(crossed.plan, cell.run_id[:10]) == cell
    for name, match in (
        ("ful/0", "did you mean full/0"),
        ("full/9", "unknown cell"),
        ("", "cell"),
    ):
        with pytest.raises(UserError, match=match):
            find_cell(crossed.plan, name)


def test_specs_hash_to_the_run_ids(crossed: ResolvedPlan) -> None:
    full = crossed.configs["full"]
    hashed = build_spec(full, crossed.specs[get_run_id(crossed, "full", 0)]["data"])
    assert compute_run_id(hashed) == get_run_id(crossed, "full", 0)
    assert set(hashed["config"]) >= {"data", "views", "model", "method", "train", "seed"}


def test_looks_and_margins_of_the_data_are_in_the_plan() -> None:
    plan = plan_from_words("ablation=truth", "budget=smoke").plan
    assert plan.looks_text == "3 (level 0.02), 5 (0.015) and 8 (0.015) seeds"
    margin = plan.get_margin("scenes", "minimal.side")
    assert margin is not None
    assert (margin.value, plan.margins) == (0.02, (margin,))
    assert plan.get_margin("scenes", "minimal.hue") is None


def test_a_margin_of_a_score_that_is_not_primary_is_refused(tmp_path: Path) -> None:
    text = (schema.CONF / "ablation" / "truth.yaml").read_text()
    text = text.replace("kind: practically_nothing", "kind: exactly_zero")
    words = write_ablation(tmp_path, text.replace("{minimal.side: 0.02}", "{minimal.hue: 0.02}"))
    message = "margins.scenes: unknown primary score 'minimal.hue'"
    assert_refused(message, *words, "budget=smoke")
