"""Table of the short runs that were compared before a sweep of a command."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.tables.table import Table, make_row
from uniclip.store import AuditCheck, Plan


def build_command_check_table(plan: Plan, audit_checks: Iterable[AuditCheck]) -> Table:
    """Return one row per check of the audit."""
    checks = list(audit_checks)
    labels = {arm.name: arm.label for arm in plan.arms}
    return Table(
        name="manipulation_checks",
        title="Manipulation checks",
        rows=tuple(
            make_row(
                labels.get(check.arm, check.arm),
                check.name,
                "passed" if check.passed else "FAILED",
                check.detail,
            )
            for check in checks
        ),
        records=tuple(
            {"arm": c.arm, "check": c.name, "passed": c.passed, "detail": c.detail} for c in checks
        ),
        num_text_columns=4,
        headings=("arm", "check", "result", "what short runs showed"),
        notes=(
            "Each arm ran twice for a few steps before the first cell. What the command does is "
            "judged by what it logs and scores. No shared random numbers are assumed: the variance "
            "ratio of the effects shows what pairing by seed gave.",
        ),
    )
