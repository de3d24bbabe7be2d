"""The cells of the report's notebook: a program that reads the store and can be continued.

They are the same for every sweep, so that the parameters can name another one, but for two
sections: interactions, if contrasts of the sweep are interactions, and the trials of a tuned sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uniclip.store import Plan

PARAMETERS_TAG = "parameters"
"""Tag of the cell whose values papermill replaces."""
STORE_FROM_REPORT = "../.."
"""The store's folder, from the folder of a report."""

INTRODUCTION = """\
# {title}

This notebook reads the store and computes everything again; nothing in it is copied from the
report. Change the parameters and run all cells, or run it with papermill:
`papermill report.ipynb mine.ipynb -p STORE <store> -p SCORE retrieval.mrr`.
It needs the environment that uniclip is installed in. A notebook that you edit is kept: the next
report writes its own beside it, as `report.new.ipynb`."""

PARAMETERS_SOURCE = """\
STORE = {store!r}  # folder of the store
SWEEP = {sweep!r}  # id of a sweep, or its start
SCORE = None  # None: the primary scores of the plan; or another one, such as "retrieval.mrr"
ALPHA = 0.05  # probability of a false verdict in the family of primary contrasts"""

SETUP_SOURCE = """\
%matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from scipy import stats

import analysis
import uniclip

plt.style.use(analysis.FIGURE_STYLE)  # without this line, figures obey your own matplotlibrc
store = uniclip.open_store(STORE)
results = analysis.analyze_sweep(store, SWEEP, score=SCORE, alpha=ALPHA)
store.sweeps()"""

DERIVE_SOURCE = """\
# Each primary effect again, from one number per run: a weighted sum of arms, paired by seed.
# Then Holm's correction by hand, of the p-values that are corrected for the looks.
scores, weights = store.scores(SWEEP), store.contrasts(SWEEP)
values_by_arm = scores["value"].unstack("arm")
rows = []
for contrast, dataset, score in verdicts.index:
    arms = weights.loc[contrast][weights.loc[contrast] != 0]
    by_seed = values_by_arm.query("dataset == @dataset and score == @score")
    values = by_seed.reindex(columns=arms.index).dropna() @ arms
    n, mean = len(values), values.mean()
    half = stats.t.ppf(1 - ALPHA / 2, n - 1) * values.std() / np.sqrt(n) if n > 2 else np.nan
    rows.append((n, mean, mean - half, mean + half))
derived = pd.DataFrame(
    rows, columns=["num_seeds", "effect", "ci_low", "ci_high"], index=verdicts.index, dtype=float
)
correction = analysis.tabulate_correction(results)
derived["p_holm"] = (correction["p_looks"] * correction["holm_factor"]).cummax().clip(upper=1)
# The interval of the table is wider where the resolution of the score exceeds its spread.
assert np.allclose(derived["effect"], verdicts["effect"], atol=1e-8, equal_nan=True)
verdicts[["label", "effect", "ci_low", "ci_high", "p_adjusted"]].join(
    derived.add_suffix(" derived")
)"""

INTERACTION_SECTION = (
    "## Interactions",
    ("analysis.draw_interactions(results)", "analysis.tabulate_interactions(results)"),
)
"""Section of the notebook of a sweep with contrasts that are interactions."""
SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "## What was trained\n\nModel, training, data, code and machines; the arms; and the run of "
        "every cell, with its provenance.",
        (
            "analysis.tabulate_setup(results)",
            "analysis.tabulate_arms(results)",
            "store.runs(SWEEP)",
        ),
    ),
    (
        "## The answer\n\nThe primary contrasts: effect, interval of each alone, and verdict after "
        "Holm's correction and that for repeated looks. Shares are fractions, not percent (column "
        "`unit`).",
        (
            "verdicts = analysis.tabulate_verdicts(results)\n"
            'for note in analysis.tabulate_effects(results).attrs["notes"]:\n'
            '    print("-", note)\n'
            "verdicts",
        ),
    ),
    (
        "### The answer, computed again",
        (DERIVE_SOURCE, "correction"),
    ),
    (
        "## Effects",
        (
            "figure = analysis.draw_effects(results)\n"
            "# figure.axes[0].set_title(...) and the like; then "
            'analysis.save_figure(figure, "effects")\n'
            "figure",
            "analysis.tabulate_effects(results)[\n"
            '    ["label", "family", "unit", "effect", "ci_low", "ci_high", "p", "verdict"]\n'
            "]",
        ),
    ),
    INTERACTION_SECTION,
    (
        "## Learning and loss curves",
        (
            "analysis.draw_learning_curves(results)",
            "analysis.draw_loss_curves(results)",
            "analysis.draw_temperatures(results)",
            'store.metrics(SWEEP, "train").groupby(["arm", "seed"]).last()',
        ),
    ),
    (
        "## Scores by data set\n\nMeans over seeds; `analysis.tabulate(results, name)` returns "
        "every table of the report, `analysis.style_table` as it is shown there, and "
        "`analysis.format_latex` in LaTeX.",
        (
            "analysis.tabulate_scores(results)",
            'HTML(analysis.style_table(results, "scores").to_html())',
        ),
    ),
    (
        "## Which test samples do two arms disagree on?",
        (
            "first, second = analysis.choose_compared_arms(results)  # or any two arms\n"
            "disagreements = analysis.tabulate_disagreements(store, results, first, second)\n"
            'print(f"{first} against {second}, mean over seeds")\n'
            "disagreements.head(12)",
            "analysis.draw_disagreements(store, results, disagreements)",
            "analysis.draw_retrieval_examples(store, results)",
        ),
    ),
    (
        "## Costs\n\nMedians over seeds, in the units of `attrs`.",
        (
            "costs = analysis.tabulate_costs(results)\n"
            'costs.rename(columns=lambda name: f"{name} ({unit})" if '
            '(unit := costs.attrs["units"].get(name)) else name)',
        ),
    ),
    (
        "## What to run next",
        (
            'with pd.option_context("display.max_colwidth", None):\n'
            "    display(analysis.tabulate_next_steps(results))",
        ),
    ),
)
"""Text and code cells of each section."""
TUNING_SECTION = (
    "## Tuning\n\nThe trials of every arm, on the validation split.",
    (
        "analysis.draw_tuning_curves(results)",
        "analysis.draw_tuning_importances(results)",
        'analysis.tabulate(results, "tuning")',
    ),
)
"""Section of the notebook of a tuned sweep."""


@dataclass(frozen=True)
class NotebookCell:
    """A cell that has not been executed."""

    kind: Literal["markdown", "code"]
    source: str
    tags: tuple[str, ...] = ()


def build_cells(
    title: str,
    sweep_id: str,
    store: str = STORE_FROM_REPORT,
    *,
    is_tuned: bool = False,
    has_interactions: bool = True,
) -> list[NotebookCell]:
    """Return the cells of a notebook on a sweep.

    Args:
        title: title of the sweep.
        sweep_id: id of the sweep.
        store: folder of the store, from the folder in which the notebook is executed.
        is_tuned: whether the sweep is of tuned arms.
        has_interactions: whether some of its contrasts are interactions.
    """
    parameters = PARAMETERS_SOURCE.format(store=store, sweep=sweep_id)
    cells = [
        NotebookCell("markdown", INTRODUCTION.format(title=title)),
        NotebookCell("code", parameters, (PARAMETERS_TAG,)),
        NotebookCell("code", SETUP_SOURCE),
    ]
    for section in (*SECTIONS, *([TUNING_SECTION] if is_tuned else [])):
        if section is INTERACTION_SECTION and not has_interactions:
            continue
        text, sources = section
        cells.append(NotebookCell("markdown", text))
        cells += [NotebookCell("code", source) for source in sources]
    return cells


def build_plan_cells(plan: Plan, store: str = STORE_FROM_REPORT) -> list[NotebookCell]:
    """Return the cells of the notebook on a planned sweep; `store` as for `build_cells`."""
    return build_cells(
        plan.title,
        plan.sweep_id,
        store,
        is_tuned=plan.tuning is not None,
        has_interactions=any(contrast.kind == "interaction" for contrast in plan.contrasts),
    )
