"""The verb `doctor`: what would go wrong, before anything is spent.

A list of checks, each with a mend. Nothing is left in the store but what a sweep would begin with:
the plan and the audit of an ablation that was named, which the sweep then need not make again.
"""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass

from ablations.plan import plan as plans
from ablations.plan.plan import Planned
from sweeps.claims import process
from sweeps.cli.main import console, print_json
from sweeps.config import request
from sweeps.config.request import SlurmLauncher, SweepConfig
from sweeps.costs import estimate, probe
from sweeps.costs.audit_scope import basis, proven
from sweeps.doctor import device, filesystem, packages, slurm_cluster, test_job
from sweeps.doctor.finding import Finding, Level, ok, problem, warning
from sweeps.monitor import status as status_
from uniclip.config import RunConfig
from uniclip.config.compose import parse
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.identity import ROOT
from uniclip.io.atomic import located
from uniclip.store import Intent, Store

PROBLEMS = 1
SPARE_BYTES = 10**9
"""Room that should be free where nothing is known."""
CHECKPOINTS = 3
"""Of a run at work: two that are kept, and one that is being written."""
DISK_BYTES_A_SECOND = 100e6
"""At which a checkpoint is assumed to be written."""
STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What is examined: where runs would go, and which, if that was said."""

    settings: SweepConfig
    config: RunConfig
    """Of the reference arm; without an ablation, the default one."""
    store: Store
    planned: Planned | None
    submit: bool
    """Whether a tiny job may be submitted."""

    @property
    def on_slurm(self) -> bool:
        """Whether runs go to a cluster."""
        return isinstance(self.settings.launcher, SlurmLauncher)

    def open_runs(self) -> list[str]:
        """Runs that the sweep would take up."""
        if self.planned is None:
            return []
        rows = status_.rows(self.store, self.planned.plan)
        return list(dict.fromkeys(r.run for r in rows if self.settings.takes(r.state)))


def doctor(options: Namespace) -> int:
    """Print a line a finding; 1 if there is a problem."""
    findings = []
    for found in examined(options):
        findings.append(found)
        if not options.json:
            console().print(f"[{STYLES[found.level]}]{found.level:<8}[/] ", end="")
            mend = f"; do: {found.mend}" if found.mend else ""
            console().print(f"{found.check}: {found.said}{mend}", markup=False)
    if options.json:
        print_json([asdict(f) for f in findings])
    else:
        counts = Counter(f.level for f in findings)
        words: dict[Level, str] = {"problem": "problems", "warning": "warnings", "ok": "ok"}
        console().print(", ".join(f"{counts[level]} {word}" for level, word in words.items()))
    return PROBLEMS if any(f.level == "problem" for f in findings) else 0


def examined(options: Namespace) -> Iterator[Finding]:
    """Every finding, each as soon as it is made; what a check stumbles over is one more."""
    patient = yield from _patient(options)
    if patient is None:
        return
    if patient.submit and not patient.on_slurm:
        raise UserError("doctor --submit sends a tiny job to a cluster: say launcher=slurm")
    for check in CHECKS:
        try:
            yield from check(patient)
        except (UserError, OSError) as error:
            yield problem(check.__name__.replace("_", " "), str(error), "what it says")


def _patient(options: Namespace) -> Generator[Finding, None, Patient | None]:
    """What is to be examined, and what is found of its plan; None if there is no more to it."""
    if "ablation" not in parse(options.overrides):
        sweep, config = request.surroundings(options.overrides)
        store = Store(sweep.store)
        return Patient(
            settings=sweep, config=config, store=store, planned=None, submit=options.submit
        )
    asked, planned = request.asked(options.overrides), None
    try:
        planned = plans.make(asked.request)
    except UserError as error:
        yield problem("plan and training data", str(error), "what it says")
        try:
            config = plans.base_config(asked.request)
        except UserError:  # as was said: there is no run to look at
            return None
    else:
        config = planned.configs[planned.plan.reference]
        runs = len(planned.specs)
        yield ok("plan and training data", f"{planned.plan.sweep}, {runs} runs")
    return Patient(
        settings=asked.settings,
        config=config,
        store=asked.store,
        planned=planned,
        submit=options.submit,
    )


# ---- checks --------------------------------------------------------------------------------------


def libraries(patient: Patient) -> Iterator[Finding]:
    """Python and the libraries, here."""
    yield from packages.examine(ROOT)


def devices(patient: Patient) -> Iterator[Finding]:
    """torch, and the device that runs ask for; of a cluster's devices `--submit` tells."""
    if patient.on_slurm:
        yield from device.examine("cpu")
        return
    slots = patient.settings.slots(patient.config.train.threads)
    yield from device.examine(patient.config.runtime.device, slots)


def store_folder(patient: Patient) -> Iterator[Finding]:
    """The store's file system, its room, and the files that it takes."""
    store = patient.store
    try:
        with store.scratch() as place:
            yield from filesystem.examine(place)
    except OSError as error:
        said = f"store={store.root} cannot be written ({error.strerror})"
        yield problem("store", said, "choose another store=")


def room(patient: Patient) -> Iterator[Finding]:
    """Bytes and files that the sweep needs, against those that are free."""
    root = patient.store.root
    place = next(path for path in (root, *root.parents) if path.exists())
    if not place.is_dir():
        return  # there can be no store: the check of its folder has said so
    runs = patient.open_runs()
    needed = _bytes_needed(patient, runs)
    yield filesystem.room(place, needed, SPARE_BYTES, f"{len(runs)} runs")
    yield filesystem.inodes(place, len(runs))


def data_sets(patient: Patient) -> Iterator[Finding]:
    """The sets that runs are judged by: what is missing, damaged, or not as published."""
    root = str(located(patient.config.runtime.data_root))
    if patient.planned is None:
        chosen = list(datasets.DATASETS.values())
    else:
        chosen = [d for n, d in datasets.DATASETS.items() if n in _benchmark(patient.planned)]
        for name, how in patient.planned.plan.missing.items():
            yield warning("data sets", f"{name} is not here, its scores will be n/a", how)
        for name, how in patient.planned.plan.unprobed.items():
            yield warning("data sets", f"{name}: its linear probe will be n/a", how)
    found = [verify.look(dataset, root) for dataset in chosen]
    for one in found:
        if one.state in ("damaged", "differs"):
            said = f"{one.dataset.name}: {'; '.join(one.lines())}"
            yield warning("data sets", said, f"fetch it again into data_root={root}")
    here = sum(one.state in ("here", "partly") for one in found)
    yield ok("data sets", f"{here} of {len(found)} published ones under data_root={root}")


def slurm(patient: Patient) -> Iterator[Finding]:
    """The cluster, if runs go to one; with `--submit` also a node of it."""
    if not patient.on_slurm:
        return
    needs = need(patient)
    found = slurm_cluster.examine(needs)
    yield from found
    if patient.submit and not any(f.level == "problem" for f in found):
        launcher = patient.settings.launcher
        with patient.store.scratch() as place:
            yield from test_job.examine(
                place,
                needs,
                where=patient.config.runtime.device,
                gpus=launcher.gpus,
                python=launcher.python or shlex.quote(sys.executable),
                setup=launcher.setup,
            )


def switches(patient: Patient) -> Iterator[Finding]:
    """Each arm takes a few steps, and each component is seen to switch what it says."""
    if patient.planned is None:
        return
    sweep = patient.store.sweep(patient.planned.plan.sweep)
    if patient.on_slurm and not proven(sweep, basis(patient.planned.plan)):
        yield warning("switches", "not proven yet", "plan --probe submits that, and nothing else")
        return
    try:
        probe.here(patient.store, patient.planned)
    except (UserError, OSError) as error:
        yield problem("switches", str(error), "what it says")
        return
    findings = sweep.findings()
    for f in findings:
        if not f.holds:
            yield problem("switches", f.broken, "the arm is not what it is called: mend its delta")
    held = sum(f.holds for f in findings)
    yield ok(
        "switches", f"{held} of {len(findings)} checks of {len(patient.planned.plan.arms)} arms"
    )


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    libraries,
    devices,
    data_sets,
    store_folder,
    slurm,
    switches,
    room,
)
"""Room comes last: what is needed is known when the switches were proven."""


# ---- what is needed ------------------------------------------------------------------------------


def need(patient: Patient) -> slurm_cluster.Need:
    """What the sweep asks of a cluster."""
    launcher, runs = patient.settings.launcher, patient.open_runs()
    prices = _prices(patient)
    return slurm_cluster.Need(
        partition=launcher.partition,
        nodes=launcher.nodes,
        minutes=launcher.minutes,
        jobs=len(runs) or 1,
        options=sbatch_options(launcher, patient.config.train.threads),
        checkpoint_seconds=patient.config.runtime.checkpoint_seconds,
        save_seconds=max(map(_save_seconds, prices), default=None),
        notice_seconds=launcher.signal_seconds,
        idle=request.unused_gpus(launcher, patient.config.runtime.device),
    )


def sbatch_options(launcher: SlurmLauncher, threads: int) -> tuple[str, ...]:
    """What the launcher asks of Slurm for one cell of so many compute threads."""
    from sweeps.launchers.slurm import requested

    intent = Intent(
        token="doctor", kind="run", elements=(), attempts={}, submitter=process.owner({})
    )
    return slurm_cluster.options(requested(launcher, intent, ROOT, threads))


def _prices(patient: Patient) -> list[estimate.Price]:
    if patient.planned is None:
        return []
    return list(estimate.prices(patient.store, patient.planned.plan).values())


def _save_seconds(known: estimate.Price) -> float:
    """To come to the end of a step and to write a checkpoint."""
    return (known.step_seconds or 0.0) + (known.checkpoint_bytes or 0.0) / DISK_BYTES_A_SECOND


def _bytes_needed(patient: Patient, runs: list[str]) -> int | None:
    """What runs leave on the disk, and their checkpoints while they run; None: not measured."""
    if patient.planned is None:
        return None
    plan = patient.planned.plan
    known = estimate.prices(patient.store, plan)
    arms = {c.run: c.arm for c in plan.cells if c.run in runs}
    if any(a not in known or known[a].kept_bytes is None for a in arms.values()):
        return None
    side_by_side = min(len(runs), patient.settings.slots(plan.base["train"]["threads"]))
    largest = max((known[a].checkpoint_bytes or 0.0 for a in arms.values()), default=0.0)
    kept = sum(known[a].kept_bytes or 0.0 for a in arms.values())
    return round(kept + side_by_side * CHECKPOINTS * largest)


def _benchmark(planned: Planned) -> set[str]:
    present = {name for sets in planned.plan.evaluations.values() for name in sets}
    return present | set(planned.plan.missing)
