"""Build a sweep's report: tables, figures, an executed notebook and a page, from existing results.

A report is rebuilt only if its inputs changed: its folder holds a digest of every file that it
reads, of the code of `analysis` and `uniclip`, of the versions of the libraries, and of the word
that names the store. Importing this module is cheap; pandas and matplotlib are imported by the
first build.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.review.commands import list_store_words
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import get_library_version
from uniclip.store import Plan, Store
from uniclip.store.copy_searches import get_copies_path, list_copies_paths
from uniclip.store.results_index import use_index
from uniclip.store.run_files import compute_digest

if TYPE_CHECKING:
    from analysis.collect.frame import SweepData
    from analysis.figures.build import ReportFigure
    from analysis.report.notebook import ExecutedNotebook, NotebookRunner
    from analysis.results.planted_effects import PlantedEffectResult
    from analysis.results.results import Results
    from analysis.results.tuning_trials import TuningTrials
    from analysis.tables.table import Table

MANIFEST_NAME = "manifest.json"
LIBRARIES = (
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "jinja2",
    "nbformat",
    "nbclient",
    "ipykernel",
    "optuna",
    "pyarrow",
)
SOURCE_FOLDER = Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("analysis", "uniclip")
CODE_SUFFIXES = (".py", ".jinja", ".css", ".js", ".csv", ".tsv", ".json", ".yaml")


@dataclass(frozen=True)
class ReportResult:
    """Result of `build_report`."""

    folder: Path
    rebuilt: bool
    """False if a report of the same inputs existed."""
    summary: list[str]
    """Summary for a terminal: at most 25 lines of at most 100 ASCII columns."""
    planted_results: list[PlantedEffectResult]
    """Checks of the plan's planted effects."""
    notes: list[str]
    """A line for each file that the user edited: it stays, and the new one is beside it."""

    @property
    def effect_rows(self) -> list[str]:
        """The lines of the summary that state effects, with their heading; none without any."""
        from analysis.report.summary import EFFECT_HEADING, LEGEND  # here: it imports scipy

        starts = [i for i, line in enumerate(self.summary) if line.startswith(EFFECT_HEADING)]
        has_rows = bool(starts) and LEGEND in self.summary
        return self.summary[starts[0] : self.summary.index(LEGEND)] if has_rows else []


def build_report(store: Store, sweep_id: str, *, force: bool = False) -> ReportResult:
    """Write `reports/<sweep>/` and the sweep's cost report; missing cells are shown as missing.

    Args:
        store: the store.
        sweep_id: id of the sweep.
        force: whether to rebuild a report whose inputs have not changed.

    Raises:
        UserError: for an unknown sweep or a damaged file, which it names; an earlier report stays.
    """
    from analysis.report.user_files import describe_edited_files

    plan = store.get_sweep(sweep_id).read_plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    report_folder, input_digest = store.report_path(sweep_id), compute_input_digest(store, plan)
    manifest = None if force else _read_current_manifest(report_folder, input_digest)
    rebuilt = manifest is None or not store.get_sweep(sweep_id).cost_report_path.exists()
    if manifest is None or rebuilt:
        manifest = _write_report(store, sweep_id, input_digest)
    return ReportResult(
        folder=report_folder,
        rebuilt=rebuilt,
        summary=list(manifest["summary"]),
        planted_results=_load_planted_results(manifest["planted_effects"]),
        notes=describe_edited_files(report_folder),
    )


def compute_input_digest(store: Store, plan: Plan) -> str:
    """Return 32 hex digits over everything that a report depends on."""
    hasher = blake2b(digest_size=16)
    for name in LIBRARIES:
        hasher.update(f"{name}={get_library_version(name)}\n".encode())
    hasher.update(f"{list_store_words(store)}\n".encode())  # the page's commands name the store
    code_files = sorted(
        path
        for folder in CODE_FOLDERS
        for path in (SOURCE_FOLDER / folder).rglob("*")
        if path.suffix in CODE_SUFFIXES
    )
    with use_index(store) as indexed_store:
        store_files = (
            *iterate_store_inputs(indexed_store, plan),
            *_iterate_related_plans(store, plan),
        )
        for path in [*code_files, *store_files]:
            digest = _compute_file_digest(indexed_store, path)
            hasher.update(f"{path.name}\n".encode())
            hasher.update(b"absent" if digest is None else digest)
    return hasher.hexdigest()


def _compute_file_digest(store: Store, path: Path) -> bytes | None:
    """Return the digest of a file; of a file of a run, as the store reads it."""
    run_folder = store.get_run("").path
    if not path.is_relative_to(run_folder):
        return compute_digest(path)
    run_id, *names = path.relative_to(run_folder).parts
    return store.get_run(run_id).files.compute_digest("/".join(names))


def iterate_store_inputs(store: Store, plan: Plan) -> Iterator[Path]:
    """Yield every file of the sweep that a report reads, whether it exists or not."""
    folder = store.get_sweep(plan.sweep_id)
    yield folder.path / "plan.json"
    yield from (folder.audit_path, folder.probes_path, folder.cost_estimates_path)
    yield store.origins_path
    for run_id, required_evaluations in plan.required_evaluations().items():
        run = store.get_run(run_id)
        if not run.is_readable():
            continue
        yield run.path / "spec.json"
        outcome_path = run.path / "outcome.json"
        yield outcome_path
        copies_paths = list_copies_paths(run)
        for dataset, evaluation in sorted(required_evaluations.items()):
            yield run.scores_path(dataset, evaluation)
            yield run.predictions_path(dataset, evaluation)
            if (copies_path := get_copies_path(run, dataset, evaluation)) in copies_paths:
                yield copies_path
        for number in run.list_attempts():
            attempt = run.get_attempt(number)
            yield from (attempt.claim_path, attempt.metrics_path, attempt.usage_path)
            if not outcome_path.exists():
                yield from (attempt.heartbeat_path, attempt.end_path)
    default_plan = (
        None if plan.tuning is None else store.get_sweep(plan.tuning.default_sweep).read_plan()
    )
    if default_plan is not None:
        yield from iterate_store_inputs(store, default_plan)
    if plan.tuning is not None and plan.tuning.study:
        study = store.get_study(plan.tuning.default_sweep, plan.tuning.study)
        yield from study.list_round_paths()


def _iterate_related_plans(store: Store, plan: Plan) -> Iterator[Path]:
    """Yield the plans of the other sweeps of the ablation, which the review compares."""
    for folder in store.iter_sweeps():
        if folder.path.name.startswith(f"{plan.ablation}-") and folder.path.name != plan.sweep_id:
            yield folder.path / "plan.json"


def _read_current_manifest(report_folder: Path, input_digest: str) -> dict[str, Any] | None:
    """Return the manifest of a complete report with these inputs; None without one."""
    try:
        text = (report_folder / MANIFEST_NAME).read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        is_current = manifest["input_digest"] == input_digest and {
            "summary",
            "planted_effects",
        } <= set(manifest)
        is_current = is_current and not manifest.get("notebook_failure")
        is_complete = all((report_folder / name).is_file() for name in manifest["files"])
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError, TypeError):
        return None
    return manifest if is_current and is_complete else None


def _load_planted_results(records: list[dict[str, Any]]) -> list[PlantedEffectResult]:
    if not records:
        return []
    # here: it imports scipy
    from analysis.results.planted_effects import CheckStatus, PlantedEffectResult

    return [
        PlantedEffectResult(**{**record, "status": CheckStatus(record["status"])})
        for record in records
    ]


def _write_report(store: Store, sweep_id: str, input_digest: str) -> dict[str, Any]:
    """Collect the sweep once, write the report and the cost report, and return the manifest."""
    from analysis.figures.matplotlib_setup import import_matplotlib
    from analysis.report.folder import replace_folder
    from analysis.report.notebook import NotebookRunner
    from analysis.report.user_files import carry_user_files, write_digests

    import_matplotlib()
    with (
        replace_folder(store.report_path(sweep_id), carry_user_files) as folder,
        NotebookRunner(folder) as notebook,  # it is executed while the rest is computed
    ):
        contents, cost_csv = _write_contents(store, sweep_id, folder, notebook)
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        manifest = {"input_digest": input_digest, **contents, "files": files}
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        write_digests(folder)
    atomic_write(store.get_sweep(sweep_id).cost_report_path, cost_csv.encode())
    return manifest


def _write_contents(
    store: Store, sweep_id: str, folder: Path, notebook: NotebookRunner
) -> tuple[dict[str, Any], str]:
    """Write tables, figures, notebook and page; return what the manifest says, and the cost CSV."""
    from analysis import tables
    from analysis.collect.frame import collect_sweep_data
    from analysis.page.payload import build_payload
    from analysis.report import notebook as notebooks
    from analysis.report import summary
    from analysis.report.disagreements import collect_disagreements
    from analysis.report.html import render_html
    from analysis.report.notebook_cells import build_plan_cells
    from analysis.report.origins import write_origins
    from analysis.report.review_table import review_for_report
    from analysis.results.planted_effects import check_planted_effects
    from analysis.results.results import analyze
    from analysis.tables.costs import build_cost_report

    sweep_data = collect_sweep_data(store, sweep_id)
    plan = sweep_data.plan
    notebook.add(build_plan_cells(plan))
    results = analyze(store, sweep_data)
    report_tables = tables.build_tables(results)
    review = review_for_report(store, results)
    reviews = [] if review is None else [review]
    sentences = summary.build_summary_sentences(results)
    _write_tables(
        [*report_tables, *(review.build_table(with_commands=False) for review in reviews)],
        sweep_data,
        results.tuning_trials,
        folder,
    )
    write_origins(store, plan, folder)
    report_figures = _draw_figures(store, results, folder / "figures")
    planted_results, cost_report = check_planted_effects(sweep_data), build_cost_report(sweep_data)
    executed = _write_notebook(notebook, folder)
    failure_notes = notebooks.describe_failure(executed)
    page = render_html(
        results,
        [*report_tables, *(review.build_table(with_commands=True) for review in reviews)],
        report_figures,
        sentences,
        planted_results,
        cost_report.table,
        folder,
        build_payload(store, sweep_data, store_url="../../", generated=None),
        " ".join(failure_notes),
        collect_disagreements(store, results),
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    font_notes = dict.fromkeys(f.font_note for f in report_figures if f.font_note)
    contents = {
        "summary": [
            *summary.build_terminal_summary(results),
            *summary.format_for_terminal([*font_notes, *failure_notes]),
        ],
        "notebook_failure": executed.failure,
        "planted_effects": [asdict(r) for r in planted_results],
    }
    return contents, cost_report.csv


def _draw_figures(store: Store, results: Results, folder: Path) -> list[ReportFigure]:
    """Draw the figures in a folder, which is made."""
    from analysis.collect.predictions import load_examples
    from analysis.figures.build import build_figures

    folder.mkdir()
    return build_figures(results, load_examples(store, results.plan), folder)


def _write_notebook(notebook: NotebookRunner, folder: Path) -> ExecutedNotebook:
    """Wait for the notebook and write it, unless there is none."""
    from analysis.report.notebook import format_notebook

    executed = notebook.finish()
    if executed.notebook is not None:
        text = format_notebook(executed.notebook)
        (folder / "report.ipynb").write_text(text, encoding="utf-8")
    return executed


def _write_tables(
    report_tables: list[Table],
    sweep_data: SweepData,
    tuning_trials: TuningTrials | None,
    folder: Path,
) -> None:
    """Write the tables in every format, and the frames of scores, history and trials."""
    from analysis.collect.export import write_frame
    from analysis.results.tuning_trials import build_trial_frame
    from analysis.tables.table import TABLE_FORMATS

    (folder / "tables").mkdir()
    for table in report_tables:
        for suffix, format_table in TABLE_FORMATS.items():
            path = folder / "tables" / f"{table.name}.{suffix}"
            path.write_text(format_table(table), encoding="utf-8")
    write_frame(sweep_data.frame, folder / "tables", "frame")
    write_frame(sweep_data.history, folder, "history")
    if tuning_trials is not None:
        write_frame(build_trial_frame(tuning_trials), folder / "tables", "trials")
