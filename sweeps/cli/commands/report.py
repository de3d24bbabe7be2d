"""`sweep.py report`: build the report from the existing results."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sweeps.config.request import parse_request
from uniclip.errors import UserError
from uniclip.store import Plan, Store

EXIT_PLANTED_EFFECT_MISSED = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flag --force."""
    parser.add_argument("--force", action="store_true", help="rebuild it even if nothing changed")


def run(arguments: Namespace) -> int:
    """Build the report of a sweep and print its summary."""
    request = parse_request(arguments.overrides)
    plan = request.load_or_build_plan()
    if request.store.get_sweep(plan.sweep_id).read_plan() is None:
        raise UserError(f"sweep {plan.sweep_id} has not been run in store={request.store.root}")
    return print_report(request.store, plan, force=arguments.force)


def print_report(store: Store, plan: Plan, *, force: bool = False) -> int:
    """Build the report, print its summary, and return 1 if a planted effect was not found."""
    from analysis.report.build import build_report  # here: it imports pandas
    from analysis.results.planted_effects import check_planted_effects

    report = build_report(store, plan.sweep_id, force=force)
    for line in report.summary:
        print(line)
    print(f"report: {report.folder / 'report.html'}{'' if report.rebuilt else ' (unchanged)'}")
    if not plan.planted_effects:
        return 0
    effect_checks = check_planted_effects(store, plan.sweep_id)
    for check in effect_checks:
        verdict = "found" if check.holds else "MISSED"
        print(f"planted effect: {verdict}: {check.description} ({check.detail})")
    return 0 if all(check.holds for check in effect_checks) else EXIT_PLANTED_EFFECT_MISSED
