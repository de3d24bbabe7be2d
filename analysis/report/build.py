"""Build a sweep's report: tables, figures, an executed notebook and a page, from what exists.

Nothing is built when nothing changed: a digest of every file that the report reads, of the code
that reads it and of the libraries that draw it is kept in the report's folder. Importing this
module is cheap; pandas and matplotlib come with the first build.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import get_library_version
from uniclip.store import Plan, Store

MANIFEST_NAME = "inputs.json"
LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "nbformat", "nbclient", "ipykernel")
CODE_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ReportResult:
    """What `build` did."""

    folder: Path
    rebuilt: bool
    """False if the report stood there already, of the same inputs."""
    summary: list[str]
    """The answer for a terminal: at most 25 lines of at most 100 ASCII columns."""


def build_report(store: Store, sweep_id: str, *, force: bool = False) -> ReportResult:
    """Write `reports/<sweep>/` and the sweep's bill.csv; cells that are missing are shown as such.

    Raises `UserError` for an unknown sweep or a damaged file, which it names; the report that stood
    there before then stays as it was.
    """
    plan = store.get_sweep(sweep_id).read_plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    report_folder, input_digest = store.report_path(sweep_id), compute_input_digest(store, plan)
    current_summary = None if force else _read_current_summary(report_folder, input_digest)
    if current_summary is not None and store.get_sweep(sweep_id).cost_report_path.exists():
        return ReportResult(report_folder, False, current_summary)
    summary = _build_report_files(store, sweep_id, input_digest)
    return ReportResult(report_folder, True, summary)


def compute_input_digest(store: Store, plan: Plan) -> str:
    """32 hex digits over everything that a report depends on."""
    hasher = blake2b(digest_size=16)
    for name in LIBRARIES:
        hasher.update(f"{name}={get_library_version(name)}\n".encode())
    for path in _iterate_input_files(store, plan):
        hasher.update(f"{path.name}\n".encode())
        try:
            hasher.update(blake2b(path.read_bytes()).digest())
        except FileNotFoundError:
            hasher.update(b"absent")
    return hasher.hexdigest()


def _iterate_input_files(store: Store, plan: Plan) -> Iterator[Path]:
    yield from sorted(
        p for p in CODE_FOLDER.rglob("*") if p.suffix in (".py", ".html", ".css", ".csv")
    )
    folder = store.get_sweep(plan.sweep_id)
    yield from (
        folder.path / "plan.json",
        folder.audit_path,
        folder.probes_path,
        folder.cost_estimates_path,
    )
    for run_id, required_evaluations in plan.required_evaluations().items():
        run = store.get_run(run_id)
        outcome_path = run.path / "outcome.json"
        yield outcome_path
        for dataset, evaluation in sorted(required_evaluations.items()):
            yield run.scores_path(dataset, evaluation)
            yield run.predictions_path(dataset, evaluation)
        for number in run.list_attempts():
            attempt = run.get_attempt(number)
            yield from (attempt.claim_path, attempt.metrics_path)
            if not outcome_path.exists():
                yield from (attempt.path / "heartbeat", attempt.path / "ended.json")
    default_plan = (
        None if plan.tuning is None else store.get_sweep(plan.tuning.default_sweep).read_plan()
    )
    if default_plan is not None:
        yield from _iterate_input_files(store, default_plan)


def _read_current_summary(report_folder: Path, input_digest: str) -> list[str] | None:
    """The headline of the report at `place` if it is of these inputs and whole."""
    try:
        manifest = json.loads((report_folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        is_complete = all((report_folder / name).is_file() for name in manifest["files"])
        return (
            list(manifest["headline"])
            if manifest["inputs"] == input_digest and is_complete
            else None
        )
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError, TypeError):
        return None


def _build_report_files(store: Store, sweep_id: str, input_digest: str) -> list[str]:
    from analysis.collect import export, predictions
    from analysis.collect.frame import collect_sweep_data
    from analysis.figures import effects
    from analysis.report import html, notebook, summary
    from analysis.report.folder import replace_folder
    from analysis.results import planted_effects
    from analysis.results.results import analyze
    from analysis.tables import costs, scores
    from analysis.tables.table import TABLE_FORMATS

    sweep_data = collect_sweep_data(store, sweep_id)
    results = analyze(store, sweep_data)
    report_tables, summary_sentences = (
        scores.build_tables(results),
        summary.build_summary_sentences(results),
    )
    cost_report, terminal_summary = (
        costs.build_cost_report(sweep_data),
        summary.build_terminal_summary(results),
    )
    with replace_folder(store.report_path(sweep_id)) as folder:
        (folder / "tables").mkdir()
        (folder / "figures").mkdir()
        for table in report_tables:
            for suffix, writer in TABLE_FORMATS.items():
                path = folder / "tables" / f"{table.name}.{suffix}"
                path.write_text(writer(table), encoding="utf-8")
        export.write_frame(sweep_data.frame, folder / "tables", "frame")
        export.write_frame(sweep_data.history, folder, "history")
        report_figures = effects.build_figures(
            results, predictions.load_examples(store, sweep_data.plan), folder / "figures"
        )
        report_notebook = notebook.build_notebook(
            results, report_tables, report_figures, summary_sentences
        )
        notebook.execute(report_notebook, folder)
        notebook.save(report_notebook, folder / "report.ipynb")
        planted_results = (
            planted_effects.check_planted_effects(store, sweep_id)
            if sweep_data.plan.planted_effects
            else []
        )
        page_html = html.render_html(
            results,
            report_tables,
            report_figures,
            summary_sentences,
            planted_results,
            cost_report,
            folder,
        )
        (folder / "report.html").write_text(page_html, encoding="utf-8")
        file_names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        manifest = {"inputs": input_digest, "headline": terminal_summary, "files": file_names}
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    atomic_write(store.get_sweep(sweep_id).cost_report_path, cost_report.csv.encode())
    return terminal_summary
