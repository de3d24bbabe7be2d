"""Curves of the page: logged records, thinned evenly with their extremes."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from analysis.collect.frame import SweepData
from analysis.page import curves
from uniclip.store import Store


def make_history(num_steps: int, peak: int) -> pd.DataFrame:
    steps = range(num_steps)
    loss = [100.0 if step == peak else 1.0 + step / num_steps for step in steps]
    return pd.DataFrame(
        {"arm": "full", "seed": 0, "run": "r", "phase": "train", "step": steps, "loss": loss}
    )


def test_curves_are_the_logged_records(page_data: tuple[Store, SweepData]) -> None:
    data = page_data[1]
    encoded = curves.encode_curves(data)
    run = data.plan.cells[0].run_id
    rows = data.history[(data.history["run"] == run) & (data.history["phase"] == "train")]
    assert encoded["runs"][run]["train"]["step"] == rows["step"].tolist()
    loss = encoded["runs"][run]["train"]["values"]["loss"]
    assert loss == pytest.approx(rows["loss"].tolist(), rel=1e-5)
    assert encoded["runs"][run]["samples_per_step"] == 128
    assert encoded["runs"][run]["images_per_step"] == 384
    assert [q["label"] for q in encoded["quantities"]][:3] == [
        "validation R@1 (%)",
        "training loss",
        "loss term: contrastive",
    ]
    assert encoded["notes"] == []


def test_thinning_says_so_and_keeps_peaks(page_data: tuple[Store, SweepData]) -> None:
    history = make_history(10_001, peak=777)
    encoded = curves.encode_curves(replace(page_data[1], history=history))
    train = encoded["runs"]["r"]["train"]
    assert len(train["step"]) <= curves.MAX_RECORDS + 3
    assert 777 in train["step"]
    assert max(train["values"]["loss"]) == 100.0
    assert train["step"][-1] == 10_000
    assert encoded["notes"][0].startswith("Every 26th logged step is shown")


def test_runs_beyond_the_limit_are_counted(
    page_data: tuple[Store, SweepData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MAX_RUNS", 3)
    encoded = curves.encode_curves(page_data[1])
    assert len(encoded["runs"]) == 3
    assert encoded["notes"] == ["The curves of the first 3 of 4 runs are shown."]


def test_numbers_that_json_lacks_are_null() -> None:
    assert curves.encode_numbers([1 / 3, math.inf, math.nan]) == [0.333333, None, None]


def test_quantities_have_the_labels_of_the_figures() -> None:
    assert curves.label_quantity("tau_ii") == "temperature, image-image"
    assert curves.label_quantity("loss_terms.masked_language") == "loss term: masked language"
    assert curves.label_quantity("anything_else") == "anything else"
