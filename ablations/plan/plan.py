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
from ablations.plan.comparison_facts import facts
from ablations.plan.recipe import OURS, spoken
from ablations.schema import Ablation, ArmDefinition, in_force
from uniclip import data, evaluate
from uniclip.checkpoints import warm_start
from uniclip.config import RunConfig, run_config
from uniclip.config.binding import plain
from uniclip.config.compose import defaults, flat, put, takes
from uniclip.errors import UserError, unknown
from uniclip.evaluate.datasets import looked_at_once
from uniclip.identity import digest, hashed, run_id, spec
from uniclip.store import Arm, Cell, Component, Plan, Primary

Compose = Callable[[Mapping[str, str]], dict[str, Any]]
"""Group choices -> the plain configuration of one run, every key present."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, as far as it decides what is run."""

    ablation: Ablation
    components: dict[str, Component]
    compose: Compose
    choices: dict[str, str]
    """The user's group choices."""
    values: dict[str, Any]
    """The user's overrides of single keys."""
    budget: str
    seeds: tuple[int, ...]
    arms: tuple[str, ...] | None = None
    """Only these arms."""
    cache: Path | None = None
    """The store's, which knows evaluation data that is gone by now."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan, and the spec of every run in it."""

    plan: Plan
    configs: dict[str, RunConfig]
    """The configuration of each arm (of the first seed)."""
    specs: dict[str, dict[str, Any]]
    """Run id -> what was hashed."""


def make(request: Request) -> Planned:
    """The plan of a request; `UserError` where it cannot be run as asked."""
    ablation = request.ablation
    designs.check(ablation, request.components)
    definitions, left_out = _chosen_arms(request)
    conflicts.check(request.choices, definitions, ablation, request.components)
    base = _base_values(request)
    made = {name: _made(request, base, name, d) for name, d in definitions.items()}
    values = {name: arm.values for name, arm in made.items()}
    _refuse_homeless(request, base, values)
    configs = {name: run_config(v) for name, v in values.items()}
    for config in configs.values():
        lacking = data.missing(config.data)
        if lacking:
            raise UserError(f"data={config.data.name}: {lacking}")
    specs = specs_of(configs, request.seeds)
    cells = tuple(
        Cell(arm=n, seed=s, run=run_id(specs[n, s])) for s in request.seeds for n in configs
    )
    reference = ablation.reference if ablation.reference in configs else next(iter(configs))
    plan = _plan(request, base, definitions, made, configs, cells, reference)
    unread = _unread_expectations(ablation, plan)
    plan = replace(plan, left_out=(*left_out, *duplicates.said(duplicates.find(cells)), *unread))
    return Planned(plan=plan, configs=configs, specs={c.run: specs[c.arm, c.seed] for c in cells})


def _plan(
    request: Request,
    base: dict[str, Any],
    definitions: dict[str, ArmDefinition],
    made: dict[str, _Made],
    configs: dict[str, RunConfig],
    cells: tuple[Cell, ...],
    reference: str,
) -> Plan:
    ablation, config = request.ablation, configs[reference]
    evaluations, missing, unprobed = _benchmark(configs, request.cache)
    drawn = designs.contrasts(ablation, request.components, list(configs))
    contrasts = duplicates.telling(drawn, duplicates.find(cells), ablation.expectations)
    shown = {c for d in definitions.values() for c in d.off} | set(ablation.components)
    return Plan(
        sweep=_sweep_id(request, run_config(base), configs),
        ablation=ablation.name,
        title=ablation.title,
        budget=request.budget,
        data=config.data.name,
        design=ablation.design,
        arms=tuple(_arm(request, base, n, d, made[n]) for n, d in definitions.items()),
        reference=reference,
        components=tuple(c for n, c in request.components.items() if n in shown),
        contrasts=contrasts,
        primary=_primary(ablation, config),
        seeds=request.seeds,
        cells=cells,
        evaluations=evaluations,
        missing=missing,
        unprobed=unprobed,
        base=base,
        forwards={n: c.method.forwards(c.views) for n, c in configs.items()},
        facts={n: facts(c) for n, c in configs.items()},
        recipe=_choices(request).get("recipe", OURS),
        recipes=_recipes(request, definitions, configs),
        expectations=tuple(
            e
            for e in ablation.expectations
            if e.contrast in {c.name for c in contrasts} or e.arm in configs
        ),
    )


def specs_of(
    configs: Mapping[str, RunConfig], seeds: Sequence[int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """The spec of each arm and seed; an arm is looked at once, for seeds change nothing else."""
    specs = {}
    for name, config in configs.items():
        of_arm = spec(config, {**data.fingerprint(config.data), **warm_start.fingerprint(config)})
        for seed in seeds:
            specs[name, seed] = {**of_arm, "config": {**of_arm["config"], "seed": seed}}
    return specs


def _chosen_arms(request: Request) -> tuple[dict[str, ArmDefinition], list[str]]:
    definitions = designs.arms(request.ablation)
    for name in request.arms or ():
        if name not in definitions:
            raise unknown("arm", name, definitions)
    left_out = []
    for name, definition in list(definitions.items()):
        if request.arms is not None and name not in request.arms:
            del definitions[name]
        elif definition.budgets is not None and request.budget not in definition.budgets:
            left_out.append(f"arm {name}: only at budget={' or '.join(definition.budgets)}")
            del definitions[name]
    if not definitions:
        raise UserError("; ".join(["arms=[...] leaves no arm to run", *left_out]))
    return definitions, left_out


def _unread_expectations(ablation: Ablation, plan: Plan) -> list[str]:
    reason = "its arms are not in this sweep, or are one run"
    return [
        f"not checked: {e.about} ({reason})"
        for e in ablation.expectations
        if e not in plan.expectations
    ]


def base_config(request: Request) -> RunConfig:
    """What the arms of a request differ from; `UserError` where it cannot be had."""
    return run_config(_base_values(request))


def _base_values(request: Request) -> dict[str, Any]:
    choices = _choices(request)
    values = request.compose(choices)
    for key, value in _shared(request.ablation, choices).items():
        put(values, key, copy.deepcopy(value))
    for key, value in request.values.items():
        if takes(values, key):  # else it is for arms of another method
            put(values, key, value)
    return plain(run_config(values))


def _shared(ablation: Ablation, choices: Mapping[str, str]) -> dict[str, Any]:
    """The keys that the ablation sets in all arms."""
    return {**ablation.set, **in_force(ablation.where, choices)}


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The values of an arm, and what its label must say of them."""

    values: dict[str, Any]
    said: tuple[str, ...]


def _made(request: Request, base: dict[str, Any], name: str, arm: ArmDefinition) -> _Made:
    choices = {**_choices(request), **arm.choose}
    values = _chosen_values(request, base, name, arm) if arm.choose else copy.deepcopy(base)
    delta = {k: v for c in arm.off for k, v in _component(request, c).off.items()}
    here = in_force(arm.where, choices)
    delta.update({**arm.set, **here})
    _refuse(request, name, {*delta, *(["train.steps"] if arm.equal else [])})
    said = [f"{k.rsplit('.', 1)[-1]} {v}" for k, v in here.items()]
    try:
        for key, value in delta.items():
            put(values, key, copy.deepcopy(value))
        if arm.equal:
            length = _length(request, base, values, arm)
            values["train"]["steps"] = length.steps
            said.append(length.said)
        return _Made(values=plain(run_config(values)), said=tuple(said))
    except UserError as error:
        raise UserError(f"arm {name}: {error}") from None


def _chosen_values(
    request: Request, base: dict[str, Any], name: str, arm: ArmDefinition
) -> dict[str, Any]:
    """The values of an arm that chooses groups, before its own delta."""
    choices = {**_choices(request), **arm.choose}
    values = request.compose(choices)
    values.update({section: copy.deepcopy(base[section]) for section in arm.keep})
    shared = _shared(request.ablation, choices)
    changed = _changed_by_choice(request, arm) - set(shared)
    _refuse(request, name, {k for k in changed if k.split(".")[0] not in arm.keep})
    for key, value in {**shared, **request.values}.items():
        if takes(values, key) and key.split(".")[0] not in arm.keep:
            put(values, key, copy.deepcopy(value))
    return values


def _length(
    request: Request, base: dict[str, Any], values: dict[str, Any], arm: ArmDefinition
) -> matched_budget.Length:
    """How long an arm of these values trains, to be equal to the reference."""
    assert arm.equal is not None
    reference = designs.arms(request.ablation)[request.ablation.reference]
    sides = []
    of_reference = _made(request, base, request.ablation.reference, reference).values
    for side, chosen in ((values, arm.choose), (of_reference, reference.choose)):
        choices = {**_choices(request), **chosen}
        preset = {**defaults(), **choices}["model"]
        as_preset = request.compose(choices)["model"]
        known = matched_budget.operations(preset, side["model"], as_preset)
        sides.append(matched_budget.Costed(config=run_config(side), operations=known))
    return matched_budget.equal(arm.equal, *sides)


def _refuse_homeless(
    request: Request, base: dict[str, Any], arms: Mapping[str, dict[str, Any]]
) -> None:
    """`UserError` for a key of the user's that no arm has."""
    for key, value in request.values.items():
        if not any(takes(values, key) for values in arms.values()):
            put(copy.deepcopy(base), key, value)  # names the nearest
            raise UserError(f"{key} is given by you, and no arm of {', '.join(arms)} has it")


def _changed_by_choice(request: Request, arm: ArmDefinition) -> set[str]:
    """Keys that another choice of groups presets differently, whatever the user said.

    What a recipe brings with a method is not the arm's doing, unless the arm chooses the recipe.
    """
    choices = _choices(request)
    if "recipe" not in arm.choose:
        choices.pop("recipe", None)
    preset, chosen = flat(request.compose(choices)), request.compose({**choices, **arm.choose})
    return {k for k, v in flat(chosen).items() if k in preset and preset[k] != v}


def _choices(request: Request) -> dict[str, str]:
    return {**request.ablation.base, **request.choices}


def _recipes(
    request: Request, definitions: Mapping[str, ArmDefinition], configs: Mapping[str, RunConfig]
) -> dict[str, str]:
    """Each arm's recipe in words; nothing where all have ours."""
    choices = _choices(request)
    if choices.pop("recipe", OURS) == OURS:
        return {}
    said = {}
    for name, config in configs.items():
        arm = {**choices, **definitions[name].choose}
        ours = request.compose(arm)["train"]
        stated = request.compose({**_choices(request), **definitions[name].choose})["train"]
        said[name] = spoken(config.train) + (" (nothing stated: ours)" if stated == ours else "")
    return said


def _refuse(request: Request, arm: str, changed: set[str]) -> None:
    for key in request.values:
        if any(key == c or c.startswith(f"{key}.") or key.startswith(f"{c}.") for c in changed):
            raise UserError(
                f"{key} is given by you and changed by arm {arm}: "
                "leave it out, or choose arms=[...] without it"
            )


def _component(request: Request, name: str) -> Component:
    if name not in request.components:
        raise unknown("component", name, request.components)
    return request.components[name]


def _arm(request: Request, base: dict[str, Any], name: str, d: ArmDefinition, made: _Made) -> Arm:
    before, after = flat(base), flat(made.values)
    delta = {k: v for k, v in after.items() if k not in before or before[k] != v}
    crossed = request.ablation.components if d.role == "crossed" else d.off
    levels = {c: c not in d.off for c in crossed}
    said = f" ({', '.join(made.said)})" if made.said else ""
    label = _label(request, name, d) + said
    return Arm(name=name, label=label, role=d.role, levels=levels, delta=delta)


def _label(request: Request, name: str, d: ArmDefinition) -> str:
    if d.role != "crossed":
        return d.label or name
    shorts = {n: c.short or c.label for n, c in request.components.items()}
    return designs.label(d.off, request.ablation.components, shorts)


def _benchmark(
    configs: Mapping[str, RunConfig], cache: Path | None
) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, str]]:
    """Evaluation hashes by arm and data set, how to get the data sets that are not here, and what
    those that are here lack for a linear probe."""
    evaluations: dict[str, dict[str, str]] = {arm: {} for arm in configs}
    missing, unprobed = {}, {}
    with looked_at_once():
        for arm, config in configs.items():
            for name in evaluate.expanded(config.benchmark):
                lacking = evaluate.missing(name, config, cache)
                if lacking:
                    missing[name] = lacking
                    continue
                evaluations[arm][name] = evaluate.evaluation_hash(name, config, cache)
                lacking = evaluate.unprobed(name, config, cache)
                if lacking:
                    unprobed[name] = lacking
    return evaluations, missing, unprobed


def _primary(ablation: Ablation, config: RunConfig) -> Primary:
    source = config.data.name
    if source not in ablation.primary:
        raise UserError(
            f"ablation {ablation.name} declares no primary score for data={source}; "
            f"it has one for {', '.join(sorted(ablation.primary))}"
        )
    return Primary(dataset=source, score=ablation.primary[source])


def _sweep_id(request: Request, base: RunConfig, configs: Mapping[str, RunConfig]) -> str:
    content = {"base": seedless(base), "arms": {n: seedless(c) for n, c in configs.items()}}
    return f"{request.ablation.name}-{request.budget}-{digest(content, 8)}"


def seedless(config: RunConfig) -> dict[str, Any]:
    """What of a configuration names its sweep: all that is hashed but the seed."""
    content = {**hashed(config), **warm_start.fingerprint(config)}
    return {k: v for k, v in content.items() if k != "seed"}


def cell(plan: Plan, name: str) -> Cell:
    """The cell called `<arm>/<seed>`, or whose run id starts with `name`."""
    matches: Sequence[Cell] = [c for c in plan.cells if c.name == name]
    if not matches and len(name) >= 4:
        runs = {c.run: c for c in plan.cells if c.run.startswith(name)}
        matches = list(runs.values())
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{name!r} is the start of {len(matches)} run ids: give more digits")
    raise unknown("cell", name, [c.name for c in plan.cells])
