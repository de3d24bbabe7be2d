"""Draw the figures of a report; one whose input is missing is skipped, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from analysis import formatting
from analysis.collect.predictions import RetrievalExamples
from analysis.figures import curves, doses, effects, examples, fonts, forest, style, tuning
from analysis.results.results import Results


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A figure of the report, or the reason why it is skipped."""

    name: str
    title: str
    caption: str
    skip_reason: str | None = None
    font_note: str = ""
    """A sentence on characters that could not be drawn; empty without any."""


def build_figures(
    results: Results, retrieval_examples: RetrievalExamples | None, folder: Path
) -> list[ReportFigure]:
    """Draw every figure into `folder` as PNG, SVG and PDF; return them in reading order."""
    plan = results.plan
    reference_label = results.get_arm_label(plan.reference)
    score_label = " and ".join(results.format_heading(key) for key in results.primary_scores)
    seed_text = f", seed {retrieval_examples.seed}" if retrieval_examples else ""
    return [
        _draw(
            "effects",
            "Estimated effects",
            f"Effect on {score_label}, paired by seed. Small circles: seeds. Bar: paired t "
            f"interval ({formatting.format_confidence_level()}, of this contrast alone; none below "
            "three seeds). Filled: primary (verdict of the last look, after Holm); open: "
            "exploratory. Grey band: "
            f"below the {formatting.MDE_LABEL}.",
            lambda: effects.draw_effects(results),
            folder,
        ),
        _draw(
            "interactions",
            "Interactions",
            f"Mean {score_label} with one component off and on, while another is off or on "
            "(averaged over the rest). Thin lines are seeds. Parallel lines: no interaction.",
            lambda: effects.draw_interactions(results),
            folder,
        ),
        *(_draw_doses(results, folder) if results.select_contrasts("trend") else []),
        *(_draw_forest(results, folder) if len(results.published_datasets) > 1 else []),
        *_draw_training_curves(results, folder),
        _draw(
            "examples",
            "Retrieval examples",
            f"Test images and the captions nearest to them ({reference_label}{seed_text}), with "
            "cosine similarities. A filled mark: the caption belongs to the image.",
            lambda: examples.draw_retrieval_examples(retrieval_examples),
            folder,
        ),
        _draw(
            "temperatures",
            "Temperatures and offsets",
            f"{reference_label}: temperature and offset of each domain pair during training; thin "
            "lines are seeds. Only differences of offsets matter, so b minus b of image-text is "
            "shown.",
            lambda: curves.draw_temperatures(results.sweep_data.history, plan.reference),
            folder,
        ),
        *(_draw_tuning(results, folder) if plan.tuning is not None else []),
    ]


def _draw_tuning(results: Results, folder: Path) -> list[ReportFigure]:
    return [
        _draw(
            "tuning_curves",
            "Best score against trials",
            "Thick line: expected best validation score of so many trials, drawn at random from "
            f"all trials of the arm; band: {tuning.describe_band()}. Thin line: best score so far, "
            "in the order of the trials.",
            lambda: tuning.draw_tuning_curves(results),
            folder,
        ),
        _draw(
            "tuning_importances",
            "Importance of hyper-parameters",
            "Share of the importance of each key for reaching the best trials (PED-ANOVA, as "
            "Optuna computes it).",
            lambda: tuning.draw_importances(results),
            folder,
        ),
        _draw(
            "tuning_slices",
            "Score against each hyper-parameter",
            "One mark per trial; open marks: trials that were pruned.",
            lambda: tuning.draw_slices(results),
            folder,
        ),
        _draw(
            "tuning_parallel_coordinates",
            "Parallel coordinates",
            "One line per completed trial, through its values and its score; light and thick: high "
            "scores; a gap: the key was not active. Below each axis: the values at its ends.",
            lambda: tuning.draw_parallel_coordinates(results),
            folder,
        ),
    ]


def _draw_doses(results: Results, folder: Path) -> list[ReportFigure]:
    return [
        _draw(
            "doses",
            "Doses",
            "Score at each dose of a component, the others fully on; dose 0 is off. Thin lines are "
            "seeds, dots their means, the thick line the nearest curve that only rises or only "
            "falls.",
            lambda: doses.draw_doses(results),
            folder,
        )
    ]


def _draw_forest(results: Results, folder: Path) -> list[ReportFigure]:
    scores: list[str | None] = [*forest.list_forest_scores(results)]
    return [
        _draw(
            f"forest_{score.replace('.', '_')}" if score else "forest",
            f"Effects by data set{f', {score}' if score else ''}",
            f"Square: effect on a data set, with the {formatting.format_confidence_level()} "
            "interval over seeds. Diamonds: mean over the sets, with the interval for new seeds "
            "and test items on these sets (over seeds alone where a set has no outcomes), and with "
            "that for new sets. Coloured: the interval leaves out 0. Not corrected for one "
            "another.",
            partial(forest.draw_forest, results, score=score),
            folder,
        )
        for score in scores or [None]
    ]


def _draw_training_curves(results: Results, folder: Path) -> list[ReportFigure]:
    plan, history = results.plan, results.sweep_data.history
    return [
        _draw(
            "losses",
            "Training loss",
            "Loss of the training batches; line: mean over seeds, band: lowest to highest seed. "
            "Losses of arms with different objectives have different scales.",
            lambda: curves.draw_loss_curves(history, plan.arms, plan.reference),
            folder,
        ),
        _draw(
            "curves",
            "Learning curves",
            "Validation R@1 against steps, training seconds and images; line: mean over seeds, "
            "band: lowest to highest seed. Dots: validations, where there are few.",
            lambda: curves.draw_learning_curves(history, plan.arms, plan.reference),
            folder,
        ),
    ]


def _draw(
    name: str, title: str, caption: str, draw: Callable[[], Figure], folder: Path
) -> ReportFigure:
    """Draw and save one figure, or return it with the reason why it is skipped."""
    try:
        with style.use_figure_style():
            figure = draw()
            font_note = fonts.prepare_texts(figure)
            style.save_figure(figure, folder, name)
    except style.FigureSkipped as error:
        return ReportFigure(name=name, title=title, caption=caption, skip_reason=str(error))
    return ReportFigure(name=name, title=title, caption=caption, font_note=font_note)
