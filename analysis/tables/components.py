"""Table of components: what each is, its manipulation check, and its knock-out effect."""

from __future__ import annotations

from collections.abc import Iterable

from analysis import formatting
from analysis.results.results import KnockoutEffect, Results, compute_knockout_effect
from analysis.tables.table import Table, make_row
from uniclip.store import AuditCheck


def build_component_table(results: Results) -> Table:
    """Return one row per component of the plan."""
    rows, records = [], []
    for component in results.plan.components:
        off_settings = ", ".join(f"{k}={v}" for k, v in component.off_overrides.items())
        check_text = _format_manipulation_check(results.audit_checks, component.name)
        knockout = compute_knockout_effect(results.sweep_data, component.name)
        knockout_text = _format_knockout_effect(knockout)
        rows.append(
            make_row(component.label, off_settings, check_text, knockout_text, component.reason)
        )
        records.append(
            {
                "component": component.name,
                "label": component.label,
                "off_settings": off_settings,
                "manipulation_check": check_text,
                "knockout_effect": knockout.loss_change,
                **{f"relative_change_{k}": v for k, v in knockout.relative_changes.items()},
                "rationale": component.reason,
            }
        )
    return Table(
        name="components",
        title="Components",
        rows=tuple(rows),
        records=tuple(records),
        num_text_columns=5,
        headings=(
            "component",
            "off settings",
            "manipulation check",
            "knock-out effect",
            "rationale",
        ),
        notes=(
            "Knock-out effect: change of the loss on a validation batch when the component is "
            "switched off in the trained model, and change of its parameters relative to their "
            f"initial norm; arm {results.get_arm_label(results.plan.reference)}, mean over seeds.",
        ),
    )


def _format_manipulation_check(audit_checks: Iterable[AuditCheck], component: str) -> str:
    """Return the result of the audit for the arms in which this component alone is off."""
    component_checks = [
        c for c in audit_checks if c.component == component or c.name.startswith(f"{component} is ")
    ]
    if not component_checks:
        return "not audited"
    failed_checks = [c for c in component_checks if not c.passed]
    if failed_checks:
        return f"FAILED: {failed_checks[0].detail}"
    return f"passed ({len(component_checks)} check{'s' * (len(component_checks) > 1)})"


def _format_knockout_effect(knockout: KnockoutEffect) -> str:
    phrases = []
    if knockout.loss_change is not None:
        change_text = f"{knockout.loss_change:+.3g}".replace("-", formatting.MINUS)
        phrases.append(f"loss {change_text}")
    phrases += [
        f"{part.replace('_', ' ')} changed by {100 * relative_change:.0f} %"
        for part, relative_change in knockout.relative_changes.items()
    ]
    return "; ".join(phrases) or "not measured"
