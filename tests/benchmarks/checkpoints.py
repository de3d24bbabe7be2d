"""What checkpoints cost the training thread, at the size of ViT-B/32, as shares.

The state of CLIP's ViT-B/32 with AdamW is copied and then written by the thread of
`CheckpointWriter`, in turn with a checkpoint that the training thread writes itself. A share is the
CPU time of the training thread for one checkpoint divided by `runtime.checkpoint_seconds`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.benchmarks.table import Options, Table
from tests.helpers.small_runs import claimed
from uniclip import numerics
from uniclip.config import RuntimeConfig
from uniclip.store import Store
from uniclip.training import checkpoint
from uniclip.training.checkpoint_writer import CheckpointWriter

VIT_B32_PARAMETERS = 151_277_313
TENSOR_SIZE = 512 * 1024
"""Parameters of one tensor: about the mean of ViT-B/32."""
ROUNDS = 2
INTERVAL_SECONDS = RuntimeConfig().checkpoint_seconds


def run(options: Options) -> Table:
    """Measure checkpoints of both kinds in turn; the fastest of the rounds after the first."""
    numerics.apply(1)
    num_tensors = 3 * VIT_B32_PARAMETERS // TENSOR_SIZE // (100 if options.quick else 1)
    tensors = {f"{i:04}": torch.ones(TENSOR_SIZE) for i in range(num_tensors)}
    rounds: dict[str, list[tuple[float, float, float]]] = {"a thread": [], "training": []}
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        attempt = claimed(Store(Path(folder)).get_run("0" * 16))
        writer = CheckpointWriter(attempt)
        for step in range(1 if options.quick else 1 + ROUNDS):
            rounds["a thread"].append(measure(lambda s=step: writer.start(s, tensors, {}), writer))
            rounds["training"].append(
                measure(lambda s=step: checkpoint.write_checkpoint(attempt, s, tensors, {}), writer)
            )
        writer.close()
    rows = []
    for name, times in rounds.items():
        cpu, wall, process_cpu = map(min, zip(*(times[1:] or times)))
        rows.append(
            {
                "written by": name,
                "training thread, CPU s": cpu,
                "training thread, wall s": wall,
                "share of the training thread, %": 100 * cpu / INTERVAL_SECONDS,
                "all threads, CPU s": process_cpu,
                "first, training thread, CPU s": times[0][0],
            }
        )
    num_bytes = sum(t.numel() * t.element_size() for t in tensors.values())
    notes = {
        "state": f"{num_bytes / 2**30:.2f} GiB: parameters and two moments of AdamW",
        "interval": f"{INTERVAL_SECONDS:g} s, the default of runtime.checkpoint_seconds",
    }
    return Table("checkpoints", rows, notes)


def measure(save: Callable[[], object], writer: CheckpointWriter) -> tuple[float, float, float]:
    """Return CPU and wall seconds of this thread in `save`, and CPU seconds until it is written."""
    process_start, cpu_start, wall_start = time.process_time(), time.thread_time(), time.monotonic()
    save()
    cpu, wall = time.thread_time() - cpu_start, time.monotonic() - wall_start
    writer.wait()
    return cpu, wall, time.process_time() - process_start
