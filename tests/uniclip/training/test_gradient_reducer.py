"""Gradients are summed during the backward pass, and a step has few exchanges beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.helpers.distributed_training import run_in_processes
from tests.helpers.shards import write_shards
from tests.helpers.small_runs import of_method
from uniclip import distributed
from uniclip.methods import base
from uniclip.training import gradient_reducer, trainer
from uniclip.training.gradient_reducer import GradientReducer, _divide_into_buckets

COLLECTIVES = ("all_gather", "all_reduce", "reduce_scatter", "broadcast", "all_gather_object")
METHODS = ("clip", "unicl", "uniclip")
ONE_VIEW: dict[str, dict] = {"dense": {}, "streamed": {"views": {"num_weak": 1, "num_strong": 0}}}
"""Streamed, CLIP and UniCL compute each view's log-sums by themselves."""
TRAIN = {"steps": 4, "validate_every": 4}
DENSE, STREAMED = 3, 5
"""Collectives of a step: gather, reduce-scatter and loss terms; streamed, also log-sums, twice."""


def build_chain(num_layers: int = 6, width: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(num_layers)))


def count_collectives(config: object) -> list[int]:
    """Return the collectives between two calls of `stop`, beside those of gradients."""
    counts, counter = [], 0
    originals = {name: getattr(dist, name) for name in COLLECTIVES}

    def wrap(name: str):
        def call(*args, **kwargs):
            nonlocal counter
            group = kwargs.get("group")
            counter += group is None or group is not distributed.get_gradient_group()
            return originals[name](*args, **kwargs)

        return call

    def stop() -> bool:
        counts.append(counter)
        return False

    for name in COLLECTIVES:
        setattr(dist, name, wrap(name))
    try:
        trainer.train_model(config, stop=stop)
    finally:
        for name, function in originals.items():
            setattr(dist, name, function)
    return [after - before for before, after in zip(counts, counts[1:])]


def record(rank: int, folder: Path, shards: str) -> None:
    """Write what this process measures: numbers of collectives, gradients and a trace."""
    data = {"name": "webdataset", "path": shards, "image_size": 32, "test_fraction": 0.1}
    counts = {}
    for form, max_dense in (("dense", base.MAX_DENSE_EMBEDDINGS), ("streamed", 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base, "MAX_DENSE_EMBEDDINGS", max_dense)
            for name in METHODS:
                config = of_method(name, data=data, train=TRAIN, **ONE_VIEW[form])
                counts[name, form] = count_collectives(config)
    with pytest.MonkeyPatch.context() as patch:
        for size in ("FIRST_BUCKET_SIZE", "BUCKET_SIZE"):
            patch.setattr(gradient_reducer, size, 64 * 65)
        results = {"counts": counts, "sums": sum_of_chain(rank), "trace": trace_chain()}
    torch.save(results, folder / f"{rank}.pt")


def sum_of_chain(rank: int) -> dict[str, torch.Tensor | None]:
    """Return summed gradients of a model whose layers are not used alike by the processes.

    Layer 0 is frozen, layer 5 unused on both processes, layer 3 on rank 1.
    """
    model = build_chain()
    model[0].requires_grad_(False)
    layers = [model[i] for i in (0, 1, 2, 3, 4) if not (rank == 1 and i == 3)]
    reducer = GradientReducer(list(model.parameters()))
    for is_overlapped in (True, False):
        model.zero_grad(set_to_none=True)
        with reducer.sum_gradients(is_overlapped=is_overlapped):
            nn.Sequential(*layers)(torch.full((3, 64), rank + 1.0)).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        if is_overlapped:
            first = {n: g if g is None else g.clone() for n, g in gradients.items()}
    assert first.keys() == gradients.keys()
    assert all(
        g is None and first[n] is None or torch.equal(g, first[n]) for n, g in gradients.items()
    )
    return first


def trace_chain() -> list[tuple[str, float, float]]:
    """Return name, start and end (microseconds) of exchanges and of products in a backward pass."""
    model = build_chain()
    reducer = GradientReducer(list(model.parameters()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        with reducer.sum_gradients(is_overlapped=True):
            model(torch.ones(3, 64)).sum().backward()
    return [
        (event.name, event.time_range.start, event.time_range.end)
        for event in profile.events()
        if "all_reduce" in event.name or "allreduce" in event.name or "AddmmBackward" in event.name
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    shards = write_shards(folder / "shards", 64, 2)
    run_in_processes(2, record, folder, shards)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("form", ["dense", "streamed"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_has_few_collectives_beside_gradients(results, method, form):
    """On shards, so that unreadable images are exchanged too; dense with two views."""
    for rank in results:
        assert rank["counts"][method, form] == [DENSE if form == "dense" else STREAMED] * 2


def test_gradients_are_sums_whatever_parameters_processes_use(results):
    model = build_chain()
    model[0].requires_grad_(False)
    for rank in (0, 1):
        layers = [model[i] for i in (0, 1, 2, 3, 4) if not (rank == 1 and i == 3)]
        nn.Sequential(*layers)(torch.full((3, 64), rank + 1.0)).sum().backward()
    for rank in results:
        for name, parameter in model.named_parameters():
            total = rank["sums"][name]
            if name.startswith(("0.", "5.")):
                assert total is None
            else:
                assert torch.equal(total, results[0]["sums"][name])
                torch.testing.assert_close(total, parameter.grad, rtol=1e-5, atol=1e-5)


def test_exchanges_overlap_the_backward_pass(results):
    """In the trace the first bucket is exchanged before the last layer's gradient is computed."""
    for rank in results:
        exchanges = [start for name, start, _ in rank["trace"] if "Addmm" not in name]
        products = [end for name, _, end in rank["trace"] if "Addmm" in name]
        assert len(products) >= 6
        num_early = sum(start < max(products) for start in exchanges)
        assert num_early >= 4, "all buckets but the last"


def test_buckets_hold_all_parameters_in_order(monkeypatch):
    parameters = list(build_chain().parameters())
    monkeypatch.setattr(gradient_reducer, "FIRST_BUCKET_SIZE", 64)
    monkeypatch.setattr(gradient_reducer, "BUCKET_SIZE", 2 * 64 * 65)
    buckets = list(_divide_into_buckets(parameters[::-1]))
    assert [len(bucket) for bucket in buckets] == [1, 4, 4, 3]
    assert [p for bucket in buckets for p in bucket] == parameters[::-1]


def test_one_process_exchanges_nothing():
    model = build_chain(1)
    reducer = GradientReducer(list(model.parameters()))
    with reducer.sum_gradients(is_overlapped=True):
        model(torch.ones(1, 64)).sum().backward()
    assert torch.equal(model[0].bias.grad, torch.ones(64))
