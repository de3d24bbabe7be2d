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
from ablations.plan.plan import Request
from ablations.schema import Ablation
from sweeps.claims.claim import State
from sweeps.slurm import EARLY_SECONDS
from uniclip import evaluate
from uniclip.config import RunConfig, compose, plugins, run_config
from uniclip.config.binding import FAMILIES, bind, plain, setting
from uniclip.errors import UserError, unknown
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols import custom
from uniclip.store import Store

CONF = Path(__file__).parents[1] / "conf"
RUN_KEYS = tuple(RunConfig.__dataclass_fields__)
MOST_SEEDS = 10_000
SHORT = {
    "data_root": "runtime.data_root",
    "protocol": "runtime.protocol",
    "plugins": "runtime.plugins",
}
"""Keys that are long for what they are."""
HELD = frozenset(
    "array cluster clusters dependency error hold job_name no_requeue open_mode output parsable "
    "quiet requeue signal test_only wait wrap".split()
)
"""Parameters of sbatch on which the launcher rests: they are not the user's to set."""
SAME = "account constraint cpus_per_task gpus_per_node gres nodes partition qos".split()
KEYED = {"mem": "mem_gb", "ntasks_per_node": "tasks_per_node", "time": "minutes"}
KEYED |= {name: name for name in SAME}
"""Parameters of sbatch -> the launcher's key for each."""
OWN_KEYS = ("ablation", "conf_dir")
"""Looked at before anything is composed."""
LISTED = ("ablation", "space")
"""Folders of YAML that are no groups of a configuration."""


@dataclass(frozen=True, kw_only=True)
class LocalLauncher:
    """Slots on this machine: each takes cells until none is left."""

    name: Literal["local"] = "local"
    slots: int | None = setting(None, low=1)
    """Worker processes; null = as many as cores and train.threads allow."""

    def place(self, threads: int) -> int:
        """How many runs of so many compute threads go side by side."""
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return self.slots or max(1, cores // threads)


@dataclass(frozen=True, kw_only=True)
class SlurmLauncher:
    """Jobs on a Slurm cluster."""

    name: Literal["slurm"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    nodes: int = setting(1, low=1)
    """Nodes of one cell."""
    gpus_per_node: int | None = setting(None, low=0)
    tasks_per_node: int | None = setting(None, low=1)
    """Processes of one cell on a node; null = one a GPU."""
    cpus_per_task: int | None = setting(None, low=1)
    """null = as many as train.threads."""
    mem_gb: float | None = setting(None, above=0)
    """Memory a node; null = the partition's default."""
    minutes: int = setting(240, low=1)
    """Time limit of a job; a cell that needs longer saves, is requeued and goes on."""
    array_parallelism: int = setting(256, low=1)
    """Jobs of an array that may run side by side."""
    pack: int | None = setting(None, low=1)
    """Cells in one job; null = as many short ones as make ten minutes."""
    signal_seconds: int = setting(120, low=1)
    """So long before the time limit a job is asked to save."""
    extra: dict[str, Any] = setting(dict)
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
    poll_seconds: float = setting(15.0, above=0)
    """With wait=true: between two looks."""

    @property
    def tasks(self) -> int:
        """Processes of one cell on a node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def gpus(self) -> int:
        """GPUs of one cell on a node; 0 if none is asked for by `gpus_per_node` or `gres`."""
        parts = [part.split(":") for part in (self.gres or "").split(",")]
        counts = [part[-1] for part in parts if part[0] == "gpu"]
        return self.gpus_per_node or sum(int(n) if n.isdecimal() else 1 for n in counts)

    def check(self) -> None:
        """`UserError` where no job could do its work, or the launcher would lose it."""
        notice = self.signal_seconds + EARLY_SECONDS
        if notice >= 60 * self.minutes:
            raise UserError(
                f"launcher.signal_seconds={self.signal_seconds} leaves nothing of "
                f"launcher.minutes={self.minutes}: every job would be told to stop as it starts "
                f"(Slurm may be {EARLY_SECONDS} s early); say launcher.minutes={notice // 60 + 1}"
            )
        for key in self.extra:
            name = key.replace("-", "_")
            if name in HELD:
                raise UserError(
                    f"launcher.extra.{key}: the launcher sets this itself; leave it out"
                )
            if name in KEYED:
                raise UserError(f"launcher.extra.{key}: say launcher.{KEYED[name]} instead")

    def place(self, threads: int) -> int:
        """How many runs go side by side, if the cluster is empty."""
        return self.array_parallelism


def unused_gpus(launcher: SlurmLauncher, device: str) -> str:
    """What is asked of a cluster that training on `device` (runtime.device) does not use, or what
    it lacks there, in a line; empty where they agree, as far as one can tell from here."""
    held, used = launcher.gpus, launcher.tasks
    names = [*(launcher.gres or "").split(","), *launcher.extra]
    shared = [name for name in names if re.match("gpu|mps|shard", name)]
    if device == "cpu":
        asked = f"{held} GPUs a node are" if held else f"{shared[0]} is" if shared else ""
        return asked and f"{asked} asked for, and runtime.device=cpu leaves them idle"
    if not held and not shared:
        return f"runtime.device={device}, and no GPU is asked for"
    if used < held:
        return f"{held} GPUs a node are asked for, and launcher.tasks_per_node={used} uses {used}"
    return ""


LAUNCHERS: dict[str, type] = {"local": LocalLauncher, "slurm": SlurmLauncher}


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the cells get run: nothing here changes what a run is."""

    seeds: Union[int, tuple[int, ...]] = 3
    """How many (0, 1, ...), or which."""
    store: str = "store"
    """Folder of runs, sweeps and reports."""
    launcher: Any = setting(LocalLauncher)
    """One of `LAUNCHERS`, chosen by launcher.name."""
    arms: tuple[str, ...] | None = None
    """Only these arms of the ablation."""
    retry: Literal["none", "failed", "diverged"] = "none"
    """What is run again though it has ended."""
    stale: Literal["keep", "rerun"] = "keep"
    """What becomes of outcomes that other training code made."""
    wait: bool = False
    """On a cluster: stay until all is done, instead of leaving it to the follow-up job."""
    max_gpu_hours: float | None = setting(None, above=0)
    """Refuse to start where what is to be run would take more; a CPU slot counts as one GPU."""

    def __post_init__(self) -> None:
        if isinstance(self.launcher, SlurmLauncher):
            self.launcher.check()

    def takes(self, state: State) -> bool:
        """Whether a run in that state is run, unasked or because of `retry` or `stale`."""
        return state.open or self.renews(state) or state.kind in ("halted", self.retry)

    def renews(self, state: State) -> bool:
        """Whether the outcome of a run in that state is moved aside, and the run made afresh."""
        if state.kind == "diverged":
            return self.retry == "diverged"
        return self.stale == "rerun" and state.stale and state.kind in ("stale", "due")

    def slots(self, threads: int) -> int:
        """How many runs of so many compute threads go side by side."""
        return int(self.launcher.place(threads))

    def seed_list(self) -> tuple[int, ...]:
        """The seeds, each once; `UserError` if there is none or one is negative."""
        return seed_list("seeds", self.seeds)


def seed_list(name: str, given: int | tuple[int, ...], first: int = 0) -> tuple[int, ...]:
    """The seeds that `name` was given as: a number of them from `first` on, or a list.

    Raises `UserError` if there is none, one is negative or given twice, or there are too many.
    """
    if isinstance(given, int) and given > MOST_SEEDS:
        raise UserError(f"{name}={given}: give at most {MOST_SEEDS}")
    seeds = tuple(range(first, first + given)) if isinstance(given, int) else given
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"{name}={given}: give a number of at least 1, or a list such as [3,7]")
    return seeds


FAMILIES[SweepConfig, "launcher"] = LAUNCHERS


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for a plan, and the settings of the sweep that it makes."""

    request: Request
    settings: SweepConfig
    store: Store
    words: tuple[str, ...]
    """The command line: a verb and its overrides."""
    folders: tuple[Path, ...]
    """Where YAML is looked for."""

    @property
    def lasting(self) -> tuple[str, ...]:
        """The words as a follow-up says them: it does not ask again for what was asked once."""
        once = ("retry=", "stale=", "store=", "wait=")
        return tuple(word for word in self.words if not word.startswith(once))


def folders(conf_dir: str | None = None) -> list[Path]:
    """Where YAML is looked for: ours, then the user's."""
    found = [CONF, compose.CONF, schema.CONF]
    if conf_dir is not None:
        own = Path(str(conf_dir)).resolve()
        if not own.is_dir():
            raise UserError(f"conf_dir={conf_dir} is not a folder")
        found.append(own)
    return found


def asked(overrides: list[str], beside: Iterable[str] = ()) -> Asked:
    """What these `key=value` words ask for; `UserError` in one line where they cannot be had.

    beside: keys that the verb has taken for itself, to be offered for one that is not known.
    """
    values = parsed(overrides)
    where = folders(values.pop("conf_dir", None))
    name = values.pop("ablation", None)
    if name is None:
        known = ", ".join(schema.names(where))
        raise UserError(f"ablation= is missing: choose from {known}")
    ablation = schema.load(str(name), where)
    known_groups = set(compose.groups(where)) - set(LISTED)
    choices = {k: str(v) for k, v in values.items() if k in known_groups}
    keys = {k: v for k, v in values.items() if k not in known_groups}
    sweep_values = _sweep_values({**ablation.base, **choices}, where)
    run_values: dict[str, Any] = {}
    for key, value in keys.items():
        if key.split(".")[0] in sweep_values:
            compose.put(sweep_values, key, value)
        else:
            run_values[key] = value
    settings: SweepConfig = bind(SweepConfig, sweep_values)
    _put_own(run_values, where)
    others = {**sweep_values, **dict.fromkeys((*OWN_KEYS, *beside))}
    _refuse_unknown(run_values, {**ablation.base, **choices}, where, others, ablation)
    store = Store(settings.store)
    request = Request(
        ablation=ablation,
        components=schema.components(where),
        compose=lambda c: _run_values(c, where),
        choices={k: v for k, v in choices.items() if k != "launcher"},
        values=run_values,
        budget=choices.get("budget", ablation.base.get("budget", "quick")),
        seeds=settings.seed_list(),
        arms=settings.arms,
        cache=store.cache,
    )
    return Asked(
        request=request,
        settings=settings,
        store=store,
        words=("run", *overrides),
        folders=tuple(where),
    )


def parsed(overrides: list[str]) -> dict[str, Any]:
    """The words as keys and values, short keys written out; plugins are in use from here on."""
    values = {SHORT.get(k, k): v for k, v in compose.parse(overrides).items()}
    own = values.get("runtime.plugins", ())
    plugins.use(own)
    if isinstance(own, str):
        values["runtime.plugins"] = [own]
    return values


def surroundings(overrides: list[str]) -> tuple[SweepConfig, RunConfig]:
    """Where runs would go, by these words, and a run as it then is by default; no ablation."""
    values = parsed(overrides)
    where = folders(values.pop("conf_dir", None))
    groups = set(compose.groups(where)) - {"ablation"}
    choices = {k: str(v) for k, v in values.items() if k in groups}
    _put_own(values, where)
    sweep_values, run_values = _sweep_values(choices, where), _run_values(choices, where)
    for key, value in values.items():
        if key not in groups:
            own = key.split(".")[0] in sweep_values
            compose.put(sweep_values if own else run_values, key, value)
    return bind(SweepConfig, sweep_values), run_config(run_values)


def _put_own(values: dict[str, Any], where: list[Path]) -> None:
    """What the user's own protocol and lists of data sets say, in the place of their names."""
    name, listed = values.get("runtime.protocol"), values.get("benchmark")
    if isinstance(name, str):
        values["runtime.protocol"] = custom.found(name, where)
    if isinstance(listed, list):
        own = set(datasets.benchmarks(where)) - set(datasets.benchmarks())
        parts = [evaluate.expanded([n], where) if n in own else (n,) for n in listed]
        values["benchmark"] = [name for part in parts for name in part]


def _refuse_unknown(
    values: Mapping[str, Any],
    choices: Mapping[str, str],
    where: list[Path],
    sweep: dict[str, Any],
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
    everything = {**_run_values(choices, where), **sweep}
    if not all(compose.takes(everything, key) for key in values):
        for arm in designs.arms(ablation).values():
            for section, own in _run_values({**choices, **arm.choose}, where).items():
                if isinstance(own, dict):
                    everything[section] = {**own, **everything[section]}
    for key, value in values.items():
        compose.put(everything, key, value)


def _sweep_values(choices: Mapping[str, str], where: list[Path]) -> dict[str, Any]:
    composed = _composed(tuple(sorted(choices.items())), tuple(where))
    own = {k: v for k, v in composed.items() if k not in RUN_KEYS}
    values: dict[str, Any] = plain(bind(SweepConfig, own))
    return values


def _run_values(choices: Mapping[str, str], where: list[Path]) -> dict[str, Any]:
    return copy.deepcopy(_checked(tuple(sorted(choices.items())), tuple(where)))


@cache
def _checked(choices: tuple[tuple[str, str], ...], where: tuple[Path, ...]) -> dict[str, Any]:
    """The run's part of what is composed, every key present."""
    own = {k: v for k, v in _composed(choices, where).items() if k in RUN_KEYS}
    values: dict[str, Any] = plain(run_config(own))
    return values


@cache
def _composed(choices: tuple[tuple[str, str], ...], where: tuple[Path, ...]) -> dict[str, Any]:
    return compose.compose("sweep", dict(choices), where)


def nearest_verb(word: str, verbs: list[str]) -> UserError:
    """The error for a word that is neither a verb nor an override."""
    return unknown("verb", word, verbs)
