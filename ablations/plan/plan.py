"""From an ablation to a plan: the typed configuration of every arm, and its cells.

An arm is the base configuration and a delta. Precedence: defaults < method preset < budget < recipe
< the ablation's base < the user's overrides < the arm's delta; a user's override of a key that an
arm changes is refused with both names. (A recipe follows an arm's method, and is no change by it.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations import designs
from ablations.plan import conflicts, duplicates, matched_budget
from ablations.plan.comparison_facts import collect_comparison_facts
from ablations.plan.recipe import DEFAULT_RECIPE, describe_recipe
from ablations.schema import Ablation, ArmDefinition, select_active_overrides
from uniclip import data, evaluate
from uniclip.checkpoints import warm_start
from uniclip.config import RunConfig, build_run_config
from uniclip.config.binding import to_builtins
from uniclip.config.compose import flatten, get_default_choices, has_key, set_key
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate.datasets import fingerprint_cache
from uniclip.identity import build_spec, compute_run_id, digest, to_hashable_config
from uniclip.store import Arm, Cell, Component, Plan, PrimaryMetric

ComposeFunction = Callable[[Mapping[str, str]], dict[str, Any]]
"""Group choices -> the plain configuration of one run, every key present."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What the user asked for, as far as it decides what is run."""

    ablation: Ablation
    components: dict[str, Component]
    compose: ComposeFunction
    group_choices: dict[str, str]
    """The user's group choices."""
    overrides: dict[str, Any]
    """The user's overrides of single keys."""
    budget: str
    seeds: tuple[int, ...]
    arms: tuple[str, ...] | None = None
    """Only these arms."""
    cache_path: Path | None = None
    """The store's, which knows evaluation data that is gone by now."""


@dataclass(frozen=True, kw_only=True)
class ResolvedPlan:
    """A plan, and the spec of every run in it."""

    plan: Plan
    configs: dict[str, RunConfig]
    """The configuration of each arm (of the first seed)."""
    specs: dict[str, dict[str, Any]]
    """Run id -> what was hashed."""


def build_plan(request: PlanRequest) -> ResolvedPlan:
    """The plan of a request; `UserError` where it cannot be run as asked."""
    ablation = request.ablation
    designs.validate_ablation(ablation, request.components)
    definitions, skipped = _select_arms(request)
    conflicts.check_override_conflicts(
        request.group_choices, definitions, ablation, request.components
    )
    base = _resolve_base_values(request)
    resolved_arms = {name: _resolve_arm(request, base, name, d) for name, d in definitions.items()}
    values = {name: arm.values for name, arm in resolved_arms.items()}
    _refuse_unused_overrides(request, base, values)
    configs = {name: build_run_config(v) for name, v in values.items()}
    for config in configs.values():
        missing_data = data.describe_missing(config.data)
        if missing_data:
            raise UserError(f"data={config.data.name}: {missing_data}")
    specs = build_specs(configs, request.seeds)
    cells = tuple(
        Cell(arm=n, seed=s, run_id=compute_run_id(specs[n, s]))
        for s in request.seeds
        for n in configs
    )
    reference = ablation.reference if ablation.reference in configs else next(iter(configs))
    plan = _build_plan_record(request, base, definitions, resolved_arms, configs, cells, reference)
    unchecked_effects = _describe_unchecked_effects(ablation, plan)
    plan = replace(
        plan,
        skipped=(
            *skipped,
            *duplicates.describe_duplicate_arms(duplicates.find_duplicate_arms(cells)),
            *unchecked_effects,
        ),
    )
    return ResolvedPlan(
        plan=plan, configs=configs, specs={c.run_id: specs[c.arm, c.seed] for c in cells}
    )


def _build_plan_record(
    request: PlanRequest,
    base: dict[str, Any],
    definitions: dict[str, ArmDefinition],
    resolved_arms: dict[str, _ResolvedArm],
    configs: dict[str, RunConfig],
    cells: tuple[Cell, ...],
    reference: str,
) -> Plan:
    ablation, config = request.ablation, configs[reference]
    evaluations, missing_datasets, missing_probe_data = _resolve_evaluations(
        configs, request.cache_path
    )
    all_contrasts = designs.build_contrasts(ablation, request.components, list(configs))
    contrasts = duplicates.select_informative_contrasts(
        all_contrasts, duplicates.find_duplicate_arms(cells), ablation.planted_effects
    )
    component_names = {c for d in definitions.values() for c in d.components_off} | set(
        ablation.components
    )
    return Plan(
        sweep_id=_compute_sweep_id(request, build_run_config(base), configs),
        ablation=ablation.name,
        title=ablation.title,
        budget=request.budget,
        data=config.data.name,
        design=ablation.design,
        arms=tuple(
            _build_arm(request, base, n, d, resolved_arms[n]) for n, d in definitions.items()
        ),
        reference=reference,
        components=tuple(c for n, c in request.components.items() if n in component_names),
        contrasts=contrasts,
        primary_metric=_get_primary_metric(ablation, config),
        seeds=request.seeds,
        cells=cells,
        evaluation_hashes=evaluations,
        missing_datasets=missing_datasets,
        missing_probe_data=missing_probe_data,
        base_config=base,
        forward_passes={n: c.method.count_forward_passes(c.views) for n, c in configs.items()},
        comparison_facts={n: collect_comparison_facts(c) for n, c in configs.items()},
        recipe=_merge_group_choices(request).get("recipe", DEFAULT_RECIPE),
        recipe_descriptions=_describe_recipes(request, definitions, configs),
        planted_effects=tuple(
            e
            for e in ablation.planted_effects
            if e.contrast in {c.name for c in contrasts} or e.arm in configs
        ),
    )


def build_specs(
    configs: Mapping[str, RunConfig], seeds: Sequence[int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """The spec of each arm and seed; an arm is looked at once, for seeds change nothing else."""
    specs = {}
    for name, config in configs.items():
        arm_spec = build_spec(
            config, {**data.fingerprint(config.data), **warm_start.fingerprint(config)}
        )
        for seed in seeds:
            specs[name, seed] = {**arm_spec, "config": {**arm_spec["config"], "seed": seed}}
    return specs


def _select_arms(request: PlanRequest) -> tuple[dict[str, ArmDefinition], list[str]]:
    definitions = designs.build_arms(request.ablation)
    for name in request.arms or ():
        if name not in definitions:
            raise make_unknown_name_error("arm", name, definitions)
    skipped = []
    for name, definition in list(definitions.items()):
        if request.arms is not None and name not in request.arms:
            del definitions[name]
        elif definition.budgets is not None and request.budget not in definition.budgets:
            skipped.append(f"arm {name}: only at budget={' or '.join(definition.budgets)}")
            del definitions[name]
    if not definitions:
        raise UserError("; ".join(["arms=[...] leaves no arm to run", *skipped]))
    return definitions, skipped


def _describe_unchecked_effects(ablation: Ablation, plan: Plan) -> list[str]:
    reason = "its arms are not in this sweep, or are one run"
    return [
        f"not checked: {e.description} ({reason})"
        for e in ablation.planted_effects
        if e not in plan.planted_effects
    ]


def resolve_base_config(request: PlanRequest) -> RunConfig:
    """What the arms of a request differ from; `UserError` where it cannot be had."""
    return build_run_config(_resolve_base_values(request))


def _resolve_base_values(request: PlanRequest) -> dict[str, Any]:
    choices = _merge_group_choices(request)
    values = request.compose(choices)
    for key, value in _collect_base_overrides(request.ablation, choices).items():
        set_key(values, key, copy.deepcopy(value))
    for key, value in request.overrides.items():
        if has_key(values, key):  # else it is for arms of another method
            set_key(values, key, value)
    return to_builtins(build_run_config(values))


def _collect_base_overrides(ablation: Ablation, choices: Mapping[str, str]) -> dict[str, Any]:
    """The keys that the ablation sets in all arms."""
    return {
        **ablation.overrides,
        **select_active_overrides(ablation.conditional_overrides, choices),
    }


@dataclass(frozen=True, kw_only=True)
class _ResolvedArm:
    """The values of an arm, and what its label must say of them."""

    values: dict[str, Any]
    label_notes: tuple[str, ...]


def _resolve_arm(
    request: PlanRequest, base: dict[str, Any], name: str, arm: ArmDefinition
) -> _ResolvedArm:
    choices = {**_merge_group_choices(request), **arm.groups}
    values = _resolve_group_values(request, base, name, arm) if arm.groups else copy.deepcopy(base)
    arm_overrides = {
        k: v
        for c in arm.components_off
        for k, v in _get_component(request, c).off_overrides.items()
    }
    conditional_overrides = select_active_overrides(arm.conditional_overrides, choices)
    arm_overrides.update({**arm.overrides, **conditional_overrides})
    _refuse_conflicting_overrides(
        request, name, {*arm_overrides, *(["train.steps"] if arm.match_budget else [])}
    )
    label_notes = [f"{k.rsplit('.', 1)[-1]} {v}" for k, v in conditional_overrides.items()]
    try:
        for key, value in arm_overrides.items():
            set_key(values, key, copy.deepcopy(value))
        if arm.match_budget:
            matched_steps = _match_steps(request, base, values, arm)
            values["train"]["steps"] = matched_steps.steps
            label_notes.append(matched_steps.description)
        return _ResolvedArm(
            values=to_builtins(build_run_config(values)), label_notes=tuple(label_notes)
        )
    except UserError as error:
        raise UserError(f"arm {name}: {error}") from None


def _resolve_group_values(
    request: PlanRequest, base: dict[str, Any], name: str, arm: ArmDefinition
) -> dict[str, Any]:
    """The values of an arm that chooses groups, before its own delta."""
    choices = {**_merge_group_choices(request), **arm.groups}
    values = request.compose(choices)
    values.update({section: copy.deepcopy(base[section]) for section in arm.keep_sections})
    base_overrides = _collect_base_overrides(request.ablation, choices)
    changed_keys = _find_keys_changed_by_groups(request, arm) - set(base_overrides)
    _refuse_conflicting_overrides(
        request, name, {k for k in changed_keys if k.split(".")[0] not in arm.keep_sections}
    )
    for key, value in {**base_overrides, **request.overrides}.items():
        if has_key(values, key) and key.split(".")[0] not in arm.keep_sections:
            set_key(values, key, copy.deepcopy(value))
    return values


def _match_steps(
    request: PlanRequest, base: dict[str, Any], values: dict[str, Any], arm: ArmDefinition
) -> matched_budget.MatchedSteps:
    """How long an arm of these values trains, to be equal to the reference."""
    assert arm.match_budget is not None
    reference = designs.build_arms(request.ablation)[request.ablation.reference]
    arm_costs = []
    reference_values = _resolve_arm(request, base, request.ablation.reference, reference).values
    for side_values, arm_groups in ((values, arm.groups), (reference_values, reference.groups)):
        choices = {**_merge_group_choices(request), **arm_groups}
        preset = {**get_default_choices(), **choices}["model"]
        preset_model = request.compose(choices)["model"]
        gflops = matched_budget.look_up_gflops(preset, side_values["model"], preset_model)
        arm_costs.append(
            matched_budget.ArmCost(config=build_run_config(side_values), gflops=gflops)
        )
    return matched_budget.match_steps(arm.match_budget, *arm_costs)


def _refuse_unused_overrides(
    request: PlanRequest, base: dict[str, Any], arms: Mapping[str, dict[str, Any]]
) -> None:
    """`UserError` for a key of the user's that no arm has."""
    for key, value in request.overrides.items():
        if not any(has_key(values, key) for values in arms.values()):
            set_key(copy.deepcopy(base), key, value)  # names the nearest
            raise UserError(f"{key} is given by you, and no arm of {', '.join(arms)} has it")


def _find_keys_changed_by_groups(request: PlanRequest, arm: ArmDefinition) -> set[str]:
    """Keys that another choice of groups presets differently, whatever the user said.

    What a recipe brings with a method is not the arm's doing, unless the arm chooses the recipe.
    """
    choices = _merge_group_choices(request)
    if "recipe" not in arm.groups:
        choices.pop("recipe", None)
    preset_values, chosen_values = (
        flatten(request.compose(choices)),
        request.compose({**choices, **arm.groups}),
    )
    return {
        k for k, v in flatten(chosen_values).items() if k in preset_values and preset_values[k] != v
    }


def _merge_group_choices(request: PlanRequest) -> dict[str, str]:
    return {**request.ablation.groups, **request.group_choices}


def _describe_recipes(
    request: PlanRequest, definitions: Mapping[str, ArmDefinition], configs: Mapping[str, RunConfig]
) -> dict[str, str]:
    """Each arm's recipe in words; nothing where all have ours."""
    choices = _merge_group_choices(request)
    if choices.pop("recipe", DEFAULT_RECIPE) == DEFAULT_RECIPE:
        return {}
    descriptions = {}
    for name, config in configs.items():
        arm_choices = {**choices, **definitions[name].groups}
        default_train = request.compose(arm_choices)["train"]
        recipe_train = request.compose(
            {**_merge_group_choices(request), **definitions[name].groups}
        )["train"]
        descriptions[name] = describe_recipe(config.train) + (
            " (nothing stated: ours)" if recipe_train == default_train else ""
        )
    return descriptions


def _refuse_conflicting_overrides(request: PlanRequest, arm: str, changed_keys: set[str]) -> None:
    for key in request.overrides:
        if any(
            key == c or c.startswith(f"{key}.") or key.startswith(f"{c}.") for c in changed_keys
        ):
            raise UserError(
                f"{key} is given by you and changed by arm {arm}: "
                "leave it out, or choose arms=[...] without it"
            )


def _get_component(request: PlanRequest, name: str) -> Component:
    if name not in request.components:
        raise make_unknown_name_error("component", name, request.components)
    return request.components[name]


def _build_arm(
    request: PlanRequest,
    base: dict[str, Any],
    name: str,
    definition: ArmDefinition,
    resolved_arm: _ResolvedArm,
) -> Arm:
    base_values, arm_values = flatten(base), flatten(resolved_arm.values)
    delta = {k: v for k, v in arm_values.items() if k not in base_values or base_values[k] != v}
    component_names = (
        request.ablation.components if definition.role == "crossed" else definition.components_off
    )
    levels = {c: c not in definition.components_off for c in component_names}
    notes = f" ({', '.join(resolved_arm.label_notes)})" if resolved_arm.label_notes else ""
    label = _format_label(request, name, definition) + notes
    return Arm(name=name, label=label, role=definition.role, levels=levels, config_diff=delta)


def _format_label(request: PlanRequest, name: str, definition: ArmDefinition) -> str:
    if definition.role != "crossed":
        return definition.label or name
    short_labels = {n: c.short_label or c.label for n, c in request.components.items()}
    return designs.format_arm_label(
        definition.components_off, request.ablation.components, short_labels
    )


def _resolve_evaluations(
    configs: Mapping[str, RunConfig], cache: Path | None
) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, str]]:
    """Evaluation hashes by arm and data set, how to get the data sets that are not here, and what
    those that are here lack for a linear probe."""
    evaluations: dict[str, dict[str, str]] = {arm: {} for arm in configs}
    missing_datasets, missing_probe_data = {}, {}
    with fingerprint_cache():
        for arm, config in configs.items():
            for name in evaluate.expand_benchmarks(config.benchmark):
                instructions = evaluate.describe_missing(name, config, cache)
                if instructions:
                    missing_datasets[name] = instructions
                    continue
                evaluations[arm][name] = evaluate.evaluation_hash(name, config, cache)
                instructions = evaluate.describe_missing_probe_data(name, config, cache)
                if instructions:
                    missing_probe_data[name] = instructions
    return evaluations, missing_datasets, missing_probe_data


def _get_primary_metric(ablation: Ablation, config: RunConfig) -> PrimaryMetric:
    source = config.data.name
    if source not in ablation.primary_metrics:
        raise UserError(
            f"ablation {ablation.name} declares no primary score for data={source}; "
            f"it has one for {', '.join(sorted(ablation.primary_metrics))}"
        )
    return PrimaryMetric(dataset=source, metric=ablation.primary_metrics[source])


def _compute_sweep_id(
    request: PlanRequest, base: RunConfig, configs: Mapping[str, RunConfig]
) -> str:
    content = {
        "base": to_seedless_config(base),
        "arms": {n: to_seedless_config(c) for n, c in configs.items()},
    }
    return f"{request.ablation.name}-{request.budget}-{digest(content, 8)}"


def to_seedless_config(config: RunConfig) -> dict[str, Any]:
    """What of a configuration names its sweep: all that is hashed but the seed."""
    content = {**to_hashable_config(config), **warm_start.fingerprint(config)}
    return {k: v for k, v in content.items() if k != "seed"}


def find_cell(plan: Plan, name: str) -> Cell:
    """The cell called `<arm>/<seed>`, or whose run id starts with `name`."""
    matches: Sequence[Cell] = [c for c in plan.cells if c.name == name]
    if not matches and len(name) >= 4:
        runs = {c.run_id: c for c in plan.cells if c.run_id.startswith(name)}
        matches = list(runs.values())
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{name!r} is the start of {len(matches)} run ids: give more digits")
    raise make_unknown_name_error("cell", name, [c.name for c in plan.cells])
