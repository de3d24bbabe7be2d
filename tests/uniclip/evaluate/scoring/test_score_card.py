from __future__ import annotations

import numpy as np
import pytest

from uniclip.evaluate.scoring.score_card import ScoreCard


def test_a_score_is_the_mean_of_its_outcomes(tmp_path):
    sheet = ScoreCard()
    sheet.add_outcomes("whole", np.array([1.0, 0.0] * 30), kind="accuracy", chance=0.5)
    sheet.add_outcomes("part", np.array([1.0, 0.25]), kind="recall", chance=0.1)
    sheet.add_array("examples.image_names", np.array(["a", "bc"]))
    scores, predictions = sheet.get_results()
    assert [(s.value, s.num_samples) for s in scores] == [(0.5, 60), (0.625, 2)]
    assert [s.report_only for s in scores] == [False, True]
    assert predictions["whole"].dtype == bool
    assert predictions["part"].dtype == np.float32
    np.savez(tmp_path / "kept.npz", **predictions)
    with np.load(tmp_path / "kept.npz", allow_pickle=False) as loaded:
        assert loaded["examples.image_names"].tolist() == ["a", "bc"]


def test_no_name_twice_and_no_object_arrays():
    sheet = ScoreCard()
    sheet.add_scalar("gap", 0.1, kind="gap", samples=60)
    with pytest.raises(AssertionError, match="gap"):
        sheet.add_scalar("gap", 0.2, kind="gap", samples=60)
    with pytest.raises(AssertionError, match="names"):
        sheet.add_array("names", np.array(["a", 1], dtype=object))
