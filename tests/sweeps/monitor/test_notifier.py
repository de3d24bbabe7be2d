"""The thread of notifications, over a real store, to servers that work, are slow, wrong, absent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sweeps.monitor.notifications import SweepNotifications
from sweeps.monitor.notifier import Notifier
from tests.helpers import fake_sweep
from tests.helpers.command_line import wait_until
from tests.helpers.fake_sweep import Truth
from tests.helpers.webhook_server import SECRET, WebhookServer, serve_webhook
from uniclip.store import Store

TRUTH = Truth(seeds=(0,), diverged=(("clip", 0),))


class Interrupted(Exception):
    """Stands for what ends a command."""


def make_notifier(root: Path, url: str, printed: list[str], interval: float = 0.01) -> Notifier:
    """Return the notifier of a synthetic sweep, which is written if the store is empty."""
    store, sweep_id = Store(root), fake_sweep.plan(TRUTH).sweep_id
    if not list(store.iter_sweeps()):
        fake_sweep.make(root, TRUTH)
    return Notifier(
        url=url,
        store=store,
        sweep_ids=[sweep_id],
        notifications=SweepNotifications(store=store),
        print_line=printed.append,
        interval=interval,
        timeout=30,
    )


def fail_another(store: Store) -> None:
    run = fake_sweep.run_id("full", 0)
    (store.get_run(run).path / "outcome.json").unlink()
    store.get_run(run).get_attempt(1).write_end("failed", "OSError: full of <stars>")


def list_lines(server: WebhookServer) -> list[str]:
    return [line.partition(": ")[2] for text in server.texts for line in text.splitlines()]


def test_failures_and_the_end_are_told_once(tmp_path: Path) -> None:
    printed: list[str] = []
    with serve_webhook() as server:
        for _ in range(2):
            with make_notifier(tmp_path, server.url, printed) as notifier:
                wait_until(lambda: "clip/0 diverged at step 100" in list_lines(server))
                notifier.is_done = True
        done = [line for line in list_lines(server) if line.startswith("done")]
        assert list_lines(server).count("clip/0 diverged at step 100") == 1
        assert len(done) == 1
        assert "1 diverged" in done[0]
    assert printed == []
    assert SECRET not in "".join(p.read_text() for p in tmp_path.rglob("*.json*"))
    assert SECRET not in repr(notifier)


def run_interrupted(notifier: Notifier, server: WebhookServer) -> None:
    """Let a cell fail after the first message, and end as Ctrl-C does."""
    with notifier:
        wait_until(lambda: len(server.texts) == 1)
        fail_another(notifier.store)
        raise Interrupted


def test_within_an_interval_nothing_more_is_sent(tmp_path: Path) -> None:
    """The thread waits for the next message; a command that is interrupted does not."""
    with serve_webhook() as server:
        notifier = make_notifier(tmp_path, server.url, [], interval=1e6)
        with pytest.raises(Interrupted):
            run_interrupted(notifier, server)
        assert notifier._thread is not None
        assert notifier._thread.daemon
        assert len(server.texts) == 1


def test_a_message_that_was_refused_is_sent_later(tmp_path: Path) -> None:
    printed: list[str] = []
    with serve_webhook() as server:
        server.status = 500
        with make_notifier(tmp_path, server.url, printed) as notifier:
            wait_until(lambda: len(server.paths) > 1 and notifier.problem == "status 500")
            server.status = 200
        assert list_lines(server) == ["clip/0 diverged at step 100"]
    assert printed == []


def test_a_slow_server_delays_nothing(tmp_path: Path) -> None:
    """The body of the context runs to its end while the server has not answered."""
    with serve_webhook() as server:
        server.may_answer.clear()
        with make_notifier(tmp_path, server.url, []) as notifier:
            wait_until(lambda: len(server.paths) == 1)
            fail_another(notifier.store)
            assert server.texts == []
            server.may_answer.set()
        assert sorted(list_lines(server)) == [
            "clip/0 diverged at step 100",
            "full/0 failed: OSError: full of &lt;stars&gt;",
        ]


def test_an_absent_server_is_one_line_at_the_end(tmp_path: Path) -> None:
    printed: list[str] = []
    with make_notifier(tmp_path, f"http://127.0.0.1:9/{SECRET}", printed):
        pass
    assert printed == ["note: the last notification was not sent (ConnectionRefusedError)"]


def test_a_damaged_store_ends_nothing(tmp_path: Path) -> None:
    printed: list[str] = []
    notifier = make_notifier(tmp_path, f"http://127.0.0.1:9/{SECRET}", printed)
    (notifier.store.get_sweep(notifier.sweep_ids[0]).path / "plan.json").write_text("{")
    with notifier:
        pass
    assert printed == ["note: the last notification was not sent (UserError)"]


def test_sweeps_are_watched_one_after_the_other(tmp_path: Path) -> None:
    """The first one is left when it has ended and the next one has begun."""
    with serve_webhook() as server:
        with make_notifier(tmp_path, server.url, []) as notifier:
            first = notifier.sweep_ids[0]
            wait_until(lambda: len(server.texts) == 1)
            notifier.watch("components-quick-tuned-1a2b3c4d")
            notifier.watch("components-quick-tuned-1a2b3c4d")
            assert notifier.sweep_ids == [first, "components-quick-tuned-1a2b3c4d"]
            plan = notifier.store.get_sweep(first).read_plan()
            assert plan is not None
            next_plan = dataclasses.replace(plan, sweep_id=notifier.sweep_ids[1])
            notifier.store.get_sweep(next_plan.sweep_id).write_plan(next_plan)
            wait_until(lambda: notifier.sweep_ids == [next_plan.sweep_id])
            notifier.is_done = True
        lines = [line for text in server.texts for line in text.splitlines()]
        assert lines[0] == f"{first}: clip/0 diverged at step 100"
        assert [line for line in lines if "diverged at" in line] == lines[:1], "it is the same run"
        assert lines[-1].startswith(f"{next_plan.sweep_id}: done (")
