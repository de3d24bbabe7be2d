"""The plan of an ablation: every arm, every run, the contrasts and the required evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations import designs
from ablations.plan import (
    conflicts,
    duplicates,
    equal_sizes,
    model_check,
    predictions,
    primary_metrics,
)
from ablations.plan.arms import ArmResolver, ComposeFunction, ResolvedArm, diff_config
from ablations.plan.comparison_facts import collect_comparison_facts
from ablations.plan.recipe import DEFAULT_RECIPE, describe_recipes
from ablations.schema import Ablation
from uniclip import data, evaluate
from uniclip.checkpoints import weight_files
from uniclip.config import DataConfig, RunConfig
from uniclip.data import inspection
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate.datasets import fingerprint_cache
from uniclip.identity import build_spec, compute_run_ids, to_hashable_config
from uniclip.io.hashing import digest
from uniclip.store import Arm, Cell, Component, Contrast, Plan, PlantedEffect


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What the user requests, as far as it decides which runs there are."""

    ablation: Ablation
    components: dict[str, Component]
    """Every declared component, by name."""
    compose: ComposeFunction
    group_choices: dict[str, str]
    """The user's group choices."""
    overrides: dict[str, Any]
    """The user's overrides of single keys."""
    budget: str
    seeds: tuple[int, ...]
    arms: tuple[str, ...] | None = None
    """The arms to run; None = all."""
    cache_path: Path | None = None
    """The store's cache, which keeps the protocols of evaluation data that has been removed."""
    recorded_overrides: tuple[str, ...] = ()
    """The words that make this request again (`Plan.overrides`)."""


@dataclass(frozen=True, kw_only=True)
class ResolvedPlan:
    """A plan, and the configuration of every run in it."""

    plan: Plan
    configs: dict[str, RunConfig]
    """Arm -> its configuration, with the first seed."""
    specs: dict[str, dict[str, Any]]
    """Run id -> the spec that it is the hash of."""


def build_plan(request: PlanRequest) -> ResolvedPlan:
    """Return the plan of a request.

    Raises:
        UserError: the request names something that does not exist, contradicts the ablation, or
            is for data that is not present.
    """
    designs.validate_ablation(request.ablation, request.components)
    resolver = _build_resolver(request)
    arm_names, skipped_arms = _select_arms(request, resolver)
    conflicts.check_override_conflicts(
        request.group_choices,
        {name: resolver.definitions[name] for name in arm_names},
        request.ablation,
        request.components,
    )
    _ = resolver.base_config  # its errors come before those of the arms
    arms = {name: resolver.resolve(name) for name in arm_names}
    resolver.check_overrides_are_used(arms)
    configs = {name: arm.config for name, arm in arms.items()}
    conflicts.check_evaluation_splits(configs)
    model_check.check_image_models(configs)
    model_check.check_text_models(configs)
    model_check.check_pretrained_models(configs)
    model_check.check_optimizers(configs)
    _require_training_data(configs.values())
    data_notes = inspection.describe_training_data(configs.values())
    inspection.check_batch_sizes(configs.values())
    equal_sizes.check_control_sizes(request.ablation, configs)
    equal_sizes.check_stated_compute(request.ablation, arm_names, resolver.compute_cost)
    specs = build_specs(configs, request.seeds)
    cells = build_cells(specs, request.seeds, arm_names)
    plan = _build_plan_record(request, resolver, arms, cells, skipped_arms)
    image_notes = model_check.describe_image_sizes(configs)
    score_notes = primary_metrics.describe_missing_primary_score(plan)
    plan = replace(
        plan,
        data_notes=(*data_notes, *image_notes, *score_notes),
        looks=request.ablation.build_looks(),
        margins=primary_metrics.select_margins(request.ablation, plan),
        orders=designs.build_orders(request.ablation),
        fold_overs=designs.build_fold_overs(request.ablation),
    )
    plan = predictions.add_predictions(plan, request.ablation)
    return ResolvedPlan(
        plan=plan, configs=configs, specs={c.run_id: specs[c.arm, c.seed] for c in cells}
    )


def resolve_base_config(request: PlanRequest) -> RunConfig:
    """Return the configuration that the arms of a request are compared with.

    Raises:
        UserError: its values are not valid.
    """
    return _build_resolver(request).base_config


def build_specs(
    configs: Mapping[str, RunConfig], seeds: Sequence[int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return (arm, seed) -> spec.

    The data of an arm is fingerprinted once: the specs of its seeds differ in the seed alone.
    """
    specs = {}
    fingerprints = fingerprint_data(configs)
    for name, config in configs.items():
        arm_spec = build_spec(config, fingerprints[name])
        for seed in seeds:
            specs[name, seed] = {**arm_spec, "config": {**arm_spec["config"], "seed": seed}}
    return specs


def fingerprint_data(configs: Mapping[str, RunConfig]) -> dict[str, dict[str, Any]]:
    """Return arm -> the fingerprint of its data, and of the weights from which it starts.

    Data that arms share are read once.
    """
    data_fingerprints: dict[DataConfig, dict[str, Any]] = {}
    fingerprints = {}
    for name, config in configs.items():
        if config.data not in data_fingerprints:
            data_fingerprints[config.data] = data.fingerprint(config.data)
        fingerprints[name] = {
            **data_fingerprints[config.data],
            **weight_files.fingerprint(config),
        }
    return fingerprints


def build_cells(
    specs: Mapping[tuple[str, int], Mapping[str, Any]],
    seeds: Sequence[int],
    arm_names: Sequence[str],
) -> tuple[Cell, ...]:
    """Return the cells, seed by seed, in the order of the arms."""
    run_ids = {name: compute_run_ids(specs[name, seeds[0]], seeds) for name in arm_names}
    return tuple(
        Cell(arm=name, seed=seed, run_id=run_ids[name][seed])
        for seed in seeds
        for name in arm_names
    )


def describe_seedless_runs(configs: Mapping[str, RunConfig]) -> dict[str, dict[str, Any]]:
    """Return arm -> the part of its runs that names a sweep: what is hashed, without the seed."""
    specs = build_specs(configs, (0,))
    return {
        name: {
            "config": {k: v for k, v in specs[name, 0]["config"].items() if k != "seed"},
            "data": specs[name, 0]["data"],
        }
        for name in configs
    }


def find_cell(plan: Plan, name: str) -> Cell:
    """Return the cell called `<arm>/<seed>`, or whose run id starts with `name`.

    Raises:
        UserError: there is no such cell, or more than one.
    """
    arm, _, seed = name.rpartition("/")
    with suppress(UserError):
        name = f"{designs.find_arm_name(arm, [a.name for a in plan.arms])}/{seed}"
    matches: Sequence[Cell] = [c for c in plan.cells if c.name == name]
    if not matches and len(name) >= 4:
        runs = {c.run_id: c for c in plan.cells if c.run_id.startswith(name)}
        matches = list(runs.values())
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{name!r} is the start of {len(matches)} run ids: give more digits")
    raise make_unknown_name_error("cell", name, [c.name for c in plan.cells])


def _build_resolver(request: PlanRequest) -> ArmResolver:
    return ArmResolver(
        ablation=request.ablation,
        components=request.components,
        compose=request.compose,
        user_choices=request.group_choices,
        user_overrides=request.overrides,
    )


def _select_arms(request: PlanRequest, resolver: ArmResolver) -> tuple[list[str], list[str]]:
    """Return the names of the arms to run, and a sentence for each that the budget leaves out."""
    requested = [designs.find_arm_name(n, resolver.definitions) for n in request.arms or ()]
    names, skipped = [], []
    for name, definition in resolver.definitions.items():
        if request.arms is not None and name not in requested:
            continue
        if definition.budgets is not None and request.budget not in definition.budgets:
            skipped.append(f"arm {name}: only at budget={' or '.join(definition.budgets)}")
            continue
        names.append(name)
    if not names:
        raise UserError("; ".join(["arms=[...] leaves no arm to run", *skipped]))
    return names, skipped


def _require_training_data(configs: Iterable[RunConfig]) -> None:
    for config in configs:
        missing_data = data.describe_missing(config.data)
        if missing_data:
            raise UserError(f"data={config.data.name}: {missing_data}")


def _build_plan_record(
    request: PlanRequest,
    resolver: ArmResolver,
    arms: Mapping[str, ResolvedArm],
    cells: tuple[Cell, ...],
    skipped_arms: Sequence[str],
) -> Plan:
    ablation = request.ablation
    configs = {name: arm.config for name, arm in arms.items()}
    reference = ablation.reference if ablation.reference in arms else next(iter(arms))
    reference_config = configs[reference]
    evaluations, missing_datasets, missing_probe_data = resolve_evaluations(
        configs, request.cache_path
    )
    primary_metric, co_primary_metric = primary_metrics.get_primary_metrics(
        ablation, reference_config.data
    )
    duplicate_of = duplicates.find_duplicate_arms(cells)
    contrasts = _build_contrasts(request, arms, duplicate_of)
    planted_effects = _select_planted_effects(ablation.planted_effects, contrasts, arms)
    return Plan(
        sweep_id=_compute_sweep_id(request, resolver.base_config, configs),
        ablation=ablation.name,
        title=ablation.title,
        budget=request.budget,
        data=reference_config.data.name,
        design=ablation.design,
        arms=tuple(
            _build_arm(arm, ablation.components, request.components, resolver.base_values)
            for arm in arms.values()
        ),
        reference=reference,
        components=_select_components(request, arms),
        contrasts=contrasts,
        primary_metric=primary_metric,
        co_primary_metric=co_primary_metric,
        seeds=request.seeds,
        cells=cells,
        evaluation_hashes=evaluations,
        missing_datasets=missing_datasets,
        missing_probe_data=missing_probe_data,
        base_config=resolver.base_values,
        overrides=request.recorded_overrides,
        first_seed=ablation.first_seed,
        forward_passes={n: c.method.count_forward_passes(c.views) for n, c in configs.items()},
        comparison_facts={n: collect_comparison_facts(c) for n, c in configs.items()},
        recipe=resolver.choices.get("recipe", DEFAULT_RECIPE),
        recipe_descriptions=describe_recipes(
            {name: config.train for name, config in configs.items()},
            {name: arm.definition.groups for name, arm in arms.items()},
            resolver.choices,
            request.compose,
        ),
        planted_effects=planted_effects,
        skipped=(
            *skipped_arms,
            *duplicates.describe_duplicate_arms(duplicate_of),
            *_describe_unchecked_effects(ablation.planted_effects, planted_effects),
        ),
    )


def _build_contrasts(
    request: PlanRequest, arms: Mapping[str, ResolvedArm], duplicate_of: Mapping[str, str]
) -> tuple[Contrast, ...]:
    """Return the contrasts of the design that can be informative."""
    return duplicates.select_informative_contrasts(
        designs.build_contrasts(request.ablation, request.components, list(arms)),
        duplicate_of,
        request.ablation.planted_effects,
    )


def _select_components(
    request: PlanRequest, arms: Mapping[str, ResolvedArm]
) -> tuple[Component, ...]:
    definitions = [arm.definition for arm in arms.values()]
    return designs.select_components(request.ablation, request.components, definitions)


def _select_planted_effects(
    planted_effects: Sequence[PlantedEffect],
    contrasts: Sequence[Contrast],
    arms: Mapping[str, ResolvedArm],
) -> tuple[PlantedEffect, ...]:
    """Return the planted effects that can be checked with these contrasts and arms."""
    contrast_names = {c.name for c in contrasts}
    return tuple(e for e in planted_effects if e.contrast in contrast_names or e.arm in arms)


def _describe_unchecked_effects(
    declared_effects: Sequence[PlantedEffect], checked_effects: Sequence[PlantedEffect]
) -> list[str]:
    reason = "its arms are not in this sweep, or share their runs"
    return [
        f"not checked: {effect.description} ({reason})"
        for effect in declared_effects
        if effect not in checked_effects
    ]


def _build_arm(
    arm: ResolvedArm,
    design_components: Sequence[str],
    components: Mapping[str, Component],
    base_values: Mapping[str, Any],
) -> Arm:
    definition = arm.definition
    label = definition.label or arm.name
    component_names = definition.components_off
    if definition.role == "crossed":
        short_labels = {n: c.short_label or c.label for n, c in components.items()}
        if not definition.doses:
            label = designs.format_arm_label(
                component_names, design_components, short_labels, arm.config.method.name
            )
        component_names = tuple(n for n in design_components if n not in definition.doses)
    notes = f" ({', '.join(arm.label_notes)})" if arm.label_notes else ""
    return Arm(
        name=arm.name,
        label=label + notes,
        role=definition.role,
        levels={c: c not in definition.components_off for c in component_names},
        config_diff=diff_config(base_values, arm.values),
        doses=definition.doses,
    )


def resolve_evaluations(
    configs: Mapping[str, RunConfig], cache_path: Path | None
) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, str]]:
    """Return arm -> data set -> evaluation hash, and two tables of missing data.

    The tables map a data set to how it can be obtained: data sets that are not present, and
    data sets of which only the training part, which a linear probe needs, is not present.
    """
    evaluations: dict[str, dict[str, str]] = {arm: {} for arm in configs}
    missing_datasets, missing_probe_data = {}, {}
    with fingerprint_cache():
        for arm, config in configs.items():
            for name in evaluate.expand_benchmarks(config.benchmark):
                instructions = evaluate.describe_missing(name, config, cache_path)
                if instructions:
                    missing_datasets[name] = instructions
                    continue
                evaluations[arm][name] = evaluate.evaluation_hash(name, config, cache_path)
                instructions = evaluate.describe_missing_probe_data(name, config, cache_path)
                if instructions:
                    missing_probe_data[name] = instructions
    return evaluations, missing_datasets, missing_probe_data


def _compute_sweep_id(
    request: PlanRequest, base: RunConfig, configs: Mapping[str, RunConfig]
) -> str:
    content = {"base": to_hashable_config(base), "arms": describe_seedless_runs(configs)}
    content["base"].pop("seed", None)
    runtime = next(iter(configs.values())).runtime
    if runtime.evaluation_split == "validation":
        content["evaluation_split"] = "validation"  # else it replaced the report on the test split
    if runtime.evaluation_precision != "fp32":
        content["evaluation_precision"] = runtime.evaluation_precision  # likewise
    return f"{request.ablation.name}-{request.budget}-{digest(content, 8)}"
