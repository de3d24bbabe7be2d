"""optuna-dashboard opens the storage of a tuning: trials, importances, and its page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from sweeps.tuning import study
from tests.helpers.optuna_dashboard import read_json, start_dashboard
from tests.helpers.synthetic_study import make_study, run_recorded
from uniclip.store import Store, TuningRound

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
TUNED_STUDY = make_study("MedianPruner", n_trials=10)


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[TuningRound]]]:
    """The address of a dashboard on the journal in a store, and the rounds of the store."""
    pytest.importorskip("optuna_dashboard")
    folder = tmp_path_factory.mktemp("dashboard")
    rounds = run_recorded(TUNED_STUDY, Store(folder))
    (journal,) = folder.glob("sweeps/*/tuning/*/optuna.journal")
    with start_dashboard(str(journal), folder) as address:
        yield address, rounds


def test_the_dashboard_shows_the_trials_and_importances_of_every_arm(
    dashboard: tuple[str, list[TuningRound]],
) -> None:
    address, rounds = dashboard
    summaries = read_json(f"{address}/api/studies")["study_summaries"]
    assert [s["study_name"].rsplit("/", 1)[1] for s in summaries] == ["low", "high"]
    for summary, arm in zip(summaries, TUNED_STUDY.arms):
        url = f"{address}/api/studies/{summary['study_id']}"
        shown_trials = read_json(url)["trials"]
        trials = study.list_arm_trials(rounds, arm)
        assert [t["values"][0] for t in shown_trials if t["state"] == "Complete"] == [
            t.score for t in trials if t.completed
        ]
        assert any(t["state"] == "Pruned" for t in shown_trials)
        for shown, trial in zip(shown_trials, trials):
            values = {p["name"]: p["param_internal_value"] for p in shown["params"]}
            assert values == trial.params
        (importances,) = read_json(f"{url}/param_importances")["param_importances"]
        assert {item["name"] for item in importances} == set(TUNED_STUDY.space)
        assert sum(item["importance"] for item in importances) == pytest.approx(1)


def test_the_page_of_the_dashboard_names_every_arm(
    dashboard: tuple[str, list[TuningRound]],
) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium (apt-get install chromium-headless-shell)")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command = [browser, *options, "--dump-dom", f"{dashboard[0]}/dashboard"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    for arm in TUNED_STUDY.arms:
        assert f"s/tuning/space-1a2b3c4d/{arm}" in page
