"""`--cfg` and `--info`: the composed configuration as YAML, and where each value comes from."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from argparse import ArgumentParser, Namespace

from ablations.plan.plan import ResolvedPlan, find_cell
from sweeps.config.origins import find_choice_origins, find_key_origins
from sweeps.config.request import SweepRequest, parse_configs
from sweeps.config.selection import has_ablation, select_request
from sweeps.monitor.columns import Column
from sweeps.monitor.terminal import make_console, print_table
from uniclip.commands.invocation import read_invocation
from uniclip.config import RunConfig
from uniclip.config.binding import to_builtins
from uniclip.config.compose import flatten, has_key
from uniclip.config.derived import get_value
from uniclip.config.keys import format_value
from uniclip.config.yaml_file import format_config, format_yaml
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.store import Cell

CONFIG_KINDS = {
    "job": "the configuration of a run",
    "sweep": "the settings of the sweep: store, seeds, launcher",
}
INFO_KINDS = {
    "defaults": "the choice of each group, and where each value comes from",
    "searchpath": "the folders of YAML files",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags --cfg, --info and --package, which have Hydra's names."""
    parser.add_argument(
        "-c",
        "--cfg",
        metavar="job|sweep",
        help="print the composed configuration as YAML and run nothing: of a run (the cell that is "
        "named, or the first one), or of the sweep",
    )
    parser.add_argument(
        "-p",
        "--package",
        metavar="section",
        help="with --cfg job: print one section, such as train",
    )
    parser.add_argument("--resolve", action="store_true", help=argparse.SUPPRESS)  # it always is
    parser.add_argument(
        "-i",
        "--info",
        metavar="defaults|searchpath",
        help="print where each value comes from, or the folders of YAML files; runs nothing",
    )


def is_requested(arguments: Namespace) -> bool:
    """Return whether the flags ask for a configuration instead of a run."""
    if arguments.cfg is not None and arguments.cfg not in CONFIG_KINDS:
        raise make_unknown_name_error("--cfg", arguments.cfg, CONFIG_KINDS)
    if arguments.info is not None and arguments.info not in INFO_KINDS:
        raise make_unknown_name_error("--info", arguments.info, INFO_KINDS)
    if arguments.package is not None and arguments.cfg != "job":
        raise UserError("--package is for --cfg job: it names the section that is printed")
    return arguments.cfg is not None or arguments.info is not None


def print_requested(arguments: Namespace) -> None:
    """Print what the flags ask for; words that name no sweep are of a single run.

    Raises:
        UserError: more than one cell is named, or one that the plan does not have.
    """
    if not arguments.names and not has_ablation(arguments.overrides):
        if arguments.cfg != "job":
            raise UserError("name a sweep: write ablation=..., or list values of a key")
        config = parse_configs(arguments.overrides)[1]
        _print_config(config, "A run of no sweep.", arguments.package)
        return
    request, cell_names = select_request("run", arguments.names, arguments.overrides)
    resolved_plan = request.build_plan()
    plan = resolved_plan.plan
    if len(cell_names) > 1:
        raise UserError(f"one configuration is printed, name one cell: {' '.join(cell_names)}")
    cell = find_cell(plan, cell_names[0]) if cell_names else plan.cells[0]
    if plan.is_scored_by_program:
        _print_command(request, resolved_plan, cell)
        return
    config = dataclasses.replace(resolved_plan.configs[cell.arm], seed=cell.seed)
    if arguments.cfg == "sweep":
        print(format_yaml(to_builtins(request.settings)), end="")
    elif arguments.cfg == "job":
        comment = f"Cell {cell.name} of {plan.sweep_id}, run {cell.run_id}."
        _print_config(config, comment, arguments.package)
    elif arguments.info == "searchpath":
        print(*request.conf_dirs, sep="\n")
    else:
        _print_origins(request, cell.arm, config)


def _print_command(request: SweepRequest, resolved_plan: ResolvedPlan, cell: Cell) -> None:
    """Print the values and the command line of a cell that another program trains."""
    run_only = resolved_plan.plan.run_only_values(cell.arm)
    invocation = read_invocation(resolved_plan.specs[cell.run_id], run_only)
    output = (request.store.get_run(cell.run_id).path / "output").absolute()
    words = invocation.build_words(output, resumes=False)
    print(f"# Cell {cell.name} of {resolved_plan.plan.sweep_id}, run {cell.run_id}.")
    print(format_yaml({"values": dict(invocation.values), "run": shlex.join(words)}), end="")


def _print_config(config: RunConfig, comment: str, package: str | None) -> None:
    values = to_builtins(config)
    if package is None:
        print(format_config(config, comment), end="")
    elif not has_key(values, package):
        raise make_unknown_name_error("section", package, values)
    else:
        print(format_yaml(get_value(values, package)), end="")


def _print_origins(request: SweepRequest, arm: str, config: RunConfig) -> None:
    """Print the choice of each group and the value of each key, with where it comes from."""
    console = make_console()
    columns = [Column("group"), Column("choice"), Column("from")]
    print_table(console, columns, find_choice_origins(request, arm))
    print()
    origins = find_key_origins(request, arm)
    rows = [
        (key, format_value(value), origins.get(key, "default"))
        for key, value in flatten(to_builtins(config)).items()
        if key != "seed"
    ]
    print_table(console, [Column("key"), Column("value"), Column("from")], rows)
