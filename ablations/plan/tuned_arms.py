"""Plans of the same arms with other hyper-parameters: the trials of a tuning, and tuned arms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.plan.arms import diff_config
from ablations.plan.comparison_facts import collect_comparison_facts
from ablations.plan.plan import ResolvedPlan, build_cells, build_specs, describe_seedless_runs
from ablations.plan.recipe import describe_recipe
from uniclip.config import RunConfig, build_run_config
from uniclip.config.binding import to_builtins
from uniclip.config.compose import apply_overrides
from uniclip.config.derived import open_derived_values
from uniclip.identity import compute_run_id
from uniclip.io.hashing import digest
from uniclip.store import Arm, Tuning

ParamValues = Mapping[str, Any]
"""Key of the configuration -> value."""


def override_config(config: RunConfig, values: ParamValues) -> RunConfig:
    """Return the configuration with some keys changed.

    Raises:
        UserError: a key does not exist, or a value is not valid.
    """
    config_values = to_builtins(config)
    if config.data.image_size == config.model.image.image_size:
        # it may follow from the model, of which another one may be chosen
        config_values = open_derived_values(
            config_values, {"model": config_values["model"], "data": {}}
        )
    apply_overrides(config_values, values)
    return build_run_config(config_values)


def format_trial_name(arm: str, number: int) -> str:
    """Return the name of the arm that stands for trial `number` of `arm`."""
    return f"{arm}#{number}"


def build_trial_plan(
    resolved_plan: ResolvedPlan,
    trial_params: Mapping[str, Mapping[int, ParamValues]],
    *,
    sweep: str,
    seeds: Sequence[int],
    stop_fraction: float,
) -> ResolvedPlan:
    """Return the plan of some trials: an arm for each, no contrasts, no evaluations.

    Args:
        resolved_plan: the plan of the arms with their default values.
        trial_params: arm -> number of the trial -> values.
        sweep: id of the sweep that the trials form.
        seeds: the seeds of each trial.
        stop_fraction: the share of the training steps after which runs pause.
    """
    configs, arms = {}, []
    for arm_name, arm_trials in trial_params.items():
        for number, values in arm_trials.items():
            name = format_trial_name(arm_name, number)
            configs[name] = override_config(resolved_plan.configs[arm_name], values)
            arm = _replace_config(resolved_plan, arm_name, configs[name])
            arms.append(replace(arm, name=name, label=f"{arm.label}, trial {number}"))
    specs = build_specs(configs, seeds)
    base_config = resolved_plan.plan.base_config
    runtime = {
        **base_config["runtime"],
        "stop_fraction": stop_fraction if stop_fraction < 1 else None,
    }
    plan = replace(
        resolved_plan.plan,
        sweep_id=sweep,
        title=f"{resolved_plan.plan.title} (tuning trials)",
        arms=tuple(arms),
        reference=arms[0].name,
        components=(),
        contrasts=(),
        seeds=tuple(seeds),
        cells=build_cells(specs, seeds, list(configs)),
        evaluation_hashes={name: {} for name in configs},
        missing_datasets={},
        base_config={**base_config, "runtime": runtime},
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
    """Return the plan restricted to some runs, given by their ids."""
    cells = tuple(c for c in resolved_plan.plan.cells if c.run_id in runs)
    arm_names = {c.arm for c in cells}
    arms = tuple(a for a in resolved_plan.plan.arms if a.name in arm_names)
    plan = replace(resolved_plan.plan, arms=arms, reference=arms[0].name, cells=cells)
    return replace(
        resolved_plan, plan=plan, specs={c.run_id: resolved_plan.specs[c.run_id] for c in cells}
    )


def build_tuned_plan(resolved_plan: ResolvedPlan, tuning: Tuning) -> ResolvedPlan:
    """Return the plan of the same arms with the values that a tuning selected: another sweep."""
    plan = resolved_plan.plan
    best_params = {t.arm: t.best_trial.params for t in tuning.arms}
    configs = {
        name: override_config(c, best_params[name]) for name, c in resolved_plan.configs.items()
    }
    specs = build_specs(configs, plan.seeds)
    content = {
        "default": tuning.default_sweep,
        "arms": describe_seedless_runs(configs),
    }
    tuned_plan = replace(
        plan,
        sweep_id=f"{plan.ablation}-{plan.budget}-tuned-{digest(content, 8)}",
        title=f"{plan.title} (every arm tuned)",
        arms=tuple(_replace_config(resolved_plan, name, c) for name, c in configs.items()),
        cells=build_cells(specs, plan.seeds, list(configs)),
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


def _replace_config(resolved_plan: ResolvedPlan, arm_name: str, config: RunConfig) -> Arm:
    """Return the arm with the diff of another configuration."""
    config_diff = diff_config(resolved_plan.plan.base_config, to_builtins(config))
    return replace(resolved_plan.plan.get_arm(arm_name), config_diff=config_diff)
