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
from uniclip.identity import library_version
from uniclip.io.atomic import replace
from uniclip.store import Plan, Store

STAMP = "inputs.json"
LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "nbformat", "nbclient", "ipykernel")
CODE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ReportResult:
    """What `build` did."""

    folder: Path
    rebuilt: bool
    """False if the report stood there already, of the same inputs."""
    headline: list[str]
    """The answer for a terminal: at most 25 lines of at most 100 ASCII columns."""


def build(store: Store, sweep_id: str, *, force: bool = False) -> ReportResult:
    """Write `reports/<sweep>/` and the sweep's bill.csv; cells that are missing are shown as such.

    Raises `UserError` for an unknown sweep or a damaged file, which it names; the report that stood
    there before then stays as it was.
    """
    plan = store.sweep(sweep_id).plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    place, inputs = store.report(sweep_id), digest(store, plan)
    before = None if force else _standing(place, inputs)
    if before is not None and store.sweep(sweep_id).bill.exists():
        return ReportResult(place, False, before)
    headline = _make(store, sweep_id, inputs)
    return ReportResult(place, True, headline)


def digest(store: Store, plan: Plan) -> str:
    """32 hex digits over everything that a report depends on."""
    total = blake2b(digest_size=16)
    for name in LIBRARIES:
        total.update(f"{name}={library_version(name)}\n".encode())
    for path in _inputs(store, plan):
        total.update(f"{path.name}\n".encode())
        try:
            total.update(blake2b(path.read_bytes()).digest())
        except FileNotFoundError:
            total.update(b"absent")
    return total.hexdigest()


def _inputs(store: Store, plan: Plan) -> Iterator[Path]:
    yield from sorted(p for p in CODE.rglob("*") if p.suffix in (".py", ".html", ".css", ".csv"))
    folder = store.sweep(plan.sweep)
    yield from (folder.path / "plan.json", folder.audit, folder.probes, folder.prices)
    for run_id, wanted in plan.wanted().items():
        run = store.run(run_id)
        published = run.path / "outcome.json"
        yield published
        for dataset, evaluation in sorted(wanted.items()):
            yield run.scores_path(dataset, evaluation)
            yield run.predictions_path(dataset, evaluation)
        for number in run.attempts():
            attempt = run.attempt(number)
            yield from (attempt.claim, attempt.metrics)
            if not published.exists():
                yield from (attempt.path / "heartbeat", attempt.path / "ended.json")
    default = None if plan.tuning is None else store.sweep(plan.tuning.default).plan()
    if default is not None:
        yield from _inputs(store, default)


def _standing(place: Path, inputs: str) -> list[str] | None:
    """The headline of the report at `place` if it is of these inputs and whole."""
    try:
        stamp = json.loads((place / STAMP).read_text(encoding="utf-8"))
        whole = all((place / name).is_file() for name in stamp["files"])
        return list(stamp["headline"]) if stamp["inputs"] == inputs and whole else None
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError, TypeError):
        return None


def _make(store: Store, sweep_id: str, inputs: str) -> list[str]:
    from analysis.collect import export, predictions
    from analysis.collect.frame import gather
    from analysis.figures import effects
    from analysis.report import html, notebook, summary
    from analysis.report.folder import replaced
    from analysis.results import planted_effects
    from analysis.results.results import find
    from analysis.tables import costs, scores
    from analysis.tables.table import WRITERS

    gathered = gather(store, sweep_id)
    findings = find(store, gathered)
    made, said = scores.build(findings), summary.sentences(findings)
    bill, spoken = costs.bill(gathered), summary.terminal(findings)
    with replaced(store.report(sweep_id)) as folder:
        (folder / "tables").mkdir()
        (folder / "figures").mkdir()
        for table in made:
            for suffix, writer in WRITERS.items():
                path = folder / "tables" / f"{table.name}.{suffix}"
                path.write_text(writer(table), encoding="utf-8")
        export.write(gathered.frame, folder / "tables", "frame")
        export.write(gathered.history, folder, "history")
        figures = effects.build(
            findings, predictions.examples(store, gathered.plan), folder / "figures"
        )
        book = notebook.write(findings, made, figures, said)
        notebook.execute(book, folder)
        notebook.save(book, folder / "report.ipynb")
        truths = planted_effects.check(store, sweep_id) if gathered.plan.expectations else []
        shown = html.render(findings, made, figures, said, truths, bill, folder)
        (folder / "report.html").write_text(shown, encoding="utf-8")
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        stamp = {"inputs": inputs, "headline": spoken, "files": names}
        (folder / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    replace(store.sweep(sweep_id).bill, bill.csv.encode())
    return spoken
