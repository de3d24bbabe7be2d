"""The plan of an ablation whose arms somebody else's program trains (section `command`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations import designs
from ablations.plan import command_evaluations, duplicates, predictions
from ablations.plan.plan import PlanRequest, ResolvedPlan, build_cells
from ablations.schema import Ablation, ArmDefinition, select_active_overrides
from uniclip.commands.definition import EXECUTOR, CommandDefinition
from uniclip.commands.invocation import Invocation
from uniclip.commands.provenance import describe_unverified
from uniclip.commands.template import RESERVED_NAMES, list_placeholders, require_known_names
from uniclip.config.binding import to_builtins
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io.hashing import digest
from uniclip.store import Arm, Plan

TEMPLATES = (
    *("run", "steps", "resume", "metrics_file", "log_file", "scores_file", "working_folder"),
    *("checkpoint", "checkpoint_config"),
)
"""Fields of a command that are templates."""
RUN_KEYS = ("runtime.device", "train.num_threads")
"""Keys of the user that are no value of the program."""
EVALUATION_KEYS = (
    *("benchmark", "runtime.data_root", "runtime.protocol", "runtime.embedding_cache_max_gb"),
)
"""The same with a checkpoint, which this package evaluates."""


@dataclass(frozen=True, kw_only=True)
class CommandArm:
    """An arm and the values of its command line."""

    name: str
    definition: ArmDefinition
    values: dict[str, Any]


def build_command_plan(request: PlanRequest) -> ResolvedPlan:
    """Return the plan of a request whose ablation has a command.

    Raises:
        UserError: the request names something that does not exist or contradicts the ablation, or
            declared files are missing.
    """
    ablation = request.ablation
    definition = get_command(ablation)
    designs.validate_ablation(ablation, request.components)
    _check_names(ablation, definition)
    arms = _resolve_arms(request)
    base_values = _collect_base_values(request)
    _check_templates(ablation, definition, base_values, arms)
    runtime = build_runtime(request, definition)
    fingerprints: dict[str, dict[str, Any]] = {}
    specs: dict[tuple[str, int], dict[str, Any]] = {}
    total_steps = {}
    for name, arm in arms.items():
        invocation = Invocation(
            definition=definition,
            folder=Path(ablation.folder),
            values=arm.values,
            seed=request.seeds[0],
            device=str(runtime["device"]),
        )
        total_steps[name] = invocation.total_steps
        data_key = digest({k: str(v) for k, v in arm.values.items()})
        if data_key not in fingerprints:
            fingerprints[data_key] = invocation.collect_fingerprint()
        for seed in request.seeds:
            seeded = replace(invocation, seed=seed)
            specs[name, seed] = seeded.build_spec(fingerprints[data_key])
    cells = build_cells(specs, request.seeds, list(arms))
    plan = _build_record(request, arms, base_values, runtime, total_steps, specs)
    plan = replace(plan, cells=cells)
    duplicate_of = duplicates.find_duplicate_arms(cells)
    contrasts = designs.build_contrasts(ablation, request.components, list(arms))
    contrasts = duplicates.select_informative_contrasts(
        contrasts, duplicate_of, ablation.planted_effects
    )
    plan = replace(
        plan,
        contrasts=contrasts,
        predictions=predictions.resolve_predictions(ablation, contrasts),
        skipped=(
            *plan.skipped,
            *duplicates.describe_duplicate_arms(duplicate_of),
            *predictions.describe_ungraded_predictions(ablation, contrasts),
        ),
    )
    plan = replace(plan, predictions_digest=predictions.compute_predictions_digest(plan))
    return ResolvedPlan(
        plan=plan, configs={}, specs={c.run_id: specs[c.arm, c.seed] for c in cells}
    )


def get_command(ablation: Ablation) -> CommandDefinition:
    """Return the command of an ablation that has one."""
    assert ablation.command is not None, "the caller has looked"
    return ablation.command


def list_value_names(ablation: Ablation) -> list[str]:
    """Return the values of the command line that an ablation declares."""
    conditional_values = [k for values in ablation.conditional_overrides.values() for k in values]
    arm_values = [k for arm in designs.build_arms(ablation).values() for k in arm.overrides]
    return list(dict.fromkeys([*ablation.overrides, *conditional_values, *arm_values]))


def check_command_keys(
    ablation: Ablation, user_values: Mapping[str, Any], sweep_keys: Iterable[str]
) -> None:
    """Check the keys of a command line whose ablation has a command.

    Args:
        ablation: The ablation.
        user_values: Key -> value, of the user.
        sweep_keys: Keys of the sweep, which no value may be called.

    Raises:
        UserError: there is no such value, or a value has the name of a key of the sweep.
    """
    names = list_value_names(ablation)
    for name in sorted(set(names) & {*sweep_keys, "ablation", "budget", "launcher", "conf_dir"}):
        raise UserError(f"ablation {ablation.name}: {name!r} is a key of sweeps: rename the value")
    run_keys = list_run_keys(get_command(ablation))
    for key in user_values:
        if key in EVALUATION_KEYS and key not in run_keys:
            raise UserError(
                f"ablation {ablation.name}: {key}= is for a command that names a checkpoint "
                "(command.checkpoint)"
            )
        if key not in (*names, *run_keys):
            raise make_unknown_name_error("key", key, (*names, *run_keys, *sweep_keys))


def list_run_keys(definition: CommandDefinition) -> tuple[str, ...]:
    """Return the keys of the user that are no value of the program."""
    return (*RUN_KEYS, *(EVALUATION_KEYS if definition.checkpoint else ()))


def build_runtime(request: PlanRequest, definition: CommandDefinition) -> dict[str, Any]:
    """Return the section `runtime`: how cells are executed, and where the program's files lie."""
    runtime = dict(request.compose({})["runtime"])
    for key in list_run_keys(definition):
        section, _, name = key.partition(".")
        if section == "runtime" and key in request.overrides:
            runtime[name] = request.overrides[key]
    base_values = _collect_base_values(request)
    return {
        **runtime,
        "command": {
            "folder": request.ablation.folder,
            "definition": to_builtins(definition),
            "paths": {name: base_values[name] for name in definition.paths if name in base_values},
        },
    }


def _collect_base_values(request: PlanRequest) -> dict[str, Any]:
    """Return the values before any change by an arm."""
    conditions = {"budget": request.budget}
    active = select_active_overrides(request.ablation.conditional_overrides, conditions)
    declared_values = {**request.ablation.overrides, **active}
    run_keys = list_run_keys(get_command(request.ablation))
    user_values = {k: v for k, v in request.overrides.items() if k not in run_keys}
    for values, folder in ((declared_values, request.ablation.folder), (user_values, os.getcwd())):
        values.update(_resolve_paths(values, get_command(request.ablation), folder))
    return {**declared_values, **user_values}


def _resolve_paths(
    values: Mapping[str, Any], definition: CommandDefinition, folder: str
) -> dict[str, Any]:
    """Return the paths among values as absolute ones: the program runs in another folder."""
    return {
        name: os.path.join(folder, value)
        for name, value in values.items()
        if name in definition.paths and isinstance(value, str) and value
    }


def _resolve_arms(request: PlanRequest) -> dict[str, CommandArm]:
    """Return the arms to run, by name.

    Raises:
        UserError: there is no such arm, or the user sets a value that an arm changes.
    """
    definitions = designs.build_arms(request.ablation)
    names = list(definitions)
    if request.arms is not None:
        requested = {designs.find_arm_name(name, definitions) for name in request.arms}
        names = [name for name in names if name in requested]
    arms = {}
    for name in names:
        definition = definitions[name]
        if definition.budgets is not None and request.budget not in definition.budgets:
            continue
        off_values = {
            key: value
            for component in definition.components_off
            for key, value in request.components[component].off_overrides.items()
        }
        changes = {**off_values, **definition.overrides}
        changes |= _resolve_paths(changes, get_command(request.ablation), request.ablation.folder)
        for key in changes:
            if key in request.overrides:
                raise UserError(f"{key} is what arm {name} changes: it cannot be set for all arms")
        values = {**_collect_base_values(request), **changes}
        arms[name] = CommandArm(name=name, definition=definition, values=values)
    if not arms:
        raise UserError("arms=[...] and budget= leave no arm to run")
    return arms


def _check_names(ablation: Ablation, definition: CommandDefinition) -> None:
    """Raise `UserError` if a value has a name that is taken, or an arm a key of our training."""
    for name in list_value_names(ablation):
        if name in RESERVED_NAMES or not name.isidentifier() or not name.islower():
            raise UserError(
                f"ablation {ablation.name}: {name!r} cannot be a value of the command: use small "
                f"letters, digits and _, but not {', '.join(RESERVED_NAMES)}"
            )
    for name, arm in designs.build_arms(ablation).items():
        if arm.groups or arm.match_budget or arm.conditional_overrides or arm.keep_sections:
            raise UserError(
                f"ablation {ablation.name}: arm {name}: an arm of a command has overrides only"
            )
    if ablation.groups or ablation.settings:
        raise UserError(f"ablation {ablation.name}: groups and settings do not go with command")
    for name in (*definition.check_values, *definition.resume_values, *definition.paths):
        if name not in list_value_names(ablation):
            raise make_unknown_name_error("value", name, list_value_names(ablation))


def _check_templates(
    ablation: Ablation,
    definition: CommandDefinition,
    base_values: Mapping[str, Any],
    arms: Mapping[str, CommandArm],
) -> None:
    """Raise `UserError` if a template names no value, or the command line leaves one out.

    A switch of an arm that is not on the command line changes nothing.
    """
    names = [*base_values, *(k for arm in arms.values() for k in arm.values), *RESERVED_NAMES]
    for key in TEMPLATES:
        require_known_names(key, getattr(definition, key), names)
    texts = (*definition.environment.values(), *definition.files.values())
    for template in (*(definition.data or ()), *definition.benchmark, *texts):
        require_known_names("data, benchmark, environment and files", template, names)
    templates = (
        *(definition.run, definition.resume, definition.steps, definition.working_folder),
        *texts,
    )
    used_names = set().union(*map(list_placeholders, templates))
    for arm in arms.values():
        for name in arm.definition.overrides:
            if name not in used_names:
                raise UserError(
                    f"ablation {ablation.name}: arm {arm.name} changes {name}, which is not on the "
                    f"command line: write {{{name}}} in command.run or command.files"
                )
    if "seed" not in used_names:
        raise UserError(f"ablation {ablation.name}: command.run must pass on {{seed}}")
    if "output" not in used_names:
        raise UserError(f"ablation {ablation.name}: command.run must pass on {{output}}")


def _build_record(
    request: PlanRequest,
    arms: Mapping[str, CommandArm],
    base_values: Mapping[str, Any],
    runtime: Mapping[str, Any],
    total_steps: Mapping[str, int],
    specs: Mapping[tuple[str, int], Mapping[str, Any]],
) -> Plan:
    """Return the plan without cells and contrasts."""
    ablation, definition = request.ablation, get_command(request.ablation)
    reference = ablation.reference if ablation.reference in arms else next(iter(arms))
    evaluations = command_evaluations.resolve_evaluations(
        request, definition, runtime, {name: arm.values for name, arm in arms.items()}
    )
    return Plan(
        sweep_id=_compute_sweep_id(request, arms, specs),
        ablation=ablation.name,
        title=ablation.title,
        budget=request.budget,
        data=definition.dataset,
        design=ablation.design,
        arms=tuple(
            _build_arm(arm, request, base_values, total_steps[name], total_steps[reference])
            for name, arm in arms.items()
        ),
        reference=reference,
        components=designs.select_components(
            ablation, request.components, (arm.definition for arm in arms.values())
        ),
        contrasts=(),
        primary_metric=evaluations.primary_metric,
        co_primary_metric=evaluations.co_primary_metric,
        seeds=request.seeds,
        cells=(),
        evaluation_hashes=evaluations.hashes,
        missing_datasets=evaluations.missing_datasets,
        missing_probe_data=evaluations.missing_probe_data,
        base_config=_build_base_config(
            request, base_values, runtime, total_steps[reference], evaluations.benchmark
        ),
        executor=EXECUTOR,
        overrides=request.recorded_overrides,
        first_seed=ablation.first_seed,
        looks=ablation.build_looks(),
        data_notes=evaluations.notes,
        margins=evaluations.margins,
        orders=designs.build_orders(ablation),
        fold_overs=designs.build_fold_overs(ablation),
        provenance_notes=describe_unverified(definition),
        command_checks={
            name: {"differ": arm.definition.must_differ, "equal": arm.definition.must_equal}
            for name, arm in arms.items()
        },
        skipped=tuple(
            f"arm {name}: only at budget={' or '.join(arm.budgets)}"
            for name, arm in designs.build_arms(ablation).items()
            if arm.budgets is not None and request.budget not in arm.budgets
        ),
    )


def _compute_sweep_id(
    request: PlanRequest,
    arms: Iterable[str],
    specs: Mapping[tuple[str, int], Mapping[str, Any]],
) -> str:
    seed = request.seeds[0]
    seedless = {
        name: {**specs[name, seed], "config": {**specs[name, seed]["config"], "seed": None}}
        for name in arms
    }
    return f"{request.ablation.name}-{request.budget}-{digest(seedless, 8)}"


def _build_base_config(
    request: PlanRequest,
    base_values: Mapping[str, Any],
    runtime: Mapping[str, Any],
    total_steps: int,
    benchmark: Sequence[str],
) -> dict[str, Any]:
    definition = get_command(request.ablation)
    num_threads = int(request.overrides.get("train.num_threads", 1))
    return {
        "values": {k: v for k, v in base_values.items() if k not in definition.paths},
        "train": {"steps": total_steps, "num_threads": num_threads},
        "runtime": dict(runtime),
        "benchmark": list(benchmark),
    }


def _build_arm(
    arm: CommandArm,
    request: PlanRequest,
    base_values: Mapping[str, Any],
    total_steps: int,
    base_steps: int,
) -> Arm:
    definition, command = arm.definition, get_command(request.ablation)
    components_off: tuple[str, ...] = definition.components_off
    component_names = components_off
    label = definition.label or arm.name
    if definition.role == "crossed":
        labels = {n: c.short_label or c.label for n, c in request.components.items()}
        if not definition.doses:
            label = designs.format_arm_label(components_off, request.ablation.components, labels)
        component_names = tuple(n for n in request.ablation.components if n not in definition.doses)
    config_diff = {
        (f"runtime.command.paths.{k}" if k in command.paths else f"values.{k}"): v
        for k, v in arm.values.items()
        if k not in base_values or base_values[k] != v
    }
    if total_steps != base_steps:
        config_diff["train.steps"] = total_steps
    return Arm(
        name=arm.name,
        label=label,
        role=definition.role,
        levels={c: c not in components_off for c in component_names},
        config_diff=config_diff,
        doses=definition.doses,
    )
