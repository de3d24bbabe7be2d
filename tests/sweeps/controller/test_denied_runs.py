"""Runs that this user may not write are left to their owner; the others are executed."""

from __future__ import annotations

from pathlib import Path

from sweeps.config.schema import SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.controller.denied_runs import describe_denied_runs, find_denied_runs
from sweeps.monitor.display import Display
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from tests.helpers.trivial_sweep import planned
from uniclip.identity import compute_training_hash
from uniclip.store import RunStatus, Store


def open_folders(tmp_path: Path) -> Store:
    """Return a store in which every user may write, below folders that every user may search."""
    open_to_other_users(tmp_path)
    root = tmp_path / "store"
    for folder in (root, root / "runs", root / "sweeps"):
        folder.mkdir()
        folder.chmod(0o777)
    return Store(root)


def test_the_other_runs_are_executed(tmp_path: Path) -> None:
    compute_training_hash()  # imports modules that the other user may not be able to read
    store, resolved_plan = open_folders(tmp_path), planned(3, 0.0)
    mine, unreadable, _ = resolved_plan.specs
    for run_id in (mine, unreadable):
        store.get_run(run_id).write_spec(resolved_plan.specs[run_id])
        store.get_run(run_id).path.chmod(0o755 if run_id == mine else 0o700)

    def act_as_other_user() -> None:
        lines: list[str] = []
        display = Display()
        display.print_line = lines.append  # type: ignore[method-assign]
        controller = SweepController(
            store=store, resolved_plan=resolved_plan, settings=SweepConfig(), display=display
        )
        states = controller.inspect_runs()
        assert [s.status for s in states.values()] == [
            RunStatus.PENDING,
            RunStatus.UNREADABLE,
            RunStatus.PENDING,
        ]
        assert "belongs to root (drwx------)" in states[unreadable].reason
        actions = controller.prepare()
        assert actions.submit == tuple(resolved_plan.specs)[2:]
        assert controller.find_actions(states).submit == actions.submit
        assert controller.denied_runs == (mine,)
        line = next(line for line in lines if "left out" in line)
        assert f"{store.get_run(mine).path} belongs to root (drwxr-xr-x)" in line
        assert "root runs chmod -R g+rwX" in line

    run_as_other_user(act_as_other_user)


def test_runs_of_this_user_are_not_denied(tmp_path: Path) -> None:
    store, resolved_plan = Store(tmp_path), planned(2, 0.0)
    (first, second) = resolved_plan.specs
    store.get_run(first).write_spec(resolved_plan.specs[first])
    assert find_denied_runs(store, [first, second]) == {}
    line = describe_denied_runs(store, dict.fromkeys("ab", store.get_run(first).path))
    assert "you may not write them: 2; " in line
    assert " and 1 more; fix: " in line
