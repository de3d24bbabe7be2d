"""The review in a report: findings with prices, commands on the page, and no review at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.report import review_table
from analysis.report.build import build_report
from analysis.report.review_table import NO_FINDING, review_for_report
from analysis.results.results import Results, analyze
from tests.helpers.reviewed_sweeps import Story, write_sweep
from uniclip.errors import UserError
from uniclip.store import Store


def analyze_story(folder: Path, story: Story) -> tuple[Store, Results]:
    store, plan = write_sweep(folder, story)
    return store, analyze(store, collect_sweep_data(store, plan.sweep_id))


def test_findings_have_prices_and_commands(tmp_path: Path) -> None:
    store, results = analyze_story(tmp_path, Story(is_tuned=False, datasets=("scenes",)))
    review = review_for_report(store, results)
    assert review is not None
    file, page = (review.build_table(with_commands=value) for value in (False, True))
    assert [record["check"] for record in file.records] == ["untuned_arms", "one_dataset"]
    assert [row[4].text for row in file.rows] == ["26 runs", "10 evaluations"]
    assert file.rows[0][0].text == "No arm was tuned (major)"
    assert page.headings[-1] == "command"
    assert page.rows[1][-1].text == (
        f"python sweep.py run {results.plan.sweep_id} 'benchmark=[scenes,bench14]' "
        f"store={store.root}"
    )
    assert len(file.headings) == len(file.rows[0]) == len(page.rows[0]) - 1


def test_a_clean_sweep_has_a_table_without_rows(tmp_path: Path) -> None:
    review = review_for_report(*analyze_story(tmp_path, Story()))
    assert review is not None
    assert review.build_table(with_commands=True).rows == ()
    assert review.note == NO_FINDING


def test_what_cannot_be_reviewed_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: Store, results: Results) -> None:
        raise UserError("plan.json is damaged")

    monkeypatch.setattr(review_table, "review_results", fail)
    review = review_for_report(*analyze_story(tmp_path, Story()))
    assert review is not None
    assert review.build_table(with_commands=True).notes == ("Not reviewed: plan.json is damaged",)


@pytest.mark.slow
def test_the_page_and_the_files_of_a_report_have_the_review(tmp_path: Path) -> None:
    store, plan = write_sweep(tmp_path / "store", Story(is_tuned=False, datasets=("scenes",)))
    folder = build_report(store, plan.sweep_id).folder
    page = (folder / "report.html").read_text()
    assert "What a reviewer would attack" in page
    assert "benchmark=[scenes,bench14]" in page
    text = (folder / "tables" / "review.md").read_text()
    assert "No arm was tuned" in text
    assert "sweep.py run" not in text
    assert (folder / "tables" / "review.csv").read_text().startswith("check,severity,title")
