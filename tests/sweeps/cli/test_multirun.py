"""Several ablations of one command: run one after another, and one summary at the end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sweeps.single_run import run_config
from tests.helpers import ROOT
from tests.helpers.command_line import TINY, execute
from tests.sweeps.cli import OVERRIDES
from uniclip.identity import config_from_spec
from uniclip.store import Store

RATES = """
title: Which learning rate?
design: listed
reference: low
arms:
  low: {label: low, overrides: {train.learning_rate: 0.001}}
  high: {label: high, overrides: {train.learning_rate: 0.004}}
contrasts:
  high: {label: high vs. low, plus: high, minus: low, primary: true}
"""
WORDS = [
    *(word for word in TINY if not word.startswith(("ablation=", "train.validate_every="))),
    *("seeds=1", "train.steps=4", "train.validate_every=4", "conf_dir=conf", "launcher=debug"),
    "method=clip",
]


def run_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run sweep.py in a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, str(ROOT / "sweep.py"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two ablations of six arms in one command, and what it printed."""
    folder = tmp_path_factory.mktemp("multirun")
    (folder / "conf" / "ablation").mkdir(parents=True)
    (folder / "conf" / "ablation" / "rates.yaml").write_text(RATES)
    done = run_command(folder, "-m", "ablation=variance,rates", *WORDS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder, done.stdout


@pytest.mark.slow
def test_two_ablations_run_into_one_summary(swept: tuple[Path, str]) -> None:
    folder, output = swept
    assert output.startswith("2 sweeps, one after another: 6 arms, 6 cells, ")
    first, second, summary = re.split(r"\n---- .* ----\n", output)[1:]
    assert "4 complete" in first
    assert "2 complete" in second
    plans = [s.read_plan() for s in Store(folder / "store").iter_sweeps()]
    assert sorted(len(plan.arms) for plan in plans if plan) == [2, 4]
    for plan in plans:
        assert plan is not None
        assert f"ablation={plan.ablation}: {plan.sweep_id}, {len(plan.arms)} complete" in summary
        assert f"reports/{plan.sweep_id}/report.html" in summary
    assert summary.count("effect on ") == 1, "one heading for all effects"
    assert "\nhigh vs. low" in summary


@pytest.mark.slow
def test_the_printed_configuration_is_that_of_a_finished_run(swept: tuple[Path, str]) -> None:
    """`--cfg job`, read back in Python: the same run id, so that nothing is trained."""
    folder, _ = swept
    store = Store(folder / "store")
    printed = run_command(folder, "--cfg", "job", "high/0", "ablation=rates", *WORDS)
    run_id = re.search(r"# Cell high/0 of rates-smoke-\w+, run (\w+)\.", printed.stdout)
    assert run_id is not None, printed.stderr
    run = run_config(OmegaConf.create(printed.stdout), store=store.root)
    assert run.id == run_id[1]
    assert run.list_attempts() == [1]


@pytest.mark.slow
def test_each_run_has_its_configuration_beside_it(swept: tuple[Path, str]) -> None:
    store = Store(swept[0] / "store")
    runs = list(store.iter_runs())
    assert len(runs) >= 5
    for run in runs:
        config = OmegaConf.load(run.config_path)
        assert run_config(config, store=store.root).id == run.id
        assert config.train.learning_rate == config_from_spec(run.read_spec()).train.learning_rate


@pytest.mark.slow
def test_running_it_again_trains_nothing(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    done = run_command(folder, "report", "ablation=glob([variance,rates])", *WORDS)
    assert done.returncode == 0
    assert done.stdout.count("(unchanged)") == 2
    assert "summary of 2 sweeps" in done.stdout


# ---- without training ----------------------------------------------------------------------------


def test_a_sweep_that_cannot_be_planned_keeps_all_from_starting(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablation=components,similarity", *OVERRIDES[1:], "arms=[full]"]
    assert execute(*words) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "unknown arm 'full'" in printed.err
    assert not (work_folder / "store").exists()


@pytest.mark.parametrize("flags", [[], ["--multirun"]])
def test_plans_are_printed_one_after_another(
    flags: list[str], work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute("plan", *flags, "train.steps=10,20", "ablation=similarity", *OVERRIDES[1:]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^---- (.*) ----$", printed, re.M) == ["train.steps=10", "train.steps=20"]
    assert "; 10 steps of" in printed
    assert "; 20 steps of" in printed


def test_an_error_names_its_sweep_once(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablation=similarity", *(w for w in OVERRIDES[1:] if not w.startswith("data="))]
    assert execute("plan", *words, "data=csv,scenes") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data=csv: name your CSV file with data.path=")


def test_the_largest_status_is_that_of_the_command(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every sweep has its turn, also after one that ends with an error."""
    assert execute("report", "ablation=similarity,losses", *OVERRIDES[1:]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("has not been run") == 2
    assert "has not been run" not in printed.out
    assert "summary" not in printed.out, "no sweep has results"


def test_the_records_of_all_sweeps_are_one_list(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*OVERRIDES[1:], "seeds=1"]
    assert execute("plan", "--json", "ablation=similarity,losses", *words) == 0
    records = json.loads(capsys.readouterr().out)
    expected = []
    for ablation in ("ablation=similarity", "ablation=losses"):
        assert execute("plan", "--json", ablation, *words) == 0
        cells = json.loads(capsys.readouterr().out)
        expected += [{"sweep": ablation, **record} for record in cells]
    assert records == expected
    assert len(records) > 4
