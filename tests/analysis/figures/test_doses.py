"""Figure of dose curves: a panel per component, with every dose and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ablations.schema import DoseScale
from analysis.figures.doses import draw_doses
from analysis.figures.style import FigureSkipped
from analysis.results.doses import analyze_doses
from tests.helpers.designed_sweeps import analyze_design
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth

DOSES = {
    "a": DoseScale(full=1.0, overrides={"0.5": {}, "0.25": {}}),
    "b": DoseScale(full=4.0, overrides={"2": {}}),
}


def test_each_component_has_a_panel_with_its_doses(tmp_path: Path) -> None:
    it = ablation(2, "dose", doses=DOSES)
    truth = Truth(seeds=(0, 1, 2), noise=0.002)
    results = analyze_design(
        tmp_path, it, lambda arm: 0.3 + 0.1 * arm.doses.get("a", arm.levels.get("a", 1)), truth
    )
    panels = draw_doses(results).axes
    assert [axes.get_xlabel() for axes in panels] == ["dose of A", "dose of B"]
    assert [axes.get_xticks().tolist() for axes in panels] == [[0, 0.25, 0.5, 1], [0, 2, 4]]
    curve = analyze_doses(results.plan, results.observations[results.primary_score])[0]
    assert curve.trend is not None
    fitted, means = (np.asarray(line.get_ydata()) for line in panels[0].get_lines())
    factor = results.get_score_format().factor
    np.testing.assert_allclose(means, factor * np.array(curve.trend.means))
    np.testing.assert_allclose(fitted, factor * np.array(curve.trend.fitted))


def test_without_doses_it_is_skipped(tmp_path: Path) -> None:
    results = analyze_design(tmp_path, ablation(1), lambda arm: 0.3, Truth(seeds=(0,)))
    with pytest.raises(FigureSkipped, match="no seed has every dose"):
        draw_doses(results)
