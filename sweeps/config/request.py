"""What the user asked for: words of the command line as a request and a sweep's settings."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ablations import designs
from ablations import schema as ablation_schema
from ablations.plan.plan import PlanRequest, build_plan
from ablations.schema import Ablation
from sweeps.config.schema import SweepConfig
from uniclip import evaluate
from uniclip.config import RunConfig, build_run_config, compose, plugins
from uniclip.config.binding import bind, to_builtins
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols import custom
from uniclip.store import Plan, Store

CONF = Path(__file__).parents[1] / "conf"
RUN_CONFIG_KEYS = tuple(RunConfig.__dataclass_fields__)
KEY_ALIASES = {
    "data_root": "runtime.data_root",
    "protocol": "runtime.protocol",
    "plugins": "runtime.plugins",
}
"""Keys that are long for what they are."""
PRE_COMPOSE_KEYS = ("ablation", "conf_dir")
"""Looked at before anything is composed."""
NON_CONFIG_GROUPS = ("ablation", "space")
"""Folders of YAML that are no groups of a configuration."""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A request for a plan, and the settings of the sweep that it makes."""

    plan_request: PlanRequest
    settings: SweepConfig
    store: Store
    argv: tuple[str, ...]
    """The command line: a verb and its overrides."""
    conf_dirs: tuple[Path, ...]
    """Where YAML is looked for."""

    @property
    def follow_up_argv(self) -> tuple[str, ...]:
        """The words as a follow-up says them: it does not ask again for what was asked once."""
        one_time_prefixes = ("retry=", "outdated=", "store=", "wait=")
        return tuple(
            argument for argument in self.argv if not argument.startswith(one_time_prefixes)
        )

    def load_or_build_plan(self) -> Plan:
        """Return the stored plan of the sweep, which may hold more seeds, or the requested plan."""
        plan = build_plan(self.plan_request).plan
        return self.store.get_sweep(plan.sweep_id).read_plan() or plan


def list_conf_dirs(conf_dir: str | None = None) -> list[Path]:
    """Where YAML is looked for: ours, then the user's."""
    conf_dirs = [CONF, compose.CONF, ablation_schema.CONF]
    if conf_dir is not None:
        user_conf_dir = Path(str(conf_dir)).resolve()
        if not user_conf_dir.is_dir():
            raise UserError(f"conf_dir={conf_dir} is not a folder")
        conf_dirs.append(user_conf_dir)
    return conf_dirs


def parse_request(overrides: list[str], command_keys: Iterable[str] = ()) -> SweepRequest:
    """What these `key=value` words ask for; `UserError` in one line where they cannot be had.

    beside: keys that the verb has taken for itself, to be offered for one that is not known.
    """
    values = parse_overrides(overrides)
    conf_dirs = list_conf_dirs(values.pop("conf_dir", None))
    name = values.pop("ablation", None)
    if name is None:
        ablation_names = ", ".join(ablation_schema.list_ablations(conf_dirs))
        raise UserError(f"ablation= is missing: choose from {ablation_names}")
    ablation = ablation_schema.load_ablation(str(name), conf_dirs)
    group_names = set(compose.list_groups(conf_dirs)) - set(NON_CONFIG_GROUPS)
    choices = {k: str(v) for k, v in values.items() if k in group_names}
    key_values = {k: v for k, v in values.items() if k not in group_names}
    sweep_values = _compose_sweep_values({**ablation.groups, **choices}, conf_dirs)
    run_values: dict[str, Any] = {}
    for key, value in key_values.items():
        if key.split(".")[0] in sweep_values:
            compose.set_key(sweep_values, key, value)
        else:
            run_values[key] = value
    settings: SweepConfig = bind(SweepConfig, sweep_values)
    _resolve_custom_names(run_values, conf_dirs)
    other_keys = {**sweep_values, **dict.fromkeys((*PRE_COMPOSE_KEYS, *command_keys))}
    _reject_unknown_keys(
        run_values, {**ablation.groups, **choices}, conf_dirs, other_keys, ablation
    )
    store = Store(settings.store)
    plan_request = PlanRequest(
        ablation=ablation,
        components=ablation_schema.load_components(conf_dirs),
        compose=lambda c: _compose_run_values(c, conf_dirs),
        group_choices={k: v for k, v in choices.items() if k != "launcher"},
        overrides=run_values,
        budget=choices.get("budget", ablation.groups.get("budget", "quick")),
        seeds=settings.resolve_seeds(),
        arms=settings.arms,
        cache_path=store.cache_path,
    )
    return SweepRequest(
        plan_request=plan_request,
        settings=settings,
        store=store,
        argv=("run", *overrides),
        conf_dirs=tuple(conf_dirs),
    )


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """The words as keys and values, short keys written out; plugins are in use from here on."""
    values = {KEY_ALIASES.get(k, k): v for k, v in compose.parse_overrides(overrides).items()}
    plugin_modules = values.get("runtime.plugins", ())
    plugins.import_plugins(plugin_modules)
    if isinstance(plugin_modules, str):
        values["runtime.plugins"] = [plugin_modules]
    return values


def parse_configs(overrides: list[str]) -> tuple[SweepConfig, RunConfig]:
    """Where runs would go, by these words, and a run as it then is by default; no ablation."""
    values = parse_overrides(overrides)
    conf_dirs = list_conf_dirs(values.pop("conf_dir", None))
    group_names = set(compose.list_groups(conf_dirs)) - {"ablation"}
    choices = {k: str(v) for k, v in values.items() if k in group_names}
    _resolve_custom_names(values, conf_dirs)
    sweep_values, run_values = (
        _compose_sweep_values(choices, conf_dirs),
        _compose_run_values(choices, conf_dirs),
    )
    for key, value in values.items():
        if key not in group_names:
            is_sweep_key = key.split(".")[0] in sweep_values
            compose.set_key(sweep_values if is_sweep_key else run_values, key, value)
    return bind(SweepConfig, sweep_values), build_run_config(run_values)


def _resolve_custom_names(values: dict[str, Any], conf_dirs: list[Path]) -> None:
    """What the user's own protocol and lists of data sets say, in the place of their names."""
    name, benchmark_names = values.get("runtime.protocol"), values.get("benchmark")
    if isinstance(name, str):
        values["runtime.protocol"] = custom.resolve_protocol(name, conf_dirs)
    if isinstance(benchmark_names, list):
        custom_names = set(datasets.list_benchmarks(conf_dirs)) - set(datasets.list_benchmarks())
        expanded_names = [
            evaluate.expand_benchmarks([n], conf_dirs) if n in custom_names else (n,)
            for n in benchmark_names
        ]
        values["benchmark"] = [name for part in expanded_names for name in part]


def _reject_unknown_keys(
    values: Mapping[str, Any],
    choices: Mapping[str, str],
    conf_dirs: list[Path],
    sweep_values: dict[str, Any],
    ablation: Ablation,
) -> None:
    """Name an unknown key against all keys there are, the sweep's and other arms' included."""
    for key in ("seed", "stream"):
        if key in values:
            raise UserError(
                f"{key}= is set by the sweep: write seeds=[...]"
                if key == "seed"
                else f"{key}= is set by arms"
            )
    for group in ("data", "method", "launcher"):
        if f"{group}.name" in values:
            raise UserError(f"{group}.name is chosen with {group}=, and its presets with it")
    all_values = {**_compose_run_values(choices, conf_dirs), **sweep_values}
    if not all(compose.has_key(all_values, key) for key in values):
        for arm in designs.build_arms(ablation).values():
            for section, section_values in _compose_run_values(
                {**choices, **arm.groups}, conf_dirs
            ).items():
                if isinstance(section_values, dict):
                    all_values[section] = {**section_values, **all_values[section]}
    for key, value in values.items():
        compose.set_key(all_values, key, value)


def _compose_sweep_values(choices: Mapping[str, str], conf_dirs: list[Path]) -> dict[str, Any]:
    composed = _compose_cached(tuple(sorted(choices.items())), tuple(conf_dirs))
    sweep_keys = {k: v for k, v in composed.items() if k not in RUN_CONFIG_KEYS}
    values: dict[str, Any] = to_builtins(bind(SweepConfig, sweep_keys))
    return values


def _compose_run_values(choices: Mapping[str, str], conf_dirs: list[Path]) -> dict[str, Any]:
    return copy.deepcopy(
        _compose_run_values_cached(tuple(sorted(choices.items())), tuple(conf_dirs))
    )


@cache
def _compose_run_values_cached(
    choices: tuple[tuple[str, str], ...], conf_dirs: tuple[Path, ...]
) -> dict[str, Any]:
    """The run's part of what is composed, every key present."""
    run_values = {
        k: v for k, v in _compose_cached(choices, conf_dirs).items() if k in RUN_CONFIG_KEYS
    }
    values: dict[str, Any] = to_builtins(build_run_config(run_values))
    return values


@cache
def _compose_cached(
    choices: tuple[tuple[str, str], ...], conf_dirs: tuple[Path, ...]
) -> dict[str, Any]:
    return compose.compose("sweep", dict(choices), conf_dirs)
