"""Ablations whose arms are trained by `toy_program.py`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from ablations.plan.command_plan import build_command_plan
from ablations.plan.plan import ResolvedPlan
from sweeps.config.request import parse_request
from tests.helpers import toy_program

COMMAND: dict[str, Any] = {
    "run": (
        "{python} -S {here}/program.py --seed {seed} --out {output} --steps {steps} "
        "--gain {gain} --seconds {seconds} {flags}"
    ),
    "steps": "{steps}",
    "metrics_file": "metrics.jsonl",
    "scores": {"accuracy": {"key": "test.accuracy", "chance": 0.1, "num_samples": 100}},
    "sources": ["program.py"],
    "packages": [],
    "data": [],
    "check_values": {"steps": 3},
}
ARMS: dict[str, Any] = {
    "base": {},
    "gain": {"overrides": {"gain": 1.0}, "must_differ": ["loss"], "must_equal": ["batch"]},
}


def write_command_ablation(
    folder: Path, *, command: dict[str, Any] | None = None, arms: Any = None, **fields: Any
) -> list[str]:
    """Write an ablation and its program; return the words that choose it.

    Args:
        folder: A folder of the user's YAML.
        command: Keys that replace those of `COMMAND`.
        arms: Arms instead of `ARMS`; the first one is the reference.
        fields: Other keys of the ablation.
    """
    (folder / "ablation").mkdir(parents=True, exist_ok=True)
    shutil.copy(toy_program.__file__, folder / "ablation" / "program.py")
    arms = ARMS if arms is None else arms
    values = {
        "title": "What does the toy do?",
        "command": {**COMMAND, **(command or {})},
        "overrides": {"steps": 5, "gain": 0.0, "seconds": 0.0, "flags": []},
        "design": "listed",
        "reference": next(iter(arms), ""),
        "arms": arms,
        "contrasts": {
            f"{name}": {"label": name, "plus": name, "minus": next(iter(arms), ""), "primary": True}
            for name in list(arms)[1:]
        },
        **fields,
    }
    (folder / "ablation" / "toy.yaml").write_text(yaml.safe_dump(values))
    return ["ablation=toy", f"conf_dir={folder}", "runtime.device=cpu", "launcher.max_workers=1"]


def plan_command(folder: Path, *words: str, **changes: Any) -> ResolvedPlan:
    """Return the plan of such an ablation."""
    request = parse_request([*write_command_ablation(folder, **changes), *words])
    return build_command_plan(request.plan_request)
