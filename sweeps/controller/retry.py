"""A retry: which cells of the plan that stands are taken up again, and by whom.

Named cells are conducted alone: the plan stays as it is, and so does how they are run and judged.
Without names, all that failed or is open is conducted, over the seeds that the sweep has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ablations.plan import plan as plans
from ablations.plan import tuned_arms
from ablations.plan.plan import Planned
from sweeps.claims.claim import look
from sweeps.cli.slurm_job import in_follow_up
from sweeps.config.request import Asked
from sweeps.controller.controller import Conduct
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm
from uniclip.errors import UserError
from uniclip.store import Store

Wish = tuple[tuple[str, int], ...]
"""(run, attempt) of each."""


def conduct(asked: Asked, names: Sequence[str], *, force: bool) -> Conduct:
    """Who conducts the retry of these cells, or without names of all that failed.

    force: also those that are lost, and named ones that seem alive. In a follow-up nothing is
    asked for anew: what failed again has failed.

    Raises:
        UserError: no such cell, or nothing to retry.
    """
    made, display = plans.make(asked.request), Display()
    stands = asked.store.sweep(made.plan.sweep).plan()
    chosen = {plans.cell(stands or made.plan, name).run for name in names}
    if stands is None:
        raise UserError(f"nothing to retry: {made.plan.sweep} was not run in {asked.store.root}")
    if names:
        planned = _part(asked.store, replace(made, plan=stands), chosen)
        if any(stands.base.get(key) != made.plan.base[key] for key in ("runtime", "benchmark")):
            display.line("note: named cells are run and judged by the plan of their sweep")
    else:
        planned = plans.make(replace(asked.request, seeds=stands.seeds))
    again, forced = ((), ()) if in_follow_up() else _wishes(asked.store, planned, names, force)
    return Conduct(
        store=asked.store,
        planned=planned,
        settings=asked.settings,
        display=display,
        words=replace(asked, words=("retry", *names, *asked.words[1:])).lasting,
        again=again,
        forced=forced,
        part=bool(names),
    )


def _part(store: Store, planned: Planned, runs: Collection[str]) -> Planned:
    """Some runs of a plan that stands, as the store has them."""
    return tuned_arms.only(replace(planned, specs={r: store.run(r).spec() for r in runs}), runs)


def _wishes(store: Store, planned: Planned, names: Sequence[str], force: bool) -> tuple[Wish, Wish]:
    """What is to go on though it failed, and what is declared dead; `UserError` if nothing is."""
    witness = Slurm().ending
    states = {r: look(store.run(r), e, witness) for r, e in planned.plan.wanted().items()}
    again = tuple((r, s.attempt) for r, s in states.items() if s.kind == "failed")
    dead = ("lost", *(["running"] if names else [])) if force else ()
    forced = tuple((r, s.attempt) for r, s in states.items() if s.kind in dead)
    if not again and not forced:
        kinds = ", ".join(sorted({s.kind for s in states.values()}))
        hint = "" if force else "; --force takes those that are lost or hang"
        raise UserError(f"nothing to retry: the cells are {kinds}{hint}")
    return again, forced
