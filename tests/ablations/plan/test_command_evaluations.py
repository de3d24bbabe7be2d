"""On what the runs of a command are scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.checkpoint_ablations import write_captioned_images
from tests.helpers.command_ablations import plan_command
from uniclip.errors import UserError
from uniclip.store import Plan

CHECKPOINT = {"checkpoint": "model-{seed}.pt"}


def plan(folder: Path, *words: str, **changes: Any) -> Plan:
    return plan_command(folder, *words, **changes).plan


def test_the_checkpoint_enters_evaluation_hashes_and_no_run_id(tmp_path: Path) -> None:
    name = write_captioned_images(tmp_path / "images", "test")
    without = plan(tmp_path)
    first = plan(tmp_path, f"benchmark={name}", command=CHECKPOINT)
    other = plan(tmp_path, f"benchmark={name}", command={"checkpoint": "other.pt"})
    assert first.cells == other.cells == without.cells
    assert first.sweep_id == without.sweep_id
    hashes = [p.evaluation_hashes["gain"] for p in (without, first, other)]
    assert list(hashes[1]) == ["program", name]
    assert hashes[0]["program"] == hashes[1]["program"] == hashes[2]["program"]
    assert hashes[1][name] != hashes[2][name]
    assert first.base_config["benchmark"] == ["program", name]
    assert (first.primary_metric.dataset, first.primary_metric.metric) == ("program", "accuracy")


def test_data_sets_of_the_ablation_and_of_the_user(tmp_path: Path) -> None:
    name = write_captioned_images(tmp_path / "ablation", "test")
    command = {**CHECKPOINT, "benchmark": ["csv:{here}/test.csv"], "scores": {}}
    chosen = plan(tmp_path, command=command)
    assert list(chosen.evaluation_hashes["base"]) == [name]
    assert (chosen.primary_metric.dataset, chosen.primary_metric.metric) == (name, "retrieval.r1")
    named = plan(tmp_path, command=command, primary_metrics={name: "retrieval.mrr"},
                 margins={name: {"retrieval.mrr": 0.01}}, margin_reason="small")  # fmt: skip
    assert named.primary_metric.metric == "retrieval.mrr"
    assert [m.dataset for m in named.margins] == [name]
    replaced = plan(tmp_path, "benchmark=[cifar10]", f"data_root={tmp_path}", command=command)
    assert replaced.evaluation_hashes["base"] == {}
    assert list(replaced.missing_datasets) == ["cifar10"]
    assert replaced.run_only_values("base")["runtime"]["data_root"] == str(tmp_path)


def test_one_of_several_primary_scores_counts_and_the_plan_says_which(tmp_path: Path) -> None:
    name = write_captioned_images(tmp_path / "images", "test")
    primary = {name: "retrieval.r1", "program": "accuracy", "cifar10": "zeroshot"}
    chosen = plan(tmp_path, f"benchmark={name}", command=CHECKPOINT, primary_metrics=primary)
    assert (chosen.primary_metric.dataset, chosen.primary_metric.metric) == ("program", "accuracy")
    (note,) = chosen.data_notes
    assert note.endswith(f"accuracy of program, the first of them in benchmark; {name}: secondary")
    assert plan(tmp_path, primary_metrics={"program": "accuracy"}).data_notes == ()


def test_a_second_score_of_the_same_data_set_is_co_primary(tmp_path: Path) -> None:
    scores = {"accuracy": {"key": "test.accuracy"}, "loss": {"kind": "loss"}}
    both = plan(tmp_path, command={"scores": scores}, co_primary_metrics={"program": "loss"},
                margins={"program": {"loss": 0.1}}, margin_reason="small")  # fmt: skip
    assert [m.metric for m in both.primary_metrics] == ["accuracy", "loss"]
    assert both.get_margin("program", "loss") is not None
    with pytest.raises(UserError, match="unknown score 'los': did you mean loss"):
        plan(tmp_path, command={"scores": scores}, co_primary_metrics={"program": "los"})


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ({}, ("benchmark=cifar10",), "is for a command that names a checkpoint"),
        ({**CHECKPOINT, "scores": {}}, (), "name the data sets on which it is evaluated"),
        ({"checkpoint": "{epoch}.pt"}, (), "command.checkpoint: unknown name '{epoch}'"),
        (CHECKPOINT, ("benchmark=cifar11",), "unknown benchmark 'cifar11'"),
        (CHECKPOINT, ("benchmark=openmoji",), "is scored for models that are trained here"),
        ({**CHECKPOINT, "scores": {}}, ("benchmark=winoground",), "names no primary score"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    tmp_path: Path, command: dict[str, Any], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(tmp_path, *words, command=command)
    assert "\n" not in str(caught.value)
