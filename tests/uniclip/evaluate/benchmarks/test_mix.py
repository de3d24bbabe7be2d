"""The benchmark `mix`: the scores of OpenMoji, and the digits."""

from __future__ import annotations

import numpy as np

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.config import MixData
from uniclip.data.mix import digits
from uniclip.evaluate.benchmarks import mix

CONFIG = stub_models.config({"name": "mix"})


def test_the_protocol_contains_both_sources():
    record = evaluate.build_protocol("mix", CONFIG)
    assert set(record["zeroshot"]) == {"skin_tone", "gender", "category", "digit"}
    other_run = stub_models.config({"name": "scenes"})
    assert evaluate.build_protocol("mix", other_run)["data"] == record["data"]


def test_digits_are_classified_by_their_names(monkeypatch):
    """The OpenMoji part is not computed again: `test_openmoji.py` tests it."""
    monkeypatch.setattr(mix.OpenmojiBenchmark, "evaluate", lambda self, pretrained: ((), {}))
    test = digits.open_split(CONFIG.data.image_size, "test", mix.PROMPT_TEMPLATES)
    pixels = test.load_pixels(np.arange(len(test)))
    label_of_image = {p.tobytes(): c for p, c in zip(pixels, test.labels["digit"])}

    def images(pixels, vectors):
        return np.eye(10)[[label_of_image[p.tobytes()] for p in pixels]]

    def texts(prompts):
        return [[float(name in p) + 1e-3 for name in digits.DIGIT_NAMES] for p in prompts]

    stub = stub_models.Stub(CONFIG, images, texts)
    scores, predictions = evaluate.evaluate("mix", stub, CONFIG)
    value = stub_models.values(scores)
    assert value["zeroshot.digit"] > 0.99
    assert len(predictions["zeroshot.digit.prediction"]) == len(test)
    without_digits = mix.build_benchmark(MixData(label_sources=("category",)))
    assert without_digits.evaluate(stub) == ((), {})
