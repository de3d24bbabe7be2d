"""Whether data workers make batches as fast as steps are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.doctor.context import DoctorContext
from sweeps.doctor.data_loading import check_data_loading, compute_data_wait
from tests.helpers.doctor_context import build_context
from uniclip.io.atomic import append_jsonl


def write_probe(context: DoctorContext, arm: str, device: str = "cpu", **fields: Any) -> None:
    assert context.plan is not None
    probe = {"arm": arm, "device": device, "seconds_per_step": 1.0, "setup_and_eval_seconds": 1.0}
    append_jsonl(context.store.get_sweep(context.plan.sweep_id).probes_path, {**probe, **fields})


def loading(step: float, compute: float, data: float, num_workers: int) -> dict[str, Any]:
    return {
        "seconds_per_step": step,
        "compute_seconds_per_step": compute,
        "data_seconds_per_step": data,
        "num_workers": num_workers,
    }


def test_nothing_is_said_of_arms_that_were_not_measured(tmp_path: Path) -> None:
    context = build_context(tmp_path)
    assert list(check_data_loading(context)) == []
    write_probe(context, "full")  # of a version that did not measure the loading of data
    assert list(check_data_loading(context)) == []
    assert list(check_data_loading(replace(context, resolved_plan=None))) == []


def test_a_run_on_cpus_loads_its_batches_itself(tmp_path: Path) -> None:
    context = build_context(tmp_path)
    write_probe(context, "full", **loading(1.0, 0.6, 0.4, 0))
    (diagnostic,) = check_data_loading(context)
    assert diagnostic.level == "ok"
    assert diagnostic.message == (
        "full waits for data in 40 % of its time with 0 data workers: one process makes a batch in "
        "0.4 s, a step takes 0.6 s"
    )


@pytest.mark.parametrize("num_workers", [2, 8])
def test_too_few_data_workers_of_a_gpu_are_a_warning(tmp_path: Path, num_workers: int) -> None:
    context = build_context(tmp_path, "runtime.device=cuda")
    write_probe(context, "full", "cuda", **loading(0.3, 0.3, 0.1, num_workers))
    data_seconds = 1.6
    step = max(0.25, data_seconds / num_workers)
    write_probe(context, "clip", "cuda", **loading(step, 0.25, data_seconds, num_workers))
    (diagnostic,) = check_data_loading(context)
    if num_workers == 8:
        assert diagnostic.level == "ok"
        return
    assert diagnostic.level == "warning"
    assert diagnostic.message.startswith("clip waits for data in 69 % of its time with 2 data")
    assert diagnostic.fix == "runtime.num_workers=7, if there are so many cores"


def test_a_job_that_states_its_cores_needs_more_of_them(tmp_path: Path) -> None:
    words = ("runtime.device=cuda", "launcher=slurm", "launcher.cpus_per_task=2")
    context = build_context(tmp_path, *words)
    write_probe(context, "full", "cuda", **loading(1.0, 0.25, 1.0, 1))
    (diagnostic,) = check_data_loading(context)
    assert "runtime.num_workers=4 launcher.cpus_per_task=5, if" in diagnostic.fix


def test_the_wait_is_what_remains_of_a_step() -> None:
    assert compute_data_wait(loading(2.0, 0.5, 2.0, 1)) == 0.75
    assert compute_data_wait(loading(1.0, 1.0, 0.1, 4)) == 0
    assert compute_data_wait(loading(0.0, 0.0, 0.0, 0)) == 0
