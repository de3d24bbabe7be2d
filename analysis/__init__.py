"""Statistics, tables, figures and the report of a sweep: from the store to a page.

This layer imports `uniclip` (configuration, identity, store) only. No module imports torch; pandas
and matplotlib are imported when a report is built, not when `analysis.report.build` is imported.

For notebooks and programs, the functions of `PUBLIC_NAMES` are attributes of this package: each is
imported when it is first used.

    results = analysis.analyze_sweep("store", "components-quick-db006245", score="retrieval.mrr")
    analysis.tabulate_verdicts(results)
    figure = analysis.draw_effects(results, mplstyle="ggplot")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.figures.interface import FIGURE_STYLE as FIGURE_STYLE
    from analysis.figures.interface import draw_disagreements as draw_disagreements
    from analysis.figures.interface import draw_effects as draw_effects
    from analysis.figures.interface import draw_forest as draw_forest
    from analysis.figures.interface import draw_interactions as draw_interactions
    from analysis.figures.interface import draw_learning_curves as draw_learning_curves
    from analysis.figures.interface import draw_loss_curves as draw_loss_curves
    from analysis.figures.interface import draw_retrieval_examples as draw_retrieval_examples
    from analysis.figures.interface import draw_temperatures as draw_temperatures
    from analysis.figures.interface import draw_tuning_coordinates as draw_tuning_coordinates
    from analysis.figures.interface import draw_tuning_curves as draw_tuning_curves
    from analysis.figures.interface import draw_tuning_importances as draw_tuning_importances
    from analysis.figures.interface import draw_tuning_slices as draw_tuning_slices
    from analysis.figures.interface import save_figure as save_figure
    from analysis.frames.effects import tabulate_correction as tabulate_correction
    from analysis.frames.effects import tabulate_effects as tabulate_effects
    from analysis.frames.effects import tabulate_interactions as tabulate_interactions
    from analysis.frames.effects import tabulate_other_effects as tabulate_other_effects
    from analysis.frames.effects import tabulate_verdicts as tabulate_verdicts
    from analysis.frames.sweep import choose_compared_arms as choose_compared_arms
    from analysis.frames.sweep import tabulate_arms as tabulate_arms
    from analysis.frames.sweep import tabulate_costs as tabulate_costs
    from analysis.frames.sweep import tabulate_disagreements as tabulate_disagreements
    from analysis.frames.sweep import tabulate_next_steps as tabulate_next_steps
    from analysis.frames.sweep import tabulate_scores as tabulate_scores
    from analysis.frames.sweep import tabulate_setup as tabulate_setup
    from analysis.frames.tables import format_latex as format_latex
    from analysis.frames.tables import list_tables as list_tables
    from analysis.frames.tables import style_table as style_table
    from analysis.frames.tables import tabulate as tabulate
    from analysis.results.reanalysis import analyze_sweep as analyze_sweep

PUBLIC_NAMES = {
    "analysis.results.reanalysis": ("analyze_sweep",),
    "analysis.frames.effects": (
        "tabulate_correction",
        "tabulate_effects",
        "tabulate_interactions",
        "tabulate_other_effects",
        "tabulate_verdicts",
    ),
    "analysis.frames.sweep": (
        "choose_compared_arms",
        "tabulate_arms",
        "tabulate_costs",
        "tabulate_disagreements",
        "tabulate_next_steps",
        "tabulate_scores",
        "tabulate_setup",
    ),
    "analysis.frames.tables": ("format_latex", "list_tables", "style_table", "tabulate"),
    "analysis.figures.interface": (
        "FIGURE_STYLE",
        "draw_disagreements",
        "draw_effects",
        "draw_forest",
        "draw_interactions",
        "draw_learning_curves",
        "draw_loss_curves",
        "draw_retrieval_examples",
        "draw_temperatures",
        "draw_tuning_coordinates",
        "draw_tuning_curves",
        "draw_tuning_importances",
        "draw_tuning_slices",
        "save_figure",
    ),
}
"""Module -> the names that it gives to this package."""


def __getattr__(name: str) -> Any:
    for module, names in PUBLIC_NAMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name for names in PUBLIC_NAMES.values() for name in names)})
