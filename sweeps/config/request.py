"""What the user asked for: words of the command line as a request and a sweep's settings."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union

from ablations import designs, schema
from ablations.plan.plan import PlanRequest
from ablations.schema import Ablation
from sweeps.claims.claim import RunState
from sweeps.slurm import MAX_EARLY_SIGNAL_SECONDS
from uniclip import evaluate
from uniclip.config import RunConfig, build_run_config, compose, plugins
from uniclip.config.binding import TAGGED_UNIONS, bind, config_field, to_builtins
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols import custom
from uniclip.store import Store

CONF = Path(__file__).parents[1] / "conf"
RUN_CONFIG_KEYS = tuple(RunConfig.__dataclass_fields__)
MAX_SEEDS = 10_000
KEY_ALIASES = {
    "data_root": "runtime.data_root",
    "protocol": "runtime.protocol",
    "plugins": "runtime.plugins",
}
"""Keys that are long for what they are."""
RESERVED_SBATCH_PARAMETERS = frozenset(
    "array cluster clusters dependency error hold job_name no_requeue open_mode output parsable "
    "quiet requeue signal test_only wait wrap".split()
)
"""Parameters of sbatch on which the launcher rests: they are not the user's to set."""
SHARED_PARAMETER_NAMES = (
    "account constraint cpus_per_task gpus_per_node gres nodes partition qos".split()
)
SBATCH_TO_LAUNCHER_KEY = {"mem": "mem_gb", "ntasks_per_node": "tasks_per_node", "time": "minutes"}
SBATCH_TO_LAUNCHER_KEY |= {name: name for name in SHARED_PARAMETER_NAMES}
"""Parameters of sbatch -> the launcher's key for each."""
PRE_COMPOSE_KEYS = ("ablation", "conf_dir")
"""Looked at before anything is composed."""
NON_CONFIG_GROUPS = ("ablation", "space")
"""Folders of YAML that are no groups of a configuration."""


@dataclass(frozen=True, kw_only=True)
class LocalLauncherConfig:
    """Slots on this machine: each takes cells until none is left."""

    name: Literal["local"] = "local"
    slots: int | None = config_field(None, low=1)
    """Worker processes; null = as many as cores and train.num_threads allow."""

    def max_parallel(self, threads: int) -> int:
        """How many runs of so many compute threads go side by side."""
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return self.slots or max(1, cores // threads)


@dataclass(frozen=True, kw_only=True)
class SlurmLauncherConfig:
    """Jobs on a Slurm cluster."""

    name: Literal["slurm"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    nodes: int = config_field(1, low=1)
    """Nodes of one cell."""
    gpus_per_node: int | None = config_field(None, low=0)
    tasks_per_node: int | None = config_field(None, low=1)
    """Processes of one cell on a node; null = one a GPU."""
    cpus_per_task: int | None = config_field(None, low=1)
    """null = as many as train.num_threads."""
    mem_gb: float | None = config_field(None, above=0)
    """Memory a node; null = the partition's default."""
    timeout_min: int = config_field(240, low=1)
    """Time limit of a job; a cell that needs longer saves, is requeued and goes on."""
    array_parallelism: int = config_field(256, low=1)
    """Jobs of an array that may run side by side."""
    cells_per_job: int | None = config_field(None, low=1)
    """Cells in one job; null = as many short ones as make ten minutes."""
    signal_delay_s: int = config_field(120, low=1)
    """So long before the time limit a job is asked to save."""
    additional_parameters: dict[str, Any] = config_field(dict)
    """Further parameters of sbatch, such as {reservation: x}; not those of `HELD` and `KEYED`."""
    setup: tuple[str, ...] = ()
    """Shell lines before the job: modules, conda, staging data to a local disk."""
    python: str | None = None
    """How jobs start Python, such as "apptainer exec image.sif python"; null = as here."""
    offline: bool = False
    """Nodes without a network: model hubs are not asked."""
    follow_up: bool = True
    """Submit a small job that runs the command again when the others have ended."""
    follow_up_partition: str | None = None
    """Where that job runs, if elsewhere."""
    poll_seconds: float = config_field(15.0, above=0)
    """With wait=true: between two looks."""

    @property
    def processes_per_node(self) -> int:
        """Processes of one cell on a node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def requested_gpus_per_node(self) -> int:
        """GPUs of one cell on a node; 0 if none is asked for by `gpus_per_node` or `gres`."""
        gres_items = [gres_item.split(":") for gres_item in (self.gres or "").split(",")]
        gpu_counts = [gres_item[-1] for gres_item in gres_items if gres_item[0] == "gpu"]
        return self.gpus_per_node or sum(int(n) if n.isdecimal() else 1 for n in gpu_counts)

    def validate(self) -> None:
        """`UserError` where no job could do its work, or the launcher would lose it."""
        required_seconds = self.signal_delay_s + MAX_EARLY_SIGNAL_SECONDS
        if required_seconds >= 60 * self.timeout_min:
            raise UserError(
                f"launcher.signal_delay_s={self.signal_delay_s} leaves nothing of "
                f"launcher.timeout_min={self.timeout_min}: every job would be told to stop as it starts "
                f"(Slurm may be {MAX_EARLY_SIGNAL_SECONDS} s early); say launcher.timeout_min={required_seconds // 60 + 1}"
            )
        for key in self.additional_parameters:
            name = key.replace("-", "_")
            if name in RESERVED_SBATCH_PARAMETERS:
                raise UserError(
                    f"launcher.additional_parameters.{key}: the launcher sets this itself; leave it out"
                )
            if name in SBATCH_TO_LAUNCHER_KEY:
                raise UserError(
                    f"launcher.additional_parameters.{key}: say launcher.{SBATCH_TO_LAUNCHER_KEY[name]} instead"
                )

    def max_parallel(self, threads: int) -> int:
        """How many runs go side by side, if the cluster is empty."""
        return self.array_parallelism


def describe_gpu_mismatch(launcher: SlurmLauncherConfig, device: str) -> str:
    """What is asked of a cluster that training on `device` (runtime.device) does not use, or what
    it lacks there, in a line; empty where they agree, as far as one can tell from here."""
    num_gpus, num_processes = launcher.requested_gpus_per_node, launcher.processes_per_node
    parameter_names = [*(launcher.gres or "").split(","), *launcher.additional_parameters]
    shared_gpu_parameters = [name for name in parameter_names if re.match("gpu|mps|shard", name)]
    if device == "cpu":
        request_text = (
            f"{num_gpus} GPUs a node are"
            if num_gpus
            else f"{shared_gpu_parameters[0]} is"
            if shared_gpu_parameters
            else ""
        )
        return request_text and f"{request_text} asked for, and runtime.device=cpu leaves them idle"
    if not num_gpus and not shared_gpu_parameters:
        return f"runtime.device={device}, and no GPU is asked for"
    if num_processes < num_gpus:
        return f"{num_gpus} GPUs a node are asked for, and launcher.tasks_per_node={num_processes} uses {num_processes}"
    return ""


LAUNCHER_CONFIGS: dict[str, type] = {"local": LocalLauncherConfig, "slurm": SlurmLauncherConfig}


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the cells get run: nothing here changes what a run is."""

    seeds: Union[int, tuple[int, ...]] = 3
    """How many (0, 1, ...), or which."""
    store: str = "store"
    """Folder of runs, sweeps and reports."""
    launcher: LocalLauncherConfig | SlurmLauncherConfig = config_field(LocalLauncherConfig)
    """One of `LAUNCHERS`, chosen by launcher.name."""
    arms: tuple[str, ...] | None = None
    """Only these arms of the ablation."""
    retry: Literal["none", "failed", "diverged"] = "none"
    """What is run again though it has ended."""
    outdated: Literal["keep", "rerun"] = "keep"
    """What becomes of outcomes that other training code made."""
    wait: bool = False
    """On a cluster: stay until all is done, instead of leaving it to the follow-up job."""
    max_gpu_hours: float | None = config_field(None, above=0)
    """Refuse to start where what is to be run would take more; a CPU slot counts as one GPU."""

    def __post_init__(self) -> None:
        if isinstance(self.launcher, SlurmLauncherConfig):
            self.launcher.validate()

    def should_run(self, state: RunState) -> bool:
        """Whether a run in that state is run, unasked or because of `retry` or `stale`."""
        return (
            state.is_runnable
            or self.should_restart(state)
            or state.status in ("halted", self.retry)
        )

    def should_restart(self, state: RunState) -> bool:
        """Whether the outcome of a run in that state is moved aside, and the run made afresh."""
        if state.status == "diverged":
            return self.retry == "diverged"
        return self.outdated == "rerun" and state.is_outdated and state.status in ("stale", "due")

    def max_parallel_runs(self, threads: int) -> int:
        """How many runs of so many compute threads go side by side."""
        return int(self.launcher.max_parallel(threads))

    def resolve_seeds(self) -> tuple[int, ...]:
        """The seeds, each once; `UserError` if there is none or one is negative."""
        return resolve_seeds("seeds", self.seeds)


def resolve_seeds(name: str, value: int | tuple[int, ...], first_seed: int = 0) -> tuple[int, ...]:
    """The seeds that `name` was given as: a number of them from `first` on, or a list.

    Raises `UserError` if there is none, one is negative or given twice, or there are too many.
    """
    if isinstance(value, int) and value > MAX_SEEDS:
        raise UserError(f"{name}={value}: give at most {MAX_SEEDS}")
    seeds = tuple(range(first_seed, first_seed + value)) if isinstance(value, int) else value
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"{name}={value}: give a number of at least 1, or a list such as [3,7]")
    return seeds


TAGGED_UNIONS[SweepConfig, "launcher"] = LAUNCHER_CONFIGS


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


def list_conf_dirs(conf_dir: str | None = None) -> list[Path]:
    """Where YAML is looked for: ours, then the user's."""
    conf_dirs = [CONF, compose.CONF, schema.CONF]
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
        ablation_names = ", ".join(schema.list_ablations(conf_dirs))
        raise UserError(f"ablation= is missing: choose from {ablation_names}")
    ablation = schema.load_ablation(str(name), conf_dirs)
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
        components=schema.load_components(conf_dirs),
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


def nearest_verb(word: str, verbs: list[str]) -> UserError:
    """The error for a word that is neither a verb nor an override."""
    return make_unknown_name_error("verb", word, verbs)
