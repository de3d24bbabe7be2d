"""Several sweeps of one command line, one after another, and their summary."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stdout

from sweeps.config.request import parse_request
from sweeps.config.unknown_keys import TUNE_KEYS
from sweeps.monitor.status import build_rows, describe_counts
from sweeps.monitor.terminal import divert_text, print_json
from uniclip.errors import UserError
from uniclip.store import Plan, Store

EXIT_USER_ERROR = 2
REPORTING_COMMANDS = ("run", "report")
"""Commands after which the effects of all sweeps are printed together."""
PLANNING_COMMANDS = ("run", "tune")
"""Commands that start nothing unless every sweep can be planned."""


def run_each(
    execute: Callable[[Namespace], int], arguments: Namespace, sweeps: Sequence[Sequence[str]]
) -> int:
    """Execute a command for the words of each sweep, and return the largest exit status.

    A sweep that ends with an error does not keep the next ones from being run. With `--json` the
    records of all are one list, each with the words of its sweep as `sweep`, unless the
    record has the id of the sweep there.

    Args:
        execute: Executes the command with its arguments, and returns the exit status.
        arguments: The arguments.
        sweeps: The words of each sweep.

    Raises:
        UserError: a sweep cannot be planned; nothing was run.
    """
    titles = [_describe_difference(words, sweeps) for words in sweeps]
    as_json = getattr(arguments, "json", False)
    if arguments.command in PLANNING_COMMANDS:
        with divert_text(is_diverted=as_json):
            _print_totals(arguments, sweeps)
    statuses: list[int] = []
    records: list[dict[str, object]] = []
    failed: set[str] = set()
    for title, words in zip(titles, sweeps):
        sweep_arguments = Namespace(**{**vars(arguments), "overrides": [*words]})
        if not as_json:
            print(f"\n---- {title} ----", flush=True)
        try:
            if as_json:
                status, sweep_records = _collect_records(execute, sweep_arguments)
                records += [{"sweep": title, **record} for record in sweep_records]
            else:
                status = execute(sweep_arguments)
            statuses.append(status)
        except UserError as error:
            statuses.append(EXIT_USER_ERROR)
            failed.add(title)
            reason = str(error).removeprefix(f"{title}: ")  # some name their word themselves
            print(f"{title}: {reason}", file=sys.stderr)
        sys.stdout.flush()
    if as_json:
        print_json(records)
    if arguments.command in REPORTING_COMMANDS and len(failed) < len(sweeps):
        with divert_text(is_diverted=as_json):
            _print_summary(titles, sweeps, failed)
    return max(statuses)


def _collect_records(
    execute: Callable[[Namespace], int], arguments: Namespace
) -> tuple[int, list[dict[str, object]]]:
    """Return the exit status of a command and the JSON records that it prints."""
    output = io.StringIO()
    with redirect_stdout(output):
        status = execute(arguments)
    document = json.loads(output.getvalue())
    return status, document if isinstance(document, list) else [document]


def _describe_difference(words: Sequence[str], sweeps: Sequence[Sequence[str]]) -> str:
    """Return the words of a sweep that others do not have."""
    shared = set(sweeps[0]).intersection(*sweeps[1:])
    return " ".join(word for word in words if word not in shared)


def _print_totals(arguments: Namespace, sweeps: Sequence[Sequence[str]]) -> None:
    """Plan every sweep, and print how much there is in all."""
    plans = [_plan(words, arguments.command)[1] for words in sweeps]
    num_arms, num_cells = sum(len(p.arms) for p in plans), sum(len(p.cells) for p in plans)
    runs = {cell.run_id for plan in plans for cell in plan.cells}
    print(
        f"{len(plans)} sweeps, one after another: {num_arms} arms, {num_cells} cells, {len(runs)} "
        "different runs"
    )


def _plan(words: Sequence[str], command: str = "run") -> tuple[Store, Plan]:
    """Return store and plan of a sweep; keys of tune are left out."""
    command_keys = TUNE_KEYS if command == "tune" else ()
    request = parse_request([w for w in words if w.partition("=")[0] not in command_keys])
    return request.store, request.load_or_build_plan()


def _print_summary(
    titles: Sequence[str], sweeps: Sequence[Sequence[str]], failed: Collection[str]
) -> None:
    """Print state, effects and report of every sweep; errors have been printed."""
    from analysis.report.build import build_report  # here: other commands need no report

    print(f"\n---- summary of {len(sweeps)} sweeps ----")
    heading = ""
    for title, words in zip(titles, sweeps):
        if title in failed:
            print(f"{title}: ended with an error, printed above")
            continue
        store, plan = _plan(words)
        print(f"{title}: {plan.sweep_id}, {describe_counts(build_rows(store, plan))}")
        if not (store.report_path(plan.sweep_id) / "report.html").exists():
            continue
        report = build_report(store, plan.sweep_id)
        if report.effect_rows[:1] != [heading]:
            print(*report.effect_rows[:1], sep="\n")
            heading = "".join(report.effect_rows[:1])
        print(*report.effect_rows[1:], f"report: {report.folder / 'report.html'}", sep="\n")
