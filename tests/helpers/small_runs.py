"""Small runs for tests: a configuration, its folder in a store, a claimed attempt."""

from __future__ import annotations

import os
import time
from pathlib import Path

from uniclip import data, identity
from uniclip.checkpoints import weight_files
from uniclip.config import RunConfig, build_run_config
from uniclip.store import AttemptFolder, ClaimRecord, RunFolder, Store

BASE = {
    "data": {"name": "scenes", "num_train": 256, "num_test": 64},
    "views": {"num_weak": 1, "num_strong": 1},
    "model": {
        "image": {"name": "convnext_atto", "image_size": 32, "options": {}},
        "text": {"width": 32, "layers": 1, "heads": 2, "context_length": 16, "vocab_size": 300},
        "embed_dim": 16,
        "augmentation_width": 16,
    },
    "method": {"name": "uniclip"},
    "train": {"steps": 6, "batch_size": 16, "validate_every": 2},
    "runtime": {"log_every": 1},
}
SMALL_IMAGE = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}


def tiny(**sections: object) -> RunConfig:
    """Return the base configuration with sections merged in: tiny(train={"steps": 4}, seed=1)."""
    values = {name: dict(section) for name, section in BASE.items()}
    values["model"]["image"] = {**values["model"]["image"], "options": SMALL_IMAGE}
    if sections.get("data", {}).get("name", "scenes") != "scenes":
        values["data"] = {}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return build_run_config(values)


METHODS = {
    "uniclip": {},
    "clip": {"method": {"name": "clip"}},
    "siglip": {"method": {"name": "siglip"}},
    "unicl": {"method": {"name": "unicl"}},
    "slip": {
        "method": {"name": "slip", "ssl_mlp_dim": 32, "ssl_embed_dim": 16},
        "views": {"num_weak": 1, "num_strong": 2},
    },
    "declip": {
        "method": {"name": "declip", "queue_size": 48, "ssl_mlp_dim": 32, "mlm_probability": 0.5},
        "views": {"num_weak": 0, "num_strong": 2},
    },
}
"""The sections that make each method small."""


def of_method(method_name: str, **sections: object) -> RunConfig:
    """Return `tiny` for a method, with small heads and queue."""
    method_sections = METHODS[method_name]
    merged = {
        name: {**method_sections.get(name, {}), **section} if isinstance(section, dict) else section
        for name, section in sections.items()
    }
    return tiny(**{**method_sections, **merged})


def claimed(run: RunFolder, *, training: str = "t", forced: bool = False) -> AttemptFolder:
    """Claim the next attempt of `run` for this process, and return it."""
    number = max(run.list_attempts(), default=0) + 1
    claim_record = ClaimRecord(
        host="here",
        boot_id="b",
        pid=os.getpid(),
        start_ticks=0,
        source_hash="s",
        training_hash=training,
        numerics_class={"device": "cpu"},
        time=time.time(),
        forced=forced,
    )
    attempt = run.claim_attempt(number, claim_record)
    assert attempt is not None
    return attempt


def opened(folder: Path, config: RunConfig, name: str | None = None) -> RunFolder:
    """Return the run of `config` in a store at `folder`, with its spec written."""
    fingerprint = {**data.fingerprint(config.data), **weight_files.fingerprint(config)}
    spec = identity.build_spec(config, fingerprint)
    run = Store(folder).get_run(name or identity.compute_run_id(spec))
    run.write_spec(spec)
    return run
