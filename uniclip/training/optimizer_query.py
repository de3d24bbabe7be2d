"""Answers whether training can use an optimizer of timm, for processes that do not import torch.

    python -m uniclip.training.optimizer_query '{"name": "lamb", "options": {}}'

prints {"error": null}, or the line for the user. A few steps are taken on small parameters of every
kind, once without interruption and once through a checkpoint: the weights must be equal, bit for
bit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from uniclip.checkpoints.tensor_file import flatten_optimizer_state, restore_optimizer
from uniclip.config import TrainConfig
from uniclip.errors import UserError
from uniclip.training.optimizer import build_optimizer, set_learning_rate

NUM_STEPS, RESUMED_STEP = 6, 3


def describe_optimizer(name: str, options: Mapping[str, Any]) -> dict[str, str | None]:
    """Return "error": why training cannot use an optimizer with these options, or None."""
    train = TrainConfig(optimizer=name, optimizer_options=dict(options))
    try:
        modules, resumed_modules = _build_modules(), _build_modules()
        optimizer = _build_optimizer(modules, train)
    except UserError as error:
        return {"error": str(error)}
    try:
        _take_steps(modules, optimizer, range(RESUMED_STEP))
        state = {k: v.clone() for k, v in flatten_optimizer_state(optimizer).items()}
        resumed_modules.load_state_dict(modules.state_dict())
        resumed_optimizer = _build_optimizer(resumed_modules, train)
        restore_optimizer(resumed_optimizer, state)
        for any_modules, any_optimizer in (
            (modules, optimizer),
            (resumed_modules, resumed_optimizer),
        ):
            _take_steps(any_modules, any_optimizer, range(RESUMED_STEP, NUM_STEPS))
    except Exception as error:  # optimizers check their input in many ways
        message = " ".join(str(error).split())[:200]
        return {"error": f"train.optimizer={name} is not supported: {message}"}
    if not _are_equal(modules.state_dict(), resumed_modules.state_dict()):
        return {"error": f"train.optimizer={name} is not supported: it cannot be resumed exactly"}
    return {"error": None}


def _build_modules() -> nn.ModuleDict:
    """Return modules with a matrix, filters, vectors and a scalar."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = nn.ModuleDict({"linear": nn.Linear(6, 4), "conv": nn.Conv2d(3, 4, 3)})
        modules.register_parameter("log_scale", nn.Parameter(torch.tensor(2.0)))
    return modules


def _build_optimizer(modules: nn.ModuleDict, train: TrainConfig) -> torch.optim.Optimizer:
    return build_optimizer(modules, [modules.get_parameter("log_scale")], train)


def _take_steps(modules: nn.ModuleDict, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Take steps along gradients that are functions of the step."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        set_learning_rate(optimizer, 1e-3 * (step + 1))
        for parameter in modules.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def main() -> None:
    """Answer the question in the first argument."""
    print(json.dumps(describe_optimizer(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
