"""The example of a training script in plain torch: audited, killed in a short run, reported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import Driver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="imports torch often: `make soak`"),
]
EXAMPLE = ROOT / "examples" / "plain_torch"


def make_driver(folder: Path, example: Path, *words: str) -> Driver:
    driver = Driver(folder / "store")
    driver.words = (
        *("ablation=plain_torch", f"conf_dir={example}", "seeds=1", "launcher.max_workers=1"),
        *(*words, f"store={driver.folder}"),
    )
    return driver


def test_the_example_runs(tmp_path: Path) -> None:
    driver = make_driver(tmp_path, EXAMPLE, "arms=[base,dropout]")
    output = driver.run()
    assert "audit: 5 of 5 checks passed" in output
    assert "2 complete" in output
    (sweep,) = driver.store.iter_sweeps()
    (resume,) = [c for c in sweep.read_audit_checks() if c.name == "a killed run continues"]
    assert resume.detail.endswith("bit by bit as without the kill")
    assert "Manipulation checks" in driver.store.report_path(sweep.id).joinpath(
        "report.html"
    ).read_text(encoding="utf-8")
    assert b"a killed run continues" in driver.tables()["manipulation_checks.csv"]


def test_a_switch_that_is_broken_on_purpose_is_caught(tmp_path: Path) -> None:
    example = tmp_path / "example"
    shutil.copytree(EXAMPLE, example)
    script = example / "train.py"
    text = script.read_text()
    assert "nn.Dropout(args.dropout)" in text
    script.write_text(text.replace("nn.Dropout(args.dropout)", "nn.Dropout(0.0)"))
    ablation = example / "ablation" / "plain_torch.yaml"
    ablation.write_text(ablation.read_text().replace("kill_at: 120", "kill_at: 0"))
    driver = make_driver(tmp_path, example, "arms=[base,dropout]")
    output = driver.run(status=2)
    assert "dropout: loss differs from base does not hold: loss is equal at every step" in output
    assert not any(run.list_attempts() for run in driver.store.iter_runs())
