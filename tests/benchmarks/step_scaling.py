"""A training step on one and on two processes, at equal global batch, with DDP beside it.

The same model, loss and batch in three forms: gradients summed while the backward pass runs
(`overlapped`, as in training), summed after it (`afterwards`), and torch's DistributedDataParallel.
The forms alternate, step by step. Wall and CPU milliseconds are medians; the speed-up is the wall
time of one process divided by that of two. On a machine that is shared with other work, only
ratios between forms mean anything.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.benchmarks.table import Options, Table
from tests.helpers.processes import start_ranks
from uniclip import distributed, numerics
from uniclip.config import build_run_config
from uniclip.data.batch import Batch
from uniclip.data.sampling import count_local_samples
from uniclip.training import trainer
from uniclip.training.state import TrainState

BATCH_SIZE, STEPS, QUICK_STEPS = 16, 12, 2
FORMS = ("overlapped", "afterwards", "DDP")
SECTIONS = {
    "data": {"name": "scenes", "num_train": 512, "num_test": 64},
    "views": {"num_weak": 1, "num_strong": 0},
    "method": {"name": "clip"},
    "model": {
        "image": {
            "name": "vit_small_patch32_224",
            "image_size": 64,
            "options": {"depth": 6, "patch_size": 16},
        },
        "text": {"width": 256, "layers": 4, "heads": 4, "context_length": 32, "vocab_size": 2000},
        "embed_dim": 256,
    },
    "train": {"batch_size": BATCH_SIZE, "steps": 100},
}


class TrainingModule(nn.Module):
    """Model and method in the form that DistributedDataParallel wraps."""

    def __init__(self, state: TrainState) -> None:
        super().__init__()
        self.modules_of_state, self.state = state.modules, state

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.state.method.embed(self.state.training_embedder, batch)


def step(state: TrainState, batch: Batch, form: str, ddp_module: nn.Module | None) -> None:
    """Take one step in a form."""
    process_group, method = distributed.get_process_group(), state.method
    state.optimizer.zero_grad(set_to_none=True)
    counts = count_local_samples(BATCH_SIZE, process_group.world_size)
    with distributed.known_sample_counts(counts):
        if ddp_module is None:
            embeddings = method.embed(state.training_embedder, batch)
        else:
            embeddings = ddp_module(batch)
        loss = method.sum_loss_terms(method.compute_terms_from_embeddings(embeddings, batch))
    if ddp_module is not None:
        loss = loss * process_group.world_size  # DDP takes the mean of gradients
    with (
        state.gradient_reducer.sum_gradients(is_overlapped=form == "overlapped")
        if ddp_module is None
        else nullcontext()
    ):
        loss.backward()
    state.optimizer.step()


def measure_forms(num_steps: int) -> dict[str, list[tuple[float, float]]]:
    """Return by form: wall and CPU seconds of each step of this process."""
    process_group = distributed.get_process_group()
    states = {}
    for form in FORMS:
        batches, state = trainer.setup_training(build_run_config(SECTIONS))
        module = None
        if form == "DDP" and process_group.world_size > 1:
            state.gradient_reducer = None  # type: ignore[assignment]
            module = nn.parallel.DistributedDataParallel(TrainingModule(state))
        states[form] = state, module
    seconds: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
    for number in range(num_steps + 1):
        batch = batches.build_batch(number)
        for form, (state, module) in states.items():
            if process_group.world_size > 1:
                dist.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            step(state, batch, form, module)
            if process_group.world_size > 1:
                dist.barrier()
            if number:
                seconds[form].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def run_rank(rank: int, world_size: int, folder: str, num_steps: int) -> None:
    """Measure one process of a job."""
    torch.set_num_threads(1)
    numerics.keep_freed_memory()  # as in training
    if world_size > 1:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    torch.save(measure_forms(num_steps), Path(folder) / f"{rank}.pt")
    if world_size > 1:
        dist.destroy_process_group()


def measure_world(world_size: int, num_steps: int) -> dict[str, tuple[float, float]]:
    """Return by form: wall seconds of a step, and the CPU seconds of all processes."""
    with tempfile.TemporaryDirectory() as folder:
        start_ranks(run_rank, world_size, world_size, folder, num_steps)
        ranks = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world_size)]
    return {
        form: (
            statistics.median(wall for wall, _ in ranks[0][form]),
            sum(statistics.median(cpu for _, cpu in rank[form]) for rank in ranks),
        )
        for form in FORMS
    }


def run(options: Options) -> Table:
    """Return the table of this subject."""
    num_steps = QUICK_STEPS if options.quick else STEPS
    one, two = (measure_world(world_size, num_steps) for world_size in (1, 2))
    table = Table("step_scaling")
    for form in FORMS:
        row: dict[str, Any] = {"gradients": form}
        for name, world in (("one process", one), ("two processes", two)):
            row[f"{name}, wall ms"], row[f"{name}, CPU ms"] = (1e3 * s for s in world[form])
        row["speed-up"] = one[form][0] / two[form][0]
        row["speed-up relative to DDP's"] = row["speed-up"] / (one["DDP"][0] / two["DDP"][0])
        row["CPU of two processes relative to DDP"] = two[form][1] / two["DDP"][1]
        table.rows.append(row)
    return table
