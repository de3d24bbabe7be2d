"""The report as one HTML file that loads nothing: style and pictures stand in it."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from analysis import formatting
from analysis.figures.effects import Drawn
from analysis.results import alarms
from analysis.results.planted_effects import Verdict
from analysis.results.results import Findings, unlike
from analysis.statistics.effects import Effect
from analysis.tables import benchmark
from analysis.tables.costs import Bill
from analysis.tables.table import Table, as_html
from uniclip.store import Contrast

LICENCES = {
    "openmoji": (
        "Pictures: OpenMoji, the open-source emoji and icon project (openmoji.org), licensed "
        "CC BY-SA 4.0 (creativecommons.org/licenses/by-sa/4.0); rendered to bitmaps, otherwise "
        "unchanged. Pictures of this report that show them are under the same licence."
    ),
    "scenes": "Pictures: made by code of this project, under the project's own licence.",
    "csv": "Pictures: the user's own data; its licence is the user's to state.",
}
HOLDS = '<span class="good"><b>holds</b></span>'
MISSED = '<span class="bad"><b>MISSED</b></span>'
SVG = ("effects", "interactions", "curves", "temperatures")
"""Figures that stand in the page as vectors; the others hold pictures."""


def render(
    findings: Findings,
    tables: Sequence[Table],
    figures: Sequence[Drawn],
    said: Sequence[str],
    truths: Sequence[Verdict],
    bill: Bill,
    folder: Path,
) -> str:
    """The page; `folder` is the report's, with `figures/` drawn."""
    table = {t.name: as_html(t) for t in tables}
    figure = {f.name: _figure(f, folder) for f in figures}
    more = "".join(
        _folded(t.title, table[t.name]) for t in tables if t.name in ("other_effects", "all_scores")
    )
    sections = [
        (
            "answer",
            "The answer",
            _cards(findings) + _listed(said, "said") + _warnings(findings) + _truths(truths),
        ),
        (
            "effects",
            "Effects",
            figure["effects"] + table.get("effects", "") + figure["interactions"],
        ),
        ("scores", "Scores", table["scores"] + more),
        ("benchmark", "Published data sets", _benchmark(tables)),
        ("tuning", "Tuning", table.get("tuning", "") + table.get("tuned_effects", "")),
        ("training", "Training", figure["curves"] + figure["temperatures"]),
        ("examples", "Examples", figure["examples"]),
        ("components", "Components", table.get("components", "")),
        ("fairness", "What is equal", table.get("fairness", "")),
        ("costs", "Costs", as_html(bill.table)),
        ("runs", "Runs", table["runs"]),
    ]
    present = [(key, title, body) for key, title, body in sections if body]
    data = files("analysis") / "data"
    return Template((data / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(findings.plan.title),
        sweep=html.escape(findings.plan.sweep),
        css=(data / "report.css").read_text(encoding="utf-8"),
        chips=_chips(findings),
        nav="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in present),
        body="\n".join(
            f'<section id="{key}"><h2>{title}</h2>\n{body}</section>'
            for key, title, body in present
        ),
        footer=_footer(findings),
    )


def _benchmark(tables: Sequence[Table]) -> str:
    return "".join(as_html(t) for t in tables if t.name.startswith(benchmark.NAMES))


def _chips(findings: Findings) -> str:
    plan, states = findings.plan, findings.gathered.cells["state"]
    facts = {
        "data": plan.data,
        "budget": plan.budget,
        "design": plan.design.replace("_", " "),
        "seeds": ", ".join(str(s) for s in plan.seeds),
        "arms": str(len(plan.arms)),
        "cells complete": f"{(states == 'complete').sum()} of {len(states)}",
        "primary score": formatting.score_label(plan.primary.score),
    }
    return "".join(f"<li>{key} <b>{html.escape(value)}</b></li>" for key, value in facts.items())


def _cards(findings: Findings) -> str:
    drawn = [_card(c, findings.effects[c.name]) for c in findings.plan.contrasts if c.primary]
    return f'<div class="cards">{"".join(drawn)}</div>' if drawn else ""


def _card(contrast: Contrast, effect: Effect) -> str:
    tone = {1: " good", -1: " bad"}.get(effect.sign or 0, "")
    lines = [
        f"{formatting.confidence()} interval {formatting.interval(effect)}"
        if effect.low is not None
        else ""
    ]
    if effect.detectable is not None and not effect.sign:
        lines.append(f"these seeds could have shown {formatting.number(effect.detectable)}")
    if effect.diverged:
        lines.append(
            f"{effect.diverged} diverged; counted at chance: {formatting.signed(effect.worst)}"
        )
    ranges = "".join(f'<p class="range">{html.escape(line)}</p>' for line in lines if line)
    return (
        f'<div class="card{tone}"><h3>{html.escape(contrast.label)}</h3>'
        f'<p class="value">{formatting.signed(effect.mean)}</p>{ranges}'
        f'<p class="verdict">{html.escape(formatting.verdict(effect, contrast.kind))}</p></div>'
    )


def _warnings(findings: Findings) -> str:
    said = unlike(findings)
    said += [f"Audit: {f.broken}" for f in findings.audit if not f.holds]
    said += alarms.lines(findings.plan, findings.checks)
    return f'<div class="warning">{_listed(said, "")}</div>' if said else ""


def _truths(truths: Sequence[Verdict]) -> str:
    if not truths:
        return ""
    lines = "".join(
        f"<li>{HOLDS if t.holds else MISSED}: {html.escape(t.about)} ({html.escape(t.detail)})</li>"
        for t in truths
    )
    return f'<h3>Planted truths</h3><ul class="said">{lines}</ul>'


def _figure(figure: Drawn, folder: Path) -> str:
    if figure.skipped is not None:
        why = html.escape(figure.skipped)
        return f'<p class="skipped">No figure "{html.escape(figure.title)}": {why}.</p>\n'
    suffix, kind = ("svg", "svg+xml") if figure.name in SVG else ("png", "png")
    picture = b64encode((folder / "figures" / f"{figure.name}.{suffix}").read_bytes()).decode()
    return (
        f'<figure id="figure-{figure.name}"><img src="data:image/{kind};base64,{picture}" '
        f'alt="{html.escape(figure.title)}"><figcaption><b>{html.escape(_ended(figure.title))}</b> '
        f"{html.escape(figure.caption)}</figcaption></figure>\n"
    )


def _ended(title: str) -> str:
    return title if title.endswith("?") else f"{title}."


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>\n"


def _listed(lines: Sequence[str], style: str) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="{style}">{items}</ul>\n' if items else ""


def _footer(findings: Findings) -> str:
    lines = [
        LICENCES.get(findings.plan.data, ""),
        "Beside this page: report.ipynb (executed; go on from there), tables/ (csv, md, tex; "
        "frame.csv has one row a run and score), figures/ (png, svg), history.csv. Run ids are "
        "folders below runs/ in the store.",
    ]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
