"""The figures of a report; one whose inputs are not there is left out, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis import formatting
from analysis.collect.predictions import Examples
from analysis.figures import curves, style
from analysis.figures import examples as gallery
from analysis.results.results import Findings
from analysis.statistics.effects import Effect
from uniclip.store import Contrast

GROUPS = {
    "main": "Main effects",
    "interaction": "Interactions",
    "difference": "Single differences",
    "noise": "Noise floor",
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure, or the reason why there is none."""

    name: str
    title: str
    caption: str
    skipped: str | None = None


def build(findings: Findings, examples: Examples | None, folder: Path) -> list[Drawn]:
    """Draw every figure into `folder` as PNG and SVG, in reading order."""
    titles = _titles(findings, examples)
    drawers: dict[str, Any] = {
        "effects": lambda: effects(findings),
        "interactions": lambda: interactions(findings),
        "curves": lambda: curves.learning(findings),
        "examples": lambda: gallery.examples(examples),
        "temperatures": lambda: curves.temperatures(findings),
    }
    drawn = []
    for name, draw in drawers.items():
        with style.drawing():
            made = draw()
            if not isinstance(made, str):
                style.save(made, folder, name)
        title, caption = titles[name]
        skipped = made if isinstance(made, str) else None
        drawn.append(Drawn(name=name, title=title, caption=caption, skipped=skipped))
    return drawn


def _titles(findings: Findings, examples: Examples | None) -> dict[str, tuple[str, str]]:
    """Figure -> title and caption."""
    score = formatting.score_label(findings.plan.primary.score)
    reference = findings.label(findings.plan.reference)
    seed = f", seed {examples.seed}" if examples else ""
    return {
        "effects": (
            "What each contrast came to",
            f"Effect on {score}, paired by seed. Small circles: seeds. Bar: paired t interval "
            f"({formatting.confidence()}, of this contrast alone; none below three seeds). Filled: "
            "primary (verdict after Holm); open: exploratory. Grey bed: effects too small for "
            "these seeds to find 4 times in 5.",
        ),
        "interactions": (
            "Do the components need each other?",
            f"Mean {score} with one component off and on, while another is off or on (averaged "
            "over the rest). Thin lines are seeds. Parallel lines: no interaction.",
        ),
        "curves": (
            "Learning curves",
            "Validation R@1 against steps and against what they cost; line: mean over seeds, band: "
            "lowest to highest seed.",
        ),
        "examples": (
            "What the model finds",
            f"Test pictures and the captions nearest to them ({reference}{seed}), with cosine "
            "similarities. A filled mark: the picture's own caption.",
        ),
        "temperatures": (
            "Temperatures and offsets",
            f"{reference}: temperature and offset of each domain pair in training; thin lines are "
            "seeds. Only differences of offsets act, so b is shown less the image-text offset.",
        ),
    }


def effects(findings: Findings) -> Any:
    """A row for each contrast: its seeds, interval, mean and verdict."""
    rows: list[tuple[Contrast, Effect] | str] = []
    for kind, title in GROUPS.items():
        found = [(c, findings.effects[c.name]) for c in findings.contrasts(kind)]
        found = [(c, e) for c, e in found if e.values]
        rows += [title, *found] if found else []
    if not rows:
        return "no contrast has a seed that all of its arms completed"
    figure = style.blank(9.2, 0.7 + 0.31 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        if not isinstance(row, str):
            _effect_row(axes, y, *row)
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
    axes.set_xlabel(f"effect on {formatting.score_label(findings.plan.primary.score)}")
    return figure


def _effect_row(axes: Any, y: int, contrast: Contrast, effect: Effect) -> None:
    verdict = formatting.verdict(effect, contrast.kind)
    color = {1: style.GOOD, -1: style.BAD}.get(effect.sign or 0, style.QUIET)
    if effect.detectable is not None and not effect.sign:
        bed = effect.detectable
        axes.barh(y, 2 * bed, left=-bed, height=0.62, color=style.GRID, zorder=0.5)
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
        face = color if contrast.primary else "white"
        axes.plot(
            effect.mean,
            y,
            "D",
            markersize=5.5,
            color=color,
            markerfacecolor=face,
            markeredgewidth=1.5,
            zorder=4,
        )
    said = f"{formatting.signed(effect.mean)}  {verdict}"
    said += f" ({effect.diverged} diverged)" if effect.diverged else ""
    axes.text(
        1.02,
        y,
        said,
        transform=axes.get_yaxis_transform(),
        va="center",
        color=color,
        fontweight="bold" if contrast.primary and effect.sign else "normal",
    )


def interactions(findings: Findings) -> Any:
    """A panel for each pair of crossed components."""
    names = [
        c.name
        for c in findings.plan.components
        if any(c.name in a.levels for a in findings.plan.arms)
    ]
    pairs = list(combinations(names, 2))
    if not pairs:
        return "fewer than two components are crossed"
    means = {pair: _levels(findings, *pair) for pair in pairs}
    if any(values is None for values in means.values()):
        return "no seed has every arm of the crossed design"
    figure = style.blank(9.2, 3.1)
    panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
    label = {c.name: c.label for c in findings.plan.components}
    for axes, (first, second) in zip(panels, pairs):
        values = means[first, second]
        for on, color, marker in ((False, style.HUES[1], "s"), (True, style.HUES[0], "o")):
            seeds = np.array([[values[False, on], values[True, on]]]).squeeze(0).T
            axes.plot([0, 1], seeds.T, color=color, linewidth=0.7, alpha=0.45)
            axes.plot(
                [0, 1],
                seeds.mean(0),
                color=color,
                linewidth=2.2,
                marker=marker,
                label="on" if on else "off",
            )
        axes.set_xticks([0, 1], ["off", "on"])
        axes.set_xlim(-0.25, 1.25)
        axes.set_xlabel(label[first])
        axes.legend(title=label[second], alignment="left", fontsize=8, title_fontsize=8, loc="best")
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel(formatting.score_label(findings.plan.primary.score))
    return figure


def _levels(findings: Findings, first: str, second: str) -> Any:
    """(first on?, second on?) -> (seeds,) mean score over the crossed arms of that kind."""
    observed = findings.observed[findings.primary]
    crossed = [a for a in findings.plan.arms if a.role == "crossed"]
    groups = {
        (x, y): [a.name for a in crossed if (a.levels[first], a.levels[second]) == (x, y)]
        for x in (False, True)
        for y in (False, True)
    }
    seeds = [
        s for s in observed.seeds if all(s in observed.values.get(a.name, {}) for a in crossed)
    ]
    if not seeds or not all(groups.values()):
        return None
    return {
        k: np.array([[observed.values[a][s] for a in arms] for s in seeds]).mean(1)
        for k, arms in groups.items()
    }
