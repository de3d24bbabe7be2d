"""Write the tables of the studies page from the scores of their runs, which are committed.

    python docs/generate_studies.py [--check]            write (or check) docs/studies.md
    python docs/generate_studies.py --add STORE          first add the finished runs of a store

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

from analysis.collect.export import format_csv  # noqa: E402
from analysis.collect.frame import (  # noqa: E402
    CELL_COLUMNS,
    FRAME_COLUMNS,
    SweepData,
    collect_sweep_data,
)
from analysis.results.results import Results, analyze  # noqa: E402
from analysis.tables.effects import build_effect_table  # noqa: E402
from analysis.tables.scores import build_score_table  # noqa: E402
from analysis.tables.table import Table, to_markdown  # noqa: E402
from sweeps.config.request import parse_request  # noqa: E402
from uniclip.errors import UserError  # noqa: E402
from uniclip.store import Plan, RunStatus, Store  # noqa: E402

PAGE = Path(__file__).resolve().parent / "studies.md"
FOLDER = PAGE.with_suffix("")
SCORE_FILE = FOLDER / "scores.csv"
SCORE_COLUMNS = ("dataset", "score", "kind", "chance", "samples", "report_only")
KEY_COLUMNS = ("arm", "seed", "run", "training_hash")
EFFECT_COLUMNS = ("contrast", "score", "verdict", "effect", "95 % interval", "p (corrected)", "MDE")
"""Starts of the headings of the columns of the table of effects that the page shows."""
MAX_SCORES = 4
"""Number of scores in the table of arms."""


@dataclass(frozen=True)
class Study:
    """A sweep whose scores are kept with the documentation."""

    name: str
    words: str
    """Words of the command line."""

    @property
    def path(self) -> Path:
        """The file with its scores."""
        return FOLDER / f"{self.name}.csv"


STUDIES = (
    Study("heads_flip", "ablation=heads_flip"),
    Study("heads_openmoji", "ablation=heads data=openmoji"),
    Study("heads_scenes", "ablation=heads data=scenes"),
    Study("reconstruction_openmoji", "ablation=reconstruction data=openmoji"),
    Study("reconstruction_scenes", "ablation=reconstruction data=scenes"),
    Study("study_openmoji", "ablation=components data=openmoji budget=study"),
    Study("study_scenes", "ablation=components data=scenes budget=study"),
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
    seed_words = [f"seeds=[{','.join(map(str, seeds))}]"] if seeds else []
    request = parse_request([*study.words.split(), *seed_words, f"store={store}"])
    return request.build_plan().plan


def add_finished_runs(study: Study, store_path: Path) -> None:
    """Add the finished runs of a study in a store to its file; a cell in the file is replaced."""
    store = Store(store_path)
    plan = build_plan(study, store_path)
    stored_plan = store.get_sweep(plan.sweep_id).read_plan()
    if stored_plan is None:
        return
    sweep_data = collect_sweep_data(store, plan.sweep_id)
    rows = sweep_data.frame[sweep_data.frame["status"] == RunStatus.COMPLETE]
    keys = select_scores(sweep_data)
    rows = rows[[key in keys for key in zip(rows["dataset"], rows["score"])]]
    if rows.empty:
        return
    wide = rows.assign(column=rows["dataset"] + ":" + rows["score"]).pivot(
        index=["arm", "seed", "run"], columns="column", values="value"
    )
    wide = wide[[f"{dataset}:{score}" for dataset, score in keys]].reset_index()
    wide.insert(3, "training_hash", wide["run"].map(sweep_data.training_hashes))
    arm_order = {arm.name: i for i, arm in enumerate(stored_plan.arms)}
    table = pd.concat([read_table(study), wide], ignore_index=True)
    table = table.drop_duplicates(["arm", "seed"], keep="last")
    table = table.sort_values(["seed", "arm"], key=lambda c: c.map(arm_order) if c.name == "arm" else c)
    FOLDER.mkdir(exist_ok=True)
    study.path.write_text(format_csv(table), encoding="utf-8")
    add_scores(rows)
    print(f"{study.path.name}: {len(table)} cells")


def select_scores(sweep_data: SweepData) -> list[tuple[str, str]]:
    """Return the scores that are kept: both primary ones, and means of both directions."""
    return [
        (dataset, score)
        for dataset, score in sweep_data.list_score_keys()
        if not {"i2t", "t2i", "temperature", "views"} & set(score.split("."))
        and score.startswith(("retrieval", "minimal"))
    ]


def add_scores(rows: pd.DataFrame) -> None:
    """Add kind, chance and number of samples of the scores in these rows to the common file."""
    known = pd.read_csv(SCORE_FILE) if SCORE_FILE.exists() else pd.DataFrame()
    scores = pd.concat([known, rows[list(SCORE_COLUMNS)]], ignore_index=True)
    scores = scores.drop_duplicates(["dataset", "score"], keep="last")
    scores = scores.sort_values(["dataset", "score"])
    SCORE_FILE.write_text(format_csv(scores), encoding="utf-8")


def read_table(study: Study) -> pd.DataFrame:
    """Return the rows of the file of a study; none if there is no file."""
    if not study.path.exists():
        return pd.DataFrame(columns=list(KEY_COLUMNS))
    return pd.read_csv(study.path, dtype={"arm": str, "run": str, "training_hash": str})


def load_results(study: Study) -> Results:
    """Return the results of a study, computed from its file."""
    table = read_table(study)
    nowhere = ROOT / "build" / "studies"
    seeds = sorted({int(seed) for seed in table["seed"]})
    plan = build_plan(study, nowhere, seeds)
    return analyze(Store(nowhere), build_sweep_data(plan, table))


def build_sweep_data(plan: Plan, table: pd.DataFrame) -> SweepData:
    """Return the data of a sweep from the rows of a file; cells without a row are pending."""
    arms = {arm.name for arm in plan.arms}
    table = table[table["arm"].isin(arms)]
    scores = pd.read_csv(SCORE_FILE).set_index(["dataset", "score"])
    finished = {(a, int(s)): r for a, s, r in zip(table["arm"], table["seed"], table["run"])}
    plan = replace(
        plan,
        cells=tuple(replace(c, run_id=finished.get((c.arm, c.seed), c.run_id)) for c in plan.cells),
    )
    long = table.melt(id_vars=list(KEY_COLUMNS), var_name="column").dropna(subset="value")
    long[["dataset", "score"]] = long["column"].str.split(":", n=1, expand=True)
    long = long.join(scores, on=["dataset", "score"]).assign(status=RunStatus.COMPLETE)
    cells = [
        (c.arm, c.seed, c.run_id, complete if (c.arm, c.seed) in finished else RunStatus.PENDING)
        for complete in [RunStatus.COMPLETE]
        for c in plan.cells
    ]
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


def render_study(study: Study) -> str:
    """Return the generated part of the section of a study."""
    results = load_results(study)
    plan = results.plan
    hashes = sorted(set(results.sweep_data.training_hashes.values()))
    scores = build_score_table(results)
    num_cells = len(results.sweep_data.training_hashes)
    lines = [
        f"    python sweep.py {study.words}",
        "",
        f"{len(plan.arms)} arms, seeds {plan.seeds[0]} to {plan.seeds[-1]}, {num_cells} runs "
        f"([scores and run ids](studies/{study.name}.csv)); training code {', '.join(hashes)}.",
        "",
        to_markdown(select_columns(scores, [*scores.headings[: 1 + MAX_SCORES], "seeds"])),
        to_markdown(select_columns(build_effect_table(results), EFFECT_COLUMNS)),
    ]
    return "\n".join(lines)


def render_page(page: str) -> str:
    """Return the page with the part of each study between its two marks replaced."""
    for study in STUDIES:
        start, end = f"<!-- study: {study.name} -->\n", "<!-- end -->"
        if start not in page:
            continue
        before, rest = page.split(start, 1)
        _, after = rest.split(end, 1)
        page = before + start + "\n" + render_study(study) + "\n" + end + after
    return page


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--add", metavar="STORE", type=Path)
    arguments = parser.parse_args()
    if arguments.add is not None:
        for study in STUDIES:
            add_finished_runs(study, arguments.add)
    page = PAGE.read_text(encoding="utf-8")
    new_page = render_page(page)
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
