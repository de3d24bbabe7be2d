"""The tables of a report: scores, effects, components and runs; never a time, a host or a path.

Every row of a CSV names the runs that its numbers come from. What is marked bold, corrected or
withheld follows `analysis.statistics.effects`; here it is only laid out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from analysis import formatting
from analysis.collect import literature
from analysis.results import alarms, tuning
from analysis.results.results import Findings, ScoreKey, engagement
from analysis.statistics.effects import ENOUGH
from analysis.tables import benchmark, comparability
from analysis.tables.effects import effects, other_effects
from analysis.tables.table import Entry, Table, entries
from uniclip.store import Arm, Component, Plan

FEW = "* fewer than 50 test samples: shown, never judged."
WIDE = 6
"""Scores beside each other in the first table; the rest stand in `all_scores`."""


def build(findings: Findings) -> list[Table]:
    """Every table, in reading order."""
    made = [scores(findings)]
    if findings.plan.contrasts:
        made.append(effects(findings))
    if findings.default is not None:
        made += _tuned(findings, findings.default)
    if findings.others and any(c.primary for c in findings.plan.contrasts):
        made.append(other_effects(findings))
    if findings.others:
        made.append(all_scores(findings))
    made += benchmark.build(findings)
    if findings.checks:
        made.append(alarms.table(findings.plan, findings.checks))
    if findings.plan.components:
        made.append(components(findings))
    if findings.plan.facts:
        made.append(comparability.audit(findings.plan, findings.gathered.probes))
    stamps = findings.plan.stamps
    return [*(replace(t, notes=(*stamps, *t.notes)) for t in made), runs(findings)]


def _tuned(findings: Findings, default: tuning.Beside) -> list[Table]:
    plan, heading = findings.plan, findings.heading(findings.primary)
    made = [tuning.arms(plan, findings.observed[findings.primary], default, heading)]
    if plan.contrasts:
        made.append(tuning.effects(plan, findings.effects, default, heading))
    return made


# ---- scores ----------------------------------------------------------------------------------


def scores(findings: Findings) -> Table:
    """Arms by scores, the primary one first, with chance, seeds and costs."""
    plan, keys = findings.plan, _leading(findings)
    heads = ["arm", *(findings.heading(k) for k in keys), "seeds", "image forwards a sample"]
    rows = [
        entries("chance", *(formatting.number(findings.observed[k].chance) for k in keys), "", "")
    ]
    for arm in plan.arms:
        shown = [_score_entry(findings, arm, key) for key in keys]
        forward = plan.forwards.get(arm.name, {}).get("image")
        rows.append(
            entries(arm.label, *shown, _arm_seeds(findings, arm), f"{forward:g}" if forward else "")
        )
    samples = [_samples(findings, k) for k in keys]
    rows.append(entries("test samples", *samples, "", ""))
    notes = [
        f"Mean over seeds {formatting.PLUS_MINUS} standard deviation of one seed (not an interval).",
        f"First column of scores: {findings.heading(keys[0])}, the primary score "
        f"({plan.primary.score} on "
        f"{plan.primary.dataset}).",
        _bold_note(findings, keys[0]),
        *_diverged_notes(findings),
        *(f"{n}: n/a: missing, {plan.missing[n]}" for n in sorted(_ours_missing(plan))),
        *plan.left_out,
    ]
    return Table(
        name="scores",
        title=f"Scores on {plan.data}",
        headings=tuple(heads),
        rows=tuple(rows),
        records=tuple(_score_records(findings, keys)),
        notes=tuple(notes),
    )


def _ours_missing(plan: Plan) -> set[str]:
    """Benchmarks of ours that are not here; the published sets have tables that say so."""
    return set(plan.missing) - set(literature.sets(plan))


def all_scores(findings: Findings) -> Table:
    """Every score of every arm: scores down, arms across."""
    plan = findings.plan
    rows = []
    for key in findings.observed:
        chance = formatting.number(findings.observed[key].chance)
        means = [_score_entry(findings, arm, key, brief=True) for arm in plan.arms]
        rows.append(entries(findings.heading(key), chance, _samples(findings, key), *means))
    return Table(
        name="all_scores",
        title="Every score: mean over seeds",
        headings=("score", "chance", "samples", *(a.label for a in plan.arms)),
        rows=tuple(rows),
        records=tuple(_score_records(findings, list(findings.observed))),
        notes=(FEW,) if _any_shown_only(findings) else (),
    )


def _score_records(findings: Findings, keys: list[ScoreKey]) -> Iterable[dict[str, Any]]:
    run_of = findings.run_of
    for key in keys:
        observed, samples = findings.observed[key], findings.gathered.rows(*key)["samples"].max()
        for arm in findings.plan.arms:
            values = observed.values.get(arm.name, {})
            yield {
                "arm": arm.name,
                "dataset": key[0],
                "score": key[1],
                "kind": findings.gathered.kind(*key),
                "mean": findings.mean(arm.name, key),
                "sd": _spread(list(values.values())),
                "seeds": len(values),
                "diverged": sum(a == arm.name for a, _ in observed.diverged),
                "worst_case": _worst_mean(findings, arm, key),
                "planned": len(findings.plan.seeds),
                "chance": observed.chance,
                "samples": samples,
                "bold": arm.name in findings.best.get(key, set()),
                "runs": " ".join(run_of[arm.name, s] for s in values),
            }


def _score_entry(findings: Findings, arm: Arm, key: ScoreKey, *, brief: bool = False) -> Entry:
    mean = findings.mean(arm.name, key)
    if mean is None:
        return Entry(text="n/a", tone="quiet")
    spread = _spread(list(findings.observed[key].values[arm.name].values()))
    text = formatting.number(mean)
    if spread is not None and not brief:
        text += f" {formatting.PLUS_MINUS} {formatting.number(spread)}"
    best = arm.name in findings.best.get(key, set())
    return Entry(text=text, bold=best, link=f"#runs-{arm.name}")


def _arm_seeds(findings: Findings, arm: Arm) -> str:
    observed = findings.observed[findings.primary]
    done, planned = len(observed.values.get(arm.name, {})), len(findings.plan.seeds)
    diverged = sum(a == arm.name for a, _ in observed.diverged)
    cells = findings.gathered.cells
    failed = int(((cells["arm"] == arm.name) & (cells["state"] == "failed")).sum())
    missing = planned - done - diverged - failed
    lost = [f"{diverged} diverged"] if diverged else []
    lost += [f"{failed} failed"] if failed else []
    lost += [f"{missing} missing"] if missing else []
    return f"{done} of {planned} ({', '.join(lost)})" if lost else str(done)


def _worst_mean(findings: Findings, arm: Arm, key: ScoreKey) -> float | None:
    """The mean when a diverged run takes the chance value; None if none diverged."""
    observed = findings.observed[key]
    lost = sum(a == arm.name for a, _ in observed.diverged)
    if not lost or observed.chance is None:
        return None
    values = list(observed.values.get(arm.name, {}).values()) + [observed.chance] * lost
    return math.fsum(values) / len(values)


def _diverged_notes(findings: Findings) -> list[str]:
    notes = []
    for arm in findings.plan.arms:
        worst = _worst_mean(findings, arm, findings.primary)
        if worst is not None:
            lost = sum(a == arm.name for a, _ in findings.observed[findings.primary].diverged)
            notes.append(
                f"{arm.label}: {lost} of {len(findings.plan.seeds)} seeds diverged and are "
                f"left out of the mean; "
                f"counted at chance it would be {formatting.number(worst)}."
            )
    return notes


def _bold_note(findings: Findings, key: ScoreKey) -> str:
    if any(findings.best.values()):
        return "Bold: cannot be told from the best arm (paired t over seeds, Holm over the arms)."
    least = min((len(v) for v in findings.observed[key].values.values()), default=0)
    reason = "every arm could be the best" if least >= ENOUGH else "fewer than three seeds"
    return f"Nothing is bold: {reason}."


# ---- components and runs ---------------------------------------------------------------------


def components(findings: Findings) -> Table:
    """What each component is, whether off is off, and whether the trained model uses it."""
    rows, records = [], []
    for component in findings.plan.components:
        off = ", ".join(f"{k}={v}" for k, v in component.off.items())
        witness, used = _witness(findings, component), _engagement(findings, component)
        rows.append(entries(component.label, off, witness, used, component.reason))
        added, moved = engagement(findings.gathered, component.name)
        records.append(
            {
                "component": component.name,
                "label": component.label,
                "off": off,
                "witness": witness,
                "loss_added_when_off": added,
                **{f"moved_{k}": v for k, v in moved.items()},
                "reason": component.reason,
            }
        )
    return Table(
        name="components",
        title="The components",
        rows=tuple(rows),
        records=tuple(records),
        texts=5,
        headings=(
            "component",
            "turning it off sets",
            "off is off?",
            "does the trained model use it?",
            "why it may help",
        ),
        notes=(
            f"Use: of the arm {findings.label(findings.plan.reference)}, mean over seeds; what "
            "switching the component off in the trained model adds to the loss of a validation "
            "batch, and how far its parameters moved as a share of their initial length.",
        ),
    )


def _witness(findings: Findings, component: Component) -> str:
    """What the audit said of the arms in which this component alone is off."""
    checks = [f for f in findings.audit if f.check.startswith(f"{component.name} is ")]
    if not checks:
        return "not audited"
    broken = [f for f in checks if not f.holds]
    if broken:
        return f"NO: {broken[0].detail}"
    return f"yes ({len(checks)} check{'s' * (len(checks) > 1)} held)"


def _engagement(findings: Findings, component: Component) -> str:
    added, moved = engagement(findings.gathered, component.name)
    said = (
        []
        if added is None
        else [f"switching it off changes the loss by {formatting.signed(added)}"]
    )
    said += [
        f"{part.replace('_', ' ')} moved by {100 * share:.0f} %" for part, share in moved.items()
    ]
    return "; ".join(said) or "not measured"


def runs(findings: Findings) -> Table:
    """Which run folder each cell is."""
    cells = findings.gathered.cells
    state = {
        (a, s): (r, t)
        for a, s, r, t in zip(cells["arm"], cells["seed"], cells["run"], cells["state"])
    }
    seeds = findings.plan.seeds
    rows = [
        entries(
            Entry(text=arm.label, anchor=f"runs-{arm.name}"),
            *(_run_entry(*state[arm.name, s]) for s in seeds if (arm.name, s) in state),
        )
        for arm in findings.plan.arms
    ]
    records = tuple({"arm": a, "seed": s, "run": r, "state": t} for (a, s), (r, t) in state.items())
    return Table(
        name="runs",
        title="The runs behind the numbers (folders below runs/ in the store)",
        texts=len(seeds) + 1,
        headings=("arm", *(f"seed {s}" for s in seeds)),
        rows=tuple(rows),
        records=records,
    )


def _run_entry(run: str, state: str) -> Entry:
    if state == "complete":
        return Entry(text=run, link=f"../../runs/{run}/")
    gone = {
        "missing": "not there yet",
        "begun": "not finished yet",
        "unscored": "trained, not scored",
    }.get(state, state)
    return Entry(
        text=f"{run} ({gone})",
        tone="quiet",
        link="" if state == "missing" else f"../../runs/{run}/",
    )


# ---- shared ----------------------------------------------------------------------------------


def _leading(findings: Findings) -> list[ScoreKey]:
    """The primary score and a few more of ours that can be judged."""
    elsewhere = literature.sets(findings.plan)
    judged = [
        k
        for k in findings.observed
        if k != findings.primary
        and k in findings.best
        and k[0] not in elsewhere
        and not findings.gathered.shown_only(*k)
    ]
    judged.sort(key=lambda k: k[0] != findings.primary[0])
    families: dict[str, list[ScoreKey]] = {}
    for k in judged:
        families.setdefault(k[1].split(".")[0], []).append(k)
    ranked = sorted((i, k) for own in families.values() for i, k in enumerate(own))
    chosen = {k for _, k in ranked[: WIDE - 1]}
    return [findings.primary, *(k for k in judged if k in chosen)]


def _any_shown_only(findings: Findings) -> bool:
    return any(findings.gathered.shown_only(*key) for key in findings.observed)


def _samples(findings: Findings, key: ScoreKey) -> str:
    frame = findings.gathered.frame
    samples = frame[(frame["dataset"] == key[0]) & (frame["score"] == key[1])]["samples"].max()
    return f"{samples:.0f}" if samples == samples else ""


def _spread(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
