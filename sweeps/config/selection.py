"""The sweep that a command line selects: by `ablation=...` words, or by its id in the store.

A name is the id of a sweep or the start of one, `<arm>/<seed>`, or the start of a run id. A sweep
need not be named if the store has only one with the named cells.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches

from ablations import schema as ablation_schema
from ablations.plan.plan import find_cell
from sweeps.config import multirun, stored_sweep, sweep_keys
from sweeps.config.request import SweepRequest, parse_configs, parse_request
from sweeps.config.schema import SweepConfig
from uniclip.config import plugins
from uniclip.config.binding import bind
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.store import Plan, Store, SweepFolder

SWEEP_HELP = "id of a sweep in the store, or its start, instead of ablation=... (see list sweeps)"
CELL_HELP = "<arm>/<seed>, or the start of a run id"
READING_KEYS = ("store", "plugins", "runtime.plugins")
"""Keys that a command takes beside a sweep id if it only reads the stored plan."""
MAX_LISTED_SWEEPS = 5


@dataclass(frozen=True, kw_only=True)
class SelectedPlan:
    """The plan that a command reads: a stored one, or the requested one."""

    plan: Plan
    store: Store
    settings: SweepConfig
    """The settings of the sweep: of the command line, or those that the stored plan records."""
    cell_names: list[str]
    """The names on the command line that are cells."""
    notes: tuple[str, ...] = ()
    """What the user should know of the selection."""


def select_plan(command: str, names: Sequence[str], overrides: list[str]) -> SelectedPlan:
    """Return the plan that a command line selects. Of a sweep in the store it needs neither data
    nor configuration.

    Args:
        command: The command, for messages.
        names: Its names.
        overrides: Its `key=value` words.

    Raises:
        UserError: no such sweep exists, or the words are not valid.
    """
    if has_ablation(overrides) or not names:
        request = parse_request(overrides)
        plan = request.build_plan().plan
        stored_plan = request.store.get_sweep(plan.sweep_id).read_plan()
        notes: tuple[str, ...] = ()
        if stored_plan is None and (hint := suggest_other_sweeps(request.store, plan, command)):
            notes = (f"note: {plan.sweep_id} was not run; {hint}",)
        return SelectedPlan(
            plan=stored_plan or plan,
            store=request.store,
            settings=request.settings,
            cell_names=[*names],
            notes=notes,
        )
    store = open_store(overrides)
    plan, cell_names = _find_plan(store, names)
    for word in overrides:
        if (key := word.partition("=")[0]) not in READING_KEYS:
            raise UserError(
                f"{command} {plan.sweep_id} reads the stored plan: leave out {key}=, or write the "
                "words of the sweep instead of its id"
            )
    return SelectedPlan(
        plan=plan,
        store=store,
        settings=_read_settings(plan),
        cell_names=cell_names,
        notes=_import_plugins(plan, overrides),
    )


def select_request(
    command: str, names: Sequence[str], overrides: list[str]
) -> tuple[SweepRequest, list[str]]:
    """Return the request that a command line makes, and the names of cells in it.

    With a sweep id, the words that made the sweep are completed by `overrides`, and the request
    must be for the same sweep.

    Raises:
        UserError: as `select_plan`; or the sweep's words are not known.
    """
    words, stored_plan, cell_names = expand_names(command, names, overrides)
    return parse_request(words, stored_plan=stored_plan), cell_names


def expand_names(
    command: str, names: Sequence[str], overrides: list[str]
) -> tuple[list[str], Plan | None, list[str]]:
    """Return the words that a command line stands for, the plan of the sweep that it names, and
    the names of cells.

    The plan is None if the sweep is not named by its id.
    """
    if has_ablation(overrides) or not names:
        return overrides, None, [*names]
    store = open_store(overrides)
    plan, cell_names = _find_plan(store, names)
    if plan.tuning is not None and command != "tune":
        raise UserError(
            f"{plan.sweep_id} was made by tune: write tune {plan.sweep_id}; status, report, logs, "
            "diff and cancel take its id"
        )
    words = stored_sweep.merge_overrides(plan, overrides)
    if plan.tuning is not None:
        default_plan = store.get_sweep(plan.tuning.default_sweep).read_plan()
        plan = default_plan or plan
    if not any(word.startswith("seeds=") for word in words):  # a follow-up job repeats the words
        given_keys = {word.partition("=")[0] for word in words}
        seed_words = stored_sweep.list_seed_words(plan)
        words = [*words, *(w for w in seed_words if w.partition("=")[0] not in given_keys)]
    return words, plan, cell_names


def require_no_cells(command: str, cell_names: Sequence[str]) -> None:
    """Raise `UserError` if names are left that are no sweep."""
    if cell_names:
        raise UserError(
            f"{command} takes one sweep, its id or words with ablation=: leave out "
            f"{' '.join(cell_names)}"
        )


def open_store(overrides: Sequence[str]) -> Store:
    """Return the store that the words name; what is created in it, its group may use."""
    words = [word for word in overrides if word.startswith("store=")]
    values = parse_overrides(words, sweep_keys.collect_value_forms())
    config: SweepConfig = bind(SweepConfig, values)
    store = Store(config.store)
    store.share_with_group()
    return store


def has_ablation(overrides: Sequence[str]) -> bool:
    """Return whether the words name a sweep by its ablation, or by the values of its arms."""
    is_named = any(word.startswith("ablation=") for word in overrides)
    return is_named or bool(multirun.split_lists(overrides)[1])


def find_sweep(store: Store, name: str) -> SweepFolder | None:
    """Return the sweep with this id, or the only one whose id starts with `name`; None for none.

    Raises:
        UserError: several ids start with it.
    """
    folder = store.get_sweep(name)
    if name and ".." not in name.split("/") and (folder.path / "plan.json").is_file():
        return folder
    folders = [f for f in store.iter_sweeps() if f.id.startswith(name)] if name else []
    if len(folders) > 1:
        raise UserError(
            f"{name!r} is the start of {len(folders)} sweep ids, give more of it: "
            f"{_list_ids(folders)}"
        )
    return folders[0] if folders else None


def suggest_other_sweeps(store: Store, plan: Plan, command: str) -> str:
    """Return a phrase that names the sweeps of the same ablation in the store; "" if it has none.

    Args:
        store: The store.
        plan: A plan that is not in it.
        command: The command that the phrase suggests.
    """
    others = [p for p in read_plans(store) if p.ablation == plan.ablation]
    if not others:
        return ""
    ids = ", ".join(other.sweep_id for other in others[:MAX_LISTED_SWEEPS])
    budgets = dict.fromkeys(o.budget for o in others if o.budget != plan.budget)
    budget_hint = f"add budget={' or budget='.join(budgets)}, or " if budgets else ""
    return f"the store has {ids} of this ablation: {budget_hint}write {command} <id>"


def read_plans(store: Store) -> list[Plan]:
    """Return the plan of every sweep in a store, without those that another version damaged."""
    plans = []
    for folder in store.iter_sweeps():
        with suppress(UserError):
            plan = folder.read_plan()
            if plan is not None:
                plans.append(plan)
    return plans


def describe_same_words(store: Store, plan: Plan) -> tuple[str, ...]:
    """Return a line if the store has sweeps made by the same words with another budget."""
    if store.get_sweep(plan.sweep_id).get_plan_version():
        return ()
    words = _drop_budget(plan.overrides)
    others = [
        stored_plan
        for stored_plan in read_plans(store)
        if stored_plan.budget != plan.budget
        and stored_plan.tuning is None
        and _drop_budget(stored_plan.overrides) == words
    ]
    return tuple(
        f"note: this is budget={plan.budget}; the store has the same sweep with "
        f"budget={other.budget}: {other.sweep_id}"
        for other in others[:1]
    )


def _drop_budget(overrides: Sequence[str]) -> set[str]:
    prefixes = ("budget=", "launcher=", "launcher.", "runtime.")
    return {word for word in overrides if not word.startswith(prefixes)}


def _find_plan(store: Store, names: Sequence[str]) -> tuple[Plan, list[str]]:
    """Return the plan that names select, and the names of cells among them."""
    for name in names:
        folder = find_sweep(store, name)
        if folder is not None:
            plan = folder.read_plan()
            if plan is None:
                raise UserError(f"{folder.path} has no plan: the sweep was never started")
            return plan, [other for other in names if other != name]
    plans = read_plans(store)
    matching_plans = [plan for plan in plans if _has_cells(plan, names)]
    if len(matching_plans) == 1:
        return matching_plans[0], [*names]
    if matching_plans:
        ids = ", ".join(plan.sweep_id for plan in matching_plans[:MAX_LISTED_SWEEPS])
        raise UserError(f"{' '.join(names)} is in several sweeps, name one of them too: {ids}")
    raise _make_unknown_sweep_error(store, names[0], [plan.sweep_id for plan in plans])


def _has_cells(plan: Plan, names: Sequence[str]) -> bool:
    try:
        return all([find_cell(plan, name) for name in names])
    except UserError:
        return False


def _make_unknown_sweep_error(store: Store, name: str, sweep_ids: Sequence[str]) -> UserError:
    if name in ablation_schema.list_ablations([ablation_schema.CONF]):
        return UserError(
            f"no sweep of ablation {name} is in store={store.root}: write ablation={name}"
        )
    missing = (
        f"store={store.root} has no {'cell' if '/' in name else 'sweep, cell or run'} {name!r}"
    )
    if not sweep_ids:
        return UserError(f"{missing}: it holds no sweep; choose another store=, or write ablation=")
    close_ids = get_close_matches(name, sweep_ids, n=3, cutoff=0.6)
    if close_ids:
        return UserError(f"{missing}: did you mean {' or '.join(close_ids)}?")
    shown = ", ".join(sweep_ids[:MAX_LISTED_SWEEPS])
    return UserError(f"{missing}: its sweeps are {shown}; see list sweeps store={store.root}")


def _read_settings(plan: Plan) -> SweepConfig:
    """Return the settings that a plan records: those of its launcher."""
    launcher_words = [w for w in plan.overrides if w.startswith(("launcher=", "launcher."))]
    try:
        return parse_configs(launcher_words)[0]
    except UserError:  # another version recorded them
        return SweepConfig()


def _import_plugins(plan: Plan, overrides: Sequence[str]) -> tuple[str, ...]:
    """Import the plug-ins of a stored plan, whose code decides what is outdated."""
    words = [word for word in overrides if word.partition("=")[0] in READING_KEYS[1:]]
    for names in parse_overrides(words, sweep_keys.collect_value_forms()).values():
        plugins.import_plugins(names)
    try:
        plugins.import_plugins(plan.plugins)
    except UserError as error:
        return (f"note: {error}; cells may be shown as outdated",)
    return ()


def print_notes(notes: Sequence[str]) -> None:
    """Print notes on standard error, so that the output of a command stays as it is."""
    for note in notes:
        print(note, file=sys.stderr)


def _list_ids(folders: Sequence[SweepFolder]) -> str:
    shown = ", ".join(folder.id for folder in folders[:MAX_LISTED_SWEEPS])
    return shown + (", ..." if len(folders) > MAX_LISTED_SWEEPS else "")
