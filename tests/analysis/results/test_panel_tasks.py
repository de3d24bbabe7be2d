"""Which data sets have which kinds of evaluation, and how their columns are headed."""

from __future__ import annotations

import pytest

from analysis.results.panel_tasks import PANEL_TASKS, format_score_heading, supports_task


@pytest.mark.parametrize(
    ("dataset", "tasks"),
    [
        ("cifar10", ["zero_shot", "linear_probe"]),
        ("cifar10_fewshot", ["few_shot"]),
        ("cifar10_finetune", ["fine_tuning"]),
        ("imagenet_r", ["zero_shot", "effective_robustness"]),
        ("imagenet_o", ["zero_shot", "detection"]),
        ("objectnet", ["zero_shot"]),
        ("docci", ["image_to_text_retrieval", "text_to_image_retrieval"]),
        ("sugarcrepe", ["composition"]),
        ("winogavil", ["association"]),
        ("fmow", ["zero_shot"]),
    ],
)
def test_each_data_set_is_in_the_panels_of_its_scores(dataset: str, tasks: list[str]) -> None:
    assert [t for t in PANEL_TASKS if supports_task(dataset, t)] == tasks


def test_headings_say_what_is_scored() -> None:
    headings = {
        ("dtd_fewshot", "fewshot.1"): "dtd_fewshot 1 shot",
        ("dtd_fewshot", "fewshot.16"): "dtd_fewshot 16 shots",
        ("dtd_fewshot", "knn"): "dtd_fewshot neighbors",
        ("dtd_finetune", "finetune"): "dtd_finetune",
        ("winoground", "composition.group"): "winoground group",
        ("coco", "retrieval.i2t.r5"): "coco R@5",
        ("imagenet_a", "shift.robust"): "imagenet_a",
    }
    for (dataset, score), heading in headings.items():
        assert format_score_heading(dataset, score) == heading
