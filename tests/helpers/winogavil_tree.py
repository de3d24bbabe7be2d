"""A small valid tree of WinoGAViL."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

from tests.helpers.dataset_trees import colour

CANDIDATES = ("eagle", "teepee", "factory", "metal", "ash")
ROWS = (("bald", ("eagle", "ash")), ("Orange", ("teepee", "ash")), ("west", ("eagle", "teepee")))


def write_tree(root: Path) -> None:
    """Write the files as the authors' repository has them."""
    (root / "winogavil/images").mkdir(parents=True)
    for i, name in enumerate(CANDIDATES):
        Image.new("RGB", (12, 12), colour(i)).save(root / f"winogavil/images/{name}.png")
    with open(root / "winogavil/winogavil_dataset.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["", "candidates", "cue", "associations", "num_associations", "ID"])
        for i, (cue, associations) in enumerate(ROWS):
            candidates = json.dumps(CANDIDATES)
            writer.writerow([i, candidates, cue, json.dumps(associations), len(associations), i])
