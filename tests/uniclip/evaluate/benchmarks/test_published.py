"""Published sets as benchmarks: trees on disk, a model that knows, and sets that are missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import dataset_trees, stub_models
from tests.helpers import published_models as models
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import evaluate
from uniclip import run as run_module
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.__main__ import main as command


def config(root: Path, protocol: str = "clip2021") -> RunConfig:
    of = stub_models.config({"name": "scenes"})
    return replace(of, runtime=replace(of.runtime, data_root=str(root), protocol=protocol))


def knowing(of: RunConfig, name: str) -> stub_models.Stub:
    """Sees a picture's class in its colour, and reads it in the prompt."""
    classes = datasets.get(name).open(of.runtime.data_root, "test").classes
    colours = np.array([dataset_trees.colour(label) for label in range(len(classes))])
    said = prompts.get_class_names(name, classes, of.runtime.protocol)
    longest_first = sorted(range(len(classes)), key=lambda c: -len(said[classes[c]][0]))

    def images(pixels, vectors):
        means = pixels.astype(float).mean(axis=(2, 3))
        nearest = np.abs(means[:, None] - colours[None]).sum(2).argmin(1)
        return np.eye(len(classes))[nearest]

    def texts(sentences):
        read = [
            next(c for c in longest_first if any(word in s for word in said[classes[c]]))
            for s in sentences
        ]
        return np.eye(len(classes))[read]

    return stub_models.Stub(of, images, texts, lambda pixels: images(pixels, None))


@pytest.mark.parametrize("name", ["cifar10", "dtd", "oxford_pets"])
def test_a_model_that_knows_is_right_and_chance_is_stated(tmp_path, name):
    dataset_trees.WRITERS[name](tmp_path)
    of = config(tmp_path)
    scores, predictions = evaluate.evaluate(name, knowing(of, name), of)
    by_name = {s.name: s for s in scores}
    test = datasets.get(name).open(tmp_path, "test")
    for score in (by_name["zeroshot"], by_name["probe"]):
        assert score.value == 1
        assert score.chance == 1 / len(test.classes)
        assert score.num_samples == len(test)
    assert np.array_equal(predictions["zeroshot.prediction"], test.labels)


def test_retrieval_finds_every_caption(tmp_path):
    truth = dataset_trees.WRITERS["flickr30k"](tmp_path)
    of = config(tmp_path)
    captions = [captions for _, captions in truth.rows["test"]]
    n, shown = len(captions), []
    own = {f"a photo of {c}": i for i, several in enumerate(captions) for c in several}

    def images(pixels, vectors):
        shown.append(len(pixels))
        return np.eye(n)

    stub = stub_models.Stub(of, images, lambda texts: np.eye(n)[[own[t] for t in texts]])
    scores, _ = evaluate.evaluate("flickr30k", stub, of)
    assert stub_models.values(scores)["retrieval.i2t.r1"] == 1
    assert stub_models.values(scores)["retrieval.t2i.r1"] == 1


def test_a_list_is_written_out_and_what_is_missing_says_how_to_get_it(tmp_path):
    names = evaluate.expand_benchmarks(["openmoji", "bench14"])
    assert names[0] == "openmoji"
    assert len(names) == 15
    for name in names[1:]:
        said = evaluate.describe_missing(name, config(tmp_path))
        assert said
        assert "\n" not in said
    with pytest.raises(UserError, match="bench14"):
        evaluate.expand_benchmarks(["bench41"])


def test_a_copy_on_the_nodes_own_disk_is_read(tmp_path, monkeypatch):
    dataset_trees.WRITERS["cifar10"](tmp_path / "shared" / "sets")
    of = config(tmp_path / "shared" / "sets")
    hashed = evaluate.evaluation_hash("cifar10", of)
    shutil.copytree(tmp_path / "shared", tmp_path / "node")
    monkeypatch.setenv("UNICLIP_STAGED", f"{tmp_path / 'shared'}:{tmp_path / 'node'}")
    (tmp_path / "shared" / "sets").rename(tmp_path / "away")
    assert evaluate.describe_missing("cifar10", of) is None
    assert evaluate.evaluation_hash("cifar10", of) == hashed
    scores, _ = evaluate.evaluate("cifar10", knowing(config(tmp_path / "away"), "cifar10"), of)
    assert {s.value for s in scores if s.name == "zeroshot"} == {1}
    monkeypatch.setenv("UNICLIP_STAGED", f"{tmp_path / 'shared'}:{tmp_path / 'another'}")
    assert evaluate.describe_missing("cifar10", of) is not None


def test_a_protocol_makes_other_hashes_and_opens_no_picture(tmp_path):
    dataset_trees.WRITERS["cifar10"](tmp_path)
    hashes = {
        evaluate.evaluation_hash("cifar10", config(tmp_path, protocol))
        for protocol in ("clip2021", "slip2021", "laion_cb")
    }
    assert len(hashes) == 3


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
    kept = json.loads(out.read_text())
    assert set(kept) == {"cifar10"}
    assert kept["cifar10"]["near_duplicates"] == 0
    assert kept["cifar10"]["protocol"]["protocol"] == "clip2021"
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "mine.yaml").write_text('templates: {cifar10: ["my {}"]}')
    (tmp_path / "sets").rename(tmp_path / "elsewhere")
    assert command([*words, "protocol=mine", f"conf_dir={tmp_path}", f"output={out}"]) == 0
    assert json.loads(out.read_text())["cifar10"]["protocol"]["templates"] == ["my {}"]
    nowhere = [*words, f"cache_dir={tmp_path / 'another'}"]
    assert command(nowhere) == 0
    assert "| cifar10 | n/a: there is no " in capsys.readouterr().out
    for bad in (
        *(["benchmark=cifar10"], [*words, "protcol=x"], ["run=nowhere"], ["run=x y"]),
        *([*words, "protocol=mine"], [*words, "conf_dir=nowhere"]),
    ):
        assert command(bad) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_the_command_line_refuses_before_any_work(tmp_path, capsys, monkeypatch):
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
        given = [*changed, bad, *(["run=ab"] if changed != named else [])]
        assert command(given) == 2
        told = capsys.readouterr()
        assert match in told.err
        assert len(told.err.splitlines()) == 1
        assert told.out == "", "nothing was judged"


def test_a_run_is_named_by_its_id(tmp_path, capsys, monkeypatch):
    run = train_and_publish(tmp_path / "store")
    twin = shutil.copytree(run, run.parent / "0012345678901234")
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    words = ["benchmark=cifar10", f"data_root={tmp_path / 'sets'}"]
    for given in ([f"run={run.name}"], [f"run={run.name[:6]}"], [f"run={twin.name}"]):
        assert command([*words, *given]) == 0
        assert "| cifar10 | zeroshot* |" in capsys.readouterr().out
    (tmp_path / "store").rename(tmp_path / "another")
    assert command([*words, f"run={run.name}", "store=another"]) == 0


def test_a_set_that_cannot_be_judged_keeps_no_other_from_it(tmp_path, capsys):
    run = train_and_publish(tmp_path / "store")
    for name in ("oxford_pets", "cifar10"):
        dataset_trees.WRITERS[name](tmp_path / "sets")
    for path in (tmp_path / "sets/oxford-iiit-pet/images").iterdir():
        path.write_bytes(b"no picture")
    words = [f"run={run}", "benchmark=[oxford_pets,cifar10]", f"data_root={tmp_path / 'sets'}"]
    assert command([*words, f"output={tmp_path / 'scores.json'}"]) == 2
    told = capsys.readouterr()
    assert "| oxford_pets | n/a: oxford_pets: image " in told.out
    assert "| cifar10 | zeroshot* |" in told.out
    assert told.err.startswith("uniclip.evaluate: not judged: oxford_pets (")
    assert set(json.loads((tmp_path / "scores.json").read_text())) == {"cifar10"}


def test_the_activation_of_a_checkpoint_is_an_argument(tmp_path, capsys):
    """Another activation is another model: their embeddings are kept apart."""
    torch.save(models.clip(quick=True).state_dict(), tmp_path / "clip.pt")
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    words = [f"run={tmp_path / 'clip.pt'}", "benchmark=cifar10", f"cache_dir={tmp_path / 'cache'}"]
    said = []
    for given in ([], ["quick_gelu=false"], ["quick_gelu=true"]):
        assert command([*words, f"data_root={tmp_path / 'sets'}", *given]) == 0
        said.append(capsys.readouterr())
    assert "activation is assumed to be GELU" in said[0].err
    assert said[1].err == said[2].err == ""
    assert said[0].out == said[1].out != said[2].out


def train_and_publish(store: Path) -> Path:
    """A tiny run, trained for two steps by the real code."""
    of = tiny(train={"steps": 2, "validate_every": 2})
    folder = opened(store, of)
    kind = run_module.execute_run(folder, of, claimed(folder), evaluations={})
    assert kind == "trained"
    return folder.path


def test_without_training_pictures_there_is_no_probe_and_that_is_said(tmp_path, capsys):
    """ImageNet is often kept as its validation pictures alone."""
    run = train_and_publish(tmp_path / "store")
    root, cache = tmp_path / "sets", tmp_path / "cache"
    dataset_trees.WRITERS["imagenet"](root)
    of = config(root)
    whole = evaluate.evaluation_hash("imagenet", of)
    (root / "imagenet/train").rename(tmp_path / "train")
    assert evaluate.describe_missing("imagenet", of) is None
    assert "imagenet/train" in (evaluate.describe_missing_probe_data("imagenet", of) or "")
    alone = evaluate.evaluation_hash("imagenet", of)
    assert alone != whole
    scores, _ = evaluate.evaluate("imagenet", knowing(of, "imagenet"), of, cache, "model")
    assert stub_models.values(scores)["zeroshot"] == 1
    assert "probe" not in stub_models.values(scores)
    words = [f"run={run}", "benchmark=imagenet", f"data_root={root}"]
    assert command(words) == 0
    printed = capsys.readouterr().out
    assert "| imagenet | zeroshot* |" in printed
    assert "| imagenet | probe | n/a: there is no " in printed
    assert evaluate.evaluation_hash("imagenet", of, cache) == alone, "noted, and still here"
    (tmp_path / "train").rename(root / "imagenet/train")
    assert evaluate.describe_missing_probe_data("imagenet", of, cache) is None
    assert evaluate.evaluation_hash("imagenet", of, cache) == whole
    scores, _ = evaluate.evaluate("imagenet", knowing(of, "imagenet"), of, cache, "model")
    assert stub_models.values(scores)["probe"] == 1


def test_what_is_noted_of_a_set_counts_only_while_its_test_part_is_the_same(tmp_path):
    root, cache = tmp_path / "sets", tmp_path / "cache"
    dataset_trees.WRITERS["imagenet"](root)
    of = config(root)
    evaluate.evaluate("imagenet", knowing(of, "imagenet"), of, cache, "model")
    whole = evaluate.evaluation_hash("imagenet", of, cache)
    (root / "imagenet/train").rename(tmp_path / "train")
    assert evaluate.evaluation_hash("imagenet", of, cache) == whole
    assert evaluate.describe_missing_probe_data("imagenet", of, cache) is None
    next((root / "imagenet/val").glob("*/*.JPEG")).unlink()
    assert evaluate.evaluation_hash("imagenet", of, cache) != whole
    assert evaluate.describe_missing_probe_data("imagenet", of, cache) is not None
