"""The plan: which cells a request makes, that arms differ in nothing but what they say, and names.

Requests are made by `sweeps.config.request`, as the command line makes them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablations import schema
from ablations.plan.plan import ResolvedPlan, build_plan, find_cell
from sweeps.config import request
from tests.helpers import dataset_trees
from uniclip.config import DATA
from uniclip.config.compose import flatten
from uniclip.errors import UserError
from uniclip.evaluate.datasets import dataset
from uniclip.identity import build_spec, compute_run_id, config_from_spec
from uniclip.models import profile
from uniclip.store import Plan, Store

COMPONENT_KEYS = {
    "awareness": {"method.augmentation_input"},
    "mp_nce": {"method.loss"},
    "domain_similarity": {"method.similarity"},
}
SCENES = ("ablation=components", "data=scenes")
METHODS = ("ablation=methods", "data=scenes", "budget=smoke")


def planned(*words: str) -> ResolvedPlan:
    return build_plan(request.parse_request(list(words)).plan_request)


@pytest.fixture(scope="module")
def crossed() -> ResolvedPlan:
    return planned(*SCENES)


def refused(match: str, *words: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        planned(*words)
    assert "\n" not in str(caught.value)


def differing(one: dict[str, Any], two: dict[str, Any]) -> set[str]:
    """The leaves in which two hashed configurations differ."""
    a, b = flatten(one["config"]), flatten(two["config"])
    return {k for k in {**a, **b} if a.get(k, "-") != b.get(k, "-")}


def run_of(it: ResolvedPlan, arm: str, seed: int) -> str:
    return find_cell(it.plan, f"{arm}/{seed}").run_id


# ---- cells ---------------------------------------------------------------------------------------


def test_every_arm_and_seed_is_a_cell_and_every_cell_has_a_spec(crossed: ResolvedPlan) -> None:
    plan = crossed.plan
    assert plan.seeds == (0, 1, 2)
    assert len(plan.arms) == 11
    assert {(c.arm, c.seed) for c in plan.cells} == {
        (a.name, s) for a in plan.arms for s in plan.seeds
    }
    assert set(crossed.specs) == {c.run_id for c in plan.cells}
    for run, hashed in crossed.specs.items():
        assert compute_run_id(hashed) == run
    assert [c.seed for c in plan.cells] == sorted(c.seed for c in plan.cells), "seed by seed"


def test_what_lies_at_init_names_runs_and_sweep_and_not_where(tmp_path: Path) -> None:
    """Who executes an arm is told the place by the plan."""
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("c.pt", b"two")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (
        planned(
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
    for name, place, trust in (("full", str(tmp_path / "b.pt"), False), ("moved", "d.pt", True)):
        told = config_from_spec(same.specs[same.plan.cells[0].run_id], plan.run_only_values(name))
        assert (told.pretrained, told.allow_torchscript) == (place, trust)


def test_a_spec_is_of_its_arm_and_seed(crossed: ResolvedPlan) -> None:
    for cell in crossed.plan.cells:
        config = config_from_spec(crossed.specs[cell.run_id])
        assert config.seed == cell.seed
        arm = crossed.configs[cell.arm]
        assert (config.method, config.views, config.train) == (arm.method, arm.views, arm.train)


def test_runs_differ_over_seeds_and_arms(crossed: ResolvedPlan) -> None:
    assert len({c.run_id for c in crossed.plan.cells}) == len(crossed.plan.cells)


def test_each_crossed_arm_differs_from_full_in_its_components_keys_alone(
    crossed: ResolvedPlan,
) -> None:
    for arm in crossed.plan.arms:
        if arm.role != "crossed":
            continue
        off = [c for c, on in arm.levels.items() if not on]
        keys = set().union(*(COMPONENT_KEYS[c] for c in off))
        for seed in crossed.plan.seeds:
            full, other = (crossed.specs[run_of(crossed, n, seed)] for n in ("full", arm.name))
            assert differing(full, other) == keys
            assert full["data"] == other["data"]
        assert set(arm.config_diff) == keys


def test_the_noise_arm_differs_in_its_stream_alone(crossed: ResolvedPlan) -> None:
    full, again = (crossed.specs[run_of(crossed, n, 0)] for n in ("full", "full-again"))
    assert differing(full, again) == {"stream"}


def test_outside_baselines_keep_what_a_comparison_shares(crossed: ResolvedPlan) -> None:
    full, clip, same = (crossed.configs[n] for n in ("full", "clip", "clip-same-views"))
    assert full.method.name == "uniclip"
    assert clip.method.name == same.method.name == "clip"
    assert (clip.views.num_weak, clip.views.num_strong) == (1, 0)
    assert same.views == full.views
    for other in (clip, same):
        assert (other.train, other.model, other.data) == (full.train, full.model, full.data)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("model.image.name=test_resnet", "model.image.options={}"), {}),
        (("model.image.options={drop_path_rate: 0.1}",), {"drop_path_rate": 0.1}),
    ],
)
def test_the_users_options_reach_arms_of_another_method(
    words: tuple[str, ...], options: dict[str, Any]
) -> None:
    it = planned("ablation=methods", "data=scenes", *words)
    assert {name: c.model.image.options for name, c in it.configs.items()} == dict.fromkeys(
        ("uniclip", "unicl", "clip", "slip", "declip"), options
    )


def test_an_option_of_the_users_is_added_in_every_arm() -> None:
    it = planned("ablation=methods", "data=scenes", "model.image.options.drop_path_rate=0.1")
    assert {c.model.image.options["drop_path_rate"] for c in it.configs.values()} == {0.1}


def test_a_plan_comes_back_from_disk(crossed: ResolvedPlan, tmp_path: Path) -> None:
    sweep = Store(tmp_path).get_sweep(crossed.plan.sweep_id)
    sweep.write_plan(crossed.plan)
    read: Plan | None = sweep.read_plan()
    assert read == crossed.plan


def test_a_data_set_is_looked_at_once_for_all_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.imagenet(tmp_path)
    walked, listing = [], dataset._iterate_files
    monkeypatch.setattr(
        dataset, "_iterate_files", lambda f, *w: walked.append(f.name) or listing(f, *w)
    )
    words = (*SCENES, "benchmark=[scenes,imagenet]", f"data_root={tmp_path}")
    before = planned(*words).plan
    assert len(before.arms) > 3
    assert (walked.count("train"), walked.count("val")) == (1, 1)
    dataset_trees.draw(tmp_path / "imagenet/train/n01440764/new.JPEG", 0)
    assert planned(*words).plan.evaluation_hashes["full"] != before.evaluation_hashes["full"], (
        "each time anew"
    )
    assert all("imagenet" in sets for sets in before.evaluation_hashes.values())


def test_planning_twice_gives_the_same_plan(crossed: ResolvedPlan) -> None:
    again = planned(*SCENES)
    assert again.plan == crossed.plan
    assert json.dumps(again.specs) == json.dumps(crossed.specs)


def test_arms_that_coincide_share_a_run(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "twins.yaml").write_text(
        "title: T\ndesign: listed\nreference: one\ngroups: {data: scenes}\n"
        "arms: {one: {}, two: {overrides: {train.grad_clip_norm: 1}}, three: {overrides: {train.grad_clip_norm: 2}}}\n"
        "primary_metrics: {scenes: minimal.side}\n"
    )
    it = planned("ablation=twins", f"conf_dir={tmp_path}", "seeds=2")
    runs = {c.name: c.run_id for c in it.plan.cells}
    assert len(runs) == 6
    assert runs["one/0"] == runs["two/0"]
    assert runs["one/1"] == runs["two/1"]
    assert len(set(runs.values())) == len(it.specs) == 4
    assert find_cell(it.plan, runs["one/0"][:6]).run_id == runs["one/0"]


# ---- seeds and arms ------------------------------------------------------------------------------


def test_seeds_by_number_or_by_name(crossed: ResolvedPlan) -> None:
    named = planned(*SCENES, "seeds=[3,7]")
    assert named.plan.seeds == (3, 7)
    assert {c.seed for c in named.plan.cells} == {3, 7}
    assert not set(named.specs) & set(crossed.specs)


def test_more_seeds_extend_the_same_sweep_and_keep_every_run(crossed: ResolvedPlan) -> None:
    for words in (["seeds=5"], ["seeds=[2,1,0,9]"]):
        more = planned(*SCENES, *words)
        assert more.plan.sweep_id == crossed.plan.sweep_id
        assert set(more.specs) > set(crossed.specs)


def test_a_sweep_is_named_by_what_is_compared(crossed: ResolvedPlan) -> None:
    name, budget, digits = crossed.plan.sweep_id.split("-")
    assert (name, budget, len(digits)) == ("components", "quick", 8)
    others = [
        planned(*SCENES, "train.steps=7"),
        planned(*SCENES, "arms=[full,no-awareness]"),
        planned(*SCENES, "budget=smoke"),
    ]
    assert len({o.plan.sweep_id for o in others} | {crossed.plan.sweep_id}) == 4
    assert planned(*SCENES, "runtime.num_workers=1").plan.sweep_id == crossed.plan.sweep_id


def test_chosen_arms_are_the_same_runs(crossed: ResolvedPlan) -> None:
    some = planned(*SCENES, "arms=[no-awareness,full]", "seeds=1")
    assert [a.name for a in some.plan.arms] == ["full", "no-awareness"], "in the design's order"
    for arm in ("full", "no-awareness"):
        assert run_of(some, arm, 0) == run_of(crossed, arm, 0)
    assert [c.name for c in some.plan.contrasts] == ["full - no-awareness"]


def test_without_the_reference_the_first_arm_is_read_against() -> None:
    some = planned(*SCENES, "arms=[clip,no-mp_nce]")
    assert some.plan.reference == "no-mp_nce"
    assert some.plan.contrasts == ()


# ---- budgets -------------------------------------------------------------------------------------


def test_a_budget_decides_seeds_and_schedule_but_the_user_decides_last() -> None:
    smoke = planned(*SCENES, "budget=smoke")
    assert smoke.plan.seeds == (0, 1)
    assert smoke.plan.budget == "smoke"
    mine = planned(*SCENES, "budget=smoke", "train.steps=7", "seeds=1", "method.temperature=0.1")
    assert mine.plan.seeds == (0,)
    assert {c.train.steps for c in mine.configs.values()} == {7}
    assert mine.configs["full"].method.temperature == 0.1
    assert mine.configs["clip"].method.temperature == 0.1, "a key that both methods have"


def test_a_budget_leaves_out_arms_and_says_so() -> None:
    quick, smoke = (planned("ablation=truth", f"budget={b}") for b in ("quick", "smoke"))
    late = {a.name for a in quick.plan.arms} - {a.name for a in smoke.plan.arms}
    assert late == {"aware-0", "unaware-0", "unaware-1"}
    for name in late:
        assert any(name in text and "quick or study" in text for text in smoke.plan.skipped)
    assert quick.plan.skipped == ("arm concat-0.9: only at budget=study",)
    assert len(quick.plan.planted_effects) > len(smoke.plan.planted_effects)
    for expectation in quick.plan.planted_effects:
        read = expectation in smoke.plan.planted_effects
        assert read != any(expectation.description in text for text in smoke.plan.skipped)


def test_the_truth_is_planted_as_its_arms_say() -> None:
    it = planned("ablation=truth", "seeds=1")
    config = it.configs
    assert (
        config["aware-0.9"].data.redraw_prob.side
        == config["unaware-0.9"].data.redraw_prob.side
        == 0.9
    )
    assert config["unaware-1"].data.redraw_prob.side == 1
    assert (
        config["aware-0.9"].method.augmentation_input,
        config["unaware-0.9"].method.augmentation_input,
    ) == (
        "true",
        "identity",
    )
    aware, unaware = (it.specs[run_of(it, n, 0)] for n in ("aware-0.9", "unaware-0.9"))
    assert differing(aware, unaware) == {"method.augmentation_input"}
    one = [it.specs[run_of(it, f"one-view-{n}", 0)] for n in ("mp_nce", "sup_con", "mil_nce")]
    assert all(differing(one[0], o) == {"method.loss"} for o in one[1:])
    assert {
        c.views.num_weak + c.views.num_strong for n, c in config.items() if "one-view" in n
    } == {1}


# ---- what holds under a condition ------------------------------------------------------------


def own(folder: Path, text: str) -> tuple[str, str]:
    """The words for an ablation of a user's own."""
    (folder / "ablation").mkdir(exist_ok=True)
    (folder / "ablation" / "own.yaml").write_text(text)
    return "ablation=own", f"conf_dir={folder}"


CONDITIONED = """
title: T
design: listed
reference: one
groups: {method: clip}
overrides: {train.grad_clip_norm: 2.0, train.warmup_ratio: 0.2}
conditional_overrides:
  data=scenes: {train.grad_clip_norm: 3.0, data.redraw_prob.side: 0.25}
  model=tiny: {train.weight_decay: 0.3}
  budget=study: {train.weight_decay: 0.4}
arms:
  one: {label: One}
  two: {label: Two, conditional_overrides: {data=scenes: {train.adam_eps: 1.0e-6}, method=slip: {train.grad_clip_norm: 9.0}}}
  three: {label: Three, groups: {method: slip}, conditional_overrides: {method=slip: {method.ssl_mlp_dim: 64}}}
primary_metrics: {scenes: minimal.side, openmoji: retrieval.r1}
"""


def test_a_condition_holds_by_the_users_choice_the_ablations_or_the_default(tmp_path: Path) -> None:
    words = own(tmp_path, CONDITIONED)
    emoji, scenes = planned(*words), planned(*words, "data=scenes")
    study = planned(*words, "data=scenes", "budget=study", "model=vit_b32")

    def told(it: ResolvedPlan, arm: str) -> tuple[float, ...]:
        train = it.configs[arm].train
        return train.grad_clip_norm, train.warmup_ratio, train.weight_decay, train.adam_eps

    assert told(emoji, "one") == told(emoji, "two") == (2.0, 0.2, 0.3, 1e-8)
    assert told(scenes, "one") == (3.0, 0.2, 0.3, 1e-8)
    assert told(scenes, "two") == (3.0, 0.2, 0.3, 1e-6), "the base's method is not slip"
    assert told(study, "one") == (3.0, 0.2, 0.4, 1e-8)
    assert scenes.configs["one"].data.redraw_prob.side == 0.25
    assert scenes.configs["three"].data.redraw_prob.side == 0.25, "an arm that chooses has it too"
    assert scenes.configs["three"].method.ssl_mlp_dim == 64
    labels = {a.name: a.label for a in scenes.plan.arms}
    assert labels == {
        "one": "One",
        "two": "Two (adam_eps 1e-06)",
        "three": "Three (ssl_mlp_dim 64)",
    }


def test_the_user_wins_over_a_condition_of_all_arms_but_not_of_one(tmp_path: Path) -> None:
    words = (*own(tmp_path, CONDITIONED), "data=scenes")
    it = planned(*words, "train.grad_clip_norm=5", "data.redraw_prob.side=0")
    assert {(c.train.grad_clip_norm, c.data.redraw_prob.side) for c in it.configs.values()} == {
        (5.0, 0.0)
    }
    refused("train.adam_eps is given by you and changed by arm two", *words, "train.adam_eps=1e-7")


def test_scenes_are_damaged_where_an_ablation_would_be_empty_without() -> None:
    dials = ("side", "hue", "grey", "zoom", "crop", "blur")
    for ablation, scope in (("awareness", "all"), ("views", "strong"), ("controls", "strong")):
        it = planned(f"ablation={ablation}", "data=scenes")
        for config in it.configs.values():
            assert all(getattr(config.data.redraw_prob, dial) > 0 for dial in dials)
            assert config.data.damaged_views == scope
    assert (
        planned("ablation=awareness", "data=scenes").plan.primary_metric.metric == "minimal.damaged"
    )


def test_toy_sizes_are_for_the_toy_model_alone() -> None:
    tiny, large = planned(*METHODS), planned(*METHODS, "model=vit_b32")
    slip, declip = (tiny.configs[n].method for n in ("slip", "declip"))
    assert (slip.ssl_mlp_dim, slip.ssl_embed_dim) == (512, 128)
    assert (declip.ssl_mlp_dim, declip.queue_size) == (256, 2048)
    slip, declip = (large.configs[n].method for n in ("slip", "declip"))
    assert (slip.ssl_mlp_dim, slip.ssl_embed_dim) == (4096, 256)
    assert (declip.ssl_mlp_dim, declip.queue_size) == (1024, 65_536)
    assert tiny.plan.get_arm("declip").label == "DeCLIP (ssl_mlp_dim 256, queue_size 2048)"
    assert large.plan.get_arm("declip").label == "DeCLIP"


def test_a_key_that_some_arms_have_reaches_those() -> None:
    large = (*METHODS, "model=vit_b32")
    it = planned(*large, "method.queue_size=512", "method.ssl_mlp_dim=64")
    assert it.configs["declip"].method.queue_size == 512
    assert {it.configs[n].method.ssl_mlp_dim for n in ("slip", "declip")} == {64}
    assert it.configs["clip"] == planned(*large).configs["clip"]
    refused(
        "method.queue_size is given by you and changed by arm declip",
        *METHODS,
        "method.queue_size=512",
    )
    refused(
        r"unknown key 'method.queue_size'", *large, "method.queue_size=512", "arms=[uniclip,slip]"
    )
    refused("method.fusion is .* no arm of clip", *large, "method.fusion=concat", "arms=[clip]")
    refused("'method.queu': did you mean method.queue_size", *large, "method.queu=512")
    refused("unknown key 'method.queue_size'", *SCENES, "method.queue_size=512")


def test_the_methods_share_how_many_views_are_the_evaluations() -> None:
    for words, share in (((), 0.1), (("views.identity_prob=0.3",), 0.3)):
        it = planned(*METHODS, *words)
        assert {c.views.identity_prob for c in it.configs.values()} == {share}


# ---- as much as the reference ----------------------------------------------------------------


EQUAL = ("ablation=controls", "seeds=1", "arms=[uniclip,clip-equal-forwards,clip-equal-compute]")


@pytest.mark.parametrize(
    ("model", "factor"), [("tiny", 1.87), ("vit_b32", 2.19), ("vit_l16", 2.91)]
)
def test_as_much_compute_is_as_the_model_has_it(model: str, factor: float) -> None:
    it = planned(*EQUAL, f"model={model}")
    steps = {name: c.train.steps for name, c in it.configs.items()}
    base = steps["uniclip"]
    assert steps["clip-equal-forwards"] == 3 * base
    assert steps["clip-equal-compute"] / base == pytest.approx(factor, abs=0.006)
    said = f"(steps x {factor:g}, by the model profile table)"
    assert said in it.plan.get_arm("clip-equal-compute").label
    known = it.plan.comparison_facts
    of = {name: known[name]["image forward passes"] for name in steps}
    assert of["uniclip"] == of["clip-equal-forwards"]


def test_of_a_model_that_is_not_in_the_table_forwards_are_counted() -> None:
    it = planned(*EQUAL, "model.image.name=test_resnet", "model.image.options={}")
    assert it.configs["clip-equal-compute"].train.steps == 2 * it.configs["uniclip"].train.steps
    said = "(steps x 2, image and text passes counted alike: the model is not in the profile table)"
    assert said in it.plan.get_arm("clip-equal-compute").label


def test_a_frozen_encoder_costs_no_backward_pass() -> None:
    table = profile.read_profiles()["vit_b32"]
    image, text = table["image_gflops"], 3 * table["text_gflops"]
    it = planned(*EQUAL, "model=vit_b32", "lock=image")
    steps = {name: c.train.steps for name, c in it.configs.items()}
    factor = (3 * image + text) / (image + text)
    assert steps["clip-equal-compute"] == round(factor * steps["uniclip"])


# ---- recipes -------------------------------------------------------------------------------------


PUBLISHED = (*METHODS, "recipe=published")


def test_a_recipe_follows_the_method_and_leaves_the_budget_its_length() -> None:
    ours, it = planned(*METHODS), planned(*PUBLISHED)
    assert len({c.train for c in ours.configs.values()}) == 1
    rates = {"uniclip": 1e-3, "unicl": 5e-4, "clip": 5e-4, "slip": 3e-3, "declip": 1e-3}
    assert {n: c.train.learning_rate for n, c in it.configs.items()} == rates
    assert it.configs["uniclip"] == ours.configs["uniclip"], "nothing is stated of it"
    for name, config in it.configs.items():
        shared = ("steps", "batch_size", "validate_every", "num_threads")
        for key in shared:
            assert getattr(config.train, key) == getattr(ours.configs[name].train, key)
        assert replace(config, train=ours.configs[name].train) == ours.configs[name]


def test_arms_whose_recipes_differ_are_stamped_and_others_are_not() -> None:
    (said,) = planned(*PUBLISHED).plan.caveats
    assert said.startswith("recipe=published: arms differ in optimiser and schedule too; not a")
    for words in (METHODS, (*PUBLISHED, "arms=[slip]"), ("ablation=losses", "recipe=published")):
        assert planned(*words).plan.caveats == ()


def test_each_arms_recipe_is_told_as_it_comes_out() -> None:
    assert planned(*METHODS).plan.recipe_descriptions == {}
    it = planned(*PUBLISHED, "train.weight_decay=0.3").plan.recipe_descriptions
    assert list(it) == ["uniclip", "unicl", "clip", "slip", "declip"]
    assert (
        "learning rate 1e-06 to 0.003 to 1e-05, warm-up 4 %, weight decay 0.3, betas 0.9 0.98"
        in it["slip"]
    )
    assert "rate 6.25e-08 to 6.25e-05 to 6.25e-07 (0.0005 at batch size 512)" in it["unicl"]
    assert [name for name, said in it.items() if "the source states no recipe" in said] == [
        "uniclip"
    ]


def test_the_users_words_win_over_a_recipe_but_not_over_an_arm(tmp_path: Path) -> None:
    it = planned(*PUBLISHED, "train.learning_rate=4e-4", "train.warmup_ratio=0.5")
    assert {(c.train.learning_rate, c.train.warmup_ratio) for c in it.configs.values()} == {
        (4e-4, 0.5)
    }
    refused(
        "views.min_crop_scale is given by you and changed by arm slip",
        *PUBLISHED,
        "views.min_crop_scale=0.1",
    )
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "own.yaml").write_text(
        "title: T\ndesign: listed\nreference: ours\ngroups: {data: scenes, method: clip}\n"
        "arms: {ours: {}, theirs: {groups: {recipe: published}}}\n"
        "primary_metrics: {scenes: minimal.side}\n"
    )
    own = ("ablation=own", f"conf_dir={tmp_path}")
    decays = {n: c.train.weight_decay for n, c in planned(*own).configs.items()}
    assert decays == {"ours": 0.1, "theirs": 0.5}
    refused("weight_decay is given by you and changed by arm theirs", *own, "train.weight_decay=0")


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "arm"),
    [
        ("method.augmentation_input=none", "no-awareness"),
        ("method.augmentation_input=true", "no-awareness"),
        ("method.loss=mil_nce", "no-mp_nce"),
        ("method.similarity=shared", "no-domain_similarity"),
        ("views.num_strong=1", "clip"),
    ],
)
def test_a_key_that_an_arm_changes_is_refused_with_both_names(word: str, arm: str) -> None:
    refused(f"{word.split('=')[0]} is given by you and changed by arm .*{arm}", *SCENES, word)


def test_a_key_that_no_chosen_arm_changes_is_taken() -> None:
    it = planned(*SCENES, "method.augmentation_input=none", "arms=[full,no-mp_nce]", "seeds=1")
    assert {c.method.augmentation_input for c in it.configs.values()} == {"none"}
    kept = planned(*SCENES, "views.num_strong=1", "arms=[full,clip-same-views]", "seeds=1")
    assert {c.views.num_strong for c in kept.configs.values()} == {1}


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
        ((*METHODS, "train.batch_size=1"), r"arm slip: train\.batch_size=1 .*method=slip"),
        (
            ("ablation=views", "data=scenes", "method.positive_weights=[1,0,0]"),
            r"arm weak1: method\.positive_weights=\[1\.0, 0\.0, 0\.0\] leaves no positives",
        ),
        ((*SCENES, "seed=1"), r"seeds=\[\.\.\.\]"),
    ],
)
def test_what_cannot_be_planned_is_one_line(words: tuple[str, ...], match: str) -> None:
    refused(match, *words)


@pytest.mark.parametrize("ablation", schema.list_ablations([schema.CONF]))
def test_every_ablation_has_a_primary_score_for_every_data_set(ablation: str) -> None:
    known = schema.load_ablation(ablation, [schema.CONF]).primary_metrics
    assert set(known) == ({"scenes"} if ablation == "truth" else set(DATA))


def test_an_ablation_without_a_primary_score_for_the_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "blind.yaml").write_text(
        "title: T\ndesign: listed\nreference: one\ngroups: {data: scenes}\n"
        "arms: {one: {}}\nprimary_metrics: {openmoji: retrieval.r1}\n"
    )
    refused("no primary score for data=scenes.*openmoji", "ablation=blind", f"conf_dir={tmp_path}")


# ---- cells by name -------------------------------------------------------------------------------


def test_a_cell_is_named_by_arm_and_seed_or_by_the_start_of_its_run(crossed: ResolvedPlan) -> None:
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


def test_the_specs_say_what_the_configurations_hash_to(crossed: ResolvedPlan) -> None:
    full = crossed.configs["full"]
    hashed = build_spec(full, crossed.specs[run_of(crossed, "full", 0)]["data"])
    assert compute_run_id(hashed) == run_of(crossed, "full", 0)
    assert set(hashed["config"]) >= {"data", "views", "model", "method", "train", "seed"}
