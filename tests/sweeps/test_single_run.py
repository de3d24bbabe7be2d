"""One run of a configuration: a Hydra program of the user's, what continues, what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sweeps.claims import process
from sweeps.config.request import parse_configs, parse_request
from sweeps.single_run import bind_config, run_config
from tests.helpers import ROOT
from tests.helpers.command_line import TINY
from uniclip.config.binding import to_builtins
from uniclip.errors import RetryLater, UserError
from uniclip.store import Store

PAGE = (ROOT / "docs" / "hydra.md").read_text(encoding="utf-8")
"""The page whose YAML file and program are run here."""
WORDS = [
    *(w for w in TINY if not w.startswith(("ablation=", "train.validate_every", "runtime."))),
    *("train.steps=4", "train.validate_every=4"),
]


def test_a_hydra_program_composes_and_runs_one_cell(tmp_path: Path) -> None:
    """Its run is that of a sweep's cell with the same words."""
    (tmp_path / "conf").mkdir()
    for name, block in re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", PAGE, re.S):
        (tmp_path / name).write_text(block)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    small = [word for word in WORDS if "." in word]
    command = [sys.executable, "train.py", "method=clip", "seed=1", *small]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        outputs.append(done.stdout)
    plan = parse_request(["method=uniclip,clip", *WORDS]).build_plan().plan
    run_id = next(c.run_id for c in plan.cells if c.name == "method-clip/1")
    assert outputs == 2 * [f"{run_id} trained mine\n"]
    run = Store(tmp_path / "store").get_run(run_id)
    assert run.list_attempts() == [1], "the second call finds it complete"
    (evaluation_hash,) = plan.evaluation_hashes["method-clip"].values()
    assert run.read_scores("scenes", evaluation_hash) is not None
    assert "loss" in run.get_attempt(1).metrics_path.read_text()


def test_a_run_of_another_process_is_left_alone(tmp_path: Path) -> None:
    config = parse_configs([w for w in WORDS])[1]
    plan = parse_request(["method=uniclip,clip", *WORDS]).build_plan()
    (cell,) = [c for c in plan.plan.cells if c.name == "method-uniclip/0"]
    run = Store(tmp_path).get_run(cell.run_id)
    run.write_spec(plan.specs[run.id])
    assert run.claim_attempt(1, process.make_claim_record({})) is not None  # of this live process
    with pytest.raises(RetryLater, match=f"run {run.id} is executed by another process"):
        run_config(config, store=tmp_path)
    assert run.list_attempts() == [1]


def test_a_run_that_fails_says_so_and_is_tried_again(tmp_path: Path) -> None:
    """Errors end the attempt; the next call begins another one."""
    config = parse_configs([*WORDS, "method=clip", "runtime.device=nonsense"])[1]
    for number in (1, 2):
        with pytest.raises((UserError, RuntimeError), match="nonsense"):
            run_config(config, store=tmp_path)
        for run in Store(tmp_path).iter_runs():
            ends = [run.get_attempt(n).read_end() for n in run.list_attempts()]
            assert all(end is not None for end in ends)
            assert len(ends) <= number


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"note": 1}, r"note is no key of a run: leave it out, or give ignore=\['note'\]"),
        ({"train": {"stepps": 3}}, "unknown key 'train.stepps': did you mean train.steps"),
        ({"data": "???"}, "the configuration: Structured|the configuration: Missing"),
        ({"data": {"name": "scenes", "image_size": "${nothing}"}}, "the configuration: Interp"),
    ],
)
def test_configurations_that_are_none_are_one_line(changes: dict[str, Any], match: str) -> None:
    values = {**to_builtins(parse_configs(WORDS)[1]), **changes}
    with pytest.raises(UserError, match=match) as error:
        bind_config(OmegaConf.create(values))
    assert "\n" not in str(error.value)
    assert bind_config({**values, **to_builtins(parse_configs(WORDS)[1])}, ignore=["note"])
