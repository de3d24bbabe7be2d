"""The set-up names what was trained, where and by which code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from analysis.collect.frame import SweepData
from analysis.results.results import Results
from analysis.results.setup import (
    build_arm_config,
    describe_setup,
    list_all_settings,
    list_arm_setups,
)
from uniclip.store import Plan

BASE_CONFIG: dict[str, Any] = {
    "seed": 0,
    "model": {"image": {"name": "vit", "image_size": 224}, "text": {"width": 64}, "embed_dim": 8},
    "method": {"name": "uniclip", "loss": "mp_nce"},
    "train": {
        "steps": 40,
        "batch_size": 16,
        "learning_rate": 0.002,
        "warmup_ratio": 0.1,
        "adam_betas": [0.9, 0.98],
        "adam_eps": 1e-8,
        "weight_decay": 0.1,
    },
    "data": {"name": "csv", "path": "/data/pictures.csv"},
}


def change(sweep_data: SweepData, **fields: Any) -> SweepData:
    plan: Plan = replace(sweep_data.plan, base_config=BASE_CONFIG, **fields)
    return replace(sweep_data, plan=plan)


def collect_facts(sweep_data: SweepData) -> dict[str, str]:
    groups = describe_setup(sweep_data)
    return {f"{group.title}: {name}": value for group in groups for name, value in group.facts}


def test_the_facts_of_a_sweep(complete_results: Results) -> None:
    sweep_data = change(
        complete_results.sweep_data,
        data_notes=("The separator is a semicolon.", "3 rows are skipped"),
        overrides=("ablation=components", "budget=smoke", "data.path=/data/pictures.csv"),
    )
    run = next(iter(sweep_data.provenance))
    provenance = sweep_data.provenance[run]
    claim = replace(
        provenance.claim, commit="abc123", versions={"torch": "2.9", "python": "3.11"}, time=86400.0
    )
    changed = replace(provenance, claim=claim, end_time=90000.0, data_fingerprint={"rows": 3})
    facts = collect_facts(replace(sweep_data, provenance={**sweep_data.provenance, run: changed}))
    assert facts["Model: image encoder"] == "vit, images of 224 pixels"
    assert facts["Model: parameters"] == "400,000"
    assert facts["Training: samples seen"] == "640"
    assert facts["Training: learning rate"] == "0.002"
    assert facts["Training: optimizer"].startswith("AdamW, betas 0.9, 0.98, epsilon 1e-08")
    assert facts["Training: schedule"].startswith("linear warm-up over 10 % of the steps")
    assert facts["Data: notes"] == "The separator is a semicolon; 3 rows are skipped"
    assert len(facts["Data: fingerprint"]) == 16
    assert facts["Code: command"] == (
        "python sweep.py ablation=components budget=smoke data.path=/data/pictures.csv "
        "seeds=[0,1,2]"
    )
    assert facts["Code: commit"] == "abc123"
    assert facts["Code: source hash"] == "s"
    assert facts["Code: versions"] == "python 3.11, torch 2.9"
    assert facts["Machines: hosts"] == "h"
    assert facts["Machines: numerics class"] == "cpu AVX2"
    assert facts["Machines: time"].endswith("to 1970-01-02 01:00 UTC")


def test_a_key_that_old_runs_lack_is_no_other_numerics_class(complete_results: Results) -> None:
    sweep_data = change(complete_results.sweep_data)
    first, *others = sweep_data.numerics_classes
    classes = {run: {"cpu": "AVX2"} for run in others}
    classes[first] = {"cpu": "AVX2", "image_decoder": "Pillow 12"}
    facts = collect_facts(replace(sweep_data, numerics_classes=classes))
    assert facts["Machines: numerics class"] == "cpu AVX2"


def test_an_old_store_states_what_it_can(complete_results: Results) -> None:
    sweep_data = change(complete_results.sweep_data)
    facts = collect_facts(replace(sweep_data, provenance={}))
    assert not any(name.startswith(("Code", "Machines")) for name in facts)
    assert facts["Training: steps"] == "40"


def test_the_reference_is_described_with_its_own_method(complete_results: Results) -> None:
    """A method that replaces another one keeps none of its settings; runs know best."""
    plan = complete_results.plan
    arms = tuple(
        replace(a, config_diff={"method.name": "clip", "method.ema": 1})
        if a.name == "full"
        else replace(a, config_diff={"train.steps": 50})
        if a.name == "clip"
        else a
        for a in plan.arms
    )
    sweep_data = change(complete_results.sweep_data, arms=arms)
    settings = list_all_settings(sweep_data)
    assert settings["method.name"] == "clip"
    assert settings["method.ema"] == "1"
    assert "method.loss" not in settings
    assert "seed" not in settings
    assert build_arm_config(sweep_data, "none")["method.loss"] == "mp_nce"
    setups = {arm.name: arm for arm in list_arm_setups(sweep_data)}
    assert setups["full"].differences == ""
    assert setups["clip"].differences == ("method.name=uniclip, method.loss=mp_nce, train.steps=50")
    run = complete_results.run_by_cell["full", 0]
    stated = replace(sweep_data.provenance[run], config={"train": {"steps": 60}})
    sweep_data = replace(sweep_data, provenance={**sweep_data.provenance, run: stated})
    assert build_arm_config(sweep_data, "full")["train.steps"] == 60


def test_arms_have_roles_and_lost_images(complete_results: Results) -> None:
    sweep_data = change(complete_results.sweep_data)
    run = complete_results.run_by_cell["clip", 1]
    broken = replace(sweep_data.provenance[run], unreadable_images=2)
    setups = {
        arm.name: arm
        for arm in list_arm_setups(
            replace(sweep_data, provenance={**sweep_data.provenance, run: broken})
        )
    }
    assert {setups[name].role for name in ("full",)} == {"reference"}
    assert [setups[n].role for n in ("none", "clip", "full-again")] == ["design", "baseline", "A/A"]
    assert setups["clip"].unreadable_images == 2
    assert setups["full"].unreadable_images == 0
    assert setups["full-again"].differences == "stream=1"
    listed = change(
        complete_results.sweep_data,
        arms=tuple(replace(a, role="outside") for a in complete_results.plan.arms),
    )
    assert {a.role for a in list_arm_setups(listed)} == {"reference", "listed"}
