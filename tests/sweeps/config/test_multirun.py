"""Words that list values: which keys may, what they make, and values with commas that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.config.multirun import build_ablation, expand_sweeps, split_lists
from sweeps.config.request import parse_request
from sweeps.config.selection import has_ablation
from tests.sweeps.cli import OVERRIDES
from uniclip.errors import UserError

SMALL = ["data=scenes", "budget=smoke"]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("train.learning_rate=1e-3,2e-3", ["0.001", "0.002"]),
        ("train.steps=range(1,4)", ["1", "2", "3"]),
        ("train.steps=choice(3,1)", ["3", "1"]),
        ("train.adam_betas=[0.9,0.98],[0.9,0.999]", ["[0.9,0.98]", "[0.9,0.999]"]),
        ("lock=none,image", ["none", "image"]),
        ("method=clip,uniclip", ["clip", "uniclip"]),
        ("model.image.name=resnet18,resnet34", ["resnet18", "resnet34"]),
        ("model.image.options.drop_path_rate=0.0,0.1", ["0.0", "0.1"]),
        ("ablation=components,losses", ["components", "losses"]),
        ('data.where="a < 1 and b in (1, 2)","a >= 1"', ['"a < 1 and b in (1, 2)"', '"a >= 1"']),
        ("data.where='c == \\'x\\'', null", ["'c == \\'x\\''", "null"]),
        ("method=glob(*cl*)", ["declip", "unicl", "uniclip", "clip"]),
    ],
)
def test_lists_are_read(word: str, values: list[str]) -> None:
    from uniclip.config.compose import CONF

    singles, lists = split_lists(["seeds=3", word], [CONF])
    assert singles == ["seeds=3"]
    ((key, listed),) = lists.items()
    assert key == word.partition("=")[0]
    assert sorted(listed) == sorted(values)


@pytest.mark.parametrize(
    "word",
    [
        "data.path=a,b.csv", "data.path=x/{00..10}.tar,y", "data.path=*.csv,b", "store=a,b",
        "launcher.partition=gpu,cpu", "launcher.additional_parameters.exclude=n1,n2",
        "seeds=[3,7]", "arms=[full,clip]", "benchmark=[a,b]", 'benchmark=["csv:a,b.csv"]',
        "train.adam_betas=[0.9,0.98]", "launcher.additional_parameters={a: 1, b: 2}",
        "launcher.setup=[a, b]", "pretrained=a,b.pt", "runtime.pretraining_data='a,b'",
        "model.image.options.block='a,b'", "model.image.options={depths: [1,1], dims: [24,48]}",
        "data.caption_column=title,text", "data.where=min(a, b) > 3", "data.where='a, b'",
        "data.where=lang in ('en', 'de')", "train.steps=3", "method=clip", "nothing=1,2",
    ],
)  # fmt: skip
def test_values_with_commas_that_are_no_lists_stay_as_they_are(word: str) -> None:
    assert split_lists([word]) == ([word], {})


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["seeds=1,2"], r"write seeds=\[1,2\]"),
        (["seeds=range(1,4)"], r"write seeds=\[1,2,3\]"),
        (["launcher=local,slurm"], "does not change what a run is"),
        (["runtime.num_workers=0,2"], "does not change what a run is"),
        (["max_gpu_hours=1,2"], "does not change what a run is"),
        (["train.steps=1,1"], "lists 1 twice"),
        (["train.steps=choice(1)"], "lists 1 alone"),
        (["train.learning_rate=1e-3,"], "cannot read 'train.learning_rate=1e-3,': a value is miss"),
        (["ablation=views,losses, "], "a value is missing after the comma"),
        (["train.learning_rate=interval(0,1)"], "tune samples from one"),
        (["train.steps=1,2", "train.steps=3"], "train.steps is given twice"),
        (["train.steps=1,2", "train.steps=3,4"], "train.steps is given twice"),
    ],
)
def test_other_lists_are_refused_in_one_line(words: list[str], match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        split_lists(words)
    assert "\n" not in str(error.value)


def test_ablations_data_and_budgets_make_sweeps() -> None:
    words = ["ablation=losses,views", "data=scenes", "budget=smoke,quick", "seeds=2"]
    assert expand_sweeps(words) == [
        [f"ablation={a}", "data=scenes", f"budget={b}", "seeds=2"]
        for a in ("losses", "views")
        for b in ("smoke", "quick")
    ]


def test_a_list_beside_an_ablation_makes_a_sweep_for_each_value() -> None:
    words = ["train.steps=1,2", *OVERRIDES]
    assert expand_sweeps(words) == [[f"train.steps={n}", *OVERRIDES] for n in (1, 2)]
    assert expand_sweeps(["train.steps=1,2"]) == [["train.steps=1,2"]], "arms of one sweep"
    with pytest.raises(UserError, match="81 sweeps, at most 64"):
        expand_sweeps(["ablation=views", "train.steps=range(1,10)", "train.batch_size=range(2,11)"])


def test_the_choices_of_a_folder_of_the_user_are_listed_by_glob(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "zz_mine.yaml").touch()
    sweeps = expand_sweeps([f"conf_dir={tmp_path}", "ablation=glob([zz*,views])"])
    assert sweeps == [
        [f"conf_dir={tmp_path}", "ablation=views"],
        [f"conf_dir={tmp_path}", "ablation=zz_mine"],
    ]


def test_a_listed_ablation_is_planned_like_any() -> None:
    """Arms labelled by value, paired by seed; the words of the plan make it again."""
    words = ["train.learning_rate=1e-3,3e-3", *SMALL]
    plan = parse_request(words).build_plan().plan
    assert [arm.name for arm in plan.arms] == ["learning_rate-0.001", "learning_rate-0.003"]
    assert plan.arms[1].config_diff == {"train.learning_rate": 0.003}
    assert [c.name for c in plan.cells] == [f"{a.name}/{s}" for s in (0, 1) for a in plan.arms]
    assert plan.sweep_id.startswith("learning_rate-smoke-")
    assert parse_request(list(plan.overrides)).build_plan().plan.sweep_id == plan.sweep_id
    assert has_ablation(words)
    assert not has_ablation(SMALL)


def test_arms_with_the_default_value_share_the_runs_of_other_sweeps() -> None:
    listed = parse_request(["method=uniclip,clip", *SMALL]).build_plan().plan
    losses = parse_request(["ablation=losses", *SMALL]).build_plan().plan
    assert {c.run_id for c in listed.cells if c.arm == "method-uniclip"} <= {
        c.run_id for c in losses.cells if c.arm == "mp-nce"
    }


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["train.lr=1,2"], "did you mean train.learning_rate"),
        (["train.steps=1,x"], "arm steps-x: train.steps must be a whole number, got 'x'"),
        (["method=clip,clp"], "unknown method 'clp': did you mean"),
        (["data.num_test=64,128"], "data.num_test changes the test data"),
        (["data=scenes,openmoji"], "^data=scenes,openmoji names 2 sweeps: write the command once"),
        (["ablation=views", "train.steps=1,2"], "^train.steps=1,2 names 2 sweeps"),
        (["ablation=views,losses", "budget=smoke,quick"], "views,losses .*quick names 4 sweeps"),
        (["stream=0,1"], "stream= is set by arms"),
    ],
)
def test_a_list_that_makes_no_plan_is_one_line(words: list[str], match: str) -> None:
    given_keys = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in given_keys]
    with pytest.raises(UserError, match=match) as error:
        parse_request([*words, *small]).build_plan()
    assert "\n" not in str(error.value)


def test_values_are_bound_as_single_words_are() -> None:
    ablation = build_ablation({"train.precision": ["fp32", "bf16"], "model.text.width": ["64"]})
    arm = ablation.arms["precision-bf16-width-64"]
    assert arm.overrides == {"train.precision": "bf16", "model.text.width": 64}
