"""A step leaves its metrics on the device: the host queues it without reading anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.device_reads import DeviceReads, list_device_tensors
from tests.helpers.distributed_training import run_in_processes
from tests.helpers.small_runs import METHODS, of_method
from uniclip import distributed
from uniclip.config import RunConfig
from uniclip.methods import base
from uniclip.training import divergence, trainer
from uniclip.training.training_step import read_steps, take_step

BATCH_NORM = {"image": {"name": "test_byobnet", "image_size": 32}}
FORMS = {
    "batch norm": {"model": BATCH_NORM},
    "chunks": {"train": {"grad_cache_chunks": 2}},
    "bf16": {"train": {"precision": "bf16"}},
    "shuffled": {"method": {"augmentation_input": "shuffled"}},
}
STREAMED_READS = {"uniclip": 1, "clip": 2, "siglip": 0, "unicl": 2, "slip": 2, "declip": 8}
"""Streamed losses of a step, with two views: each reads its scales once, before the first tile."""


@pytest.fixture(autouse=True)
def on_device(monkeypatch):
    """Read as seldom as on a GPU."""
    monkeypatch.setattr(divergence, "READ_INTERVALS", {})


def list_reads(config: RunConfig) -> list[str]:
    """Return the reads of the third step; the first two set up the optimizer and caches."""
    batches, state = trainer.setup_training(config)
    for step in (0, 1):
        take_step(state, batches.build_batch(step), step)
    batch = batches.build_batch(2)
    with DeviceReads(list_device_tensors(state, batch)) as reads:
        taken = take_step(state, batch, 2)
    assert reads.has(taken.values), "what is computed from device tensors is on the device"
    return reads.places


@pytest.mark.parametrize("method", METHODS)
def test_a_step_reads_nothing(method):
    assert list_reads(of_method(method)) == []


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_step_reads(form):
    assert list_reads(of_method("uniclip", **FORMS[form])) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_streamed_loss_reads_its_scales_once(monkeypatch, method):
    monkeypatch.setattr(base, "MAX_DENSE_EMBEDDINGS", 1)
    places = list_reads(of_method(method))
    assert len(places) == STREAMED_READS[method]
    assert all(place.startswith("tolist at streaming.py") for place in places)


def test_a_text_encoder_of_transformers_reads_its_mask():
    text = {"name": "bert", "pooling": "mean"}
    (place,) = list_reads(of_method("clip", model={"text": text}))
    assert "text_encoder.py" in place


def save_reads(rank: int, folder: Path) -> None:
    """Save the reads of this process, by method; ids are exchanged as beside tensors of a GPU."""
    divergence.READ_INTERVALS.clear()
    host_group = distributed._between_steps
    distributed._get_exchange = lambda tensor: None if tensor.is_floating_point() else host_group
    torch.save({name: list_reads(of_method(name)) for name in METHODS}, folder / f"{rank}.pt")


@pytest.mark.slow
def test_processes_read_nothing_either(tmp_path):
    run_in_processes(2, save_reads, tmp_path)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == {name: [] for name in METHODS}


def test_metrics_of_several_steps_are_read_in_one_transfer():
    batches, state = trainer.setup_training(of_method("declip"))
    _, other = trainer.setup_training(of_method("declip"))
    taken, expected = [], []
    for step in range(3):
        batch = batches.build_batch(step)
        taken.append(take_step(state, batch, step))
        other.counters.step = step
        expected.append(trainer.training_step(other, batch))
    with DeviceReads([step.values for step in taken]) as reads:
        assert read_steps(taken) == expected
    assert [place.partition(" ")[0] for place in reads.places] == ["tolist"]


def read_in_many_ways(values: torch.Tensor) -> None:
    values.sum().item()
    bool(values[0] > 0)
    int(values.argmax())
    values[values > 0].sum()
    torch.unique(values)
    values.tolist()
    values.detach().cpu()
    torch.equal(values, values)


def test_reads_are_counted():
    values = torch.ones(4)
    with DeviceReads([values]) as reads:
        read_in_many_ways(values)
    names = [place.partition(" ")[0] for place in reads.places]
    assert names == [
        *["_local_scalar_dense"] * 3,
        *("index", "_unique2", "tolist", "cpu", "equal"),
    ]
    with DeviceReads([values]) as reads:
        read_in_many_ways(torch.ones(4))
    assert reads.places == []
