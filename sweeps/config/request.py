"""The parsed command line: a request for a plan, and the settings of its sweep."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ablations import designs
from ablations import schema as ablation_schema
from ablations.plan.command_plan import build_command_plan, check_command_keys
from ablations.plan.conflicts import check_test_data
from ablations.plan.plan import PlanRequest, ResolvedPlan, build_plan
from ablations.schema import Ablation
from sweeps.config import adaptive_seeds, evaluation_words, multirun, stored_sweep, sweep_keys
from sweeps.config.device import resolve_device
from sweeps.config.schema import SweepConfig
from sweeps.config.unknown_keys import make_unknown_key_error
from uniclip.config import RunConfig, build_run_config, complete_run_values, compose, plugins
from uniclip.config.binding import bind, to_builtins
from uniclip.config.override_keys import KEY_ALIASES
from uniclip.config.overrides import parse_overrides as parse_words
from uniclip.data.webdataset.paths import remember_listings
from uniclip.errors import UserError
from uniclip.store import Plan, Store

Values = dict[str, Any]
"""Keys -> plain values as in YAML, which `bind` checks; dotted keys, or nested sections."""

CONF = Path(__file__).parents[1] / "conf"
RUN_CONFIG_KEYS = tuple(RunConfig.__dataclass_fields__)
PLUGIN_KEYS = ("plugins", "runtime.plugins")
PRE_COMPOSE_KEYS = ("ablation", "conf_dir")
"""Keys that are read before a configuration is composed."""
COMMAND_GROUPS = ("budget", "launcher")
"""Groups that a sweep of a command has."""
NON_CONFIG_GROUPS = ("ablation", "space")
"""Folders of YAML that are not groups of the configuration."""
ONE_TIME_KEYS = ("retry", "outdated", "store", "wait", "notify", "storage")
"""Keys that a follow-up job does not repeat; it adds store= itself, and has the values of notify=
and storage=, which may hold passwords, in its environment."""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A request for a plan, and the settings of its sweep."""

    plan_request: PlanRequest
    settings: SweepConfig
    store: Store
    argv: tuple[str, ...]
    """The command line: a command and its `key=value` words."""
    conf_dirs: tuple[Path, ...]
    """Folders of YAML files; files in later folders replace those in earlier ones."""
    stored_plan: Plan | None = None
    """The plan of the sweep that was named by its id; the request must be for the same sweep."""
    has_value_lists: bool = False
    """Whether the ablation was made of lists of values (`train.steps=100,200`)."""

    @property
    def follow_up_argv(self) -> tuple[str, ...]:
        """The command line of a follow-up job: without the keys that apply only once."""
        one_time_prefixes = tuple(f"{key}=" for key in ONE_TIME_KEYS)
        return tuple(word for word in self.argv if not word.startswith(one_time_prefixes))

    def build_plan(self, seeds: tuple[int, ...] | None = None) -> ResolvedPlan:
        """Return the requested plan.

        Args:
            seeds: Seeds that replace the requested ones.

        Raises:
            UserError: as `ablations.plan.plan.build_plan`; or a sweep was named by its id, and this
                is another one, since configuration, code or data changed.
        """
        plan_request = self.plan_request
        if seeds is not None and not self.settings.is_adaptive:
            plan_request = replace(plan_request, seeds=seeds)
        with remember_listings():
            build = build_plan if plan_request.ablation.command is None else build_command_plan
            resolved_plan = self._set_launch_device(build(plan_request))
        resolved_plan = adaptive_seeds.apply_settings(resolved_plan, self.settings, self.store)
        if self.has_value_lists:
            definitions = designs.build_arms(plan_request.ablation)
            check_test_data(definitions, resolved_plan.plan.evaluation_hashes)
        if self.stored_plan is not None:
            stored_sweep.require_same_sweep(
                self.stored_plan, resolved_plan, self.store, plan_request.recorded_overrides
            )
        return resolved_plan

    def _set_launch_device(self, resolved_plan: ResolvedPlan) -> ResolvedPlan:
        """Return the plan with what its device comes to where the launcher executes runs."""
        device = str(resolved_plan.plan.base_config["runtime"]["device"])
        launch_device = resolve_device(device, self.settings.launcher)
        return replace(resolved_plan, plan=replace(resolved_plan.plan, launch_device=launch_device))

    def load_or_build_plan(self) -> Plan:
        """Return the stored plan of the sweep, which may hold more seeds, or the requested plan."""
        plan = self.build_plan().plan
        return self.store.get_sweep(plan.sweep_id).read_plan() or plan


def parse_request(
    overrides: list[str], command_keys: Iterable[str] = (), stored_plan: Plan | None = None
) -> SweepRequest:
    """Parse the `key=value` words of a command that needs an ablation.

    Args:
        overrides: The words.
        command_keys: Keys that the command has read itself, to be suggested for unknown keys.
        stored_plan: The plan of the sweep that was named by its id, if one was. Its seeds are
            requested unless the words hold others.

    Raises:
        UserError: the ablation, a key or a value does not exist; one line.
    """
    words, lists = multirun.split_lists(overrides)
    values = parse_overrides(words)
    conf_dirs = list_conf_dirs(values.pop("conf_dir", None))
    ablation_name = values.pop("ablation", None)
    if ablation_name is None and not lists:
        multirun.reject_unknown_lists(words, command_keys)
    ablation = _load_ablation(ablation_name, lists, conf_dirs, values)
    user_choices, values = _split_group_choices(values, conf_dirs, ablation)
    choices = {**ablation.groups, **user_choices}
    sweep_values = _compose_sweep_values(choices, conf_dirs)
    run_values = _apply_sweep_values(values, sweep_values)
    settings: SweepConfig = bind(SweepConfig, sweep_values)
    if ablation.command is not None:
        if ablation.command.checkpoint:
            evaluation_words.resolve_custom_names(run_values, conf_dirs)
            ablation = evaluation_words.resolve_command_benchmark(ablation, conf_dirs)
        check_command_keys(ablation, run_values, sweep_values)
        settings = replace(settings, launcher=settings.launcher.with_one_process())
    else:
        evaluation_words.resolve_custom_names(run_values, conf_dirs)
        other_keys = {**sweep_values, **dict.fromkeys((*PRE_COMPOSE_KEYS, *command_keys))}
        listed_values = ablation.arms[ablation.reference].overrides if lists else {}
        all_run_values = {**listed_values, **run_values}
        _reject_unknown_keys(all_run_values, choices, conf_dirs, other_keys, ablation)
    store = Store(settings.store)
    store.share_with_group()
    seeds, argv = settings.resolve_seeds(ablation.first_seed), ("run", *overrides)
    if stored_plan is not None and not any(word.startswith("seeds=") for word in overrides):
        seeds = stored_plan.seeds
        argv = (*argv, *stored_sweep.list_seed_words(stored_plan))
    plan_request = PlanRequest(
        ablation=ablation,
        components=ablation_schema.load_components(conf_dirs),
        compose=lambda group_choices: _compose_run_values(group_choices, conf_dirs),
        group_choices={k: v for k, v in user_choices.items() if k != "launcher"},
        overrides=run_values,
        budget=choices.get("budget", "quick"),
        seeds=seeds,
        arms=settings.arms,
        recorded_overrides=stored_sweep.record_overrides(
            overrides, ablation.command.paths if ablation.command is not None else ()
        ),
        cache_path=store.cache_path,
    )
    return SweepRequest(
        plan_request=plan_request,
        settings=settings,
        store=store,
        argv=argv,
        conf_dirs=tuple(conf_dirs),
        stored_plan=stored_plan,
        has_value_lists=bool(lists),
    )


def parse_configs(overrides: list[str]) -> tuple[SweepConfig, RunConfig]:
    """Parse the `key=value` words of a command without an ablation.

    Returns:
        The settings of a sweep, and the configuration of a default run with these overrides.
    """
    values = parse_overrides(overrides)
    conf_dirs = list_conf_dirs(values.pop("conf_dir", None))
    choices, values = _split_group_choices(values, conf_dirs)
    evaluation_words.resolve_custom_names(values, conf_dirs)
    sweep_values = _compose_sweep_values(choices, conf_dirs)
    run_values = _compose_run_values(choices, conf_dirs)
    run_overrides = _apply_sweep_values(values, sweep_values)
    present_choices = {"data": run_values["data"]["name"], "method": run_values["method"]["name"]}
    _reject_missing_keys(run_overrides, {**run_values, **sweep_values}, present_choices)
    compose.apply_overrides(run_values, run_overrides)
    settings: SweepConfig = bind(SweepConfig, sweep_values)
    return settings, build_run_config(run_values)


def parse_overrides(overrides: Sequence[str]) -> Values:
    """Return the values of `key=value` words, by key, and import the plugins that they name.

    Aliases are replaced by the keys that they stand for.

    Raises:
        UserError: a word cannot be read, a key is given twice, or a plug-in cannot be imported.
    """
    plugin_words = [word for word in overrides if word.partition("=")[0] in PLUGIN_KEYS]
    for plugin_modules in parse_words(plugin_words, sweep_keys.collect_value_forms()).values():
        plugins.import_plugins(plugin_modules)
    values: Values = {}
    for word in overrides:
        if word.startswith("benchmark="):
            evaluation_words.require_whole_paths(word)
    for key, value in parse_words(overrides, sweep_keys.collect_value_forms()).items():
        name = KEY_ALIASES.get(key, key)
        if name in values:
            raise UserError(f"{name} is given twice")
        is_module = name == "runtime.plugins" and isinstance(value, str)
        values[name] = [value] if is_module else value
    return values


def list_conf_dirs(conf_dir: str | None = None) -> list[Path]:
    """Return the folders of YAML files: those of the packages, then the user's `conf_dir`."""
    conf_dirs = [CONF, compose.CONF, ablation_schema.CONF]
    if conf_dir is not None:
        user_conf_dir = Path(str(conf_dir)).resolve()
        if not user_conf_dir.is_dir():
            raise UserError(f"conf_dir={conf_dir} is not a folder")
        conf_dirs.append(user_conf_dir)
    return conf_dirs


def _load_ablation(
    name: object, lists: dict[str, list[str]], conf_dirs: list[Path], values: Values
) -> Ablation:
    """Return the ablation; keys of its design in `values` replace those of its file."""
    changes = {key: values[key] for key in sweep_keys.DESIGN_KEYS if values.get(key) is not None}
    if lists:
        multirun.require_one_sweep(lists, has_ablation=name is not None)
        if changes:
            raise UserError(f"{next(iter(changes))}= needs ablation=, not a list of values")
        return multirun.build_ablation(lists)
    if name is None:
        ablation_names = ", ".join(ablation_schema.list_ablations(conf_dirs))
        raise UserError(
            f"ablation= is missing: choose from {ablation_names}; or name a sweep (list sweeps)"
        )
    bind(SweepConfig, changes)
    return ablation_schema.load_ablation(str(name), conf_dirs, changes)


def _split_group_choices(
    values: Values, conf_dirs: list[Path], ablation: Ablation | None = None
) -> tuple[dict[str, str], Values]:
    """Split values into options of groups (such as data=scenes) and values of single keys.

    The other groups, such as model, may be values of the ablation's command.
    """
    groups = set(compose.list_groups(conf_dirs)) - set(NON_CONFIG_GROUPS)
    if ablation is not None and ablation.command is not None:
        groups &= set(COMMAND_GROUPS)
    choices = {key: str(value) for key, value in values.items() if key in groups}
    return choices, {key: value for key, value in values.items() if key not in groups}


def _apply_sweep_values(values: Values, sweep_values: Values) -> Values:
    """Set the keys of the sweep in `sweep_values`, and return the others: keys of the run."""
    run_values = {}
    for key, value in values.items():
        if key.split(".")[0] in sweep_values:
            _require_sweep_key(key, sweep_values)
            compose.set_key(sweep_values, key, value)
        else:
            run_values[key] = value
    return run_values


def _require_sweep_key(key: str, sweep_values: Values) -> None:
    """Raise `UserError` unless the sweep, with this launcher, has the key."""
    if not compose.has_key(sweep_values, key):
        choices_by_key = sweep_keys.map_keys_to_choices(
            {"launcher": sweep_values["launcher"]["name"]}
        )
        raise make_unknown_key_error(
            key,
            list(compose.flatten(sweep_values)),
            {k: choice for k, choice in choices_by_key.items() if k.startswith("launcher.")},
        )


def _reject_unknown_keys(
    values: Values,
    choices: Mapping[str, str],
    conf_dirs: list[Path],
    other_values: Values,
    ablation: Ablation,
) -> None:
    """Check that a run of the ablation has every key of `values`.

    Keys of the sweep and of every arm are suggested for an unknown key.

    Raises:
        UserError: a key does not exist, or is not the user's to set.
    """
    if "seed" in values:
        raise UserError("seed= is set by the sweep: write seeds=[...]")
    if "stream" in values:
        raise UserError("stream= is set by arms")
    for group in ("data", "method", "launcher"):
        if f"{group}.name" in values:
            raise UserError(f"{group}.name is chosen with {group}=, and its presets with it")
    known_values = {**_compose_run_values(choices, conf_dirs), **other_values}
    if not all(compose.has_key(known_values, key) for key in values):
        for arm in designs.build_arms(ablation).values():
            arm_values = _compose_run_values({**choices, **arm.groups}, conf_dirs)
            for section, section_values in arm_values.items():
                if isinstance(section_values, dict):
                    known_values[section] = {**section_values, **known_values[section]}
    present_choices = {
        name: known_values[name]["name"]
        for name in sweep_keys.GROUP_CLASSES
        if isinstance(known_values.get(name), dict)
    }
    _reject_missing_keys(values, known_values, present_choices)
    for key, value in values.items():
        compose.set_key(known_values, key, value)


def _reject_missing_keys(
    values: Values, known_values: Values, present_choices: Mapping[str, str]
) -> None:
    """Raise `UserError` for the first key of `values` that `known_values` does not have."""
    for key in values:
        if not compose.has_key(known_values, key):
            aliases_and_groups = (*KEY_ALIASES, *sweep_keys.GROUP_KEYS)
            raise make_unknown_key_error(
                key,
                [*compose.flatten(known_values), *aliases_and_groups],
                sweep_keys.map_keys_to_choices(present_choices),
            )


def _compose_sweep_values(choices: Mapping[str, str], conf_dirs: list[Path]) -> Values:
    """Return the sweep's part of a composed configuration, every key present."""
    composed = _compose_cached(tuple(sorted(choices.items())), tuple(conf_dirs))
    sweep_values = {key: v for key, v in composed.items() if key not in RUN_CONFIG_KEYS}
    values: Values = to_builtins(bind(SweepConfig, sweep_values))
    return values


def _compose_run_values(choices: Mapping[str, str], conf_dirs: list[Path]) -> Values:
    """Return the run's part of a composed configuration, every key present; a fresh copy."""
    cached_values = _compose_run_values_cached(tuple(sorted(choices.items())), tuple(conf_dirs))
    return copy.deepcopy(cached_values)


@cache
def _compose_run_values_cached(
    choices: tuple[tuple[str, str], ...], conf_dirs: tuple[Path, ...]
) -> Values:
    composed = _compose_cached(choices, conf_dirs)
    run_values = {key: v for key, v in composed.items() if key in RUN_CONFIG_KEYS}
    return complete_run_values(run_values)


@cache
def _compose_cached(choices: tuple[tuple[str, str], ...], conf_dirs: tuple[Path, ...]) -> Values:
    return compose.compose("sweep", dict(choices), conf_dirs)
