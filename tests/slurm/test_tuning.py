"""A tuning on a real Slurm: follow-ups carry it from round to round, to the same study."""

from __future__ import annotations

from pathlib import Path

from test_disturbances import finish

from tests.helpers.command_line import assert_finished_once, wait_until
from tests.helpers.slurm_cluster import Cluster
from tests.sweeps.tuning.test_tuner import Tuning

SLURM = ("launcher=slurm",)


def test_a_tuning_goes_on_by_itself_and_ends_as_on_one_machine(
    cluster: Cluster, tmp_path: Path
) -> None:
    local, far = Tuning(tmp_path / "local"), Tuning(tmp_path / "far")
    far.words = (*(w for w in far.words if not w.startswith("launcher.")), *SLURM)
    local.tune()
    said = far.tune()
    assert "it goes on without this command" in said
    wait_until(lambda: any(far.folder.glob("sweeps/*/tuning/*/*/submissions/*.released")), 400)
    assert "cancelled 0 jobs" not in far.run(command="cancel")
    cluster.wait_until(lambda: not cluster.active(), "the end of a cancelled tuning")
    far.tune()
    finish(cluster)
    assert_finished_once(far)
    assert far.rounds() == local.rounds()
    assert far.table("tuning") == local.table("tuning")
    assert far.table("tuned_effects") == local.table("tuned_effects")
