"""Figures: equal inputs give equal bytes, and a skipped figure has its reason."""

from __future__ import annotations

from pathlib import Path

from analysis.collect.predictions import load_examples
from analysis.figures.build import build_figures
from analysis.report.build import ReportResult
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_fake_sweep, analyze_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store


def test_equal_inputs_give_equal_bytes(
    built_report: tuple[Store, str, ReportResult], tmp_path: Path
) -> None:
    store, sweep, result = built_report
    results = analyze_sweep(store, sweep)
    build_figures(results, load_examples(store, results.plan), tmp_path)
    assert len(list(tmp_path.iterdir())) == 18
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (result.folder / "figures" / path.name).read_bytes(), path.name


def test_a_figure_without_input_has_a_reason(tmp_path: Path) -> None:
    cells = tuple((a.name, s) for a in fake_sweep.arms() for s in (0, 1, 2))
    results = analyze_fake_sweep(tmp_path / "store", Truth(missing=cells))
    figures = build_figures(results, None, tmp_path)
    assert len(figures) == 6
    assert all(f.skip_reason for f in figures)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
