"""The webhook of a sweep: from the key or the environment, for its jobs, and in no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeps.claims.status import inspect_runs
from sweeps.config.request import parse_request
from sweeps.config.schema import SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.controller.sweep_notifier import build_notifier
from sweeps.controller.sweep_run import build_controller, run_cells
from sweeps.monitor.display import Display
from sweeps.monitor.notifier import Notifier
from sweeps.monitor.webhook import URL_VARIABLE
from tests.helpers.trivial_sweep import pass_audit, planned
from tests.helpers.webhook_server import SECRET, serve_webhook
from uniclip.errors import UserError
from uniclip.store import RunStatus, Store


@pytest.fixture(autouse=True)
def no_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no webhook in the environment, before the test and after it."""
    monkeypatch.setenv(URL_VARIABLE, "")


def make_controller(root: Path, **settings: object) -> SweepController:
    return SweepController(
        store=Store(root),
        resolved_plan=planned(2, 0.0),
        settings=SweepConfig(store=str(root), **settings),  # type: ignore[arg-type]
        display=Display(),
    )


def build(controller: SweepController) -> Notifier:
    """Return the notifier of a controller's sweep."""
    return build_notifier(
        controller.settings, controller.store, controller.plan, controller.display
    )


def test_without_a_webhook_nothing_is_started(tmp_path: Path) -> None:
    with build(make_controller(tmp_path)) as notifier:
        assert notifier._thread is None


def test_the_url_is_passed_on_by_the_environment_alone(tmp_path: Path) -> None:
    """Neither the plan nor the command of a follow-up job nor a representation has it."""
    url = f"https://hooks.example/{SECRET}"
    words = ["ablation=components", "budget=smoke", f"notify={url}", f"store={tmp_path}"]
    request = parse_request(words)
    plan = request.build_plan().plan
    assert request.settings.notify == url
    assert SECRET not in repr((plan, request.settings, request.follow_up_argv))
    notifier = build(build_controller(request, request.build_plan()))
    assert SECRET not in repr(notifier)
    assert os.environ[URL_VARIABLE] == url


def test_a_url_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="notify=") as caught:
        build(make_controller(tmp_path / "store", notify="hooks/s3cr3t"))
    assert "s3cr3t" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_sweep_of_real_processes_tells_its_end(tmp_path: Path) -> None:
    """Its store has the secret in no file, and the results of a sweep without a webhook."""
    with serve_webhook() as server:
        controller = make_controller(tmp_path, notify=server.url)
        pass_audit(controller.store, controller.plan)
        notifier = build(controller)
        notifier.interval = 0.2
        with notifier:
            run_cells(controller)
            notifier.is_done = True
        assert server.texts[-1] == f"{controller.plan.sweep_id}: done (2 complete)"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    states = inspect_runs(controller.store, controller.plan.required_evaluations())
    assert {state.status for state in states.values()} == {RunStatus.COMPLETE}
