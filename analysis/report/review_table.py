"""The review as a table of the report: what a reviewer would attack, and what answers it."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.results.results import Results
from analysis.review.checks import review_results
from analysis.review.commands import format_command_lines, list_store_words
from analysis.review.finding import Finding
from analysis.tables.table import Table, TableCell, make_row
from uniclip.errors import UserError
from uniclip.store import Plan, Store

TITLE = "What a reviewer would attack"
HEADINGS = ("finding", "evidence", "why a reviewer asks", "answer", "price")
NOTE = (
    "Major: it can change the conclusion; minor: it limits how far the conclusion reaches. A price "
    "is in runs of this sweep: one with half the steps counts 0.5. Nothing of it has been run. "
    "sweep.py review has the time that they take, and what runs of other sweeps have changed since."
)
NO_FINDING = "No finding."


@dataclass(frozen=True)
class ReportedReview:
    """The review of a report."""

    plan: Plan
    findings: tuple[Finding, ...] = ()
    note: str = NO_FINDING
    store_words: tuple[str, ...] = ()
    """The word of the commands that names the store; empty for the default one."""

    def build_table(self, *, with_commands: bool) -> Table:
        """Return the findings, major ones first.

        Args:
            with_commands: whether there is a column of command lines. They may hold paths, which
                files of tables do not have.
        """
        return Table(
            name="review",
            title=TITLE,
            headings=(*HEADINGS, "command") if with_commands else HEADINGS,
            rows=tuple(self._build_row(f, with_commands) for f in self.findings),
            records=tuple(_build_record(f) for f in self.findings),
            notes=(self.note,),
            num_text_columns=len(HEADINGS) + with_commands,
            essential=("finding", "evidence", "answer", "price"),
        )

    def _build_row(self, finding: Finding, with_commands: bool) -> tuple[TableCell, ...]:
        is_major = finding.severity == "major"
        cells: list[str | TableCell] = [
            TableCell(text=f"{finding.title} ({finding.severity})", bold=is_major),
            "; ".join(finding.evidence),
            finding.reason,
            finding.remedy.description,
            format_price(finding),
        ]
        if with_commands:
            lines = format_command_lines(finding, self.plan, self.store_words)
            cells.append("; ".join(f"python sweep.py {line}" for line in lines))
        return make_row(*cells)


def review_for_report(store: Store, results: Results) -> ReportedReview | None:
    """Return the review of results; None before there are scores.

    A report does not depend on it: if a review is not possible, its note says why.
    """
    if not any(observations.values for observations in results.observations.values()):
        return None
    try:
        findings = sorted(review_results(store, results), key=lambda f: f.severity != "major")
    except UserError as error:  # a file of another sweep of the store is damaged
        return ReportedReview(results.plan, note=f"Not reviewed: {error}")
    return ReportedReview(
        results.plan,
        tuple(findings),
        NOTE if findings else NO_FINDING,
        tuple(list_store_words(store)),
    )


def format_price(finding: Finding) -> str:
    """Return what answers a finding: "26 runs", "10 evaluations"."""
    num_runs, num_evaluations = sum(finding.remedy.runs.values()), finding.remedy.num_evaluations
    parts = [f"{num_runs:.3g} run{'s' * (num_runs != 1)}"] if num_runs else []
    if num_evaluations:
        parts.append(f"{num_evaluations} evaluation{'s' * (num_evaluations != 1)}")
    return " and ".join(parts) or "nothing to run"


def _build_record(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "severity": finding.severity,
        "title": finding.title,
        "evidence": "; ".join(finding.evidence),
        "reason": finding.reason,
        "answer": finding.remedy.description,
        "num_runs": sum(finding.remedy.runs.values()),
        "num_evaluations": finding.remedy.num_evaluations,
    }
