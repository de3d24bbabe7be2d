"""The interface of a benchmark: what every registered one gives, and one from a plug-in."""

from __future__ import annotations

import json
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import data, evaluate
from uniclip.config import ScenesData
from uniclip.evaluate.benchmarks.base import Benchmark, SourceBenchmark
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
