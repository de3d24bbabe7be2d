"""The interface of a benchmark: what every registered one gives, and one from a plug-in."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest

from tests.helpers import small_models, stub_models
from uniclip import data, evaluate, methods
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RuntimeConfig, ScenesData
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError
from uniclip.evaluate.benchmarks.base import Benchmark, SourceBenchmark
from uniclip.evaluate.features import test_views
from uniclip.store import Score

CONFIG = stub_models.config({"name": "scenes", "num_train": 64, "num_test": 16})


@pytest.mark.parametrize("name", evaluate.BENCHMARKS)
def test_registered_modules_build_benchmarks(name):
    benchmark = import_module(evaluate.BENCHMARKS[name]).build_benchmark(CONFIG.data)
    assert isinstance(benchmark, Benchmark)
    assert benchmark.describe_missing_probe_data() is None
    if benchmark.describe_missing() is None:
        record = benchmark.build_protocol()
        assert json.loads(json.dumps(record)) == record
        assert "data" in record


class SampleCount(SourceBenchmark[ScenesData]):
    """A benchmark whose only score is the number of test images, in thousands."""

    def describe_scores(self):
        return {"samples": {"version": 1}}

    def evaluate(self, pretrained):
        n = len(data.open_split(self.data_config, "test"))
        score = Score(name="samples", value=n / 1000, kind="gap", chance=None, num_samples=n)
        return (score,), {"ids": np.arange(n)}


def test_a_benchmark_of_a_plug_in(monkeypatch):
    module = ModuleType("sample_count")
    module.build_benchmark = SampleCount
    monkeypatch.setitem(__import__("sys").modules, "sample_count", module)
    monkeypatch.setitem(evaluate.BENCHMARKS, "samples", "sample_count")
    assert evaluate.expand_benchmarks(["samples"]) == ("samples",)
    assert evaluate.describe_missing("samples", CONFIG) is None
    record = evaluate.build_protocol("samples", CONFIG)
    assert record["benchmark"] == "samples"
    assert record["data"] == data.fingerprint(CONFIG.data)
    assert record["samples"] == {"version": 1}
    scores, _ = evaluate.evaluate("samples", stub_models.Stub(CONFIG), CONFIG)
    assert stub_models.values(scores) == {"samples": 0.016}


@pytest.mark.parametrize("source", ["openmoji", "scenes"])
def test_the_validation_split_is_scored_under_a_hash_of_its_own(source):
    values = {"name": "scenes", "num_train": 64, "num_test": 16}
    values = values if source == "scenes" else {"name": source}
    test_config = stub_models.config(values)
    config = stub_models.config(values, runtime={"evaluation_split": "validation"})
    assert evaluate.build_protocol(source, config)["split"] == "validation"
    assert evaluate.build_protocol(source, test_config)["split"] == "test"
    vectors = []

    def embed(pixels, given_vectors):
        vectors.append(given_vectors)
        return np.ones((len(pixels), 4))

    _, predictions = evaluate.evaluate(source, stub_models.Stub(config, embed), config)
    validation = data.open_split(config.data, "validation")
    assert list(predictions["ids"]) == list(validation.ids)
    image_size = config.model.image.image_size
    true = test_views.draw_view(config.data, "strong", 0, image_size, "validation").vectors
    assert any(given is not None and np.array_equal(given, true) for given in vectors)


def test_no_probe_is_scored_on_the_split_that_it_is_fit_on():
    """A linear probe of openmoji is fit on training and validation together."""
    splits = ("test", "validation")
    configs = {
        split: stub_models.config({"name": "openmoji"}, runtime={"evaluation_split": split})
        for split in splits
    }
    records = {split: evaluate.build_protocol("openmoji", c) for split, c in configs.items()}
    assert ["probe" in records[split] for split in splits] == [True, False]
    config = configs["validation"]
    scores, _ = evaluate.evaluate("openmoji", stub_models.Stub(config), config)
    assert scores
    assert not [score.name for score in scores if score.name.startswith("probe.")]


@pytest.mark.parametrize("name", ["mix", "csv", "cifar10"])
def test_other_benchmarks_have_no_validation_scores(name):
    config = stub_models.config(
        {"name": "scenes"}, runtime={"evaluation_split": "validation", "data_root": "nowhere"}
    )
    with pytest.raises(UserError, match=rf"benchmark {name} is scored on its test split only"):
        evaluate.build_protocol(name, config)


def build_precision_configs():
    values = {"name": "scenes", "num_train": 64, "num_test": 64}
    return {
        precision: stub_models.config(
            values, model=stub_models.SMALL_MODEL, runtime={"evaluation_precision": precision}
        )
        for precision in ("fp32", "bf16")
    }


def test_the_protocol_has_the_precision_unless_it_is_float32():
    configs = build_precision_configs()
    records = {name: evaluate.build_protocol("scenes", c) for name, c in configs.items()}
    assert records["bf16"] == {**records["fp32"], "precision": "bf16"}
    default = replace(configs["fp32"], runtime=RuntimeConfig())
    hashes = [evaluate.evaluation_hash("scenes", c) for c in (default, *configs.values())]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
def test_scores_in_bfloat16_differ_slightly():
    configs = build_precision_configs()
    config, vocabulary = configs["fp32"], train_bpe(small_models.CAPTIONS, 300)
    embedder = small_models.build_small_embedder(config, vocabulary)
    model = PretrainedModel(embedder, methods.build_method(config), vocabulary, config)
    scores = {
        precision: stub_models.values(evaluate.evaluate("scenes", model, c)[0])
        for precision, c in configs.items()
    }
    assert scores["fp32"].keys() == scores["bf16"].keys()
    name = "retrieval.caption.log_likelihood"
    assert 0 < abs(scores["fp32"][name] - scores["bf16"][name]) < 0.02
