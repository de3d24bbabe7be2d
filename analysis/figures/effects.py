"""The figures of a report; one whose inputs are not there is left out, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis import formatting
from analysis.collect.predictions import RetrievalExamples
from analysis.figures import curves, style
from analysis.figures import examples as gallery
from analysis.results.results import Results
from analysis.statistics.effects import Effect
from uniclip.store import Contrast

CONTRAST_GROUPS = {
    "main": "Main effects",
    "interaction": "Interactions",
    "difference": "Single differences",
    "noise": "Noise floor",
}


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A figure, or the reason why there is none."""

    name: str
    title: str
    caption: str
    skip_reason: str | None = None


def build_figures(
    results: Results, examples: RetrievalExamples | None, folder: Path
) -> list[ReportFigure]:
    """Draw every figure into `folder` as PNG and SVG, in reading order."""
    titles_and_captions = _build_titles_and_captions(results, examples)
    draw_functions: dict[str, Any] = {
        "effects": lambda: draw_effects(results),
        "interactions": lambda: draw_interactions(results),
        "curves": lambda: curves.draw_learning_curves(results),
        "examples": lambda: gallery.draw_retrieval_examples(examples),
        "temperatures": lambda: curves.draw_temperatures(results),
    }
    figures = []
    for name, draw in draw_functions.items():
        with style.use_figure_style():
            drawing = draw()
            if not isinstance(drawing, str):
                style.save_figure(drawing, folder, name)
        title, caption = titles_and_captions[name]
        skip_reason = drawing if isinstance(drawing, str) else None
        figures.append(
            ReportFigure(name=name, title=title, caption=caption, skip_reason=skip_reason)
        )
    return figures


def _build_titles_and_captions(
    results: Results, examples: RetrievalExamples | None
) -> dict[str, tuple[str, str]]:
    """Figure -> title and caption."""
    score_label = formatting.format_score_label(results.plan.primary_metric.metric)
    reference_label = results.get_arm_label(results.plan.reference)
    seed_text = f", seed {examples.seed}" if examples else ""
    return {
        "effects": (
            "What each contrast came to",
            f"Effect on {score_label}, paired by seed. Small circles: seeds. Bar: paired t interval "
            f"({formatting.format_confidence_level()}, of this contrast alone; none below three seeds). Filled: "
            "primary (verdict after Holm); open: exploratory. Grey bed: effects too small for "
            "these seeds to find 4 times in 5.",
        ),
        "interactions": (
            "Do the components need each other?",
            f"Mean {score_label} with one component off and on, while another is off or on (averaged "
            "over the rest). Thin lines are seeds. Parallel lines: no interaction.",
        ),
        "curves": (
            "Learning curves",
            "Validation R@1 against steps and against what they cost; line: mean over seeds, band: "
            "lowest to highest seed.",
        ),
        "examples": (
            "What the model finds",
            f"Test pictures and the captions nearest to them ({reference_label}{seed_text}), with cosine "
            "similarities. A filled mark: the picture's own caption.",
        ),
        "temperatures": (
            "Temperatures and offsets",
            f"{reference_label}: temperature and offset of each domain pair in training; thin lines are "
            "seeds. Only differences of offsets act, so b is shown less the image-text offset.",
        ),
    }


def draw_effects(results: Results) -> Any:
    """A row for each contrast: its seeds, interval, mean and verdict."""
    rows: list[tuple[Contrast, Effect] | str] = []
    for kind, title in CONTRAST_GROUPS.items():
        group_rows = [(c, results.effects[c.name]) for c in results.select_contrasts(kind)]
        group_rows = [(c, e) for c, e in group_rows if e.values]
        rows += [title, *group_rows] if group_rows else []
    if not rows:
        return "no contrast has a seed that all of its arms completed"
    figure = style.create_figure(9.2, 0.7 + 0.31 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        if not isinstance(row, str):
            _draw_effect_row(axes, y, *row)
    axes.set_yticks(
        range(len(rows)), [r if isinstance(r, str) else r[0].label for r in rows], color=style.INK
    )
    for row, tick in zip(rows, axes.get_yticklabels()):
        tick.set_fontweight("bold" if isinstance(row, str) else "normal")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.axvline(0, color=style.INK, linewidth=0.9, zorder=1)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.04)
    axes.set_xlabel(
        f"effect on {formatting.format_score_label(results.plan.primary_metric.metric)}"
    )
    return figure


def _draw_effect_row(axes: Any, y: int, contrast: Contrast, effect: Effect) -> None:
    verdict = formatting.format_verdict(effect, contrast.kind)
    color = {1: style.GOOD, -1: style.BAD}.get(effect.sign or 0, style.QUIET)
    if effect.mde is not None and not effect.sign:
        mde = effect.mde
        axes.barh(y, 2 * mde, left=-mde, height=0.62, color=style.GRID, zorder=0.5)
    if effect.low is not None:
        axes.plot(
            [effect.low, effect.high],
            [y, y],
            color=color,
            linewidth=2.6,
            solid_capstyle="butt",
            zorder=2,
        )
    axes.plot(
        effect.values,
        np.full(len(effect.values), y + 0.24),
        "o",
        markersize=3.2,
        markerfacecolor="none",
        markeredgecolor=style.QUIET,
        markeredgewidth=0.8,
        zorder=3,
    )
    if len(effect.values) > 1:
        marker_color = color if contrast.primary else "white"
        axes.plot(
            effect.mean,
            y,
            "D",
            markersize=5.5,
            color=color,
            markerfacecolor=marker_color,
            markeredgewidth=1.5,
            zorder=4,
        )
    verdict_text = f"{formatting.format_signed(effect.mean)}  {verdict}"
    verdict_text += f" ({effect.num_diverged} diverged)" if effect.num_diverged else ""
    axes.text(
        1.02,
        y,
        verdict_text,
        transform=axes.get_yaxis_transform(),
        va="center",
        color=color,
        fontweight="bold" if contrast.primary and effect.sign else "normal",
    )


def draw_interactions(results: Results) -> Any:
    """A panel for each pair of crossed components."""
    crossed_components = [
        c.name
        for c in results.plan.components
        if any(c.name in a.levels for a in results.plan.arms)
    ]
    pairs = list(combinations(crossed_components, 2))
    if not pairs:
        return "fewer than two components are crossed"
    values_by_pair = {pair: _average_by_levels(results, *pair) for pair in pairs}
    if any(values is None for values in values_by_pair.values()):
        return "no seed has every arm of the crossed design"
    figure = style.create_figure(9.2, 3.1)
    panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
    component_labels = {c.name: c.label for c in results.plan.components}
    for axes, (first, second) in zip(panels, pairs):
        values = values_by_pair[first, second]
        for on, color, marker in ((False, style.PALETTE[1], "s"), (True, style.PALETTE[0], "o")):
            seed_values = np.array([[values[False, on], values[True, on]]]).squeeze(0).T
            axes.plot([0, 1], seed_values.T, color=color, linewidth=0.7, alpha=0.45)
            axes.plot(
                [0, 1],
                seed_values.mean(0),
                color=color,
                linewidth=2.2,
                marker=marker,
                label="on" if on else "off",
            )
        axes.set_xticks([0, 1], ["off", "on"])
        axes.set_xlim(-0.25, 1.25)
        axes.set_xlabel(component_labels[first])
        axes.legend(
            title=component_labels[second],
            alignment="left",
            fontsize=8,
            title_fontsize=8,
            loc="best",
        )
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel(formatting.format_score_label(results.plan.primary_metric.metric))
    return figure


def _average_by_levels(results: Results, first: str, second: str) -> Any:
    """(first on?, second on?) -> (seeds,) mean score over the crossed arms of that kind."""
    observations = results.observations[results.primary_score]
    crossed_arms = [a for a in results.plan.arms if a.role == "crossed"]
    arms_by_level = {
        (first_level, second_level): [
            a.name
            for a in crossed_arms
            if (a.levels[first], a.levels[second]) == (first_level, second_level)
        ]
        for first_level in (False, True)
        for second_level in (False, True)
    }
    seeds = [
        s
        for s in observations.seeds
        if all(s in observations.values.get(a.name, {}) for a in crossed_arms)
    ]
    if not seeds or not all(arms_by_level.values()):
        return None
    return {
        k: np.array([[observations.values[a][s] for a in arms] for s in seeds]).mean(1)
        for k, arms in arms_by_level.items()
    }
