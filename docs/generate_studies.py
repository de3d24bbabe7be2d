"""Write the tables of the studies page from the scores of their runs, which are committed.

    python docs/generate_studies.py [--check]            write (or check) docs/studies.md
    python docs/generate_studies.py --add STORE          first add the finished runs of a store, of
                                                         the studies that the page has
    python docs/generate_studies.py --add STORE --seeds 5 6 7       those of other seeds

`docs/studies/<study>.csv` has a row for each finished cell: arm, seed, run id, hash of the training
code, and its scores. A study can therefore be run in pieces, some seeds at a time, in any store.
With --check nothing is written; the exit status is 1 if the page does not match the files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from analysis.collect.frame import CELL_COLUMNS, FRAME_COLUMNS, SweepData  # noqa: E402
from analysis.results.results import Results, analyze  # noqa: E402
from analysis.tables.effects import build_effect_table  # noqa: E402
from analysis.tables.scores import build_score_table  # noqa: E402
from analysis.tables.table import Table, to_markdown  # noqa: E402
from sweeps.config.request import parse_request  # noqa: E402
from uniclip.errors import UserError  # noqa: E402
from uniclip.store import Cell, Plan, RunStatus, Score, Store  # noqa: E402

PAGE = Path(__file__).resolve().parent / "studies.md"
FOLDER = PAGE.with_suffix("")
SCORE_FILE = FOLDER / "scores.csv"
SCORE_COLUMNS = ("split", "dataset", "score", "kind", "chance", "samples", "report_only")
KEY_COLUMNS = ("arm", "seed", "run", "training_hash")
END_MARK = "<!-- end -->"
EFFECT_COLUMNS = ("contrast", "score", "verdict", "effect", "95 % interval", "p (corrected)", "MDE")
"""Starts of the headings of the columns of the table of effects that the page shows."""
UNFINISHED_TEXTS = ("0 of ", "no data")
"""Starts of the cells by which rows without any run are known."""
KEPT_SCORES = ("retrieval", "minimal")
LEFT_OUT_WORDS = {"i2t", "t2i", "temperature", "views"}
"""First words of the names of scores that are kept, and words that none of them has."""


@dataclass(frozen=True)
class Study:
    """A sweep whose scores are kept with the documentation."""

    name: str
    words: str
    """Words of the command line."""
    num_scores: int = 4
    """Number of scores in the table of arms."""
    contrast: str = ""
    """Start of the contrasts in the table of effects."""

    @property
    def mark(self) -> str:
        """The line of the page after which its tables stand."""
        return f"<!-- study: {self.name} -->"

    @property
    def path(self) -> Path:
        """The file with its scores."""
        return FOLDER / f"{self.name}.csv"


PILOT = (
    "ablation=components data=openmoji arms=[full,no-awareness,no-mp-nce,no-domain-similarity] "
    "runtime.evaluation_split=validation seeds=[100,101,102,103,104]"
)
SETTINGS = (
    "film,film-gain-1,film-zero,cosine,product,product-zero,product-concat-zero,concat,"
    "fast-modulation,head-blocks-3,encoder-layers-6,encoder-width-128,two-views,strong-views,"
    "no-identity-views,more-identity-views,uniform-weights,no-text-text,temperature-0.2,"
    "similarity-rate-1"
).split(",")
"""Settings of `ablation=reconstruction` in which awareness is switched off."""
AWARENESS = "augmentation awareness"
"""Start of the labels of the contrasts that switch awareness off."""
RECONSTRUCTION = "ablation=reconstruction arms=[{}]".format(
    ",".join(["full,no-awareness", *(f"{s},{s}-no-awareness" for s in SETTINGS)])
)
LONGER = (
    "ablation=components budget=study "
    "arms=[full,no-awareness,no-mp-nce,no-domain-similarity,clip,clip-same-views]"
)
STUDIES = (
    *(
        Study(
            f"pilot_{steps}x{batch_size}",
            f"{PILOT} train.steps={steps} train.batch_size={batch_size} "
            f"train.validate_every={steps}",
        )
        for steps, batch_size in ((105, 128), (150, 80), (200, 64))
    ),
    Study("heads_flip", "ablation=heads_flip", num_scores=1),
    Study(
        "heads_openmoji",
        "ablation=heads data=openmoji train.steps=150 train.batch_size=128 train.validate_every=50",
    ),
    Study("heads_scenes", "ablation=heads data=scenes"),
    Study("reconstruction_openmoji", f"{RECONSTRUCTION} data=openmoji seeds=3", 2, AWARENESS),
    Study("reconstruction_scenes", f"{RECONSTRUCTION} data=scenes seeds=3", 2, AWARENESS),
    Study("study_openmoji", f"{LONGER} data=openmoji seeds=3"),
    Study("study_scenes", f"{LONGER} data=scenes seeds=3"),
    Study("scenes_components", "ablation=components data=scenes"),
    Study("scenes_methods", "ablation=methods data=scenes"),
    Study("scenes_losses", "ablation=losses data=scenes"),
    Study("scenes_similarity", "ablation=similarity data=scenes"),
    Study("scenes_awareness", "ablation=awareness data=scenes"),
    Study("scenes_views", "ablation=views data=scenes"),
    Study("scenes_controls", "ablation=controls data=scenes"),
)


def build_plan(study: Study, store: Path, seeds: Sequence[int] = ()) -> Plan:
    """Return the plan of a study; `seeds` replace those of its command."""
    words = study.words.split()
    if seeds:
        words = [w for w in words if not w.startswith("seeds=")]
        words.append(f"seeds=[{','.join(map(str, seeds))}]")
    request = parse_request([*words, f"store={store}"])
    return request.build_plan().plan


def add_finished_runs(study: Study, store_path: Path, seeds: Sequence[int] = ()) -> None:
    """Add the finished runs of a study in a store to its file; a cell in the file is replaced.

    `seeds` replace those of its command.
    """
    store = Store(store_path)
    rows, all_scores = [], []
    plan = build_plan(study, store_path, seeds)
    for cell in plan.cells:
        outcome = store.get_run(cell.run_id).read_outcome()
        scores = read_scores(store, plan, cell)
        if outcome is not None and scores:
            all_scores += scores
            values = {f"{dataset}:{score.name}": score.value for dataset, score in scores}
            keys = (cell.arm, cell.seed, cell.run_id, outcome.training_hash)
            rows.append(dict(zip(KEY_COLUMNS, keys)) | values)
    if not rows:
        return
    table = pd.concat([read_table(study), pd.DataFrame(rows)], ignore_index=True)
    table = table.drop_duplicates(["arm", "seed"], keep="last")
    arm_order = {arm.name: i for i, arm in enumerate(plan.arms)}
    order = table["seed"] * len(arm_order) + table["arm"].map(arm_order)
    table = table.loc[order.sort_values().index]
    FOLDER.mkdir(exist_ok=True)
    add_scores(get_split(plan), all_scores)
    study.path.write_text(table.to_csv(index=False, float_format="%.6g"), encoding="utf-8")
    print(f"{study.path.name}: {len(table)} cells")


def read_scores(store: Store, plan: Plan, cell: Cell) -> list[tuple[str, Score]]:
    """Return (data set, score) of a run for the scores that are kept.

    These are the scores on which contrasts are tested, minimal pairs, and the scores of retrieval
    that are a mean of both directions.
    """
    scores = []
    for dataset, evaluation_hash in plan.evaluation_hashes[cell.arm].items():
        record = store.get_run(cell.run_id).read_scores(dataset, evaluation_hash)
        for score in record.scores if record is not None else ():
            words = score.name.split(".")
            if words[0] in KEPT_SCORES and not LEFT_OUT_WORDS & set(words):
                scores.append((dataset, score))
    primary = [(m.dataset, m.metric) for m in plan.primary_metrics]
    return sorted(scores, key=lambda item: (item[0], item[1].name) not in primary)


def get_split(plan: Plan) -> str:
    """Return the split on which the runs of a plan are evaluated."""
    return str(plan.base_config["runtime"]["evaluation_split"])


def add_scores(split: str, scores: Sequence[tuple[str, Score]]) -> None:
    """Add kind, chance and number of samples of these scores to the common file."""
    rows = [
        (split, dataset, s.name, s.kind, s.chance, s.num_samples, s.report_only)
        for dataset, s in scores
    ]
    known = [pd.read_csv(SCORE_FILE)] if SCORE_FILE.exists() else []
    table = pd.concat([*known, pd.DataFrame(rows, columns=list(SCORE_COLUMNS))])
    table = table.drop_duplicates(["split", "dataset", "score"], keep="last")
    table = table.sort_values(["split", "dataset", "score"])
    SCORE_FILE.write_text(table.to_csv(index=False, float_format="%.6g"), encoding="utf-8")


def read_table(study: Study) -> pd.DataFrame:
    """Return the rows of the file of a study; none if there is no file.

    Raises:
        UserError: a row is incomplete.
    """
    if not study.path.exists():
        return pd.DataFrame(columns=list(KEY_COLUMNS))
    table = pd.read_csv(study.path, dtype={"arm": str, "run": str, "training_hash": str})
    if tuple(table.columns[: len(KEY_COLUMNS)]) != KEY_COLUMNS or table.empty:
        raise UserError(f"{study.path.name}: the first columns must be {', '.join(KEY_COLUMNS)}")
    incomplete = table[list(KEY_COLUMNS)].isna().any(axis=1)
    if incomplete.any():
        raise UserError(f"{study.path.name}: line {incomplete.idxmax() + 2} is not complete")
    return table


def load_results(study: Study) -> Results:
    """Return the results of a study, computed from its file."""
    table = read_table(study)
    empty_store = ROOT / "build" / "studies"
    seeds = sorted({int(seed) for seed in table["seed"]})
    plan = build_plan(study, empty_store, seeds)
    return analyze(Store(empty_store), build_sweep_data(plan, table))


def build_sweep_data(plan: Plan, table: pd.DataFrame) -> SweepData:
    """Return the data of a sweep from the rows of a file; cells without a row are pending.

    Raises:
        UserError: a run is not that of the plan, so that the command would not make it again.
    """
    scores = pd.read_csv(SCORE_FILE).set_index(["split", "dataset", "score"]).loc[get_split(plan)]
    finished = {(a, int(s)): r for a, s, r in zip(table["arm"], table["seed"], table["run"])}
    planned = {(c.arm, c.seed): c.run_id for c in plan.cells}
    for cell, run in finished.items():
        if planned.get(cell) != run:
            raise UserError(
                f"{cell[0]}/{cell[1]} is run {planned.get(cell)} of the plan, and {run} in the "
                "file: a default has changed; state the earlier value in the words of the study"
            )
    long = table.melt(id_vars=list(KEY_COLUMNS), var_name="column").dropna(subset="value")
    long[["dataset", "score"]] = long["column"].str.split(":", n=1, expand=True)
    long = long.join(scores, on=["dataset", "score"]).assign(status=RunStatus.COMPLETE)
    statuses = {True: RunStatus.COMPLETE, False: RunStatus.PENDING}
    cells = [(c.arm, c.seed, c.run_id, statuses[(c.arm, c.seed) in finished]) for c in plan.cells]
    return SweepData(
        plan=plan,
        frame=long[list(FRAME_COLUMNS)],
        cells=pd.DataFrame(cells, columns=list(CELL_COLUMNS)),
        history=pd.DataFrame(columns=["arm", "seed", "run", "phase", "step"]),
        costs=pd.DataFrame(columns=list(CELL_COLUMNS)),
        numerics_classes={run: {} for run in table["run"]},
        training_hashes=dict(zip(table["run"], table["training_hash"])),
        probes=[],
        protocols={},
        provenance={},
    )


def select_columns(table: Table, starts: Sequence[str]) -> Table:
    """Return a table with only the columns whose headings start with one of these words."""
    indices = [i for i, h in enumerate(table.headings) if h.startswith(tuple(starts))]
    return replace(
        table,
        headings=tuple(table.headings[i] for i in indices),
        rows=tuple(tuple(row[i] for i in indices) for row in table.rows),
        notes=(),
        num_text_columns=sum(i < table.num_text_columns for i in indices),
    )


def select_contrasts(table: Table, plan: Plan) -> Table:
    """Return a table of effects; of a crossed design with all arms, only main effects and noise."""
    if plan.design != "crossed" or not any(c.kind == "main" for c in plan.contrasts):
        return table
    is_shown = [
        c.kind in ("main", "noise") or any(plan.get_arm(a).role == "outside" for a in c.weights)
        for c in plan.contrasts
    ]
    rows_per_contrast = len(table.rows) // len(is_shown)
    rows = (row for i, row in enumerate(table.rows) if is_shown[i // rows_per_contrast])
    return replace(table, rows=tuple(rows))


def drop_rows_without_runs(table: Table, start: str = "") -> Table:
    """Return a table without arms that were not run, and without contrasts of such arms.

    Only rows whose first cell starts with `start` are kept.
    """
    rows = [
        row
        for row in table.rows
        if row[0].text.startswith(start)
        and not any(cell.text.startswith(UNFINISHED_TEXTS) for cell in row)
    ]
    return replace(table, rows=tuple(rows))


def format_size(results: Results) -> str:
    """Return the numbers of arms that were run, and their seeds, as text."""
    cells = results.sweep_data.cells
    num_arms = cells[cells["status"] == RunStatus.COMPLETE]["arm"].nunique()
    first, last = results.plan.seeds[0], results.plan.seeds[-1]
    return f"{num_arms} arms, " + (f"seed {first}" if first == last else f"seeds {first} to {last}")


def render_study(study: Study) -> str:
    """Return the generated part of the section of a study."""
    results = load_results(study)
    plan = results.plan
    hashes = sorted(set(results.sweep_data.training_hashes.values()))
    scores = drop_rows_without_runs(build_score_table(results))
    effects = drop_rows_without_runs(
        select_contrasts(build_effect_table(results), plan), study.contrast
    )
    num_cells = len(results.sweep_data.training_hashes)
    lines = [
        f"    python sweep.py {study.words}",
        "",
        f"{format_size(results)}, {num_cells} runs "
        f"([scores and run ids](studies/{study.name}.csv)); training code {', '.join(hashes)}.",
        "",
        to_markdown(select_columns(scores, [*scores.headings[: 1 + study.num_scores], "seeds"])),
        to_markdown(select_columns(effects, EFFECT_COLUMNS)),
    ]
    return "\n".join(lines)


def render_page(page: str, studies: Sequence[Study]) -> str:
    """Return the page with the part of each study between its two marks replaced."""
    for study in studies:
        before, rest = page.split(study.mark, 1)
        _, after = rest.split(END_MARK, 1)
        page = f"{before}{study.mark}\n\n{render_study(study)}\n{END_MARK}{after}"
    return page


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--add", metavar="STORE", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=())
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    studies = [study for study in STUDIES if study.mark in page]
    for path in sorted(FOLDER.glob("*.csv")):
        if path != SCORE_FILE and path not in [study.path for study in studies]:
            raise UserError(f"{path.name} belongs to no study of {PAGE.name}")
    if arguments.add is not None:
        for study in studies:
            add_finished_runs(study, arguments.add, arguments.seeds)
    new_page = render_page(page, studies)
    if arguments.check:
        if new_page != page:
            print(f"{PAGE.name} does not match the files in {FOLDER.name}/")
        return int(new_page != page)
    PAGE.write_text(new_page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"generate_studies: {error}")
