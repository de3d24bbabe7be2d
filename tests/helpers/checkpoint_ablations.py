"""Commands whose checkpoint is a small model of open_clip, and images on which it is evaluated."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from tests.helpers import published_models
from tests.helpers.command_ablations import COMMAND
from tests.helpers.shards import WORDS, encode_image


def write_open_clip_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write what open_clip's trainer writes: the state of a model, beside other values."""
    model = published_models.clip()
    torch.manual_seed(seed)
    with torch.no_grad():
        model.text_projection.add_(torch.randn_like(model.text_projection) / 10)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": state, "optimizer": {}}, path)
    return path


def write_captioned_images(folder: Path, name: str, start: int = 0) -> str:
    """Write a table of eight images with captions; return the name of its data set."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["picture", "caption"])
        for number in range(start, start + 8):
            (folder / f"{number}.png").write_bytes(encode_image(number))
            writer.writerow([f"{number}.png", f"{WORDS[number % 4]} {number}"])
    return f"csv:{folder / name}.csv"


def make_checkpoint_command(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write a checkpoint, and return the keys of a command that has it."""
    path = write_open_clip_checkpoint(folder / "model.pt")
    unchanged = {key: value for key, value in COMMAND.items() if key != "scores"}
    return {**unchanged, "checkpoint": str(path), **changes}
