"""The answer first: what each component is worth, in plain words and in a short table."""

from __future__ import annotations

import textwrap
from statistics import stdev

from analysis import formatting
from analysis.collect import literature
from analysis.results import alarms
from analysis.results.results import Findings, Rival, unlike
from analysis.statistics.effects import ENOUGH, Effect
from uniclip.store import Contrast

WIDEST, LONGEST = 100, 25
"""Columns and lines of the table for a terminal."""
CONTRASTS, ARMS = 8, 6
"""Contrasts and arms in it."""
LABEL = 37
"""Columns of its first column."""
KEY = "least: what these seeds find 4 times in 5; *: exploratory, uncorrected"


def sentences(findings: Findings) -> list[str]:
    """The plan's stamp; a sentence for each primary contrast; then rivals, the noise floor, what is
    missing."""
    drawn = [_contrast(c, findings.effects[c.name]) for c in findings.plan.contrasts if c.primary]
    return [
        *findings.plan.stamps,
        *drawn,
        *_against_rivals(findings),
        *_noise(findings),
        *_gaps(findings),
    ]


def terminal(findings: Findings) -> list[str]:
    """At most 25 lines of at most 100 ASCII columns: contrasts that matter, arms, and warnings."""
    score = formatting.score_label(findings.plan.primary.score)
    shown = [c for c in findings.plan.contrasts if c.primary]
    shown += [
        c for c in findings.contrasts("difference") if not c.primary and _outside(findings, c)
    ]
    shown += findings.contrasts("noise")
    heads = _columns(f"effect on {score}", "effect", "95 % interval", "least", "verdict")
    drawn = [_terminal_row(c, findings.effects[c.name]) for c in shown[:CONTRASTS]]
    if len(shown) > CONTRASTS:
        drawn.append(f"... and {len(shown) - CONTRASTS} contrasts more: see the report")
    lines = [findings.plan.title, *findings.plan.stamps]
    lines += [*([heads, *drawn, f"  {KEY}"] if drawn else [])]
    lines += [f"{'arm':<{LABEL}} {score:>16}  seeds", *_terminal_arms(findings)]
    told = [*_against_rivals(findings), *alarms.lines(findings.plan, findings.checks)]
    always = _wrapped([*_gaps(findings), *unlike(findings)])
    lines += _fitting(_wrapped(told), LONGEST - len(lines) - len(always)) + always
    return [_ascii(line)[:WIDEST].rstrip() for line in lines[:LONGEST]]


def _wrapped(warnings: list[str]) -> list[str]:
    return [line for warning in warnings for line in textwrap.wrap(warning, WIDEST)]


def _fitting(lines: list[str], room: int) -> list[str]:
    """As many lines as there is room for, at least one; the last says that there are more."""
    if len(lines) <= room:
        return lines
    kept = max(room, 1) - 1
    return [*lines[:kept], f"... and {len(lines) - kept} lines more: see the report"]


def _contrast(contrast: Contrast, effect: Effect) -> str:
    verdict = formatting.verdict(effect, contrast.kind)
    name = f"{contrast.label[:1].upper()}{contrast.label[1:]}"
    if effect.mean is None or effect.exact:
        return f"{name}: {verdict}."
    value = formatting.signed(effect.mean)
    if len(effect.values) < ENOUGH:
        return f"{name}: {value} over {formatting.seeds(effect)} seeds; {verdict}."
    interval = f"{formatting.confidence()} interval {formatting.interval(effect)}"
    numbers = f"{value}, {interval}, {formatting.seeds(effect)} seeds"
    least = (
        f"; these seeds could have shown {formatting.number(effect.detectable)}"
        if not effect.sign
        else ""
    )
    worst = (
        f"; with diverged runs at chance {formatting.signed(effect.worst)}"
        if effect.worst is not None
        else ""
    )
    return f"{name} {verdict}: {numbers}{least}{worst}."


def _against_rivals(findings: Findings) -> list[str]:
    """Whether the reference loses to an arm that it is held against, said either way."""
    own = findings.mean(findings.plan.reference)
    if own is None or not findings.rivals:
        return []
    reference = findings.plan.arm(findings.plan.reference)
    full, rival = reference.label, "simpler arm" if reference.role == "crossed" else "rival"
    beaten = [r for r in findings.rivals if r.difference.sign == -1]
    ahead = [r for r in findings.rivals if r.mean > own]
    if beaten:
        return [f"{full} loses to {rival}s: {'; '.join(_rival(findings, r) for r in beaten)}."]
    if ahead:
        named = _rival(findings, ahead[0])
        more = f", and {len(ahead) - 1} more {rival}s are ahead of it" if len(ahead) > 1 else ""
        sure = "none can be told from it" if more else "they cannot be told apart"
        return [
            f"{full} ({formatting.number(own)}) does not lead: {named}{more}; {sure} with these seeds."
        ]
    return [f"No {rival} scores higher than {full} ({formatting.number(own)})."]


def _rival(findings: Findings, rival: Rival) -> str:
    cost = formatting.forwards(findings.plan, [rival.arm], [findings.plan.reference])
    return f"{findings.label(rival.arm)} scores {formatting.number(rival.mean)} ({cost})"


def _noise(findings: Findings) -> list[str]:
    said = []
    for contrast in findings.contrasts("noise"):
        effect = findings.effects[contrast.name]
        if effect.values:
            largest = max(abs(v) for v in effect.values)
            said.append(
                "Noise floor: the same configuration under another stream of random numbers "
                f"differs by up to {formatting.number(largest)} in one seed."
            )
    return said


def _gaps(findings: Findings) -> list[str]:
    counts = findings.gathered.cells["state"].value_counts()
    spoken = {
        "missing": "not run yet",
        "begun": "begun and not finished",
        "failed": "failed (status says why, logs what was printed)",
        "unscored": "trained but not scored",
        "diverged": "diverged",
    }
    said = [f"{counts[state]} {words_}" for state, words_ in spoken.items() if state in counts]
    gaps = [f"Of {counts.sum()} cells: {', '.join(said)}."] if said else []
    sets = literature.sets(findings.plan)
    absent = [d for d in sets if d in findings.plan.missing]
    if absent:
        gaps.append(
            f"{len(absent)} of {len(sets)} published data sets are not here (n/a): "
            "python sweep.py data check says how to get them."
        )
    return gaps


def _outside(findings: Findings, contrast: Contrast) -> bool:
    roles = {findings.plan.arm(a).role for a in contrast.weights}
    return "outside" in roles


def _terminal_row(contrast: Contrast, effect: Effect) -> str:
    verdict = (
        formatting.verdict(effect, contrast.kind)
        .replace("cannot be", "not")
        .replace(": no claim", "")
    )
    verdict += "*" if not contrast.primary and effect.sign else ""
    verdict += f", {effect.diverged} diverged" if effect.diverged else ""
    label = contrast.label.split(":")[0] if contrast.kind == "noise" else contrast.label
    least = formatting.number(effect.detectable) if effect.detectable is not None else ""
    return _columns(
        label, formatting.signed(effect.mean), formatting.interval(effect), least, verdict
    )


def _columns(label: str, effect: str, interval: str, least: str, verdict: str) -> str:
    return f"{label[:LABEL]:<{LABEL}} {effect:>7}  {interval:<17} {least:>6}  {verdict}"


def _terminal_arms(findings: Findings) -> list[str]:
    """The reference, the baselines from outside and the best of the other arms, best first: at most
    `ARMS`, the reference among them."""
    plan, best = findings.plan, findings.rivals[0].arm if findings.rivals else None
    always = {plan.reference, best} | {a.name for a in plan.arms if a.role == "outside"}
    always |= {a.name for a in plan.arms if a.levels and not any(a.levels.values())}
    drawn = [(findings.mean(a.name), a) for a in plan.arms if a.name in always]
    drawn.sort(key=lambda pair: -(pair[0] if pair[0] is not None else -1.0))
    rest = drawn[ARMS - 1 :]
    last = [pair for pair in rest if pair[1].name == plan.reference] or rest
    observed = findings.observed[findings.primary]
    rows = []
    for mean, arm in [*drawn[: ARMS - 1], *last[:1]]:
        values = list(observed.values.get(arm.name, {}).values())
        spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
        rows.append(
            f"{arm.label[:LABEL]:<{LABEL}} {formatting.number(mean) + spread:>16}  "
            f"{len(values)} of {len(plan.seeds)}"
        )
    return rows


def _ascii(text: str) -> str:
    swapped = text.replace(formatting.MINUS, "-").replace(formatting.PLUS_MINUS, "+-")
    return swapped.encode("ascii", "replace").decode()
