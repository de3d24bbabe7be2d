"""Weights, stop signals and scores for tests of training."""

from __future__ import annotations

from collections.abc import Callable

import torch

from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.checkpoints.tensor_file import bundle_modules
from uniclip.training.trainer import TrainResult

Weights = dict[str, torch.Tensor]


def copy_weights(pretrained: PretrainedModel) -> Weights:
    """Return a copy of the weights of a model and its method."""
    modules = bundle_modules(pretrained.embedder, pretrained.method)
    return {name: value.clone() for name, value in modules.state_dict().items()}


def get_weights(result: TrainResult) -> Weights:
    """Return a copy of the final weights of a training."""
    return copy_weights(result.pretrained)


def equal_weights(a: Weights, b: Weights) -> bool:
    """Return whether all tensors are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_after(num_calls: int) -> Callable[[], bool]:
    """Return a `stop` that returns True from the `num_calls`-th call on."""
    calls = iter(range(1, 10**6))
    return lambda: next(calls) >= num_calls


def score_texts(pretrained: PretrainedModel) -> float:
    """Return a score; draws random numbers and changes the mode, as a validation might."""
    torch.rand(3)
    return float(pretrained.embed_texts(["a red disc", "two blue squares"]).sum())
