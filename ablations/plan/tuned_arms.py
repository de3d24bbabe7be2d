"""A plan's arms under other hyper-parameters: the trials of a tuning, and the arms tuned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.plan.comparison_facts import facts
from ablations.plan.plan import Planned, seedless, specs_of
from ablations.plan.recipe import spoken
from uniclip.config import RunConfig, run_config
from uniclip.config.binding import plain
from uniclip.config.compose import flat, put
from uniclip.identity import digest, run_id
from uniclip.store import Arm, Cell, Tuning

Values = Mapping[str, Any]
"""Key of the configuration -> value."""


def with_values(config: RunConfig, values: Values) -> RunConfig:
    """The configuration with some keys changed; `UserError` for one that is not there or a value
    that it cannot take."""
    changed = plain(config)
    for key, value in values.items():
        put(changed, key, value)
    return run_config(changed)


def trial_name(arm: str, number: int) -> str:
    """The arm that trial `number` of an arm is."""
    return f"{arm}#{number}"


def trials(
    planned: Planned,
    points: Mapping[str, Mapping[int, Values]],
    *,
    sweep: str,
    seeds: Sequence[int],
    halt: float,
) -> Planned:
    """The plan of some trials: arms and contrasts of nothing, evaluated on nothing.

    points: arm -> number of the trial -> its values. halt: the share of the steps to be trained.
    """
    configs, arms = {}, []
    for arm, tried in points.items():
        for number, values in tried.items():
            name = trial_name(arm, number)
            configs[name] = with_values(planned.configs[arm], values)
            arms.append(_arm(planned, arm, configs[name], name))
    specs = specs_of(configs, seeds)
    base = {**planned.plan.base, "runtime": {**planned.plan.base["runtime"]}}
    base["runtime"]["halt"] = halt if halt < 1 else None
    plan = replace(
        planned.plan,
        sweep=sweep,
        title=f"{planned.plan.title} (trials of a tuning)",
        arms=tuple(arms),
        reference=arms[0].name,
        components=(),
        contrasts=(),
        seeds=tuple(seeds),
        cells=_cells(specs, seeds, list(configs)),
        evaluations={name: {} for name in configs},
        missing={},
        base=base,
        forwards={},
        facts={},
        recipes={},
        expectations=(),
        left_out=(),
    )
    return Planned(plan=plan, configs=configs, specs={run_id(s): s for s in specs.values()})


def only(planned: Planned, runs: Collection[str]) -> Planned:
    """The plan of some runs alone."""
    cells = tuple(c for c in planned.plan.cells if c.run in runs)
    named = {c.arm for c in cells}
    arms = tuple(a for a in planned.plan.arms if a.name in named)
    plan = replace(planned.plan, arms=arms, reference=arms[0].name, cells=cells)
    return replace(planned, plan=plan, specs={c.run: planned.specs[c.run] for c in cells})


def tuned(planned: Planned, tuning: Tuning) -> Planned:
    """The plan of the same arms under the values that a tuning found: a sweep of its own."""
    plan = planned.plan
    best = {t.arm: t.best.values for t in tuning.arms}
    configs = {name: with_values(c, best[name]) for name, c in planned.configs.items()}
    specs = specs_of(configs, plan.seeds)
    content = {
        "default": tuning.default,
        "arms": {n: {**seedless(c), "seed": 0} for n, c in configs.items()},
    }
    changed = replace(
        plan,
        sweep=f"{plan.ablation}-{plan.budget}-tuned-{digest(content, 8)}",
        title=f"{plan.title} Every arm tuned",
        arms=tuple(_arm(planned, name, c, name) for name, c in configs.items()),
        cells=_cells(specs, plan.seeds, list(configs)),
        forwards={n: c.method.forwards(c.views) for n, c in configs.items()},
        facts={n: facts(c) for n, c in configs.items()},
        recipes={n: spoken(configs[n].train) for n in plan.recipes},
        tuning=tuning,
    )
    return Planned(plan=changed, configs=configs, specs={run_id(s): s for s in specs.values()})


def _arm(planned: Planned, arm: str, config: RunConfig, name: str) -> Arm:
    """The arm of the plan under `config`, called `name`."""
    before, after = flat(planned.plan.base), flat(plain(config))
    delta = {k: v for k, v in after.items() if k not in before or before[k] != v}
    known = planned.plan.arm(arm)
    label = known.label if name == arm else f"{known.label}, trial {name.rsplit('#', 1)[1]}"
    return replace(known, name=name, label=label, delta=delta)


def _cells(
    specs: Mapping[tuple[str, int], dict[str, Any]], seeds: Sequence[int], names: Sequence[str]
) -> tuple[Cell, ...]:
    return tuple(Cell(arm=n, seed=s, run=run_id(specs[n, s])) for s in seeds for n in names)
