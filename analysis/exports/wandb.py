"""Export to Weights & Biases: one offline folder per cell, which the user synchronizes later.

    wandb sync --project <sweep> <folder>/offline-run-*

A folder is written by wandb itself beside its place and then renamed, so that a killed export
leaves no incomplete one. The id of a run follows from sweep and cell: a folder that has changed and
is synchronized again replaces the run of before. Nothing is sent, and the folder holds nothing of
this machine.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from analysis.exports.replacement import open_work_folder, replace_folder
from analysis.exports.source import Change, Changes, ExportedCell, SweepSource
from uniclip.errors import UserError
from uniclip.io.hashing import digest
from uniclip.store import RunStatus

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb  # noqa: E402

DIGEST_FILE = "uniclip.digest"


def export(source: SweepSource, folder: Path) -> Changes:
    """Write `<folder>/offline-run-<start>-<run>/` of every cell.

    Raises:
        UserError: wandb cannot write a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for cell in source.iter_cells():
        yield cell.name, _export_cell(cell, folder)


def make_run_id(cell: ExportedCell) -> str:
    """Return the id of a cell's run in W&B."""
    return digest([cell.sweep_id, cell.name], 16)


def _export_cell(cell: ExportedCell, folder: Path) -> Change:
    run_id = make_run_id(cell)
    present_paths = sorted(folder.glob(f"offline-run-*-{run_id}"))
    if any(_read_digest(path) == cell.digest for path in present_paths):
        return "unchanged"
    start = time.strftime("%Y%m%d_%H%M%S", time.gmtime(cell.started_at))
    with open_work_folder(folder) as work_folder:
        try:
            written_path = _write_run(cell, run_id, work_folder)
        except wandb.Error as error:
            raise UserError(f"wandb cannot write {cell.name}: {error}") from None
        (written_path / DIGEST_FILE).write_text(cell.digest)
        replace_folder(folder / f"offline-run-{start}-{run_id}", written_path, present_paths)
    return "changed" if present_paths else "new"


def _read_digest(path: Path) -> str:
    try:
        return (path / DIGEST_FILE).read_text()
    except FileNotFoundError:
        return ""


def _write_run(cell: ExportedCell, run_id: str, folder: Path) -> Path:
    """Have wandb write a run into a folder, and return the folder of the run."""
    run = wandb.init(
        project=cell.sweep_id,
        id=run_id,
        name=cell.name,
        group=cell.arm,
        config={"arm": cell.arm, **cell.config, "run": cell.run_id, "status": str(cell.status)},
        dir=str(folder),
        mode="offline",
        reinit="create_new",
        settings=_make_settings(cell.started_at),
    )
    for point in cell.curve:
        run.log({**point.values, "_timestamp": point.time}, step=point.step)
    run.summary.update({f"scores/{name}": value for name, value in cell.score_values.items()})
    run_folder = Path(run.settings.sync_dir)
    run.finish(exit_code=int(cell.status in (RunStatus.DIVERGED, RunStatus.FAILED)))
    shutil.rmtree(run_folder / "logs", ignore_errors=True)
    return run_folder


def _make_settings(started_at: float) -> wandb.Settings:
    """Return settings with which wandb records nothing but what is logged."""
    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        x_start_time=started_at,
    )
