"""A plan's arms under other hyper-parameters: the trials of a tuning, and the arms tuned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.plan.comparison_facts import collect_comparison_facts
from ablations.plan.plan import ResolvedPlan, build_specs, to_seedless_config
from ablations.plan.recipe import describe_recipe
from uniclip.config import RunConfig, build_run_config
from uniclip.config.binding import to_builtins
from uniclip.config.compose import flatten, set_key
from uniclip.identity import compute_run_id, digest
from uniclip.store import Arm, Cell, Tuning

ParamValues = Mapping[str, Any]
"""Key of the configuration -> value."""


def override_config(config: RunConfig, values: ParamValues) -> RunConfig:
    """The configuration with some keys changed; `UserError` for one that is not there or a value
    that it cannot take."""
    config_values = to_builtins(config)
    for key, value in values.items():
        set_key(config_values, key, value)
    return build_run_config(config_values)


def format_trial_name(arm: str, number: int) -> str:
    """The arm that trial `number` of an arm is."""
    return f"{arm}#{number}"


def build_trial_plan(
    resolved_plan: ResolvedPlan,
    trial_params: Mapping[str, Mapping[int, ParamValues]],
    *,
    sweep: str,
    seeds: Sequence[int],
    stop_fraction: float,
) -> ResolvedPlan:
    """The plan of some trials: arms and contrasts of nothing, evaluated on nothing.

    points: arm -> number of the trial -> its values. halt: the share of the steps to be trained.
    """
    configs, arms = {}, []
    for arm, arm_trials in trial_params.items():
        for number, values in arm_trials.items():
            name = format_trial_name(arm, number)
            configs[name] = override_config(resolved_plan.configs[arm], values)
            arms.append(_build_arm(resolved_plan, arm, configs[name], name))
    specs = build_specs(configs, seeds)
    base = {
        **resolved_plan.plan.base_config,
        "runtime": {**resolved_plan.plan.base_config["runtime"]},
    }
    base["runtime"]["stop_fraction"] = stop_fraction if stop_fraction < 1 else None
    plan = replace(
        resolved_plan.plan,
        sweep_id=sweep,
        title=f"{resolved_plan.plan.title} (trials of a tuning)",
        arms=tuple(arms),
        reference=arms[0].name,
        components=(),
        contrasts=(),
        seeds=tuple(seeds),
        cells=_build_cells(specs, seeds, list(configs)),
        evaluation_hashes={name: {} for name in configs},
        missing_datasets={},
        base_config=base,
        forward_passes={},
        comparison_facts={},
        recipe_descriptions={},
        planted_effects=(),
        skipped=(),
    )
    return ResolvedPlan(
        plan=plan, configs=configs, specs={compute_run_id(s): s for s in specs.values()}
    )


def select_runs(resolved_plan: ResolvedPlan, runs: Collection[str]) -> ResolvedPlan:
    """The plan of some runs alone."""
    cells = tuple(c for c in resolved_plan.plan.cells if c.run_id in runs)
    arm_names = {c.arm for c in cells}
    arms = tuple(a for a in resolved_plan.plan.arms if a.name in arm_names)
    plan = replace(resolved_plan.plan, arms=arms, reference=arms[0].name, cells=cells)
    return replace(
        resolved_plan, plan=plan, specs={c.run_id: resolved_plan.specs[c.run_id] for c in cells}
    )


def build_tuned_plan(resolved_plan: ResolvedPlan, tuning: Tuning) -> ResolvedPlan:
    """The plan of the same arms under the values that a tuning found: a sweep of its own."""
    plan = resolved_plan.plan
    best_params = {t.arm: t.best_trial.params for t in tuning.arms}
    configs = {
        name: override_config(c, best_params[name]) for name, c in resolved_plan.configs.items()
    }
    specs = build_specs(configs, plan.seeds)
    content = {
        "default": tuning.default_sweep,
        "arms": {n: {**to_seedless_config(c), "seed": 0} for n, c in configs.items()},
    }
    tuned_plan = replace(
        plan,
        sweep_id=f"{plan.ablation}-{plan.budget}-tuned-{digest(content, 8)}",
        title=f"{plan.title} Every arm tuned",
        arms=tuple(_build_arm(resolved_plan, name, c, name) for name, c in configs.items()),
        cells=_build_cells(specs, plan.seeds, list(configs)),
        forward_passes={n: c.method.count_forward_passes(c.views) for n, c in configs.items()},
        comparison_facts={n: collect_comparison_facts(c) for n, c in configs.items()},
        recipe_descriptions={
            n: describe_recipe(configs[n].train) for n in plan.recipe_descriptions
        },
        tuning=tuning,
    )
    return ResolvedPlan(
        plan=tuned_plan, configs=configs, specs={compute_run_id(s): s for s in specs.values()}
    )


def _build_arm(resolved_plan: ResolvedPlan, arm: str, config: RunConfig, name: str) -> Arm:
    """The arm of the plan under `config`, called `name`."""
    base_values, arm_values = flatten(resolved_plan.plan.base_config), flatten(to_builtins(config))
    delta = {k: v for k, v in arm_values.items() if k not in base_values or base_values[k] != v}
    original_arm = resolved_plan.plan.get_arm(arm)
    label = (
        original_arm.label
        if name == arm
        else f"{original_arm.label}, trial {name.rsplit('#', 1)[1]}"
    )
    return replace(original_arm, name=name, label=label, config_diff=delta)


def _build_cells(
    specs: Mapping[tuple[str, int], dict[str, Any]], seeds: Sequence[int], names: Sequence[str]
) -> tuple[Cell, ...]:
    return tuple(
        Cell(arm=n, seed=s, run_id=compute_run_id(specs[n, s])) for s in seeds for n in names
    )
