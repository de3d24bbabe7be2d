"""What the doctor checks, for a small sweep in a folder of the test's."""

from __future__ import annotations

from pathlib import Path

from ablations.plan.plan import build_plan
from sweeps.config import request
from sweeps.doctor.context import DoctorContext
from tests.helpers.command_line import TINY

ARMS = ("arms=[full,clip]", "seeds=2", "train.steps=20")


def build_context(folder: Path, *words: str) -> DoctorContext:
    """Return the context of a sweep whose store is `folder`."""
    sweep_request = request.parse_request([*TINY, *ARMS, f"store={folder}", *words])
    resolved_plan = build_plan(sweep_request.plan_request)
    config = resolved_plan.configs[resolved_plan.plan.reference]
    return DoctorContext(
        settings=sweep_request.settings,
        config=config,
        store=sweep_request.store,
        resolved_plan=resolved_plan,
    )
