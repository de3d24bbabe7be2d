"""One training shared by several processes: it is that of one, to the rounding of sums."""

from __future__ import annotations

import os

import pytest
import torch
from tiny_runs import METHODS
from training_world import (
    SHUFFLED,
    STEPS,
    found,
    job,
    together,
    trains,
)

from uniclip import train

SOAK = bool(os.environ.get("UNICLIP_SOAK"))
SIZES = (2, 4) if SOAK else (2,)
JOBS = {
    ("uniclip", "layer norm"): job("uniclip", "layer norm"),
    ("slip", "batch norm"): job("slip", "batch norm"),
    ("declip", "accumulated"): job("declip", "layer norm", accumulate=2),
}
if SOAK:
    methods = (*METHODS, SHUFFLED)
    JOBS |= {(m, e): job(m, e) for m in methods for e in ("layer norm", "batch norm")}
    JOBS |= {(m, "accumulated"): job(m, "layer norm", accumulate=3) for m in methods}


@pytest.fixture(scope="module")
def alone():
    """By job: what one process finds."""
    return {name: found(train.fit(config)) for name, config in JOBS.items()}


@pytest.fixture(scope="module", params=SIZES)
def shared(request, tmp_path_factory):
    """What each process of a world finds in every job."""
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    together(request.param, trains, folder, JOBS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.parametrize("name", JOBS, ids=", ".join)
def test_losses_and_weights_are_those_of_one_process(shared, alone, name):
    first, expected = shared[0][name], alone[name]
    for key in ("losses", "norms"):
        one, two = torch.tensor(first[key]), torch.tensor(expected[key])
        print(key, ((one - two).abs() / two.abs()).max())
    worst = {
        n: (first["weights"][n] - w).abs().max().item()
        for n, w in expected["weights"].items()
        if w.is_floating_point()
    }
    print(sorted(worst.items(), key=lambda x: -x[1])[:6])
    assert len(first["losses"]) == STEPS
    torch.testing.assert_close(first["losses"], expected["losses"], rtol=1e-5, atol=1e-6)
