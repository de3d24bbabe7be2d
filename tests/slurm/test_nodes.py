"""One training on two nodes: the losses of one process with the same global batch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.command_line import Driver
from tests.helpers.slurm_cluster import Cluster
from tests.slurm.test_disturbances import SLURM, finish

pytestmark = pytest.mark.soak
SOAK = "UNICLIP_SOAK" in os.environ
METHODS = ("uniclip", "unicl", "clip", "slip", "declip") if SOAK else ("uniclip", "slip")
STEPS = 20
RATE = "train.learning_rate=1e-5"
"""Low: at the default rate, training amplifies rounding errors within 20 steps."""
MODELS = {
    "LayerNorm": (),
    "batch norm": ("model.image.name=test_resnet", "model.image.options={}"),
}


def methods(folder: Path, *words: str) -> Driver:
    """A sweep over the methods, with a few training steps each."""
    driver = Driver(folder, f"arms=[{','.join(METHODS)}]", "seeds=1", *words)
    driver.words = tuple(w.replace("ablation=components", "ablation=methods") for w in driver.words)
    return driver


def losses(driver: Driver) -> dict[str, list[float]]:
    """Cell -> the loss of each step."""
    return {
        cell.name: [
            record["loss"]
            for record in driver.store.get_run(cell.run_id).read_history()
            if record["phase"] == "train"
        ]
        for cell in driver.plan().cells
    }


@pytest.mark.parametrize("norm", MODELS if SOAK else ["LayerNorm"])
def test_two_nodes_train_as_one_process_does(cluster: Cluster, tmp_path: Path, norm: str) -> None:
    words = (f"train.steps={STEPS}", RATE, "runtime.log_every=1", *MODELS[norm])
    one, two = methods(tmp_path / "one", *words), methods(tmp_path / "two", *words, *SLURM)
    one.run()
    two.run("launcher.nodes=2", "launcher.tasks_per_node=1")
    finish(cluster)
    expected, distributed = losses(one), losses(two)
    assert distributed.keys() == expected.keys()
    for cell, curve in expected.items():
        assert len(curve) == STEPS
        assert distributed[cell] == pytest.approx(curve, rel=1e-5, abs=1e-5), cell
    for cell in two.plan().cells:
        outcome = two.store.get_run(cell.run_id).read_outcome()
        assert outcome is not None
        assert outcome.numerics_class["world_size"] == 2
