"""The report as one HTML file that loads nothing: style and pictures stand in it."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from analysis import formatting
from analysis.figures.effects import ReportFigure
from analysis.results import alarms
from analysis.results.planted_effects import PlantedEffectResult
from analysis.results.results import Results, find_comparability_warnings
from analysis.statistics.effects import Effect
from analysis.tables import benchmark
from analysis.tables.costs import CostReport
from analysis.tables.table import Table, to_html
from uniclip.store import Contrast

IMAGE_LICENCES = {
    "openmoji": (
        "Pictures: OpenMoji, the open-source emoji and icon project (openmoji.org), licensed "
        "CC BY-SA 4.0 (creativecommons.org/licenses/by-sa/4.0); rendered to bitmaps, otherwise "
        "unchanged. Pictures of this report that show them are under the same licence."
    ),
    "scenes": "Pictures: made by code of this project, under the project's own licence.",
    "csv": "Pictures: the user's own data; its licence is the user's to state.",
}
HOLDS_HTML = '<span class="good"><b>holds</b></span>'
MISSED_HTML = '<span class="bad"><b>MISSED</b></span>'
SVG_FIGURES = ("effects", "interactions", "curves", "temperatures")
"""Figures that stand in the page as vectors; the others hold pictures."""


def render_html(
    results: Results,
    tables: Sequence[Table],
    figures: Sequence[ReportFigure],
    summary_sentences: Sequence[str],
    planted_results: Sequence[PlantedEffectResult],
    cost_report: CostReport,
    folder: Path,
) -> str:
    """The page; `folder` is the report's, with `figures/` drawn."""
    table_html = {t.name: to_html(t) for t in tables}
    figure_html = {f.name: _render_figure(f, folder) for f in figures}
    extra_tables_html = "".join(
        _render_details(t.title, table_html[t.name])
        for t in tables
        if t.name in ("other_effects", "all_scores")
    )
    sections = [
        (
            "answer",
            "The answer",
            _render_effect_cards(results)
            + _render_list(summary_sentences, "said")
            + _render_warnings(results)
            + _render_planted_effects(planted_results),
        ),
        (
            "effects",
            "Effects",
            figure_html["effects"] + table_html.get("effects", "") + figure_html["interactions"],
        ),
        ("scores", "Scores", table_html["scores"] + extra_tables_html),
        ("benchmark", "Published data sets", _render_benchmark_tables(tables)),
        ("tuning", "Tuning", table_html.get("tuning", "") + table_html.get("tuned_effects", "")),
        ("training", "Training", figure_html["curves"] + figure_html["temperatures"]),
        ("examples", "Examples", figure_html["examples"]),
        ("components", "Components", table_html.get("components", "")),
        ("fairness", "What is equal", table_html.get("fairness", "")),
        ("costs", "Costs", to_html(cost_report.table)),
        ("runs", "Runs", table_html["runs"]),
    ]
    nonempty_sections = [(key, title, body) for key, title, body in sections if body]
    template_folder = files("analysis") / "data"
    return Template((template_folder / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(results.plan.title),
        sweep=html.escape(results.plan.sweep_id),
        css=(template_folder / "report.css").read_text(encoding="utf-8"),
        chips=_render_key_facts(results),
        nav="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in nonempty_sections),
        body="\n".join(
            f'<section id="{key}"><h2>{title}</h2>\n{body}</section>'
            for key, title, body in nonempty_sections
        ),
        footer=_render_footer(results),
    )


def _render_benchmark_tables(tables: Sequence[Table]) -> str:
    return "".join(to_html(t) for t in tables if t.name.startswith(benchmark.TABLE_NAME_PREFIXES))


def _render_key_facts(results: Results) -> str:
    plan, statuses = results.plan, results.sweep_data.cells["state"]
    facts = {
        "data": plan.data,
        "budget": plan.budget,
        "design": plan.design.replace("_", " "),
        "seeds": ", ".join(str(s) for s in plan.seeds),
        "arms": str(len(plan.arms)),
        "cells complete": f"{(statuses == 'complete').sum()} of {len(statuses)}",
        "primary score": formatting.format_score_label(plan.primary_metric.metric),
    }
    return "".join(f"<li>{key} <b>{html.escape(value)}</b></li>" for key, value in facts.items())


def _render_effect_cards(results: Results) -> str:
    cards = [
        _render_effect_card(c, results.effects[c.name]) for c in results.plan.contrasts if c.primary
    ]
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _render_effect_card(contrast: Contrast, effect: Effect) -> str:
    tone = {1: " good", -1: " bad"}.get(effect.sign or 0, "")
    range_lines = [
        f"{formatting.format_confidence_level()} interval {formatting.format_interval(effect)}"
        if effect.low is not None
        else ""
    ]
    if effect.mde is not None and not effect.sign:
        range_lines.append(f"these seeds could have shown {formatting.format_number(effect.mde)}")
    if effect.num_diverged:
        range_lines.append(
            f"{effect.num_diverged} diverged; counted at chance: {formatting.format_signed(effect.worst_case_mean)}"
        )
    ranges_html = "".join(
        f'<p class="range">{html.escape(line)}</p>' for line in range_lines if line
    )
    return (
        f'<div class="card{tone}"><h3>{html.escape(contrast.label)}</h3>'
        f'<p class="value">{formatting.format_signed(effect.mean)}</p>{ranges_html}'
        f'<p class="verdict">{html.escape(formatting.format_verdict(effect, contrast.kind))}</p></div>'
    )


def _render_warnings(results: Results) -> str:
    warnings = find_comparability_warnings(results)
    warnings += [f"Audit: {f.failure_message}" for f in results.audit_checks if not f.passed]
    warnings += alarms.format_data_check_warnings(results.plan, results.data_checks)
    return f'<div class="warning">{_render_list(warnings, "")}</div>' if warnings else ""


def _render_planted_effects(planted_results: Sequence[PlantedEffectResult]) -> str:
    if not planted_results:
        return ""
    list_items = "".join(
        f"<li>{HOLDS_HTML if t.holds else MISSED_HTML}: {html.escape(t.description)} ({html.escape(t.detail)})</li>"
        for t in planted_results
    )
    return f'<h3>Planted truths</h3><ul class="said">{list_items}</ul>'


def _render_figure(figure: ReportFigure, folder: Path) -> str:
    if figure.skip_reason is not None:
        skip_reason = html.escape(figure.skip_reason)
        return f'<p class="skipped">No figure "{html.escape(figure.title)}": {skip_reason}.</p>\n'
    suffix, kind = ("svg", "svg+xml") if figure.name in SVG_FIGURES else ("png", "png")
    encoded_image = b64encode(
        (folder / "figures" / f"{figure.name}.{suffix}").read_bytes()
    ).decode()
    return (
        f'<figure id="figure-{figure.name}"><img src="data:image/{kind};base64,{encoded_image}" '
        f'alt="{html.escape(figure.title)}"><figcaption><b>{html.escape(_end_sentence(figure.title))}</b> '
        f"{html.escape(figure.caption)}</figcaption></figure>\n"
    )


def _end_sentence(title: str) -> str:
    return title if title.endswith("?") else f"{title}."


def _render_details(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>\n"


def _render_list(lines: Sequence[str], css_class: str) -> str:
    list_items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="{css_class}">{list_items}</ul>\n' if list_items else ""


def _render_footer(results: Results) -> str:
    paragraphs = [
        IMAGE_LICENCES.get(results.plan.data, ""),
        "Beside this page: report.ipynb (executed; go on from there), tables/ (csv, md, tex; "
        "frame.csv has one row a run and score), figures/ (png, svg), history.csv. Run ids are "
        "folders below runs/ in the store.",
    ]
    return "".join(f"<p>{html.escape(line)}</p>" for line in paragraphs if line)
