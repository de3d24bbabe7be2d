"""A sweep whose arms filter the training data, or have other test data: plan, run, report.

It trains three runs of four steps: only
runs that were scored show that arms with other filters have the same test items, and others not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command_line import execute
from tests.helpers.shards import write_shards
from uniclip.frames.predictions import DifferentItemsError
from uniclip.frames.store_frames import open_store

ABLATION = """
title: Filters of the data
groups: {method: clip}
design: listed
reference: all
arms:
  all: {label: All}
  long: {label: Long captions, overrides: {data.where: "caption_words >= 4"}}
  other: {label: Other test data, overrides: {data.max_held_out: 16}}
contrasts:
  filter: {label: filter, plus: long, minus: all, primary: true}
  fraction: {label: fraction, plus: other, minus: all, primary: true}
primary_metrics: {webdataset: retrieval.r1}
margins: {webdataset: {retrieval.r1: 0.01}}
margin_reason: ours
"""


@pytest.mark.slow
def test_arms_with_other_filters_are_scored_on_the_same_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "conf" / "ablation").mkdir(parents=True)
    (tmp_path / "conf" / "ablation" / "filters.yaml").write_text(ABLATION)
    words = (
        *("ablation=filters", f"conf_dir={tmp_path / 'conf'}", "data=webdataset"),
        *(f"data.path={write_shards(tmp_path / 'shards', 160, 2)}", "data.image_size=32"),
        *("data.validation_fraction=0.1", "data.test_fraction=0.2", "model.image.image_size=32"),
        *("budget=smoke", "train.steps=4", "train.batch_size=16", f"store={tmp_path / 'store'}"),
        "seeds=1",
    )
    assert execute("plan", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "changes the test data" in line)
    assert line.startswith("arm other: data.max_held_out changes the test data of webdataset")
    assert execute("run", *words) == 0
    assert execute("report", *words) == 0
    frames = open_store(tmp_path / "store")
    (sweep,) = frames.sweeps().index
    plan = frames.read_plan(sweep)
    names = {
        cell.arm: read_ids(frames.store.get_run(cell.run_id), plan.evaluation_hashes[cell.arm])
        for cell in plan.cells
    }
    assert names["all"] == names["long"]
    assert set(names["other"]) < set(names["all"])
    assert len(frames.predictions(sweep, "retrieval.r1", arms=("all", "long"))) == len(names["all"])
    with pytest.raises(DifferentItemsError, match=r"arms all and other .* different test items of"):
        frames.predictions(sweep, "retrieval.r1")
    report = (tmp_path / "store" / "reports" / sweep / "report.html").read_text()
    assert "on different test items of webdataset (All, Long captions; Other test data)" in report


def read_ids(run, evaluation_hashes: dict[str, str]) -> list[int]:
    path = run.predictions_path("webdataset", evaluation_hashes["webdataset"])
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["ids"].tolist()
