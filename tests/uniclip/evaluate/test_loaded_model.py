"""Models that are named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers import published_models
from uniclip.errors import UserError
from uniclip.evaluate.loaded_model import find_run, load_model


def make_runs(store: Path, *ids: str) -> None:
    for run_id in ids:
        (store / "runs" / run_id).mkdir(parents=True)
        (store / "runs" / run_id / "spec.json").write_text("{}")


def test_a_path_precedes_an_id_unless_a_store_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_runs(tmp_path / "store", "ab12", "cd34")
    (tmp_path / "ab").write_text("weights")
    assert find_run("ab", None) == Path("ab")
    assert find_run("ab", "store").name == "ab12"
    assert find_run("cd", None).name == "cd34"
    (tmp_path / "weights.pt").write_text("weights")
    assert find_run("weights.pt", "store") == Path("weights.pt"), "beside runs of that store"


def test_an_id_must_match_one_run(tmp_path: Path) -> None:
    make_runs(tmp_path / "store", "ab12", "ab34")
    with pytest.raises(UserError, match="it matches ab12, ab34"):
        find_run("ab", str(tmp_path / "store"))
    with pytest.raises(UserError, match="it matches none"):
        find_run("ef", str(tmp_path / "store"))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        load_model(str(tmp_path / "nowhere"), {})


def test_a_checkpoint_is_evaluated_with_exact_numerics(tmp_path: Path) -> None:
    """Else what is trained in its evaluation, fine-tuning, could not be resumed to the bit."""
    torch.save(published_models.clip().state_dict(), tmp_path / "clip.pt")
    num_threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("high")
    model = load_model(str(tmp_path / "clip.pt"), {"quick_gelu": False})
    assert model.run is None
    assert torch.get_deterministic_debug_mode() == 2, "an operation that is not is an error"
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_num_threads() == num_threads
