"""The order of an epoch, compared with the permutations of NumPy and torch, on one thread.

Every data worker needs the order of the epoch; what it costs is time at the start of an epoch and
memory until its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.benchmarks.measure import MIB, read_resident_bytes, reset_peak_memory, trim_memory
from tests.benchmarks.table import Options, Table
from uniclip import rng

SIZES, QUICK_SIZES = (1_000_000, 15_061_515), (100_000,)
BATCH_SIZE = 4096


def measure(make_order: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return an order, the CPU milliseconds to make it, and the MiB that were needed at most."""
    trim_memory()
    reset_peak_memory()
    resident_before, start = read_resident_bytes("VmRSS"), time.process_time()
    order = make_order()
    milliseconds = 1e3 * (time.process_time() - start)
    return order, milliseconds, max(0, read_resident_bytes("VmHWM") - resident_before) / MIB


def time_batch(order: Any, n: int) -> float:
    """Return the CPU milliseconds, median of 20 batches, to look up the samples of a batch."""
    milliseconds = []
    for i in range(20):
        position = i * (n // BATCH_SIZE) // 20 * BATCH_SIZE
        start = time.process_time()
        np.asarray(order[position : position + BATCH_SIZE]) + 0
        milliseconds.append(1e3 * (time.process_time() - start))
    return float(np.median(milliseconds))


def run(options: Options) -> Table:
    """Return the table of this subject."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table = Table("epoch_order")
    key = rng.derive_key("bench")
    for n in QUICK_SIZES if options.quick else SIZES:
        generator, torch_generator = np.random.default_rng(0), torch.Generator()
        orders: dict[str, Callable[[], Any]] = {
            "uniclip: rng.RandomOrder": lambda n=n: rng.RandomOrder(key, n),
            "uniclip: rng.permutation (sorted words)": lambda n=n: rng.permutation(key, n),
            "numpy: Generator.permutation": lambda n=n, g=generator: g.permutation(n),
            "torch.randperm": lambda n=n, g=torch_generator: torch.randperm(n, generator=g),
        }
        for name, make_order in orders.items():
            order, milliseconds, mib = measure(make_order)
            table.rows.append(
                {
                    "order": name,
                    "samples": n,
                    "start of an epoch, CPU ms": milliseconds,
                    "peak memory, MiB": mib,
                    f"{BATCH_SIZE} samples, CPU ms": time_batch(order, n),
                }
            )
            del order
    torch.set_num_threads(threads)
    return table
