"""Plans of ablations that a program trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sweeps.config.request import parse_request
from sweeps.config.schema import SlurmLauncherConfig
from tests.helpers.command_ablations import plan_command, write_command_ablation
from uniclip.errors import UserError
from uniclip.store import Plan


def list_run_ids(plan: Plan) -> list[str]:
    return [c.run_id for c in plan.cells]


def test_arms_contrasts_and_facts(tmp_path: Path) -> None:
    plan = plan_command(tmp_path, "seeds=[0,1]").plan
    assert [c.name for c in plan.cells] == ["base/0", "gain/0", "base/1", "gain/1"]
    assert plan.executor == "uniclip.commands.cell"
    assert plan.is_scored_by_program
    assert plan.get_arm("gain").config_diff == {"values.gain": 1.0}
    assert plan.base_config["values"] == {"steps": 5, "gain": 0.0, "seconds": 0.0, "flags": []}
    assert [c.weights for c in plan.contrasts] == [{"gain": 1.0, "base": -1.0}]
    assert (plan.primary_metric.dataset, plan.primary_metric.metric) == ("program", "accuracy")
    assert plan.command_checks["gain"] == {"differ": ("loss",), "equal": ("batch",)}
    assert plan.caveats == ()


def test_arms_may_have_other_lengths(tmp_path: Path) -> None:
    arms: dict[str, Any] = {"base": {}, "long": {"overrides": {"steps": 9}}}
    plan = plan_command(tmp_path, arms=arms).plan
    assert plan.get_arm("long").config_diff == {"values.steps": 9, "train.steps": 9}
    assert plan.base_config["train"]["steps"] == 5


def test_run_ids_cover_what_is_declared(tmp_path: Path) -> None:
    ids = list_run_ids(plan_command(tmp_path).plan)
    assert list_run_ids(plan_command(tmp_path).plan) == ids
    same = plan_command(tmp_path, command={"grace_seconds": 5, "check_values": {"steps": 2}})
    assert list_run_ids(same.plan) == ids
    (tmp_path / "elsewhere").mkdir()
    assert list_run_ids(plan_command(tmp_path / "elsewhere").plan) == ids
    changes: list[dict[str, Any]] = [
        {"command": {"environment": {"A": "1"}}},
        {"command": {"packages": ["numpy"]}},
        {"command": {"resume": "--again"}},
        {"command": {"data": ["program.py"]}},
        {"command": {"files": {"config.json": "{seed}"}}},
    ]
    for change in changes:
        assert not set(list_run_ids(plan_command(tmp_path, **change).plan)) & set(ids)
    assert not set(list_run_ids(plan_command(tmp_path, "seconds=1").plan)) & set(ids)
    words = write_command_ablation(tmp_path)
    with open(tmp_path / "ablation" / "program.py", "a") as stream:
        stream.write("# changed\n")
    from ablations.plan.command_plan import build_command_plan

    assert not set(list_run_ids(build_command_plan(parse_request(words).plan_request).plan)) & set(
        ids
    )


def test_paths_do_not_enter_the_run_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.bin").write_text("same")
    changes: dict[str, Any] = {
        "command": {"data": ["{folder}"], "paths": ["folder"],
                    "environment": {"FOLDER": "{folder}"}},
        "overrides": {"steps": 5, "gain": 0.0, "seconds": 0.0, "flags": [], "folder": "../a"},
    }  # fmt: skip
    here = plan_command(tmp_path, **changes).plan
    there = plan_command(tmp_path, f"folder={tmp_path / 'b'}", **changes).plan
    assert list_run_ids(here) == list_run_ids(there)
    assert here.sweep_id == there.sweep_id
    assert there.overrides[-1] == f"folder={tmp_path / 'b'}"
    paths = [p.run_only_values("gain")["runtime"]["command"]["paths"] for p in (here, there)]
    assert paths == [{"folder": f"{tmp_path}/ablation/../a"}, {"folder": f"{tmp_path}/b"}]


def test_undeclared_provenance_is_stamped(tmp_path: Path) -> None:
    plan = plan_command(tmp_path, command={"sources": None, "data": None}).plan
    assert plan.caveats == (
        "Provenance unverified: the command declares no source files and no data.",
    )


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"arms": {"base": {}, "x": {"overrides": {"ignored": 1}}}}, (), "not on the command line"),
        ({"command": {"run": "train {output} {gain} {flags}"}}, (), "must pass on {seed}"),
        (
            {"command": {"run": "train {seed} {gain} {flags}", "working_folder": "{here}"}},
            (),
            "must pass on {output}",
        ),
        (
            {"command": {"run": "t {seed} {output} {gain} {nothing}"}},
            (),
            "unknown name '{nothing}'",
        ),
        ({"overrides": {"seed": 1}}, (), "'seed' cannot be a value"),
        ({"overrides": {"store": 1, "steps": 1}, "arms": {"base": {}}}, (), "rename the value"),
        ({"arms": {"base": {"groups": {"method": "clip"}}}}, (), "has overrides only"),
        ({"command": {"files": {"c": "{nothing}"}}}, (), "unknown name '{nothing}'"),
        ({"command": {"check_values": {"stepz": 1}}}, (), "unknown value 'stepz'"),
        ({}, ("gain=2",), "gain is what arm gain changes"),
        ({}, ("stepz=2",), "unknown key 'stepz': did you mean steps"),
        ({}, ("train.learning_rate=1",), "unknown key"),
        ({}, ("arms=[bose]",), "unknown arm 'bose'"),
        ({"margins": {"program": {"f1": 1}}, "margin_reason": "x"}, (), "program.f1"),
    ],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        plan_command(tmp_path, *words, **changes)
    assert "\n" not in str(caught.value)


def test_a_slurm_job_starts_a_command_once(tmp_path: Path) -> None:
    words = [w for w in write_command_ablation(tmp_path) if not w.startswith("launcher.")]
    words += ["launcher=slurm", "launcher.gpus_per_node=8"]
    launcher = parse_request(words).settings.launcher
    assert isinstance(launcher, SlurmLauncherConfig)
    assert launcher.processes_per_node == 1
    with pytest.raises(UserError, match="started once for each cell"):
        parse_request([*words, "launcher.nodes=2"])


def test_a_crossed_design_of_switches(tmp_path: Path) -> None:
    (tmp_path / "components.yaml").write_text(
        "gain: {label: gain, reason: r, off_overrides: {gain: 0.0}, "
        "manipulation_check: {kind: command, differ: [loss]}}\n"
        "flag: {label: flag, reason: r, off_overrides: {flags: []}, "
        "manipulation_check: {kind: command}}\n"
    )
    plan = plan_command(
        tmp_path,
        design="crossed",
        components=["gain", "flag"],
        reference="full",
        arms={},
        contrasts={},
        overrides={"steps": 5, "gain": 1.0, "seconds": 0.0, "flags": ["--ignored=1"]},
    ).plan
    assert [a.name for a in plan.arms] == ["full", "no-flag", "no-gain", "none"]
    assert plan.get_arm("none").config_diff == {"values.gain": 0.0, "values.flags": []}
    assert [c.name for c in plan.contrasts if c.primary] == ["main:gain", "main:flag"]
