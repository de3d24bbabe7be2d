"""Set-up, scores, costs, disagreements and next steps of a sweep as data frames."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from analysis.frames.tables import SCORE_UNIT, add_units
from analysis.results.resolution import describe_next_look, describe_resolutions
from analysis.results.results import Results
from analysis.results.setup import describe_setup, list_arm_setups
from analysis.tables.costs import TABLE_COLUMNS, build_cost_report
from uniclip.errors import make_unknown_name_error
from uniclip.frames.predictions import DifferentItemsError, NoOutcomesError
from uniclip.frames.records import describe_unit
from uniclip.frames.store_frames import StoreFrames
from uniclip.store import RunStatus


def tabulate_setup(results: Results) -> pd.DataFrame:
    """Return what was trained, and on what: index (topic, fact), column value.

    Topics are model, training, data, code (its provenance) and machines.
    """
    facts = [
        (group.title, name, value)
        for group in describe_setup(results.sweep_data)
        for name, value in group.facts
    ]
    return pd.DataFrame(facts, columns=["topic", "fact", "value"]).set_index(["topic", "fact"])


def tabulate_arms(results: Results) -> pd.DataFrame:
    """Return the arms: index `arm`; columns label, role, differs_in, num_complete and parameters.

    `differs_in` are the configuration keys that differ from the reference arm's.
    """
    cells = results.sweep_data.cells
    complete = cells[cells["status"] == RunStatus.COMPLETE]["arm"].value_counts()
    rows = [
        {
            "arm": arm.name,
            "label": arm.label,
            "role": arm.role,
            "differs_in": arm.differences,
            "num_complete": int(complete.get(arm.name, 0)),
            "parameters": arm.parameters,
        }
        for arm in list_arm_setups(results.sweep_data)
    ]
    return pd.DataFrame(rows).set_index("arm")


def tabulate_scores(results: Results) -> pd.DataFrame:
    """Return the mean over seeds of every score: index (dataset, score), a column per arm.

    The first columns are unit, chance and num_samples. Means are unrounded, in the unit of their
    row: a share is a fraction, not percent.
    """
    data, arms = results.sweep_data, [a.name for a in results.plan.arms]
    rows = [
        {
            "dataset": key[0],
            "score": key[1],
            "unit": describe_unit(data.get_score_kind(*key)),
            "chance": float("nan") if observations.chance is None else observations.chance,
            "num_samples": data.get_num_samples(*key),
            **{arm: _or_nan(observations.compute_mean(arm)) for arm in arms},
        }
        for key, observations in results.observations.items()
    ]
    frame = add_units(pd.DataFrame(rows).set_index(["dataset", "score"]))
    frame.attrs["units"] |= dict.fromkeys(arms, SCORE_UNIT)
    return frame


def tabulate_costs(results: Results, *, by_cell: bool = False) -> pd.DataFrame:
    """Return measured and predicted costs: index `arm` (medians over seeds), or (arm, seed).

    Args:
        results: results of a sweep.
        by_cell: whether to return a row per cell, with attempts and end reasons. Arms that coincide
            share a run, which is to be counted once (column `shared_run`).
    """
    costs = build_cost_report(results.sweep_data).frame
    if by_cell:
        return add_units(costs.set_index(["arm", "seed"]))
    columns = [name for name in TABLE_COLUMNS if name in costs and costs[name].notna().any()]
    return add_units(costs.groupby("arm", sort=False)[columns].median())


def choose_compared_arms(results: Results) -> tuple[str, str]:
    """Return two arms that a contrast compares, a primary one if possible: the first is positive.

    Without such a contrast they are the reference and another arm.
    """
    pairs = [
        (contrast.arms_by_sign[0][0], contrast.arms_by_sign[1][0])
        for contrast in sorted(results.plan.contrasts, key=lambda c: not c.primary)
        if [len(arms) for arms in contrast.arms_by_sign] == [1, 1] and contrast.kind != "noise"
    ]
    others = [a.name for a in results.plan.arms if a.name != results.plan.reference]
    return pairs[0] if pairs else (results.plan.reference, (others or [results.plan.reference])[0])


def tabulate_disagreements(
    store: StoreFrames, results: Results, first: str, second: str
) -> pd.DataFrame:
    """Return the outcomes of the test samples in two arms, the largest difference first.

    Args:
        store: the store, as `uniclip.open_store` returns it.
        results: results of a sweep in it; the score is their first primary one.
        first: name of an arm.
        second: name of another arm.

    Returns:
        Index (item, image, cluster) as in `StoreFrames.predictions`; columns `first` and `second`
        (mean outcome over the seeds that both have), difference (first minus second) and
        num_seeds. `attrs` names the arms, the data set and the score. Samples of equal outcomes
        have the order of the test split. Without saved outcomes it is empty, and if the arms are
        scored on different test samples, as a `note` in `attrs` says.

    Raises:
        UserError: there is no such arm.
    """
    names = [arm.name for arm in results.plan.arms]
    for name in (first, second):
        if name not in names:
            raise make_unknown_name_error("arm", name, names)
    try:
        outcomes = load_primary_outcomes(store, results, (first, second))
    except DifferentItemsError as error:
        outcomes = _make_empty_outcomes(results)
        outcomes.attrs["note"] = str(error)
    return compare_outcomes(outcomes, first, second)


def load_primary_outcomes(
    store: StoreFrames, results: Results, arms: Collection[str] | None = None
) -> pd.DataFrame:
    """Return the outcomes of the first primary score, as `StoreFrames.predictions` does.

    Without saved outcomes the frame is empty. `attrs` names the data set and the score.

    Raises:
        DifferentItemsError: the arms (None = all) are scored on different test items.
    """
    dataset, score = results.primary_score
    try:
        outcomes = store.predictions(results.plan.sweep_id, score, dataset, arms)
    except NoOutcomesError:
        return _make_empty_outcomes(results)
    outcomes.attrs |= {"dataset": dataset, "score": score}
    return outcomes


def _make_empty_outcomes(results: Results) -> pd.DataFrame:
    index = pd.MultiIndex.from_arrays([[], [], []], names=["item", "image", "cluster"])
    columns = pd.MultiIndex.from_arrays([[], []], names=["arm", "seed"])
    outcomes = pd.DataFrame(index=index, columns=columns, dtype=float)
    outcomes.attrs |= dict(zip(("dataset", "score"), results.primary_score))
    return outcomes


def compare_outcomes(outcomes: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return the disagreements of two arms (`tabulate_disagreements`).

    Args:
        outcomes: as `load_primary_outcomes` returns them.
        first: name of an arm.
        second: name of another arm.
    """
    attrs = {"first": first, "second": second, **outcomes.attrs}
    first_seeds, second_seeds = (
        {seed for arm, seed in outcomes.columns if arm == name} for name in (first, second)
    )
    seeds = sorted(first_seeds & second_seeds)
    if not seeds:
        columns = ["first", "second", "difference", "num_seeds"]
        frame = pd.DataFrame(columns=columns, index=outcomes.index[:0], dtype=float)
        frame.attrs |= attrs
        return frame
    frame = pd.DataFrame(
        {"first": outcomes[first][seeds].mean(axis=1),
         "second": outcomes[second][seeds].mean(axis=1)}
    )  # fmt: skip
    frame["difference"] = frame["first"] - frame["second"]
    frame["num_seeds"] = len(seeds)
    order = frame["difference"].abs().sort_values(ascending=False, kind="stable").index
    frame = frame.loc[order]
    frame.attrs |= attrs
    return frame


def tabulate_next_steps(results: Results) -> pd.DataFrame:
    """Return what to run next: columns step, reason and command; empty if nothing is open.

    The commands lack `store=`, and those of a tuned sweep begin with `tune`.
    """
    plan, cells = results.plan, results.sweep_data.cells
    verb = "run" if plan.tuning is None else "tune"
    command = f"python sweep.py {verb} {plan.sweep_id}"
    steps: list[tuple[str, str, str]] = []
    num_open = int((~cells["status"].isin([RunStatus.COMPLETE, RunStatus.DIVERGED])).sum())
    if num_open:
        steps.append((f"finish {num_open} cells", f"{num_open} of {len(cells)} are open", command))
    looks = [e.look for e in results.effects.values() if e.look is not None]
    if looks and plan.adaptive is None:
        least = min(looks, key=lambda look: look.num_finished)
        if least.next_look is not None and not num_open:
            seeds = least.next_look.num_seeds
            text = describe_next_look(results.sweep_data, least)
            steps.append((f"run {seeds} seeds", text, f"{command} seeds={seeds}"))
    for contrast in results.primary_contrasts:
        for text in describe_resolutions(results, contrast):
            steps.append((f"resolve: {contrast.label}", text, ""))
    return pd.DataFrame(steps, columns=["step", "reason", "command"])


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
