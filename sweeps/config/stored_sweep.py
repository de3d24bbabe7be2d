"""The words that make a stored sweep again, and the check that they still do."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ablations.plan.plan import ResolvedPlan
from sweeps.config import sweep_keys
from sweeps.config.schema import ADAPTIVE
from uniclip.config import RUN_ONLY
from uniclip.config.compose import flatten
from uniclip.config.data import SOURCE_SEPARATOR
from uniclip.config.override_keys import get_key, replace_overrides
from uniclip.config.overrides import JOINED_PATHS, TEXT, format_override, parse_overrides
from uniclip.errors import UserError
from uniclip.io import hub
from uniclip.store import Plan, Store
from uniclip.store.sweep_records import IMPORTED

UNRECORDED_KEYS = (
    *("max_gpu_hours", "max_seeds", "notify", "outdated", "retry", "seeds", "storage", "store"),
    "wait",
)
"""Keys that apply to one command, are recorded in the plan itself, or may hold a password."""
MAX_SHOWN_DIFFERENCES = 3
ABSENT = "(none)"


def record_overrides(
    overrides: Iterable[str], command_paths: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the words of a command line as a plan records them.

    Keys of `UNRECORDED_KEYS` are left out, and paths are absolute: the command can be repeated in
    any folder.

    Args:
        overrides: The words.
        command_paths: Values of an ablation's command that are paths.
    """
    path_keys = sweep_keys.list_path_keys() | set(command_paths)
    forms = {**sweep_keys.collect_value_forms(), **dict.fromkeys(command_paths, TEXT)}
    words = []
    for word in overrides:
        key = word.partition("=")[0]
        if key in path_keys or key == "benchmark":
            value = parse_overrides([word], forms)[key]
            word = _make_absolute(key, value) or word
        if key not in UNRECORDED_KEYS:
            words.append(word)
    return tuple(words)


def merge_overrides(plan: Plan, overrides: Sequence[str]) -> list[str]:
    """Return the words that make a stored sweep again, some of them replaced.

    Args:
        plan: The stored plan.
        overrides: Words of the command line, which replace recorded ones (`replace_overrides`).

    Raises:
        UserError: the plan is from before words were recorded, or its runs were imported.
    """
    if plan.executor == IMPORTED:
        raise UserError(
            f"the runs of {plan.sweep_id} were imported, and nothing here can execute them; "
            "status, report, diff and export take its id"
        )
    if not plan.overrides:
        raise UserError(
            f"{plan.sweep_id} was planned by a version that did not record its command: write the "
            f"words that made it ({format_known_words(plan)} ...); status, report, logs, diff and "
            "cancel take its id"
        )
    return replace_overrides(plan.overrides, overrides)


def format_known_words(plan: Plan) -> str:
    """Return the words that a plan is known to be made with, without those of single keys."""
    return f"ablation={plan.ablation} budget={plan.budget} data={plan.data}"


def format_command(plan: Plan, command: str = "") -> str:
    """Return the words of a command line that makes the sweep of a plan, as a shell reads them."""
    if not plan.overrides:
        return f"{format_known_words(plan)} ..."
    verb = "tune" if plan.tuning is not None else command
    if plan.adaptive is not None:
        return " ".join(
            [*filter(None, [verb]), shlex.join([*plan.overrides, *list_seed_words(plan)])]
        )
    counted_seeds = range(plan.first_seed, plan.first_seed + len(plan.seeds))
    is_counted = plan.seeds == tuple(counted_seeds)
    seeds = str(len(plan.seeds)) if is_counted else f"[{','.join(map(str, plan.seeds))}]"
    return " ".join([*filter(None, [verb]), shlex.join([*plan.overrides, f"seeds={seeds}"])])


def list_seed_words(plan: Plan) -> list[str]:
    """Return the words that request the seeds of a stored plan, or the rule that buys them."""
    if plan.adaptive is None:
        return [f"seeds=[{','.join(map(str, plan.seeds))}]"]
    words = [f"seeds={ADAPTIVE}", f"max_seeds={plan.adaptive.max_seeds}"]
    if plan.adaptive.max_gpu_hours is not None:
        words.append(f"max_gpu_hours={plan.adaptive.max_gpu_hours!r}")
    return words


def require_same_sweep(
    stored_plan: Plan, resolved_plan: ResolvedPlan, store: Store, recorded_overrides: Sequence[str]
) -> None:
    """Check that a request which was made from a stored plan is for the same sweep.

    Args:
        stored_plan: The plan.
        resolved_plan: The plan of the request.
        store: The store of the plan.
        recorded_overrides: The words of the request, as they would be recorded.

    Raises:
        UserError: it is another sweep; the line says what differs.
    """
    new_id, old_id = resolved_plan.plan.sweep_id, stored_plan.sweep_id
    if new_id == old_id:
        return
    changes = [
        word
        for word in recorded_overrides
        if word not in stored_plan.overrides and not sweep_keys.is_run_only(get_key(word))
    ]
    if changes:
        raise UserError(
            f"{' '.join(changes)} makes another sweep than {old_id}: with a sweep id give only "
            "seeds, store, launcher, runtime.*, benchmark and where its data lie; the other sweep "
            f"is {shlex.join(recorded_overrides)}"
        )
    reason = _describe_difference(stored_plan, resolved_plan, store)
    raise UserError(
        f"the words that made {old_id} now make {new_id}: {reason}; nothing was run. report and "
        f"status {old_id} show its results; the new sweep is {shlex.join(recorded_overrides)}"
    )


def _describe_difference(stored_plan: Plan, resolved_plan: ResolvedPlan, store: Store) -> str:
    """Return in what the sweep of a request differs from the stored one."""
    plan = resolved_plan.plan
    old_arms = {arm.name: arm.config_diff for arm in stored_plan.arms}
    new_arms = {arm.name: arm.config_diff for arm in plan.arms}
    if old_arms.keys() != new_arms.keys():
        names = sorted(old_arms.keys() ^ new_arms.keys())
        return f"the arms differ ({_shorten(names)})"
    changed_keys = _compare(flatten(stored_plan.base_config), flatten(plan.base_config))
    for arm, old_diff in old_arms.items():
        arm_keys = _compare(old_diff, new_arms[arm])
        changed_keys += [f"{arm}: {text}" for text in arm_keys]
    if changed_keys:
        return f"the configuration differs ({_shorten(changed_keys)})"
    new_run_ids = {(cell.arm, cell.seed): cell.run_id for cell in plan.cells}
    for cell in stored_plan.cells:
        run = store.get_run(cell.run_id)
        new_run_id = new_run_ids.get((cell.arm, cell.seed))
        if new_run_id is not None and run.has_spec():
            new_spec = resolved_plan.specs[new_run_id]
            changes = _compare(flatten(run.read_spec()["data"]), flatten(new_spec["data"]))
            return f"the data differ ({_shorten(changes)})" if changes else _VERSION
    return _VERSION


_VERSION = "this version of the code names it differently"


def _compare(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return "key: old -> new" for every key that differs and is not only about execution."""
    return [
        f"{key}: {old.get(key, ABSENT)} -> {new.get(key, ABSENT)}"
        for key in dict.fromkeys([*old, *new])
        if key.split(".")[0] not in RUN_ONLY
        and not sweep_keys.is_run_only(key)
        and old.get(key, ABSENT) != new.get(key, ABSENT)
    ]


def _shorten(texts: Sequence[str]) -> str:
    shown = ", ".join(text[:120] for text in texts[:MAX_SHOWN_DIFFERENCES])
    num_hidden = len(texts) - MAX_SHOWN_DIFFERENCES
    return f"{shown} and {num_hidden} more" if num_hidden > 0 else shown


def _make_absolute(key: str, value: Any) -> str | None:
    """Return the word of a key with its paths absolute; None if its value holds none."""
    if isinstance(value, str) and key != "benchmark":
        is_joined = key in JOINED_PATHS and SOURCE_SEPARATOR in value
        paths = value.split(SOURCE_SEPARATOR) if is_joined else [value]
        joined = SOURCE_SEPARATOR.join(_make_path_absolute(path.strip()) for path in paths)
        return format_override(key, joined) if value else None
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return format_override(key, [_make_dataset_absolute(name) for name in value])
    return None


def _make_path_absolute(path: str) -> str:
    """Return a path as an absolute one; a name of the hub, or a flag, as it is."""
    if path in ("true", "false") or hub.is_hub_name(path):
        return path
    prefix = hub.LOCAL_PREFIX if path.startswith(hub.LOCAL_PREFIX) else ""
    return f"{prefix}{os.path.abspath(path.removeprefix(prefix))}"


def _make_dataset_absolute(name: str) -> str:
    for scheme in sweep_keys.DATASET_SCHEMES:
        if name.startswith(scheme):
            return f"{scheme}{os.path.abspath(name.removeprefix(scheme))}"
    return name
