"""Log folders as `open_clip_train.main` 3.3.0 writes them."""

from __future__ import annotations

import json
from pathlib import Path

STAMP = "2026-01-01,20:00:00 | INFO | "
TRAIN = (
    "Train Epoch: {epoch} [{samples:>3}/128 ({percent}%)] Data (t): 0.098 Batch (t): 0.223, "
    "143.471/s, 143.471/s/gpu LR: 0.001000 Logit Scale: 14.279 Contrastive_loss: 3.6334 (3.7048) "
    "Loss: 3.6334 (3.7048)"
)


def write_log_folder(
    folder: Path, *, seed: int, r1: float, writes_results: bool = True, parameters: str = ""
) -> None:
    """Write the log of two epochs of 128 samples, in batches of 32 of which every second is logged.

    Args:
        folder: The folder.
        seed: The seed.
        r1: The last recall.
        writes_results: Whether `checkpoints/results.jsonl` is there, too.
        parameters: Further lines of params.txt.
    """
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "params.txt").write_text(
        f"batch_size: 32\nlr: 0.001\nname: run\nseed: {seed}\n" + parameters
    )
    lines = []
    for epoch in range(2):
        lines.append(f"Start epoch {epoch}")
        for samples in (64, 128):
            lines.append(TRAIN.format(epoch=epoch, samples=samples, percent=samples * 100 // 128))
        scores = {"image_to_text_mean_rank": 16.5, "image_to_text_R@1": r1 / (2 - epoch)}
        values = {**scores, "clip_val_loss": 3.5, "epoch": epoch + 1, "num_samples": 32}
        text = "\t".join(f"{name}: {value:.4f}" for name, value in values.items())
        lines += [f"Eval Epoch: {epoch + 1} [32 / 32]\tClip Loss: 3.5\t"]
        lines += [f"Eval Epoch: {epoch + 1} {text}"]
        if writes_results:
            with open(folder / "checkpoints" / "results.jsonl", "a") as stream:
                stream.write(json.dumps(values) + "\n")
    (folder / "out.log").write_text("".join(f"{STAMP}{line}\n" for line in lines))
