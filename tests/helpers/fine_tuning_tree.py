"""A small CIFAR-10 on the disk whose classes no linear probe of a random encoder tells apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers.dataset_trees import pickled
from tests.helpers.small_models import build_method_and_embedder, train_small_tokenizer
from tests.helpers.small_runs import tiny
from uniclip.checkpoints.pretrained import PretrainedModel

CLASSES = ("same", "different")
QUICK = {
    "epochs": 1,
    "min_steps": 6,
    "max_steps": 6,
    "batch_size": 8,
    "learning_rates": [1e-3, 1e-2],
    "num_validations": 3,
}
"""A recipe of few steps."""


def write_cifar10(root: Path, num_train: int = 60, num_test: int = 60) -> None:
    """Write images whose halves have the same of two colours (class 0), or not (class 1)."""
    draws = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    sizes = {f"data_batch_{i}": num_train // 5 for i in range(1, 6)} | {"test_batch": num_test}
    for name, size in sizes.items():
        labels = np.arange(size) % 2
        pixels = draws.integers(60, 120, (size, 3, 32, 32)).astype(np.uint8)
        left = draws.integers(0, 2, size)
        pixels[np.arange(size), left, :, :16] += 100
        pixels[np.arange(size), left ^ labels, :, 16:] += 100
        value = {
            "batch_label": name,
            "labels": labels.tolist(),
            "data": pixels.reshape(size, -1),
            "filenames": [f"{name}_{i}.png" for i in range(size)],
        }
        pickled(folder / name, value)
    meta = {"num_cases_per_batch": num_test, "label_names": list(CLASSES), "num_vis": 3072}
    pickled(folder / "batches.meta", meta)


def build_model(root: Path, recipe: dict, **sections: object) -> PretrainedModel:
    """Return an untrained model whose protocol has a recipe, with data under `root`."""
    protocol = {"name": "quick", "fine_tuning": recipe}
    runtime = {"data_root": str(root), "protocol": protocol, "checkpoint_seconds": 0}
    config = tiny(runtime=runtime, **sections)
    tokenizer = train_small_tokenizer()
    method, embedder = build_method_and_embedder(config, tokenizer)
    return PretrainedModel(embedder, method, tokenizer, config)
