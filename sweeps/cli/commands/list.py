"""`sweep.py list`: list the choices that a key or a name has, the keys, and what a store holds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablations import designs
from ablations import schema as ablation_schema
from sweeps.config import multirun
from sweeps.config.request import list_conf_dirs, parse_overrides
from sweeps.config.selection import find_sweep, open_store, read_plans
from sweeps.config.sweep_keys import DESIGN_KEYS
from sweeps.monitor.columns import Column
from sweeps.monitor.terminal import make_console, print_json, print_table
from uniclip import evaluate
from uniclip.config import DATA, compose, methods, timm_models
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.models import profile
from uniclip.store import Component, Store

if TYPE_CHECKING:
    from rich.console import Console

Entries = list[tuple[str, str]]
"""(name, description) of each choice."""
KINDS = (
    *("ablations", "arms", "benchmarks", "budgets", "components", "data", "keys", "methods"),
    *("models", "recipes", "runs", "spaces", "sweeps"),
)
FILTERED_KINDS = {
    "keys": "[prefix]",
    "models": "[part of a timm name]",
    "runs": "[sweep]",
    "sweeps": "[start of id]",
}
"""Kinds that a second name restricts."""
EPILOG = """\
  list keys [prefix]         keys with default, range and meaning, such as train or lr
  list models [pattern]      the presets, or timm's models, such as resnet or 'vit_*_clip_*'
  list sweeps                the sweeps of store=: state, date, size, command
  list runs [sweep]          the runs of store=, or of a sweep
  list arms ablation=<name>  the arms of an ablation
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the kind of choices and the flag --json."""
    parser.add_argument("names", nargs="*", metavar="kind", help=" | ".join(KINDS))
    parser.add_argument("--json", action="store_true", help="print one JSON record per entry")
    parser.epilog = EPILOG


def run(arguments: Namespace) -> int:
    """Print the choices of one kind with a description each, or the kinds."""
    console = make_console()
    if not arguments.names:
        parse_overrides(arguments.overrides)
        console.print("list " + " | ".join(KINDS), markup=False)
        return 0
    kind, *filters = arguments.names
    if kind not in KINDS:
        raise make_unknown_name_error("list", kind, KINDS)
    if len(filters) > (kind in FILTERED_KINDS):
        raise UserError(f"list takes one name: {', '.join(KINDS)}")
    name = filters[0] if filters else ""
    if kind == "keys":
        _print_keys(console, name, arguments.overrides, as_json=arguments.json)
    elif kind in ("runs", "sweeps"):
        _require_keys(arguments.overrides, ("store",))
        print_held = _print_runs if kind == "runs" else _print_sweeps
        print_held(console, open_store(arguments.overrides), name, as_json=arguments.json)
    elif kind == "models" and name:
        _require_keys(arguments.overrides, ())
        _print_entries(console, _list_timm_models(name), as_json=arguments.json)
    else:
        _print_entries(console, _list_choices(kind, arguments.overrides), as_json=arguments.json)
    return 0


def _list_choices(kind: str, overrides: list[str]) -> Entries:
    multirun.require_one_sweep(multirun.split_lists(overrides)[1], has_ablation=False)
    values = parse_overrides(overrides)
    values.pop("runtime.plugins", None)
    conf_dirs = list_conf_dirs(values.pop("conf_dir", None))
    if kind == "arms":
        changes = {key: values.pop(key) for key in DESIGN_KEYS if key in values}
        entries = _list_arms(values.pop("ablation", None), conf_dirs, changes)
    else:
        entries = _make_listings(conf_dirs)[kind]()
    if values:
        raise UserError(f"list takes no {sorted(values)[0]}=")
    return entries


def _require_keys(overrides: Sequence[str], keys: Sequence[str]) -> None:
    for word in overrides:
        if (key := word.partition("=")[0]) not in keys:
            raise UserError(f"list takes no {key}= here, only {', '.join(keys)}=")


def _print_entries(console: Console, entries: Entries, *, as_json: bool) -> None:
    if as_json:
        print_json([{"name": name.strip(), "description": text} for name, text in entries])
        return
    width = max((len(name) for name, _ in entries), default=0)
    for name, description in entries:
        console.print(f"{name:<{width}}  {description}".rstrip(), markup=False)


def _print_keys(console: Console, prefix: str, overrides: list[str], *, as_json: bool) -> None:
    from sweeps.cli.key_list import find_keys, format_key_list  # here: it imports the tuning

    listed_keys = find_keys(prefix, overrides)
    if as_json:
        print_json([listed.to_record() for listed in listed_keys])
        return
    for line in format_key_list(listed_keys):
        console.print(line, markup=False)


def _print_sweeps(console: Console, store: Store, prefix: str, *, as_json: bool) -> None:
    from sweeps.monitor import inventory  # here: other lists read no store

    entries = [e for e in inventory.list_sweeps(store) if e.id.startswith(prefix)]
    rows = [
        (e.id, e.state, e.progress, inventory.format_date(e.date),
         inventory.format_size(e.num_bytes), e.command)
        for e in entries
    ]  # fmt: skip
    headings = ("sweep", "state", "finished", "planned", "size", "command")
    records = [inventory.to_sweep_record(entry) for entry in entries]
    _print_inventory(console, store, headings, rows, records if as_json else None)


def _print_runs(console: Console, store: Store, sweep: str, *, as_json: bool) -> None:
    from sweeps.monitor import inventory  # here: other lists read no store

    plans = read_plans(store)
    if sweep:
        folder = find_sweep(store, sweep)
        if folder is None:
            raise make_unknown_name_error("sweep", sweep, [plan.sweep_id for plan in plans])
        plans = [plan for plan in (folder.read_plan(),) if plan is not None]
    entries = inventory.list_runs(store, plans, only_planned=bool(sweep))
    rows = [
        (e.id, e.state, e.progress, inventory.format_date(e.date),
         inventory.format_size(e.num_bytes), "; ".join(e.cells))
        for e in entries
    ]  # fmt: skip
    headings = ("run", "state", "steps", "date", "size", "cells")
    records = [inventory.to_run_record(entry) for entry in entries]
    _print_inventory(console, store, headings, rows, records if as_json else None)


def _print_inventory(
    console: Console,
    store: Store,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    records: Sequence[Mapping[str, object]] | None,
) -> None:
    """Print a table, named by its first heading, or the JSON records if they are given."""
    if records is not None:
        print_json(records)
        return
    print_table(console, [Column(heading) for heading in headings], rows)
    if not rows:
        console.print(f"store={store.root} holds no {headings[0]}", markup=False)


def _make_listings(conf_dirs: Sequence[Path]) -> dict[str, Callable[[], Entries]]:
    """Return for each kind but arms the function that lists its choices."""
    return {
        "ablations": lambda: _list_ablations(conf_dirs),
        "benchmarks": lambda: _list_benchmarks(conf_dirs),
        "budgets": lambda: _list_group("budget", conf_dirs),
        "components": lambda: _list_components(conf_dirs),
        "data": lambda: _list_classes(DATA),
        "methods": lambda: _list_classes(methods.METHODS),
        "models": lambda: _list_models(conf_dirs),
        "recipes": lambda: _list_recipes(conf_dirs),
        "spaces": lambda: _list_group("space", conf_dirs),
    }


def _list_group(group: str, conf_dirs: Sequence[Path]) -> Entries:
    """Return the options of a group of YAML files, each with its first comment."""
    options = compose.list_choices(group, conf_dirs)
    return [(option, _read_first_comment(group, option, conf_dirs)) for option in options]


def _list_ablations(conf_dirs: Sequence[Path]) -> Entries:
    names = ablation_schema.list_ablations(conf_dirs)
    return [(name, ablation_schema.load_ablation(name, conf_dirs).title) for name in names]


def _list_arms(
    ablation: object, conf_dirs: Sequence[Path], changes: Mapping[str, object]
) -> Entries:
    if ablation is None:
        choices = ", ".join(ablation_schema.list_ablations(conf_dirs))
        raise UserError(f"list arms needs ablation=: choose from {choices}")
    definition = ablation_schema.load_ablation(str(ablation), conf_dirs, changes)
    arms = designs.build_arms(definition)
    components = ablation_schema.load_components(conf_dirs)
    short_labels = {name: c.short_label or c.label for name, c in components.items()}
    method = None
    if definition.command is None:
        method = definition.groups.get("method") or compose.get_default_choices()["method"]
    return [
        (
            name,
            designs.format_arm_label(
                arm.components_off, definition.components, short_labels, method
            )
            if arm.role == "crossed" and not arm.doses
            else arm.label,
        )
        for name, arm in arms.items()
    ]


def _list_benchmarks(conf_dirs: Sequence[Path]) -> Entries:
    """Return what `benchmark=[...]` may name: test splits of sources, lists, published sets."""
    sources = [(name, f"test split of data={name}") for name in sorted(evaluate.BENCHMARKS)]
    lists = []
    for name in datasets.list_benchmarks():
        comment = _read_first_comment("benchmark", name, conf_dirs)
        lists.append((name, f"{comment.rstrip('.')}: {', '.join(datasets.read_benchmark(name))}"))
    return [*sources, *lists, *((n, d.title) for n, d in datasets.DATASETS.items())]


def _list_components(conf_dirs: Sequence[Path]) -> Entries:
    return [
        (name, f"{component.label} (off: {_format_overrides(component)}). {component.reason}")
        for name, component in ablation_schema.load_components(conf_dirs).items()
    ]


def _format_overrides(component: Component) -> str:
    """Return the keys that turning a component off sets, as a user types them."""
    return " ".join(f"{key}={value}" for key, value in component.off_overrides.items())


def _list_classes(classes: Mapping[str, type]) -> Entries:
    return [(name, (cls.__doc__ or "").strip().splitlines()[0]) for name, cls in classes.items()]


def _list_models(conf_dirs: Sequence[Path]) -> Entries:
    return [
        (name, "  ".join(filter(None, (profile.describe_preset(name), description))))
        for name, description in _list_group("model", conf_dirs)
    ]


def _list_timm_models(pattern: str) -> Entries:
    """Return timm's models with a pattern in their name, each with its sizes.

    Raises:
        UserError: there is none; suggests the nearest names.
    """
    models = timm_models.find_models(pattern)
    if not models:
        names = [model.name for model in timm_models.read_table()]
        raise make_unknown_name_error("timm model", pattern, names)
    return [(model.name, model.describe()) for model in models]


def _list_recipes(conf_dirs: Sequence[Path]) -> Entries:
    """Return the recipes, and below them the methods that have a published one."""
    method_recipes = _list_group("recipe/method", conf_dirs)
    return [*_list_group("recipe", conf_dirs), *((f"  {n}", text) for n, text in method_recipes)]


def _read_first_comment(group: str, option: str, conf_dirs: Sequence[Path]) -> str:
    for folder in conf_dirs:
        path = folder / group / f"{option}.yaml"
        if path.exists():
            for line in path.read_text().splitlines():
                if line.startswith("# ") and "@" not in line:
                    return line[2:]
            return ""
    return ""
