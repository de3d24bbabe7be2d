"""Export to model folders as on the Hugging Face Hub: weights, tokenizer and a model card.

    hf upload <user>/<name> <folder>/<arm>-<seed>

A model that transformers' CLIPModel can represent is exported as one, any other as its two encoders
(`uniclip.checkpoints.exporting`); the weights of this package lie beside it in `uniclip/`. A folder
is written under another name and then renamed. If only scores have changed, the card alone is
written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.exports.model_card import build_model_card
from analysis.exports.replacement import open_work_folder, replace_folder
from analysis.exports.source import Change, Changes, ExportedCell, SweepSource
from uniclip.checkpoints import exporting, load
from uniclip.io.atomic import atomic_write
from uniclip.store import RunFolder, RunStatus

NATIVE_FOLDER = "uniclip"
FORMAT_FILE = f"{NATIVE_FOLDER}/format"
"""Names the format of the exported model and the digest of its weights."""
TRAINED_STATUSES = (RunStatus.COMPLETE, RunStatus.NEEDS_EVALUATION)


def export(source: SweepSource, folder: Path) -> Changes:
    """Write `<folder>/<arm>-<seed>/` of every trained cell."""
    folder.mkdir(parents=True, exist_ok=True)
    exported_arms = {cell.arm for cell in source.cells}
    arm_source = SweepSource(
        store=source.store,
        plan=source.plan,
        cells=tuple(cell for cell in source.plan.cells if cell.arm in exported_arms),
    )
    arm_scores = _collect_arm_scores(arm_source)
    for cell in source.iter_cells():
        if cell.status in TRAINED_STATUSES:
            path = folder / cell.file_name
            yield cell.name, _export_cell(source, cell, arm_scores[cell.arm], path)


def _collect_arm_scores(source: SweepSource) -> dict[str, dict[str, list[float]]]:
    """Return arm -> score -> its values over seeds."""
    arm_scores: dict[str, dict[str, list[float]]] = {}
    for cell in source.iter_cells():
        values_by_score = arm_scores.setdefault(cell.arm, {})
        for name, value in cell.score_values.items():
            values_by_score.setdefault(name, []).append(value)
    return arm_scores


def _export_cell(
    source: SweepSource,
    cell: ExportedCell,
    arm_scores: Mapping[str, Sequence[float]],
    path: Path,
) -> Change:
    run = source.store.get_run(cell.run_id)
    outcome = run.read_outcome()
    weights_digest = outcome.weights_digest if outcome is not None else None
    model_format, present_digest = _read_format(path)
    if present_digest == weights_digest:
        card = build_model_card(cell, source.plan, arm_scores, model_format).encode()
        card_path = path / "README.md"
        if card_path.exists() and card_path.read_bytes() == card:
            return "unchanged"
        atomic_write(card_path, card)
        return "changed"
    is_new = not path.exists()
    with open_work_folder(path.parent) as work_folder:
        work_path, model_format = _write_model(run, work_folder)
        card_text = build_model_card(cell, source.plan, arm_scores, model_format)
        (work_path / "README.md").write_text(card_text, encoding="utf-8")
        (work_path / FORMAT_FILE).write_text(f"{model_format} {weights_digest}\n")
        replace_folder(path, work_path, [] if is_new else [path])
    return "new" if is_new else "changed"


def _read_format(path: Path) -> tuple[str, str | None]:
    """Return the format and the digest of the weights of an exported folder; ("", "") if none."""
    try:
        model_format, _, weights_digest = (path / FORMAT_FILE).read_text().strip().partition(" ")
        return model_format, weights_digest
    except FileNotFoundError:
        return "", ""


def _write_model(run: RunFolder, work_folder: Path) -> tuple[Path, str]:
    """Write the model of a run into a new folder; return the folder and the model's format."""
    pretrained = load.load(run.path)
    obstacle = exporting.find_export_obstacle(pretrained, "transformers")
    model_format = "transformers" if obstacle is None else "encoders"
    path = exporting.export(pretrained, work_folder / "model", model_format)
    (path / NATIVE_FOLDER).mkdir()
    for file_path in (run.path / "spec.json", run.weights_path, run.tokenizer_path):
        shutil.copyfile(file_path, path / NATIVE_FOLDER / file_path.name)
    return path, model_format
