"""The follow-up job: there is one for each command line, and it is requeued if needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.launchers.slurm import SlurmLauncher
from tests.helpers.slurm_queue import Scene, become_follow_up
from uniclip.errors import RetryLater
from uniclip.store import Store


@pytest.fixture
def follow_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], SlurmLauncher]:
    """Turn this process into a follow-up job of a scene."""
    return lambda scene: become_follow_up(scene, monkeypatch)


@pytest.mark.parametrize(("limit", "cells"), [(6, 5), (5, 4), (3, 2)])
def test_the_last_queued_job_makes_room_for_the_follow_up(
    tmp_path: Path, limit: int, cells: int
) -> None:
    scene = Scene(Store(tmp_path), 20, limit)
    launcher = scene.build_launcher(cells_per_job=1)
    scene.put(launcher)
    assert scene.kinds(launcher) == {"run": cells, "follow_up": 1}
    assert any("the follow-up takes its slot" in line for line in scene.printed_lines)


def test_a_follow_up_without_a_successor_is_retried_later(
    tmp_path: Path, follow_up: Callable[[Scene], SlurmLauncher]
) -> None:
    scene = Scene(Store(tmp_path), 4)
    scene.put(scene.build_launcher(cells_per_job=1))
    launcher = follow_up(scene)
    for is_answering, limit, message in (
        (True, 0, "sbatch rejected the jobs"),
        (False, 9, "queue does not answer"),
        (True, 2, "sbatch rejected the follow-up job"),
    ):
        scene.cluster.is_answering, scene.cluster.limit = is_answering, limit
        with pytest.raises(RetryLater, match=message):
            scene.put(launcher)
    scene.cluster.queue = scene.cluster.queue[:1]
    with pytest.raises(RetryLater, match="in jobs that this cluster's queue lacks"):
        launcher.submit([], scene.states())


def test_a_command_line_has_its_own_follow_up(
    tmp_path: Path, follow_up: Callable[[Scene], SlurmLauncher]
) -> None:
    """A running one has read the plan of other overrides; a queued one would write it again."""
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.build_launcher(cells_per_job=1, follow_up_argv=("run", "seeds=2")))
    newer_launcher = scene.build_launcher(cells_per_job=1, follow_up_argv=("run", "seeds=3"))
    scene.put(newer_launcher)
    argvs = [
        i.follow_up_argv
        for i, _, _ in newer_launcher.submissions.list_active_jobs()
        if i.kind == "follow_up"
    ]
    assert argvs == [("run", "seeds=3")]
    scene.cluster.starts()
    scene.put(scene.build_launcher(cells_per_job=1, follow_up_argv=("run", "seeds=3")))
    assert scene.kinds(newer_launcher)["follow_up"] == 2, (
        "the running one may have read the store earlier"
    )


def test_retries_of_different_cells_have_follow_ups_of_their_own(tmp_path: Path) -> None:
    """Neither writes the plan again, and neither knows the other's cells."""
    scene = Scene(Store(tmp_path), 3)
    argvs = [("run", "seeds=2"), ("retry", "a/0", "seeds=2"), ("retry", "a/1", "seeds=2")]
    for argv in argvs:
        launcher = scene.build_launcher(cells_per_job=1, follow_up_argv=argv)
        scene.put(launcher)
    assert [
        i.follow_up_argv
        for i, _, _ in launcher.submissions.list_active_jobs()
        if i.kind == "follow_up"
    ] == argvs
