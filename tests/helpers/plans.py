"""Plans from the words of a command line, and ablations of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations import schema
from ablations.plan.plan import ResolvedPlan, build_plan, find_cell
from sweeps.config import request
from uniclip.errors import UserError

OWN_ABLATIONS = [
    name
    for name in schema.list_ablations([schema.CONF])
    if schema.load_ablation(name, [schema.CONF]).command is None
]
"""Shipped ablations whose arms this package trains."""
SCENES = ("ablation=components", "data=scenes")
METHODS = ("ablation=methods", "data=scenes", "budget=smoke")
TINY_COMPONENTS = [
    "ablation=components",
    "data=scenes",
    "data.num_train=128",
    "data.num_test=64",
    "train.batch_size=16",
    "train.steps=4",
    "model.image.options.depths=[1,1,1,1]",
    "model.image.options.dims=[8,8,16,16]",
    "model.text.width=32",
    "model.embed_dim=16",
    "seeds=1",
    "benchmark=[]",
]
"""An ablation whose arms train for a moment, evaluated on nothing."""


def plan_from_words(*words: str) -> ResolvedPlan:
    """Return the plan of the words, which are parsed as the command line parses them."""
    return build_plan(request.parse_request(list(words)).plan_request)


def assert_refused(match: str, *words: str) -> None:
    """Check that the words cannot be planned, with a message of one line that matches."""
    with pytest.raises(UserError, match=match) as caught:
        plan_from_words(*words)
    assert "\n" not in str(caught.value)


def write_ablation(folder: Path, text: str, name: str = "custom") -> tuple[str, str]:
    """Write an ablation of a user; return the words that choose it."""
    (folder / "ablation").mkdir(exist_ok=True)
    (folder / "ablation" / f"{name}.yaml").write_text(text)
    return f"ablation={name}", f"conf_dir={folder}"


def get_run_id(resolved_plan: ResolvedPlan, arm: str, seed: int) -> str:
    """Return the id of the run of an arm and a seed."""
    return find_cell(resolved_plan.plan, f"{arm}/{seed}").run_id
