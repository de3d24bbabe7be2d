"""`sweep.py review`: what a reviewer would attack in a finished sweep, and what answers it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from sweeps.cli.commands.report import select_stored_plan
from sweeps.config.selection import SWEEP_HELP, select_plan
from sweeps.costs import estimate, limit
from sweeps.monitor.terminal import make_console, print_json, print_lines
from sweeps.review.proposal import Proposal, build_proposal, describe_price
from uniclip.store import Plan

EXIT_MAJOR_FINDING = 1
EPILOG = """\
Each finding says what was found and why a reviewer asks, then the cheapest cells that answer it,
their price, and the command that runs them. Nothing is run. With --strict the exit status is 1 if
a finding is major: one that can change the conclusion.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --json and --strict."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON record per finding")
    parser.add_argument(
        "--strict", action="store_true", help="exit with status 1 if a finding is major"
    )
    parser.epilog = EPILOG


def run(arguments: Namespace) -> int:
    """Print the findings of a review."""
    from analysis.review.checks import review_sweep  # here: it imports pandas and scipy
    from sweeps.cli.main import get_program

    plan, store = select_stored_plan("review", arguments)
    settings = select_plan("review", arguments.names, arguments.overrides).settings
    world_size = settings.launcher.world_size
    cost_estimates = estimate.estimate_costs(store, plan, world_size=world_size)
    gpus_per_run = limit.count_gpus_per_run(settings.launcher, plan.device)
    proposals = [
        build_proposal(finding, store, plan, cost_estimates, gpus_per_run)
        for finding in review_sweep(store, plan)
    ]
    if arguments.json:
        print_json([_to_record(proposal) for proposal in proposals])
    else:
        print_lines(make_console(), _format_lines(plan, proposals, get_program()))
    has_major = any(proposal.finding.severity == "major" for proposal in proposals)
    return EXIT_MAJOR_FINDING if arguments.strict and has_major else 0


def _format_lines(plan: Plan, proposals: Sequence[Proposal], program: str) -> list[str]:
    """Return the findings as text."""
    if not proposals:
        return [f"{plan.sweep_id}: no finding"]
    num_major = sum(p.finding.severity == "major" for p in proposals)
    lines = [f"{plan.sweep_id}: {len(proposals)} findings, {num_major} of them major"]
    for number, proposal in enumerate(proposals, 1):
        finding = proposal.finding
        price = describe_price(proposal.price, finding.remedy.runs)
        lines += [
            "",
            f"{number}. {finding.title} ({finding.severity}, {finding.check})",
            *(f"   {text}" for text in finding.evidence),
            f"   why: {finding.reason}",
            f"   answer: {finding.remedy.description}",
            f"   price: {price}",
            *(f"   {program} {line}" for line in proposal.command_lines),
        ]
    return lines


def _to_record(proposal: Proposal) -> dict[str, object]:
    """Return a proposal as a JSON record."""
    finding, price = proposal.finding, proposal.price
    return {
        "check": finding.check,
        "title": finding.title,
        "severity": finding.severity,
        "evidence": list(finding.evidence),
        "reason": finding.reason,
        "answer": finding.remedy.description,
        "runs": dict(finding.remedy.runs),
        "evaluations": price.num_evaluations,
        "seconds": price.seconds,
        "gpu_hours": price.gpu_hours,
        "commands": list(proposal.command_lines),
    }
