"""What each verb of the command line does. Each returns an exit status."""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ablations.plan import plan as plans
from ablations.plan.plan import Planned
from analysis.results import comparability
from sweeps.cli import listing, main
from sweeps.cli.data import data
from sweeps.config import request
from sweeps.config.request import Asked, SlurmLauncher
from sweeps.controller import retry as retries
from sweeps.controller.controller import Conduct, united
from sweeps.costs import estimate, limit
from sweeps.costs.audit_scope import basis, proven
from sweeps.launchers.submissions import Submissions
from sweeps.monitor import status as status_
from sweeps.monitor.display import Display, table
from sweeps.slurm import Slurm
from uniclip.config.compose import flat, parse
from uniclip.errors import UserError
from uniclip.store import Plan, RunFolder, Store, SweepFolder

CELLS_FAILED, TRUTH_MISSED = 1, 1


def run(options: Namespace) -> int:
    """Plan, run what is missing, report."""
    asked = request.asked(options.overrides)
    return _conduct(_conductor(asked, plans.make(asked.request)))


def retry(options: Namespace) -> int:
    """Run failed cells again; with --force also those whose death cannot be proven."""
    asked = request.asked(options.overrides)
    return _conduct(retries.conduct(asked, options.names, force=options.force))


def plan(options: Namespace) -> int:
    """Print what would run, why, and what it takes; runs and writes nothing (but --probe)."""
    asked = request.asked(options.overrides)
    made = united(plans.make(asked.request), asked.store)
    planned = made.plan
    console = main.console()
    if options.probe:
        _prove(asked, made)
    rows = status_.rows(asked.store, planned)
    known = estimate.prices(asked.store, planned)
    devices = limit.devices(asked.settings.launcher, planned.base["runtime"]["device"])
    if options.json:
        arms = {c.name: c.arm for c in planned.cells}
        priced = (estimate.as_record(known.get(arms[r.cell]), devices) for r in rows)
        main.print_json([{**r, **p} for r, p in zip(status_.as_records(rows), priced)])
        return 0
    drawn = Table(box=None, pad_edge=False)
    for name in ("cell", "run", "would it run", "why", *estimate.HEADINGS):
        drawn.add_column(name, no_wrap=True)
    for row in rows:
        arm = row.cell.rsplit("/", 1)[0]
        verdict = "yes" if asked.settings.takes(row.state) else "no"
        reason = row.reason or row.kind
        cost = estimate.columns(known.get(arm), devices)
        drawn.add_row(*map(Text, (row.cell, row.run[:8], verdict, reason, *cost)))
    console.print(f"{planned.title}\n{planned.sweep}", markup=False)
    console.print(drawn)
    for text in (*_recipes(planned), *_equal(asked.store, planned), *planned.left_out):
        console.print(text, markup=False)
    for name, how in planned.missing.items():
        console.print(f"n/a: {name}: {how}", markup=False)
    for name, how in planned.unprobed.items():
        console.print(f"n/a: linear probe on {name}: {how}", markup=False)
    taken = {r.run for r in rows if asked.settings.takes(r.state)}
    slots = asked.settings.slots(planned.base["train"]["threads"])
    console.print(f"estimate: {estimate.estimate(planned, taken, known, slots, devices)}")
    if isinstance(asked.settings.launcher, SlurmLauncher):
        from sweeps.doctor.doctor import sbatch_options
        from sweeps.doctor.slurm_cluster import expected_start

        options_ = sbatch_options(asked.settings.launcher, planned.base["train"]["threads"])
        console.print(f"expected start: {expected_start(options_)}", markup=False)
    return 0


def _recipes(planned: Plan) -> list[str]:
    """What recipe= makes of each arm's training."""
    if not planned.recipes:
        return []
    kept = "steps and batch size are the budget's, a warm-up is a share of the steps, rounded"
    width = max(map(len, planned.recipes))
    arms = (f"  {name:<{width}}  {said}" for name, said in planned.recipes.items())
    return [*planned.stamps, f"recipe={planned.recipe}: {kept}", *arms]


def _equal(store: Store, planned: Plan) -> list[str]:
    """What the sides of each comparison have in common, and what not, time and memory included."""
    probes = estimate.probes(store, planned).values()
    counted, measured = (
        comparability.facts(planned, probes),
        comparability.measured(planned, probes),
    )
    known = {a.name: {**measured[a.name], **counted.get(a.name, {})} for a in planned.arms}
    within = comparability.SIZES | comparability.MEASURED
    return [f"{c.label}: {comparability.stamp(known, c, within)}" for c in planned.contrasts]


def _prove(asked: Asked, planned: Planned) -> None:
    """Measure the arms, unless that was done: on a cluster by a job that is not waited for."""
    if proven(asked.store.sweep(planned.plan.sweep), basis(planned.plan)):
        return
    store, display = asked.store, Display(main.console(stderr=True))
    Conduct(store=store, planned=planned, settings=asked.settings, display=display).prove()


def status(options: Namespace) -> int:
    """Print the state of every cell."""
    if options.json and options.watch:
        raise UserError("--watch draws on a terminal, --json prints once: choose one")
    asked = request.asked(options.overrides)
    planned = _known_plan(asked)
    if options.json:
        main.print_json(status_.as_records(status_.rows(asked.store, planned)))
    elif options.watch:
        main.watch(lambda: table(status_.rows(asked.store, planned)))
    else:
        rows = status_.rows(asked.store, planned)
        main.console().print(table(rows))
        for kind in dict.fromkeys(r.kind for r in rows):
            if kind not in ("complete", "running"):
                main.console().print(f"{kind}: {status_.ADVICE[kind]}", markup=False)
        for text in status_.tunings(asked.store, planned.sweep):
            main.console().print(text, markup=False)
    return 0


def report(options: Namespace) -> int:
    """Build the report from what exists."""
    asked = request.asked(options.overrides)
    planned = _known_plan(asked)
    if asked.store.sweep(planned.sweep).plan() is None:
        raise UserError(f"sweep {planned.sweep} has not been run in store={asked.store.root}")
    return _report(asked.store, planned, force=options.force)


def list_(options: Namespace) -> int:
    """Print what there is to choose from."""
    return listing.show(options.names, options.overrides)


def logs(options: Namespace) -> int:
    """Print the newest attempt's log of a cell, and its path."""
    asked = request.asked(options.overrides)
    planned = _known_plan(asked)
    if len(options.names) != 1:
        raise UserError("logs takes one cell: <arm>/<seed>, or the start of a run id")
    run_ = asked.store.run(plans.cell(planned, options.names[0]).run)
    numbers = run_.attempts()
    if not numbers:
        jobs = asked.store.sweep(planned.sweep).slots
        hint = f"; what workers said is in {jobs}" if jobs.exists() else ""
        raise UserError(f"{options.names[0]} has not been run: there is no log yet{hint}")
    log = run_.attempt(numbers[-1]).log
    print(log.read_text(errors="replace") if log.exists() else "", end="")
    print(f"({log}, attempt {numbers[-1]} of {len(numbers)})")
    return 0


def why(options: Namespace) -> int:
    """Print the leaves of the configuration in which two cells differ."""
    asked = request.asked(options.overrides)
    planned = united(plans.make(asked.request), asked.store)
    if not 1 <= len(options.names) <= 2:
        raise UserError("why takes one cell or two: <arm>/<seed>")
    cells = [plans.cell(planned.plan, n) for n in options.names]
    if len(cells) == 1:
        cells.insert(0, plans.cell(planned.plan, f"{planned.plan.reference}/{cells[0].seed}"))
    one, two = (flat(planned.specs[c.run]) for c in cells)
    keys = [k for k in {**one, **two} if one.get(k, "-") != two.get(k, "-")]
    drawn = Table(box=None, pad_edge=False)
    for name in ("key", *(c.name for c in cells)):
        drawn.add_column(name)
    for key in keys:
        said = (key.removeprefix("config."), one.get(key, "-"), two.get(key, "-"))
        drawn.add_row(*(Text(str(word)) for word in said))
    same = "the same run" if cells[0].run == cells[1].run else f"{len(keys)} keys differ"
    main.console().print(
        f"{cells[0].name} is {cells[0].run}, {cells[1].name} is {cells[1].run}: {same}"
    )
    if keys:
        main.console().print(drawn)
    return 0


def cancel(options: Namespace) -> int:
    """Take cells out of the queue, and stop those that run there; what they saved stays."""
    asked = request.asked(options.overrides)
    planned = _known_plan(asked)
    chosen = {plans.cell(planned, n).run for n in options.names}
    folder = asked.store.sweep(planned.sweep)
    tunings = [] if chosen else [*folder.rounds(), *asked.store.tuned(folder.id)]
    folders = [f for f in (folder, *tunings) if f.submissions.exists()]
    if not folders:
        raise UserError(f"nothing of {folder.id} was submitted to Slurm; stop a sweep with Ctrl-C")
    slurm = Slurm()
    _ = slurm.facts  # one line if nobody answers
    doomed = [job for f in folders for job in _take_out(asked.store, f, slurm, chosen)]
    print(f"cancelled {len(doomed)} jobs; the cells go on from their checkpoints when run again")
    return 0


def _take_out(store: Store, folder: SweepFolder, slurm: Slurm, chosen: set[str]) -> list[str]:
    """Cancel the jobs of these runs (none: of all), and note that nobody goes on with them."""
    doomed = []
    for intent, job, runs in Submissions(folder, slurm).live():
        cells = runs if intent.kind == "run" else ()
        if not chosen or (cells and chosen.issuperset(cells)):
            doomed.append(job.id)
        elif chosen.intersection(cells):
            raise UserError(
                f"job {job.id} holds other cells too ({', '.join(runs)}): name them all"
            )
    plan = folder.plan()
    runs_ = chosen or (plan.wanted() if plan else ())
    folder.cancel((r, max(store.run(r).attempts(), default=0)) for r in runs_)
    if doomed:  # else the look at the queue is good for the next sweep too
        slurm.cancel(doomed)
    return doomed


def gc(options: Namespace) -> int:
    """Say what can be deleted (old generations, caches, spent checkpoints); --yes does it."""
    values = parse(options.overrides)
    strange = set(values) - {"store"}
    if strange:
        raise UserError(f"gc looks at a whole store: leave out {sorted(strange)[0]}=")
    store = Store(str(values.get("store", "store")))
    if not any((store.root / name).is_dir() for name in ("runs", "sweeps")):
        raise UserError(f"store={store.root} is not a store: it holds neither runs nor sweeps")
    folders = [p for p in (store.root / "superseded", store.cache) if p.is_dir()]
    folders += [p for r in store.runs() if r.outcome() is not None for p in _checkpoints(r)]
    total = 0
    for folder in folders:
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        total += size
        print(f"{'deleted' if options.yes else 'could go'}: {folder} ({size / 1e6:.1f} MB)")
        if options.yes:
            shutil.rmtree(folder)
    hint = "" if options.yes or not folders else "; gc --yes deletes it"
    print(f"{total / 1e6:.1f} MB in {len(folders)} folders{hint}")
    return 0


def _checkpoints(run_: RunFolder) -> list[Path]:
    folders = [run_.attempt(n).checkpoints for n in run_.attempts()]
    return [f for f in folders if f.is_dir() and any(f.iterdir())]


def _known_plan(asked: Asked) -> Plan:
    """The sweep's own plan where it was run (it may hold more seeds), else the plan asked for."""
    planned = plans.make(asked.request).plan
    return asked.store.sweep(planned.sweep).plan() or planned


def tune(options: Namespace) -> int:
    """Tune every arm alike, then run the tuned arms beside the default ones and report."""
    from ablations.plan import tuned_arms
    from sweeps.tuning import tuner as tuning  # here: other verbs start without numpy

    tuner = tuning.tuner(options.overrides)
    asked, display = tuner.asked, Display()
    display.line(f"tuning: {tuner.estimate()}")
    held = tuner.hold()
    defaults = _cells(replace(_conductor(asked, tuner.planned, display), hold=tuner.hold))[1]
    unfinished = [r for r in defaults if r.state.kind not in status_.FINAL]
    if unfinished:
        display.line(f"tuning waits for {len(unfinished)} cells of the default arms")
        return CELLS_FAILED
    display.line(f"tuning: {tuner.estimate()}")
    if not held:
        tuner.hold()
    try:
        found = tuner.tune(tuning.QuietDisplay())
    except tuning.Unfinished as why:
        display.line(f"tuning: {why}")
        return CELLS_FAILED
    for text in tuning.spoken(found):
        display.line(text)
    tuned = tuned_arms.tuned(tuner.planned, found)
    tuner.adopt(tuned.plan)
    return _conduct(_conductor(asked, tuned, tuning.QuietDisplay()))


def doctor(options: Namespace) -> int:
    """Print what would go wrong, before anything is spent."""
    from sweeps.doctor.doctor import doctor as examine  # here: other verbs need none of its checks

    return examine(options)


def _conductor(asked: Asked, planned: Planned, display: Display | None = None) -> Conduct:
    return Conduct(
        store=asked.store,
        planned=planned,
        settings=asked.settings,
        display=display or Display(),
        words=asked.lasting,
    )


def _conduct(conduct: Conduct) -> int:
    """Run what is missing and report; of a part of a plan, how that part came out."""
    made, rows = _cells(conduct)
    truth = _report(conduct.store, made)
    unfinished = any(r.state.kind in ("failed", "lost") for r in rows)
    return CELLS_FAILED if unfinished else 0 if conduct.part else truth


def _cells(conduct: Conduct) -> tuple[Plan, list[status_.Row]]:
    """Run what is missing and say what is wrong; the plan that was conducted, and its cells."""
    done, display = conduct.run(), conduct.display
    rows = status_.rows(conduct.store, conduct.plan)
    display.line(status_.summary(rows))
    if not done:
        raise main.GoesOn
    for row in rows:
        if row.state.kind in ("failed", "lost"):
            display.line(f"{row.cell} {row.state.kind}: {row.state.reason} (do: {row.advice})")
    for text in conduct.plan.left_out:
        display.line(text)
    return conduct.plan, rows


def _report(store: Store, planned: Plan, force: bool = False) -> int:
    from analysis.report import build as report_
    from analysis.results import planted_effects

    built = report_.build(store, planned.sweep, force=force)
    for text in built.headline:
        print(text)
    print(f"report: {built.folder / 'report.html'}{'' if built.rebuilt else ' (unchanged)'}")
    if not planned.expectations:
        return 0
    findings = planted_effects.check(store, planned.sweep)
    for finding in findings:
        print(
            f"truth: {'holds' if finding.holds else 'MISSED'}: {finding.about} ({finding.detail})"
        )
    return 0 if all(f.holds for f in findings) else TRUTH_MISSED


ACTIONS = {
    "run": run,
    "plan": plan,
    "status": status,
    "report": report,
    "list": list_,
    "logs": logs,
    "why": why,
    "retry": retry,
    "cancel": cancel,
    "tune": tune,
    "data": data,
    "doctor": doctor,
    "gc": gc,
}
