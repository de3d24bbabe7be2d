"""Words of stored sweeps: what is recorded, what completes them, and what no longer agrees."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.plan.plan import ResolvedPlan
from sweeps.config import request, stored_sweep
from tests.helpers.csv_data import write_image_set
from tests.sweeps.cli import OVERRIDES
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.store import Plan, Store


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_words(*words: str) -> ResolvedPlan:
    return request.parse_request(list(words)).build_plan()


def rebuild(stored: Plan, store: Path, *words: str) -> ResolvedPlan:
    merged = stored_sweep.merge_overrides(stored, [*words, f"store={store}"])
    return request.parse_request(merged, stored_plan=stored).build_plan()


def test_paths_are_recorded_absolute_and_one_time_keys_not_at_all(work_folder: Path) -> None:
    words = [
        "ablation=components", "data=csv", "data.path=a (1)/ü.csv", "seeds=2", "store=st",
        "retry=failed", "outdated=rerun", "wait=true", "max_gpu_hours=3", "arms=[full]",
        "benchmark=[csv,csv:x.csv]", "data_root=d", "train.steps=4",
    ]  # fmt: skip
    folder = work_folder
    assert stored_sweep.record_overrides(words) == (
        "ablation=components", "data=csv", f"data.path={folder}/a (1)/ü.csv", "arms=[full]",
        f"benchmark=[csv,csv:{folder}/x.csv]", f"data_root={folder}/d", "train.steps=4",
    )  # fmt: skip
    recorded = stored_sweep.record_overrides(words)
    assert stored_sweep.record_overrides(recorded) == recorded
    assert stored_sweep.record_overrides(["pretrained=null", "data.test_path="]) == (
        "pretrained=null",
        "data.test_path=",
    )


def test_a_plan_holds_its_words_and_they_make_it_again(work_folder: Path) -> None:
    plan = plan_words(*OVERRIDES, "arms=[full,clip]", "train.steps=7", "seeds=3").plan
    assert plan.overrides == (*OVERRIDES, "arms=[full,clip]", "train.steps=7")
    again = rebuild(plan, work_folder).plan
    assert again == plan
    assert rebuild(plan, work_folder, "seeds=[4]").plan.seeds == (4,)
    for words in (["launcher.max_workers=1"], ["runtime.num_workers=2"], ["benchmark=[]"]):
        assert rebuild(plan, work_folder, *words).plan.sweep_id == plan.sweep_id


def test_a_given_launcher_replaces_the_recorded_one() -> None:
    plan = plan_words(*OVERRIDES, "launcher=slurm", "launcher.partition=gpu").plan
    merged = stored_sweep.merge_overrides(plan, ["launcher=local"])
    assert merged == [*OVERRIDES, "launcher=local"]
    merged = stored_sweep.merge_overrides(plan, ["launcher.partition=cpu"])
    assert merged == [*OVERRIDES, "launcher=slurm", "launcher.partition=cpu"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["train.steps=9"], "^train.steps=9 makes another sweep than components-smoke-"),
        (["method.temperature=0.5"], "makes another sweep than"),
        (["arms=[clip]"], r"^arms=\[clip\] makes another sweep than"),
        (["model.embed_dim=64"], "give only seeds, store, launcher, runtime"),
    ],
)
def test_words_that_make_another_sweep_are_refused(words: list[str], match: str) -> None:
    plan = plan_words(*OVERRIDES, "arms=[full,clip]").plan
    with pytest.raises(UserError, match=match) as error:
        rebuild(plan, Path("st"), *words)
    assert "\n" not in str(error.value)


def test_a_change_of_configuration_arms_or_code_is_said() -> None:
    plan = plan_words(*OVERRIDES, "arms=[full,clip]").plan
    train = {**plan.base_config["train"], "weight_decay": 0.25}
    changed = replace(
        plan, sweep_id="components-smoke-0", base_config={**plan.base_config, "train": train}
    )
    with pytest.raises(
        UserError, match=r"train\.weight_decay: 0\.25 -> .*nothing was run"
    ) as error:
        rebuild(changed, Path("st"))
    assert "\n" not in str(error.value)
    fewer_arms = replace(plan, sweep_id="components-smoke-0", arms=plan.arms[:1])
    with pytest.raises(UserError, match=r"the arms differ \(clip\)"):
        rebuild(fewer_arms, Path("st"))
    other_id = replace(plan, sweep_id="components-smoke-0")
    with pytest.raises(UserError, match="this version of the code names it differently"):
        rebuild(other_id, Path("st"))


def test_changed_data_are_said_and_moved_data_are_not_a_change(work_folder: Path) -> None:
    path = write_image_set(work_folder / "one", 40)
    words = ["ablation=components", "data=csv", f"data.path={path}", "budget=smoke",
             "arms=[clip]", "train.batch_size=8"]  # fmt: skip
    resolved_plan, store = plan_words(*words), Store(work_folder / "st")
    plan = resolved_plan.plan
    for run_id, spec in resolved_plan.specs.items():
        store.get_run(run_id).write_spec(spec)
    (work_folder / "one").rename(work_folder / "two words")
    with pytest.raises(UserError, match=r"there is no file"):
        rebuild(plan, store.root)
    moved = work_folder / "two words" / path.name
    assert rebuild(plan, store.root, f"data.path={moved}").plan.sweep_id == plan.sweep_id
    lines = moved.read_text().splitlines()
    lines[1] = lines[1] + " again"
    moved.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"now make .*: the data differ .*; nothing was run"):
        rebuild(plan, store.root, f"data.path={moved}")


def test_the_command_is_what_a_shell_reads() -> None:
    plan = plan_words(*OVERRIDES, "arms=[clip]", "runtime.pretraining_data=it's (1)").plan
    command = stored_sweep.format_command(replace(plan, seeds=(0, 1)), "run")
    verb, *words = shlex.split(command)
    assert (verb, words[-1]) == ("run", "seeds=2")
    assert parse_overrides(words[-2:-1], {}) or words[-2] == "runtime.pretraining_data=it's (1)"
    assert stored_sweep.format_command(replace(plan, seeds=(3, 7))).endswith("'seeds=[3,7]'")


def test_plans_from_before_words_were_recorded_say_so() -> None:
    plan = replace(plan_words(*OVERRIDES).plan, overrides=())
    with pytest.raises(UserError, match="ablation=components budget=smoke data=scenes") as error:
        stored_sweep.merge_overrides(plan, [])
    assert "\n" not in str(error.value)
    assert stored_sweep.format_command(plan) == "ablation=components budget=smoke data=scenes ..."


@pytest.mark.parametrize(
    ("seeds", "word"),
    [((100, 101), "seeds=2"), ((0, 1), "'seeds=[0,1]'"), ((100, 102), "'seeds=[100,102]'")],
)
def test_seeds_are_counted_from_the_first_one_of_the_ablation(
    seeds: tuple[int, ...], word: str
) -> None:
    plan = replace(plan_words("ablation=heads_flip", "arms=[film-0]").plan, seeds=seeds)
    assert stored_sweep.format_command(plan).endswith(f" {word}")
