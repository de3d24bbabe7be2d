"""Tuning on a real Slurm: follow-up jobs run round after round, and the study is the same."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.command_line import assert_finished_once, wait_until
from tests.helpers.slurm_cluster import Cluster
from tests.slurm.test_disturbances import finish
from tests.sweeps.tuning.test_tuner import TuningDriver

SLURM = ("launcher=slurm",)


def test_follow_up_jobs_complete_a_tuning_as_on_one_machine(
    cluster: Cluster, tmp_path: Path
) -> None:
    local, remote = TuningDriver(tmp_path / "local"), TuningDriver(tmp_path / "remote")
    remote.words = (*(w for w in remote.words if not w.startswith("launcher.")), *SLURM)
    local.tune()
    assert "the sweep continues without this command" in remote.tune()
    wait_until(lambda: any(remote.folder.glob("sweeps/*/tuning/*/*/submissions/*.released")), 400)
    assert "cancelled 0 jobs" not in remote.run(command="cancel")
    cluster.wait_until(lambda: not cluster.active(), "the end of a cancelled tuning")
    remote.tune()
    finish(cluster)
    assert_finished_once(remote)
    assert remote.rounds() == local.rounds()
    assert remote.table("tuning") == local.table("tuning")
    assert remote.table("tuned_effects") == local.table("tuned_effects")
