"""The jobs of a sweep on a queue that rejects jobs, or whose jobs die (a real one: tests/slurm)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.claims.status import MAX_SILENT_DEATHS
from sweeps.launchers.slurm import MIN_JOB_SECONDS, SlurmLauncher, group_runs
from tests.helpers.slurm_queue import Scene, become_follow_up
from uniclip.errors import RetryLater, UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import AuditRecord, Store
from uniclip.store.json_io import read_record, to_json_bytes


@pytest.fixture
def follow_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], SlurmLauncher]:
    """Turn this process into a follow-up job of a scene."""
    return lambda scene: become_follow_up(scene, monkeypatch)


def test_a_cell_that_keeps_dying_does_not_stop_those_in_its_job(tmp_path: Path) -> None:
    """All three cells are in one job, whose process dies in the first."""
    scene = Scene(Store(tmp_path), 3)
    launcher = scene.build_launcher(cells_per_job=3, follow_up=False)
    for number in range(1, MAX_SILENT_DEATHS + 1):
        scene.put(launcher)
        dead_claim = dataclasses.replace(process.make_claim_record({}), start_ticks=1)
        assert scene.store.get_run(scene.runs[0]).claim_attempt(number, dead_claim) is not None
        scene.cluster.queue = []
    scene.put(launcher)
    (remaining_runs,) = (runs for _, _, runs in launcher.submissions.list_active_jobs())
    assert list(remaining_runs) == scene.runs[1:]
    assert scene.states()[scene.runs[0]].status == "failed"


def test_jobs_that_claim_nothing_are_not_submitted_forever(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 3)
    launcher = scene.build_launcher(cells_per_job=3, follow_up=False)
    for _ in range(3):
        scene.put(launcher)
        scene.cluster.queue = []
    with pytest.raises(UserError, match="jobs end before they claim a run"):
        scene.put(launcher)
    scene.put(scene.build_launcher(cells_per_job=3, follow_up=False))
    assert scene.kinds(launcher) == {"run": 1}, (
        "the user may have fixed the cause before this command"
    )


def test_a_follow_up_reports_jobs_that_never_claim_a_run(
    tmp_path: Path, follow_up: Callable[[Scene], SlurmLauncher]
) -> None:
    """Its own job is in the queue, but does not count as a successor."""
    scene = Scene(Store(tmp_path), 2)
    scene.put(scene.build_launcher(cells_per_job=1))
    for _ in range(2):
        scene.put(follow_up(scene))
    with pytest.raises(UserError, match="jobs end before they claim a run") as error:
        scene.put(follow_up(scene))
    assert not isinstance(error.value, RetryLater)


def test_an_audit_for_another_device_type_is_made_by_a_job(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    for device_option in ({"device": "cuda"}, {"device": "cpu"}):
        scene.put(scene.build_launcher(1, follow_up=False, **device_option))
    audit, *cells = scene.folder.read_intents()
    assert (audit.kind, audit.audit_device) == ("audit", "cuda")
    assert [intent.kind for intent in cells] == ["run"]


def test_an_audit_of_another_number_of_processes_is_made_by_a_job(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    audit = read_record(AuditRecord, scene.folder.audit_path)
    assert audit is not None
    atomic_write(scene.folder.audit_path, to_json_bytes(dataclasses.replace(audit, world_size=1)))
    for _ in range(2):
        scene.put(scene.build_launcher(1, follow_up=False, nodes=2, tasks_per_node=4))
    (intent,) = scene.folder.read_intents()
    assert (intent.kind, intent.audit_world_size) == ("audit", 8)
    scene.put(scene.build_launcher(1, follow_up=False))
    assert [intent.kind for intent in scene.folder.read_intents()] == ["audit", "run"]


def test_exported_options_and_jobs_that_do_not_start_are_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "lab")
    scene = Scene(Store(tmp_path), 5)
    launcher = scene.build_launcher(cells_per_job=1, follow_up=False)
    scene.put(launcher)
    scene.cluster.queue = [
        dataclasses.replace(job, reason="PartitionTimeLimit") for job in scene.cluster.queue
    ]
    for _ in range(2):
        scene.put(launcher)
    notes = [line for line in scene.printed_lines if line.startswith("note: ")]
    assert notes[0] == "note: the jobs get SBATCH_ACCOUNT=lab of your environment"
    assert notes[1].startswith(
        "note: 5 queued jobs (1_0, 1_1, 1_2, ...) do not start, PartitionTimeLimit: cancel"
    )
    assert len(notes) == 2
    assert scene.folder.read_intents()[0].sbatch_variables == {"SBATCH_ACCOUNT": "lab"}


# ---- how runs share a job ------------------------------------------------------------------------

RUNS = ["a", "b", "c", "d", "e"]
THIRD = MIN_JOB_SECONDS / 3


@pytest.mark.parametrize(
    ("seconds", "pack", "groups"),
    [
        ({}, 2, ["ab", "cd", "e"]),
        ({}, 9, ["abcde"]),
        (dict.fromkeys(RUNS, 1.0), 1, ["a", "b", "c", "d", "e"]),
        ({}, None, ["a", "b", "c", "d", "e"]),
        (dict.fromkeys(RUNS, 1.0), None, ["abcde"]),
        (dict.fromkeys(RUNS, THIRD), None, ["abc", "de"]),
        (dict.fromkeys(RUNS, 2 * MIN_JOB_SECONDS), None, ["a", "b", "c", "d", "e"]),
        ({"a": THIRD, "b": THIRD, "d": THIRD, "e": 1.0}, None, ["ab", "c", "de"]),
    ],
)
def test_short_runs_share_a_job(
    seconds: dict[str, float], pack: int | None, groups: list[str]
) -> None:
    """A run of unknown duration shares a job only if `cells_per_job` says so."""
    assert ["".join(group) for group in group_runs(RUNS, seconds, pack)] == groups


def test_no_runs_make_no_jobs() -> None:
    assert group_runs([], {}, None) == group_runs([], {}, 3) == []
