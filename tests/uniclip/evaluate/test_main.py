"""The command `python -m uniclip.evaluate`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import fashion_mnist
from tests.helpers import ROOT, dataset_trees
from tests.helpers import published_models as models
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import run as run_module
from uniclip.evaluate.__main__ import _parse_arguments
from uniclip.evaluate.__main__ import main as command


def test_one_model_from_the_command_line(tmp_path, capsys):
    run = train_and_publish(tmp_path / "store")
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    words = [f"run={run}", "benchmark=[cifar10,dtd]", f"data_root={tmp_path / 'sets'}"]
    out = tmp_path / "scores.json"
    assert command([*words, f"output={out}"]) == 0
    printed = capsys.readouterr().out
    assert "| cifar10 | zeroshot* |" in printed
    assert "| dtd | n/a: " in printed
    assert "| cifar10 | near-duplicate test images | 0 | | 0 |" in printed, "all plain"
    results = json.loads(out.read_text())
    assert set(results) == {"cifar10"}
    assert results["cifar10"]["near_duplicates"] == 0
    assert results["cifar10"]["protocol"]["protocol"] == "clip2021"
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "mine.yaml").write_text('templates: {cifar10: ["my {}"]}')
    assert command([*words, "evaluation_precision=bf16", f"output={out}"]) == 0
    assert json.loads(out.read_text())["cifar10"]["protocol"]["precision"] == "bf16"
    (tmp_path / "sets").rename(tmp_path / "elsewhere")
    assert command([*words, "protocol=mine", f"conf_dir={tmp_path}", f"output={out}"]) == 0
    assert json.loads(out.read_text())["cifar10"]["protocol"]["templates"] == ["my {}"]
    nowhere = [*words, f"cache_dir={tmp_path / 'another'}"]
    assert command(nowhere) == 0
    assert "| cifar10 | n/a: there is no " in capsys.readouterr().out
    capsys.readouterr()
    for bad in (
        [*words, "evaluation_precision=fp8"],
        *(["benchmark=cifar10"], [*words, "protcol=x"], ["run=nowhere"], ["run=x y"]),
        *([*words, "protocol=mine"], [*words, "conf_dir=nowhere"]),
    ):
        assert command(bad) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_faulty_arguments_are_refused_before_any_work(tmp_path, capsys, monkeypatch):
    run = train_and_publish(tmp_path / "store")
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    words = [f"run={run}", "benchmark=cifar10", f"data_root={tmp_path / 'sets'}"]
    (tmp_path / "file").write_text("")
    for bad, match in (
        ("allow_torchscript=maybe", "allow_torchscript must be true or false, got 'maybe'"),
        ("allow_torchscript=no", "allow_torchscript must be true or false, got 'no'"),
        ("quick_gelu=1", "quick_gelu must be true or false, got 1"),
        ("quick_gelu=true", "a run states its activation"),
        ("benchmark=[123]", "unknown benchmark '123'"),
        (f"output={tmp_path}", "it is a folder"),
        ("output=file/scores.json", "output=file/scores.json cannot be written"),
        ("run=0000", "no checkpoint at 0000"),
        ("store=elsewhere", "must match one run of store=elsewhere; it matches none"),
    ):
        named = [w for w in words if not w.startswith(f"{bad.partition('=')[0]}=")]
        changed = [w for w in named if not (bad.startswith("store=") and w.startswith("run="))]
        extra_arguments = [*changed, bad, *(["run=ab"] if changed != named else [])]
        assert command(extra_arguments) == 2
        captured = capsys.readouterr()
        assert match in captured.err
        assert len(captured.err.splitlines()) == 1
        assert captured.out == "", "nothing was judged"


def test_help_is_printed_without_torch(tmp_path):
    command_line = [sys.executable, "-X", "importtime", "-m", "uniclip.evaluate", "--help"]
    done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: uniclip-evaluate run=<run>")
    assert "benchmark=bench14" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "uniclip.evaluate" in imported
    assert not imported & {"torch", "timm", "transformers", "pandas"}


def test_words_of_other_tools_are_answered_with_the_key(capsys):
    for word, key in (("model=x", "run"), ("datasets=[dtd]", "benchmark"), ("out=x", "output")):
        assert command([word]) == 2
        assert f"did you mean {key}?" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["run=[]", "run=", "run=.,", 'run=[".",""]', "run=,"])
def test_a_model_without_a_name_is_refused(word, capsys):
    assert command([word, "benchmark=cifar10"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("uniclip.evaluate: run= ")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == "", "nothing was evaluated"


def test_numbers_are_text_for_keys_that_hold_text():
    arguments = _parse_arguments(["run=0012", "store=2024", "benchmark=[csv:/a(1)/ü.csv,dtd]"])
    assert arguments == {"run": "0012", "store": "2024", "benchmark": ["csv:/a(1)/ü.csv", "dtd"]}


def test_a_run_is_named_by_its_id(tmp_path, capsys, monkeypatch):
    run = train_and_publish(tmp_path / "store")
    twin = shutil.copytree(run, run.parent / "0012345678901234")
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    words = ["benchmark=cifar10", f"data_root={tmp_path / 'sets'}"]
    for extra_arguments in ([f"run={run.name}"], [f"run={run.name[:6]}"], [f"run={twin.name}"]):
        assert command([*words, *extra_arguments]) == 0
        assert "| cifar10 | zeroshot* |" in capsys.readouterr().out
    (tmp_path / "store").rename(tmp_path / "another")
    assert command([*words, f"run={run.name}", "store=another"]) == 0


def test_a_data_set_that_cannot_be_evaluated_does_not_prevent_others(tmp_path, capsys):
    run = train_and_publish(tmp_path / "store")
    for name in ("oxford_pets", "cifar10"):
        dataset_trees.WRITERS[name](tmp_path / "sets")
    for path in (tmp_path / "sets/oxford-iiit-pet/images").iterdir():
        path.write_bytes(b"no picture")
    words = [f"run={run}", "benchmark=[oxford_pets,cifar10]", f"data_root={tmp_path / 'sets'}"]
    assert command([*words, f"output={tmp_path / 'scores.json'}"]) == 2
    captured = capsys.readouterr()
    assert "| oxford_pets | n/a: oxford_pets: image " in captured.out
    assert "| cifar10 | zeroshot* |" in captured.out
    assert captured.err.startswith("uniclip.evaluate: not evaluated: oxford_pets (")
    assert set(json.loads((tmp_path / "scores.json").read_text())) == {"cifar10"}


def test_the_activation_of_a_checkpoint_is_an_argument(tmp_path, capsys):
    """Another activation is another model: their embeddings are kept apart."""
    torch.save(models.clip(quick=True).state_dict(), tmp_path / "clip.pt")
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    words = [f"run={tmp_path / 'clip.pt'}", "benchmark=cifar10", f"cache_dir={tmp_path / 'cache'}"]
    outputs = []
    for extra_arguments in ([], ["quick_gelu=false"], ["quick_gelu=true"]):
        assert command([*words, f"data_root={tmp_path / 'sets'}", *extra_arguments]) == 0
        outputs.append(capsys.readouterr())
    assert "activation is assumed to be GELU" in outputs[0].err
    assert outputs[1].err == outputs[2].err == ""
    assert outputs[0].out == outputs[1].out != outputs[2].out


def train_and_publish(store: Path, seed: int = 0) -> Path:
    """A tiny run, trained for two steps by the real code."""
    of = tiny(train={"steps": 2, "validate_every": 2}, seed=seed)
    folder = opened(store, of)
    kind = run_module.execute_run(folder, of, claimed(folder), evaluations={})
    assert kind == "trained"
    return folder.path


def test_the_command_of_the_fashion_mnist_check_is_understood(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        fashion_mnist.subprocess, "Popen", lambda words, **_: commands.append(words)
    )
    fashion_mnist.start_evaluation(tmp_path / "run", "data", tmp_path / "scores.json")
    ((_, _, module, *words),) = commands
    assert module == "uniclip.evaluate"
    assert _parse_arguments(words)["output"] == str(tmp_path / "scores.json")


def test_several_models_are_compared_side_by_side(tmp_path, capsys):
    store = tmp_path / "store"
    first = train_and_publish(store)
    second = train_and_publish(store, seed=1)
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    out = tmp_path / "scores.json"
    words = ["benchmark=[cifar10,openmoji]", f"data_root={tmp_path / 'sets'}", f"output={out}"]
    assert command([f"run={first},{second}", *words]) == 0
    printed = capsys.readouterr().out
    assert printed.index(f"### {first}\n") < printed.index(f"### {second}\n")
    assert f"### {second} minus {first}\n" in printed
    table = printed.split("### side by side\n\n")[1].split("\n\n")[0].splitlines()
    assert table[0] == f"| data set | score | {first} | {second} | chance |"
    assert "cifar10 | zeroshot |" in table[2]
    assert all(line.count("|") == 6 for line in table)
    assert not [line for line in table if "ece" in line or "[" in line.split("|")[2]]
    content = json.loads(out.read_text())
    assert list(content["runs"]) == [str(first), str(second)]
    by_score = {(d["dataset"], d["score"]): d for d in content["differences"]}
    for (dataset, name), difference in by_score.items():
        values = [
            next(
                s["value"] for s in content["runs"][str(r)][dataset]["scores"] if s["name"] == name
            )
            for r in (first, second)
        ]
        assert difference["difference"] == values[1] - values[0]
    retrieval = by_score["openmoji", "retrieval.i2t.r1"]
    assert retrieval["low"] <= retrieval["difference"] <= retrieval["high"]
    assert retrieval["num_clusters"] < retrieval["num_samples"]
    assert by_score["cifar10", "zeroshot.ece"]["low"] is None
    assert by_score["cifar10", "zeroshot.mean_per_class"]["low"] is None, "a class has one image"
    assert command([f"run={first},{first}", *words]) == 2
    assert command([f"run={first},nowhere", *words]) == 2
    error_lines = capsys.readouterr().err.splitlines()
    assert len(error_lines) == 2
    assert "twice" in error_lines[0]
