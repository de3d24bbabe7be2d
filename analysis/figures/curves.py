"""Figures of what happened in training: learning curves, temperatures and offsets."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.figures import style
from analysis.results.results import Findings

AXES = {
    "step": "steps",
    "seconds": "training seconds",
    "images": "image forwards (thousands)",
}


def validations(findings: Findings) -> pd.DataFrame:
    """arm, seed, step, score, seconds, images: one row a validation.

    Image forwards are logged by training steps; those of a validation follow from the arm's views,
    read off the record of any training step.
    """
    history = findings.gathered.history
    rows = history[history["phase"] == "validation"].copy()
    if rows.empty:
        return rows
    train = history[(history["phase"] == "train") & (history["step"] > 0)]
    if "images" in train:
        per_step = (train["images"] / train["step"]).groupby(train["arm"]).median()
        rows["images"] = rows["arm"].map(per_step) * rows["step"] / 1000
    return rows


def learning(findings: Findings) -> Any:
    """Validation score against steps, seconds and image forwards; every arm in its own line."""
    rows = validations(findings)
    if rows.empty or "score" not in rows:
        return "no validation was logged"
    shown = [x for x in AXES if x in rows and rows[x].notna().any()]
    figure = style.blank(9.2, 4.6)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    look = style.lines(findings.plan)
    for axes, x in zip(panels, shown):
        for arm in findings.plan.arms:
            own = rows[rows["arm"] == arm.name]
            if own.empty:
                continue
            by_step = own.groupby("step")
            at, score = by_step[x].mean(), by_step["score"]
            line = look[arm.name]
            axes.plot(
                at,
                score.mean(),
                color=line.color,
                linestyle=line.style,
                linewidth=line.width,
                label=arm.label,
            )
            axes.fill_between(
                at, score.min(), score.max(), color=line.color, alpha=0.08, linewidth=0
            )
        axes.set_xlabel(AXES[x])
        axes.set_xlim(left=0)
    panels[0].set_ylabel("validation R@1")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, handlelength=3)
    return figure


def temperatures(findings: Findings) -> Any:
    """Temperatures (log scale) and b - b_IT of the reference arm's domain pairs."""
    history, reference = findings.gathered.history, findings.plan.reference
    needed = [f"{kind}_{pair}" for kind in ("tau", "b") for pair in style.PAIRS]
    if not set(needed) <= set(history):
        return "the reference arm logs no temperatures"
    rows = history[(history["phase"] == "train") & (history["arm"] == reference)]
    rows = rows.dropna(subset=needed)
    if rows.empty:
        return "the reference arm logs no temperatures"
    figure = style.blank(9.2, 3.2)
    left, right = figure.subplots(1, 2)
    spoken = {"ii": "image-image", "it": "image-text", "tt": "text-text"}
    for pair, color in style.PAIRS.items():
        _paths(left, rows, rows[f"tau_{pair}"], color, spoken[pair])
        _paths(right, rows, rows[f"b_{pair}"] - rows["b_it"], color, spoken[pair])
    left.set_ylabel("temperature tau")
    right.set_ylabel("offset b less b of image-text")
    for axes in (left, right):
        axes.set_xlabel("steps")
        axes.margins(x=0.02)
    left.legend(fontsize=8)
    return figure


def _paths(axes: Any, rows: pd.DataFrame, values: pd.Series, color: str, label: str) -> None:
    for _, own in values.groupby(rows["seed"]):
        axes.plot(rows["step"][own.index], own, color=color, linewidth=0.7, alpha=0.5)
    mean = values.groupby(rows["step"]).mean()
    axes.plot(mean.index, mean, color=color, linewidth=2.2, label=label)
