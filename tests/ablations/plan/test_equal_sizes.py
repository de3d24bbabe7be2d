"""What a design states of its arms is checked: sizes of controls, and multiples of compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.plan.equal_sizes import count_training_samples
from tests.helpers.csv_data import write_image_set
from tests.helpers.plans import SCENES, assert_refused, plan_from_words, write_ablation

FILTER = """
caption_filter:
  label: the filter of captions
  reason: short captions say little
  off_overrides: {{data.path: {folder}/all.csv}}
  control_overrides: {{data.path: {folder}/all.csv, train.subset_size: {size}}}
  manipulation_check: {{kind: settings}}
"""
FILTERED = """
title: Does the filter choose better pairs, or only fewer?
groups: {{method: clip, data: csv}}
overrides: {{data.path: {folder}/filtered.csv, data.test_path: {folder}/test.csv}}
design: leave_one_out
components: [caption_filter]
"""
SCALED = """
title: Does the effect survive scale?
groups: {method: uniclip, data: scenes}
overrides: {train.steps: 100}
design: leave_one_out
components: [awareness]
settings:
  long: {label: four times the steps, overrides: {train.steps: 400}, compute: COMPUTE}
  large: {label: a larger model, groups: {model: tiny}, overrides: {train.steps: 400}}
"""


def write_filtered(folder: Path, size: int) -> tuple[str, ...]:
    """Write tables of 30 filtered and of 60 pairs, and an ablation of the filter."""
    header, *rows = write_image_set(folder, 80).read_text().splitlines()
    parts = {"filtered": rows[:30], "all": rows[:60], "test": rows[60:]}
    for name, part in parts.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
    (folder / "components.yaml").write_text(FILTER.format(folder=folder, size=size))
    words = write_ablation(folder, FILTERED.format(folder=folder))
    return (*words, "train.batch_size=8", "seeds=1")


def test_a_control_has_as_many_samples_as_the_full_arm(tmp_path: Path) -> None:
    resolved_plan = plan_from_words(*write_filtered(tmp_path, size=27))
    sizes = {name: count_training_samples(c) for name, c in resolved_plan.configs.items()}
    assert sizes["full"] == sizes["control-caption-filter"]
    assert sizes["no-caption-filter"] > sizes["full"]  # type: ignore[operator]
    contrasts = {c.name: c.label for c in resolved_plan.plan.contrasts if c.primary}
    assert contrasts == {
        "full - no-caption-filter": "the filter of captions, in the full model",
        "full - control-caption-filter": "the filter of captions, at equal size",
    }
    assert len({cell.run_id for cell in resolved_plan.plan.cells}) == 3
    test_paths = {c.data.test_path for c in resolved_plan.configs.values()}  # type: ignore[attr-defined]
    assert len(test_paths) == 1, "all arms are scored on one test set"


def test_a_control_of_another_size_is_refused(tmp_path: Path) -> None:
    words = write_filtered(tmp_path, size=10)
    assert_refused(
        r"arm control-caption-filter: 10 training samples, arm full has \d+: set "
        r"train\.subset_size: \d+ in control_overrides of caption_filter",
        *words,
    )


def test_stated_compute_is_checked_against_the_arms(tmp_path: Path) -> None:
    words = write_ablation(tmp_path, SCALED.replace("COMPUTE", "4"))
    plan = plan_from_words(*words, "seeds=1").plan
    slope = next(c for c in plan.contrasts if c.kind == "scale")
    assert set(slope.weights) == {"full", "no-awareness", "long", "long-no-awareness"}
    words = write_ablation(tmp_path, SCALED.replace("COMPUTE", "16"))
    assert_refused(r"settings\.long\.compute is 16, but its encoders take 4 times", *words)


def test_scenes_count_their_samples() -> None:
    config = plan_from_words(*SCENES, "arms=[full]", "data.num_train=200").configs["full"]
    assert count_training_samples(config) == 200


@pytest.mark.parametrize("size", [100, None])
def test_a_subset_is_as_large_as_it_is_set(size: int | None) -> None:
    words = [] if size is None else [f"train.subset_size={size}", "train.batch_size=16"]
    config = plan_from_words(*SCENES, "arms=[full]", "data.num_train=200", *words).configs["full"]
    assert count_training_samples(config) == (size or 200)
