"""Processes of one test that share their imports: torch takes seconds to import."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing


def start_ranks(function: Callable[..., object], world_size: int, *args: Any) -> None:
    """Call `function(rank, *args)` in `world_size` new processes and wait for their end.

    They are forked from a server that has imported the function's module, and not from this
    process, whose autograd threads would not survive it.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a process raised; the message has its trace.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([function.__module__])
    torch.multiprocessing.start_processes(
        function, args, nprocs=world_size, start_method="forkserver"
    )
