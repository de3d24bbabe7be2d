"""Published data sets as benchmarks: files on disk, an oracle model, and missing data sets."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import composition_trees, dataset_trees, stub_models
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import evaluate
from uniclip import run as run_module
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.__main__ import main as command
from uniclip.evaluate.scoring import temperature


def config(root: Path, protocol: str = "clip2021") -> RunConfig:
    of = stub_models.config({"name": "scenes"})
    return replace(of, runtime=replace(of.runtime, data_root=str(root), protocol=protocol))


def knowing(of: RunConfig, name: str) -> stub_models.Stub:
    """Sees a picture's class in its colour, and reads it in the prompt."""
    classes = datasets.get(name).open(of.runtime.data_root, "test").classes
    colours = np.array([dataset_trees.colour(label) for label in range(len(classes))])
    message = prompts.get_class_names(name, classes, of.runtime.protocol)
    longest_first = sorted(range(len(classes)), key=lambda c: -len(message[classes[c]][0]))

    def images(pixels, vectors):
        means = pixels.astype(float).mean(axis=(2, 3))
        nearest = np.abs(means[:, None] - colours[None]).sum(2).argmin(1)
        return np.eye(len(classes))[nearest]

    def texts(sentences):
        read = [
            next(c for c in longest_first if any(word in s for word in message[classes[c]]))
            for s in sentences
        ]
        return np.eye(len(classes))[read]

    return stub_models.Stub(of, images, texts, lambda pixels: images(pixels, None))


@pytest.mark.parametrize("name", ["cifar10", "dtd", "oxford_pets"])
def test_an_oracle_is_right_and_chance_is_stated(tmp_path, name):
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


def make_retrieval_oracle(of, truth):
    """A stub that knows the images of flickr30k by their order: first test, then validation."""
    number = {}
    for split in ("test", "validation"):
        for _, captions in truth.rows[split]:
            number |= dict.fromkeys(
                (f"a photo of {c}" for c in captions), len(set(number.values()))
            )
    size, num_shown = len(set(number.values())), []

    def images(pixels, vectors):
        start = sum(num_shown)
        num_shown.append(len(pixels))
        return np.eye(size)[start : start + len(pixels)]

    return stub_models.Stub(of, images, lambda texts: np.eye(size)[[number[t] for t in texts]])


def test_an_oracle_retrieves_every_caption(tmp_path, monkeypatch):
    monkeypatch.setattr(temperature, "MIN_TEMPERATURE_IMAGES", 1)
    truth = dataset_trees.WRITERS["flickr30k"](tmp_path)
    of = config(tmp_path)
    scores, _ = evaluate.evaluate("flickr30k", make_retrieval_oracle(of, truth), of)
    value = stub_models.values(scores)
    assert value["retrieval.i2t.r1"] == value["retrieval.t2i.r1"] == value["retrieval.mrr"] == 1
    # one validation image: every temperature fits, so it stays where the search began
    assert 0.01 < value["retrieval.temperature"] < 10
    by_name = {s.name: s for s in scores}
    for way in ("i2t", "t2i"):
        likelihood = by_name[f"retrieval.{way}.log_likelihood"]
        assert likelihood.chance < likelihood.value < 0


def test_without_validation_images_there_is_no_log_likelihood(tmp_path):
    truth = dataset_trees.WRITERS["flickr30k"](tmp_path)
    of = config(tmp_path)
    whole = evaluate.build_protocol("flickr30k", of)
    assert whole["temperature"]["bounds"] == [0.01, 10.0]
    for path in tmp_path.rglob("flickr30k_val_karpathy.txt"):
        path.unlink()
    part = evaluate.build_protocol("flickr30k", of)
    assert part["temperature"] is None
    assert evaluate.describe_missing("flickr30k", of) is None
    assert evaluate.describe_missing_probe_data("flickr30k", of) is None
    scores, _ = evaluate.evaluate("flickr30k", make_retrieval_oracle(of, truth), of)
    value = stub_models.values(scores)
    assert value["retrieval.mrr"] == 1
    assert not [name for name in value if "likelihood" in name or "temperature" in name]


def test_a_list_is_expanded_and_missing_data_sets_say_how_to_get_them(tmp_path):
    names = evaluate.expand_benchmarks(["openmoji", "bench14"])
    assert names[0] == "openmoji"
    assert len(names) == 15
    for name in names[1:]:
        message = evaluate.describe_missing(name, config(tmp_path))
        assert message
        assert "\n" not in message
    with pytest.raises(UserError, match="bench14"):
        evaluate.expand_benchmarks(["bench41"])


def test_a_staged_copy_is_read(tmp_path, monkeypatch):
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


def test_each_protocol_has_its_evaluation_hash(tmp_path):
    dataset_trees.WRITERS["cifar10"](tmp_path)
    hashes = {
        evaluate.evaluation_hash("cifar10", config(tmp_path, protocol))
        for protocol in ("clip2021", "slip2021", "laion_cb")
    }
    assert len(hashes) == 3


def train_and_publish(store: Path) -> Path:
    """A tiny run, trained for two steps by the real code."""
    of = tiny(train={"steps": 2, "validate_every": 2})
    folder = opened(store, of)
    kind = run_module.execute_run(folder, of, claimed(folder), evaluations={})
    assert kind == "trained"
    return folder.path


def test_without_training_images_there_is_no_probe(tmp_path, capsys):
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


def test_the_last_evaluation_counts_only_while_the_test_split_is_unchanged(tmp_path):
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


def test_an_oracle_chooses_captions_and_images(tmp_path):
    """It knows the images by their order, and a caption by the image that it belongs to."""
    rows = composition_trees.winoground(tmp_path)
    of = config(tmp_path)
    number_of_caption = {captions[0]: i for i, (_, captions, _) in enumerate(rows)}
    model = stub_models.Stub(
        of,
        lambda pixels, vectors: np.eye(len(rows)),
        lambda texts: np.eye(len(rows))[[number_of_caption[t] for t in texts]],
    )
    scores, predictions = evaluate.evaluate("winoground", model, of)
    value = stub_models.values(scores)
    assert [value[f"composition.{n}"] for n in ("text", "image", "group")] == [1, 1, 1]
    assert len(predictions["composition.group"]) == 3
    assert predictions["labels"].tolist() == [0, 0, 0, 0, 1, 1]
    protocol = evaluate.build_protocol("winoground", of)
    assert protocol["linear_probe"] is None
    assert protocol["templates"] == ["{}"]
    assert evaluate.describe_missing_probe_data("winoground", of) is None
