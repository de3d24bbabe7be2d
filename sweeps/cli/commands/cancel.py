"""`sweep.py cancel`: cancel the Slurm jobs of cells."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ablations.plan.plan import find_cell
from sweeps.config.selection import CELL_HELP, SWEEP_HELP, select_plan
from sweeps.launchers.submissions import Submissions
from sweeps.monitor.terminal import print_json
from sweeps.slurm import Slurm
from uniclip.errors import UserError
from uniclip.store import Store, SweepFolder


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the cells and the flag --json."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="sweep or cell",
        help=f"{SWEEP_HELP}; or {CELL_HELP}; default: every cell of the sweep",
    )
    parser.add_argument("--json", action="store_true", help="print the ids of the jobs as JSON")


def run(arguments: Namespace) -> int:
    """Cancel jobs that wait or run; checkpoints stay."""
    selection = select_plan("cancel", arguments.names, arguments.overrides)
    plan, store = selection.plan, selection.store
    run_ids = {find_cell(plan, name).run_id for name in selection.cell_names}
    folder = store.get_sweep(plan.sweep_id)
    folders = [folder]
    if not run_ids:
        folders += [*folder.list_rounds(), *store.iter_tuned_sweeps(folder.id)]
    folders = [f for f in folders if f.submissions_path.exists()]
    if not folders:
        hint = "".join(f"; {note}" for note in selection.notes)
        raise UserError(
            f"no job of {folder.id} was submitted to Slurm; stop a sweep with Ctrl-C{hint}"
        )
    slurm = Slurm()
    _ = slurm.config  # raises a UserError if Slurm does not answer
    job_ids = [job for f in folders for job in _cancel_jobs(store, f, slurm, run_ids)]
    if arguments.json:
        print_json({"sweep": plan.sweep_id, "jobs": job_ids})
        return 0
    print(
        f"cancelled {len(job_ids)} jobs; the cells continue from their checkpoints when run again"
    )
    return 0


def _cancel_jobs(store: Store, folder: SweepFolder, slurm: Slurm, run_ids: set[str]) -> list[str]:
    """Cancel the jobs of these runs, or of all if `run_ids` is empty, and return the job ids.

    The runs are recorded as cancelled, so that no follow-up job submits them again.

    Raises:
        UserError: a job holds other runs too.
    """
    job_ids = []
    for intent, job, job_runs in Submissions(folder, slurm).list_active_jobs():
        cell_runs = job_runs if intent.kind == "run" else ()
        if not run_ids or (cell_runs and run_ids.issuperset(cell_runs)):
            job_ids.append(job.id)
        elif run_ids.intersection(cell_runs):
            raise UserError(
                f"job {job.id} holds other cells too ({', '.join(job_runs)}): name them all"
            )
    plan = folder.read_plan()
    cancelled_runs = run_ids or (plan.required_evaluations() if plan else ())
    folder.record_cancelled(
        (run.id, max(run.list_attempts(), default=0))
        for run in map(store.get_run, cancelled_runs)
        if run.is_readable()
    )
    if job_ids:  # without jobs, the cached answer of squeue serves the next folder too
        slurm.cancel(job_ids)
    return job_ids
