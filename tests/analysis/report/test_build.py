"""The report: rebuilt only if its inputs change, complete, and built with light imports."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect import frame
from analysis.report.build import (
    MANIFEST_NAME,
    ReportResult,
    build_report,
    compute_input_digest,
)
from analysis.results.planted_effects import CheckStatus
from tests.helpers import ROOT, fake_sweep
from tests.helpers.copy_verdicts import make_verdicts
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.evaluate.checks.copy_search import write_verdicts
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import PlantedEffect, Store


def test_the_files_of_a_report(built_report: tuple[Store, str, ReportResult]) -> None:
    store, sweep, result = built_report
    assert result.folder == store.report_path(sweep)
    names = {str(p.relative_to(result.folder)) for p in result.folder.rglob("*") if p.is_file()}
    for table in ("scores", "effects", "components", "runs", "all_scores", "other_effects"):
        assert {f"tables/{table}.{suffix}" for suffix in ("csv", "md", "tex")} <= names
    assert {f"figures/effects.{suffix}" for suffix in ("png", "svg")} <= names
    assert {
        "report.html",
        "report.ipynb",
        MANIFEST_NAME,
        "tables/frame.csv",
        "history.csv",
    } <= names
    assert "training_seconds" in store.get_sweep(sweep).cost_report_path.read_text().splitlines()[0]
    assert not list(result.folder.parent.glob(".*"))


def test_an_unchanged_report_is_not_built_again(
    built_report: tuple[Store, str, ReportResult],
) -> None:
    store, sweep, first = built_report
    again = build_report(store, sweep)
    assert not again.rebuilt
    assert again.summary == first.summary
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    before = compute_input_digest(store, plan)
    path = store.get_run(fake_sweep.run_id("full", 0)).get_attempt(1).metrics_path
    text = path.read_bytes()
    path.write_bytes(text + b"\n")
    assert compute_input_digest(store, plan) != before
    path.write_bytes(text)
    assert compute_input_digest(store, plan) == before


def test_a_report_depends_on_the_code_that_makes_its_numbers(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(seeds=(0,)))
    code = tmp_path / "code"
    for package in ("analysis", "uniclip"):
        shutil.copytree(
            ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    program = f"""if True:
        from pathlib import Path
        from analysis.report.build import compute_input_digest
        from uniclip.store import Store
        store = Store(Path({str(store.root)!r}))
        print(compute_input_digest(store, store.get_sweep({sweep!r}).read_plan()))
    """

    def compute() -> bytes:
        environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, check=True, stdout=subprocess.PIPE
        ).stdout

    digests = [compute(), compute()]
    changed = (
        "uniclip/frames/records.py",
        "uniclip/store/score_kinds.py",
        "analysis/formatting.py",
    )
    for name in changed:
        with open(code / name, "a") as stream:
            stream.write("# changed\n")
        digests.append(compute())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 1 + len(changed)


def test_the_sweep_is_collected_once_with_planted_effects_and_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    folder = store.get_sweep(sweep)
    plan = folder.read_plan()
    assert plan is not None
    planted = PlantedEffect(
        kind="positive_effect", description="it helps", contrast="main:awareness"
    )
    folder.write_plan(replace(plan, planted_effects=(planted,)))
    merged_run = plan.cells[0].run_id
    append_jsonl(store.origins_path, {"run": merged_run, "origin": "other lab", "copied": True})
    collected = []
    real_collect = frame.collect_sweep_data

    def collect_and_count(store: Store, sweep_id: str) -> frame.SweepData:
        collected.append(sweep_id)
        return real_collect(store, sweep_id)

    monkeypatch.setattr(frame, "collect_sweep_data", collect_and_count)
    first = build_report(store, sweep)
    (result,) = first.planted_results
    assert (result.description, result.status) == ("it helps", CheckStatus.CONFIRMED)
    again = build_report(store, sweep)
    assert (first.rebuilt, again.rebuilt) == (True, False)
    assert again.planted_results == first.planted_results
    assert collected == [sweep]
    page = (first.folder / "report.html").read_text()
    assert "Planted effects" in page
    assert "<b>confirmed</b>" in page
    origins = list(csv.DictReader((first.folder / "origins.csv").open()))
    assert [row["origins"] for row in origins[:2]] == ["other lab", "this store"]
    assert len(origins) == len(plan.cells)


def test_a_damaged_file_leaves_the_old_report(
    built_report: tuple[Store, str, ReportResult],
) -> None:
    store, sweep, result = built_report
    path = store.get_run(fake_sweep.run_id("full", 0)).scores_path(
        "openmoji", fake_sweep.EVALUATION
    )
    text, page = path.read_bytes(), (result.folder / "report.html").read_bytes()
    atomic_write(path, b"{")
    with pytest.raises(UserError, match=re.escape(str(path))):
        build_report(store, sweep)
    assert (result.folder / "report.html").read_bytes() == page
    atomic_write(path, text)


def test_a_failure_changes_the_inputs(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path, Truth(missing=(("clip", 1),)))
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    run = fake_sweep.run_id("clip", 1)
    attempt = fake_sweep.begin(store, run)
    before = compute_input_digest(store, plan)
    atomic_write(attempt.end_path, b"{}")
    assert compute_input_digest(store, plan) != before


def test_what_was_searched_and_planned_since_changes_the_inputs(tmp_path: Path) -> None:
    """Copies that were searched by embedding, and other sweeps, with which the review compares."""
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(seeds=(0,)))
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    digests = [compute_input_digest(store, plan)]
    for num_copies in (1, 2):
        verdicts = make_verdicts(10, num_copies)
        run = store.get_run(fake_sweep.run_id("full", 0))
        write_verdicts(run, "openmoji", fake_sweep.EVALUATION, verdicts)
        digests.append(compute_input_digest(store, plan))
    other = replace(plan, sweep_id=f"{plan.ablation}-quick-00000000")
    store.get_sweep(other.sweep_id).write_plan(other)
    digests.append(compute_input_digest(store, plan))
    assert len(set(digests)) == len(digests)


def test_the_place_of_the_store_changes_the_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the page name it."""
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(seeds=(0,)))
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    other = Store(shutil.copytree(store.root, tmp_path / "other"))
    digests = {compute_input_digest(place, plan) for place in (store, other)}
    monkeypatch.chdir(tmp_path)
    digests.add(compute_input_digest(store, plan))
    assert len(digests) == 3


def test_importing_is_cheap() -> None:
    heavy = "('torch', 'pandas', 'matplotlib', 'scipy', 'nbclient', 'nbformat', 'jinja2')"
    code = f"import sys, analysis.report.build; assert not [m for m in {heavy} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", code], check=True)


EXPORTS_TO_LIBRARIES = {
    f"analysis.exports.{name}"
    for name in ("huggingface", "mlflow", "tensorboard", "trackio", "wandb")
}
"""Modules that import a library of an extra when they are imported."""


def test_torch_is_never_imported() -> None:
    modules = [p for p in (ROOT / "analysis").rglob("*.py") if p.name != "__init__.py"]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in modules]
    names = [name for name in names if name not in EXPORTS_TO_LIBRARIES]
    assert len(names) > 20
    imports = "; ".join(f"import {n}" for n in names)
    subprocess.run(
        [sys.executable, "-c", f"{imports}; import sys; assert 'torch' not in sys.modules"],
        check=True,
    )


def test_a_notebook_that_cannot_run_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, figures and page are there; once the kernel works again, so is the notebook."""
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(seeds=(0,)))
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('there is no kernel')")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        broken = build_report(store, sweep)
    lines = broken.summary[-2:]
    assert "there is no kernel" in " ".join(lines)
    assert max(map(len, broken.summary)) <= 80
    page = (broken.folder / "report.html").read_text(encoding="utf-8")
    assert "The notebook report.ipynb has cells without results" in page
    for name in ("tables/effects.tex", "figures/effects.svg", "report.ipynb", "history.csv"):
        assert (broken.folder / name).exists()
    again = build_report(store, sweep)
    assert again.rebuilt
    assert again.summary == broken.summary[: len(again.summary)]
    assert not build_report(store, sweep).rebuilt
