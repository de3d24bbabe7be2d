"""The audit of commands: switches without effect, ignored seeds, lost checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablations.audit.command_audit import _build_record, run_command_audit
from ablations.audit.command_probe import CommandProbe
from tests.helpers.checkpoint_ablations import make_checkpoint_command, write_captioned_images
from tests.helpers.command_ablations import plan_command
from uniclip.commands.invocation import read_invocation
from uniclip.errors import UserError
from uniclip.store import AuditCheck


def audit(folder: Path, *words: str, **changes: Any) -> dict[str, AuditCheck]:
    """Return "<arm>: <check>" -> the check."""
    resolved_plan = plan_command(folder, "seeds=1", *words, **changes)
    plan = resolved_plan.plan
    invocations = {
        c.arm: read_invocation(resolved_plan.specs[c.run_id], plan.run_only_values(c.arm))
        for c in plan.cells
    }
    result = run_command_audit(plan, invocations, folder / "checks", "cpu", lambda: False)
    assert [p.arm for p in result.probes] == [a.name for a in plan.arms]
    assert all(p.setup_and_eval_seconds > 0 for p in result.probes)
    # A program of a moment may end before it is measured, or be measured while it starts.
    assert 1e6 < max(p.peak_memory_bytes or 0 for p in result.probes) < 1e9
    return {f"{check.arm}: {check.name}": check for check in result.checks}


def test_steps_that_could_not_be_timed_are_no_cheap_ones() -> None:
    """A program that logs every hundredth step, or whose output is buffered until its end."""
    probe, timed_probe = CommandProbe(total_seconds=6.0), CommandProbe(total_seconds=6.0)
    probe.timer.first = probe.timer.last = (1, 5.9)
    timed_probe.timer.first, timed_probe.timer.last = (1, 4.0), (3, 5.0)
    record = _build_record("a", [probe, probe], 3, "cpu")
    assert (record.seconds_per_step, record.setup_and_eval_seconds) == (2.0, 6.0)
    record = _build_record("a", [timed_probe, timed_probe], 3, "cpu")
    assert (record.seconds_per_step, record.setup_and_eval_seconds) == (0.5, 4.5)


def test_the_evaluation_of_a_checkpoint_is_priced(tmp_path: Path) -> None:
    name = write_captioned_images(tmp_path / "images", "test")
    command = make_checkpoint_command(tmp_path)
    assert list_failures(audit(tmp_path, f"benchmark={name}", command=command)) == []
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"model\.pt is damaged or not a checkpoint"):
        audit(tmp_path, f"benchmark={name}", command=command)
    audit(tmp_path, command=command)  # nothing evaluates it
    probe = CommandProbe(total_seconds=6.0, evaluation_seconds=9.0)
    assert _build_record("a", [probe, probe], 3, "cuda", 9.0).setup_and_eval_seconds == 15.0


def list_failures(checks: dict[str, AuditCheck]) -> list[str]:
    return [name for name, check in checks.items() if not check.passed]


def test_an_honest_ablation_passes(tmp_path: Path) -> None:
    command = {"kill_at": 3, "resume_values": {"steps": 10, "seconds": 0.1}}
    checks = audit(tmp_path, command=command)
    assert list_failures(checks) == []
    assert list(checks) == [
        "gain: loss differs from base",
        "gain: batch equals base",
        "base: the seed has an effect",
        "base: a killed run continues",
    ]
    assert checks["base: a killed run continues"].detail.endswith("bit by bit as without the kill")


@pytest.mark.parametrize(
    ("arm", "failures"),
    [
        ({"overrides": {"flags": ["--ignored=1"]}}, ["x: differs from base"]),
        (
            {"overrides": {"flags": ["--ignored=1"]}, "must_differ": ["loss"]},
            ["x: loss differs from base"],
        ),
        ({"overrides": {"gain": 1.0}, "must_equal": ["loss"]}, ["x: loss equals base"]),
        (
            {"overrides": {"gain": 1.0}, "must_differ": ["nothing"]},
            ["x: nothing differs from base"],
        ),
        ({"overrides": {"gain": 1.0}}, []),
    ],
)
def test_a_switch_must_do_what_it_declares(
    tmp_path: Path, arm: dict[str, Any], failures: list[str]
) -> None:
    assert list_failures(audit(tmp_path, arms={"base": {}, "x": arm})) == failures


def test_an_arm_that_short_runs_cannot_show(tmp_path: Path) -> None:
    arms = {
        "base": {},
        "long": {"overrides": {"steps": 50}},
        "x": {"overrides": {"gain": 1.0}},
        "same": {"overrides": {"gain": 0.0}},
    }
    checks = audit(tmp_path, arms=arms)
    assert list_failures(checks) == ["same: differs from base", "same: not a duplicate of long"]
    assert checks["long: differs from base"].detail.startswith("not checked")
    assert checks["x: differs from base"].detail == "loss, accuracy differ"


def test_two_arms_that_are_the_same(tmp_path: Path) -> None:
    arms = {
        "base": {},
        "x": {"overrides": {"gain": 1.0}},
        "y": {"overrides": {"gain": 1.0, "flags": ["--ignored=1"]}},
    }
    assert list_failures(audit(tmp_path, arms=arms)) == ["y: not a duplicate of x"]


def test_a_seed_that_is_ignored(tmp_path: Path) -> None:
    run = (
        "{python} -S {here}/program.py --seed 0 --out {output} --steps {steps} --gain {gain} "
        "{flags}"
    )
    environment = {"SEED": "{seed}"}
    checks = audit(tmp_path, command={"run": run, "environment": environment})
    assert list_failures(checks) == ["base: the seed has an effect"]


def test_noise_proves_nothing(tmp_path: Path) -> None:
    """Where equal runs differ, a difference between arms is no evidence of a switch."""
    arms = {"base": {}, "x": {"overrides": {"flags": ["--noise", "--ignored=1"]}}}
    overrides = {"steps": 5, "gain": 0.0, "seconds": 0.0, "flags": ["--noise"]}
    checks = audit(tmp_path, arms=arms, overrides=overrides)
    assert list_failures(checks) == ["x: differs from base"]
    seed = checks["base: the seed has an effect"]
    assert "two runs of one seed differ in loss" in seed.detail


def test_a_program_that_starts_again(tmp_path: Path) -> None:
    overrides = {"steps": 5, "gain": 0.0, "seconds": 0.0, "flags": ["--forgets"]}
    command = {"kill_at": 3, "resume_values": {"steps": 10, "seconds": 0.1}}
    checks = audit(tmp_path, command=command, overrides=overrides)
    assert list_failures(checks) == ["base: a killed run continues"]
    assert "started again at step 1" in checks["base: a killed run continues"].detail


def test_a_fraction_checks_each_component_alone(tmp_path: Path) -> None:
    """No two arms of this design differ in one component, so none is a duplicate of another."""
    names = ("ca", "cb", "cc", "cd")
    (tmp_path / "components.yaml").write_text(
        "".join(
            f"{name}: {{label: {name}, reason: r, off_overrides: {{{name}: 0.0}}, "
            "manipulation_check: {kind: command, differ: [loss]}}\n"
            for name in names
        )
    )
    run = (
        "{python} -S {here}/program.py --seed {seed} --out {output} --steps {steps} "
        "--gain {ca} --seconds {cb} --ignored {cc} --ignored {cd}"
    )
    checks = audit(
        tmp_path,
        command={"run": run},
        design="fractional",
        components=list(names),
        reference="full",
        arms={},
        contrasts={},
        overrides={"steps": 5, "ca": 1.5, "cb": 0.001, "cc": 1.0, "cd": 1.0},
    )
    inert = [f"full: without {name}, loss differs from full" for name in names[1:]]
    assert set(inert) <= set(list_failures(checks))
    assert checks["full: without ca, loss differs from full"].passed


def test_components_are_compared_with_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "components.yaml").write_text(
        "gain: {label: gain, reason: r, off_overrides: {gain: 0.0}, "
        "manipulation_check: {kind: command, differ: [loss], equal: [batch]}}\n"
        "flag: {label: flag, reason: r, off_overrides: {flags: []}, "
        "manipulation_check: {kind: command}}\n"
    )
    checks = audit(
        tmp_path,
        design="crossed",
        components=["gain", "flag"],
        reference="full",
        arms={},
        contrasts={},
        overrides={"steps": 5, "gain": 1.0, "seconds": 0.0, "flags": ["--ignored=1"]},
    )
    assert "no-gain: batch equals full" in checks
    assert [name for name in list_failures(checks) if "duplicate" not in name] == [
        "no-flag: differs from full",
        "none: differs from no-gain",
    ]
