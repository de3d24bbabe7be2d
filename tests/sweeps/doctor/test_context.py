"""What the doctor checks, and what the runs need."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sweeps.doctor import context as context_module
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.slurm_cluster import JobRequirements
from tests.helpers.doctor_context import build_context
from uniclip.io.atomic import append_jsonl


def build_requirements(context: DoctorContext) -> JobRequirements:
    assert context.slurm_launcher is not None
    return context_module.build_requirements(context, context.slurm_launcher)


def test_requirements_follow_the_launcher(tmp_path: Path) -> None:
    context = build_context(
        tmp_path, "launcher=slurm", "launcher.partition=gpu", "launcher.timeout_min=30"
    )
    for arm in ("full", "clip"):
        assert context.resolved_plan is not None
        probe = {"arm": arm, "device": "cpu", "seconds_per_step": 2.0, "setup_and_eval_seconds": 1}
        sweep = context.store.get_sweep(context.resolved_plan.plan.sweep_id)
        append_jsonl(sweep.probes_path, {**probe, "checkpoint_bytes": 5e8})
    requirements = build_requirements(context)
    assert {"--partition=gpu", "--time=30", "--requeue"} <= set(requirements.sbatch_options)
    assert not any("hold" in option or "setup" in option for option in requirements.sbatch_options)
    assert (requirements.num_jobs, requirements.timeout_min, requirements.save_seconds) == (
        4,
        30,
        12.0,  # a step, a checkpoint that is half written, and that of the last step
    )
    assert (requirements.signal_delay_s, requirements.gpu_mismatch) == (120, "")
    words = ("launcher=slurm", "launcher.gpus_per_node=8")
    assert build_requirements(build_context(tmp_path, *words)).gpu_mismatch == ""
    idle_context = build_context(tmp_path, *words, "runtime.device=cpu")
    assert "8 GPUs per node" in build_requirements(idle_context).gpu_mismatch
    assert dataclasses.replace(context, resolved_plan=None).list_open_runs() == []
