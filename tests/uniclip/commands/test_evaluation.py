"""The planned evaluation of a program's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uniclip.commands.definition import CommandDefinition, ScoreDefinition
from uniclip.commands.evaluation import (
    describe_checkpoint,
    expand_benchmark,
    find_checkpoint,
    get_checkpoint_signature,
    get_primary_score,
    hash_evaluation,
)
from uniclip.commands.invocation import Invocation
from uniclip.errors import UserError


def define(**fields: Any) -> CommandDefinition:
    scores = {"a": ScoreDefinition()}
    return CommandDefinition(run="x", steps="1", metrics_file="m", scores=scores, **fields)


def invoke(folder: Path, **fields: Any) -> Invocation:
    definition, values = define(**fields), {"epochs": 3}
    return Invocation(definition=definition, folder=folder, values=values, seed=0, device="cpu")


def test_a_checkpoint_is_found_by_a_template_or_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "epoch_3.pt").touch()
    for checkpoint in ("run/epoch_{epochs}.pt", "run/*.pt"):
        found = find_checkpoint(invoke(tmp_path, checkpoint=checkpoint), tmp_path)
        assert found == tmp_path / "run" / "epoch_3.pt"
    (tmp_path / "run" / "epoch_2.pt").touch()
    with pytest.raises(UserError, match=r"matches 2 files; the folder has epoch_2.pt, epoch_3.pt"):
        find_checkpoint(invoke(tmp_path, checkpoint="run/*.pt"), tmp_path)
    with pytest.raises(UserError, match="does not exist; the folder has nothing"):
        find_checkpoint(invoke(tmp_path, checkpoint="other/x.pt"), tmp_path)


def test_a_checkpoint_that_is_being_replaced_has_no_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model" / "weights.tmp"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    invocation = invoke(tmp_path, checkpoint="model")
    assert get_checkpoint_signature(invocation, tmp_path) is not None
    is_file = Path.is_file

    def look_before_it_is_renamed(self: Path) -> bool:
        answer = is_file(self)
        if self == path:
            path.rename(tmp_path / "weights.bin")
        return answer

    monkeypatch.setattr(Path, "is_file", look_before_it_is_renamed)
    assert get_checkpoint_signature(invocation, tmp_path) is None


def test_the_hash_covers_the_checkpoint_and_its_description(tmp_path: Path) -> None:
    config = tmp_path / "model.json"
    config.write_text("{}")
    hashes = set()
    for fields in ({"checkpoint": "a.pt"}, {"checkpoint": "b.pt"},
                   {"checkpoint": "a.pt", "checkpoint_config": "model.json"}):  # fmt: skip
        hashes.add(hash_evaluation("p", describe_checkpoint(define(**fields), tmp_path, {})))
    config.write_text('{"quick_gelu": true}')
    changed = define(checkpoint="a.pt", checkpoint_config="{here}/model.json")
    hashes.add(hash_evaluation("p", describe_checkpoint(changed, tmp_path, {})))
    hashes.add(hash_evaluation("q", describe_checkpoint(changed, tmp_path, {})))
    assert len(hashes) == 5
    with pytest.raises(UserError, match="there is no file"):
        describe_checkpoint(define(checkpoint="a.pt", checkpoint_config="none.json"), tmp_path, {})


def test_data_sets_and_their_primary_scores(tmp_path: Path) -> None:
    assert len(expand_benchmark(["bench14"])) == 14
    with pytest.raises(UserError, match="benchmark=openmoji is scored for models that are trained"):
        expand_benchmark(["cifar10", "openmoji"])
    (tmp_path / "dataset_type.txt").write_text("retrieval")
    names = ("cifar10", "pets", "csv:x.csv", "folder:x", "wds:x", f"wds:{tmp_path}", "sugarcrepe")
    assert [get_primary_score(name) for name in names] == [
        "zeroshot", "zeroshot", "retrieval.r1", "zeroshot", "zeroshot", "retrieval.r1", None,
    ]  # fmt: skip


def test_a_definition_needs_scores_or_a_checkpoint() -> None:
    CommandDefinition(run="x", steps="1", metrics_file="m", checkpoint="a.pt").validate()
    with pytest.raises(UserError, match=r"scores is empty.*or a checkpoint"):
        CommandDefinition(run="x", steps="1", metrics_file="m").validate()
    with pytest.raises(UserError, match="belong to checkpoint"):
        define(benchmark=("cifar10",)).validate()
