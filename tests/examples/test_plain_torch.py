"""The example of a training script in plain torch: audited, killed in a short run, reported."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import (
    TIMEOUT_SECONDS,
    Driver,
    assert_finished_once,
    kill,
    wait_until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="imports torch often: `make soak`"),
]
EXAMPLE = ROOT / "examples" / "plain_torch"


def make_driver(folder: Path, example: Path, *words: str) -> Driver:
    folder.mkdir(exist_ok=True)
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


def read_accuracies(driver: Driver) -> dict[str, float]:
    plan = driver.plan()
    accuracies = {}
    for cell in plan.cells:
        (item,) = plan.evaluation_hashes[cell.arm].items()
        scores = driver.store.get_run(cell.run_id).read_scores(*item)
        assert scores is not None
        accuracies[cell.name] = scores.scores[0].value
    return accuracies


def list_trainers(driver: Driver) -> list[int]:
    """Return the pids of the program, without those of its supervisors and workers."""
    pids = []
    for pid in driver.everything():
        with suppress(psutil.Error):
            if psutil.Process(pid).cmdline()[1:2] == [str(EXAMPLE / "ablation/../train.py")]:
                pids.append(pid)
    return pids


def wait_for_checkpoint(driver: Driver) -> None:
    """Wait until a program trains, and has written a checkpoint at some time."""

    def is_under_way() -> bool:
        checkpoints = (run.path / "output" / "checkpoint.pt" for run in driver.store.iter_runs())
        return (
            driver.training()
            and bool(list_trainers(driver))
            and any(path.exists() for path in checkpoints)
        )

    wait_until(is_under_way)


def test_controller_program_and_everything_are_killed(tmp_path: Path) -> None:
    """Each time the sweep goes on where its last checkpoint is, with the same scores at its end."""
    words = ("arms=[base,dropout]", "steps=6000")
    driver = make_driver(tmp_path / "killed", EXAMPLE, *words)
    controller = driver.start()
    wait_for_checkpoint(driver)
    controller.kill()
    controller.wait()
    controller = driver.start()
    wait_for_checkpoint(driver)
    kill(list_trainers(driver))
    output, _ = controller.communicate(timeout=TIMEOUT_SECONDS)
    assert controller.returncode == 1, output
    assert "the program ended with status 137 (killed: out of memory?)" in output
    controller = driver.start(command="retry")
    wait_for_checkpoint(driver)
    kill(driver.everything(), signal.SIGTERM)
    controller.communicate(timeout=TIMEOUT_SECONDS)
    assert "2 complete" in driver.run()
    assert_finished_once(driver)
    (killed_run, *_) = (r for r in driver.store.iter_runs() if len(r.list_attempts()) > 2)
    firsts = [
        next((r["step"] for r in killed_run.get_attempt(number).read_metrics()), None)
        for number in killed_run.list_attempts()
    ]
    assert firsts[0] == 1
    assert (firsts[-1] or 0) > 1
    undisturbed = make_driver(tmp_path / "whole", EXAMPLE, *words)
    undisturbed.run()
    assert read_accuracies(driver) == read_accuracies(undisturbed)


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
