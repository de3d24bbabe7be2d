"""Sweeps on data sets with embedded images: merged, trained anew, searched for copies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command_line import execute
from tests.helpers.csv_data import write_csv
from tests.helpers.embedded_data import embedded_config, make_rows, make_table, write_hub_folder
from tests.helpers.shards import encode_image
from uniclip import data
from uniclip.evaluate.checks.near_duplicates import DISTINCT, DUPLICATE
from uniclip.store import Store

WORDS = (
    *("ablation=components", "arms=[full,clip]", "budget=smoke", "data=huggingface"),
    *("data.validation_fraction=0.2", "data.test_fraction=0.2", "data.label_column=label"),
    *("train.steps=10", "train.batch_size=16", "train.validate_every=10"),
)


def write_evaluation_set(folder: Path, numbers: list[int]) -> str:
    """Write images with captions; return the name of the benchmark."""
    folder.mkdir()
    for n in numbers:
        (folder / f"{n}.png").write_bytes(encode_image(n))
    write_csv(folder, [(f"{n}.png", f"one {n}", "a") for n in numbers])
    return f"csv:{folder / 'data.csv'}"


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="a minute: `make soak`")
def test_two_labs_merge_and_train_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the Parquet files in a folder of another name, and one seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    rows = make_rows(range(150))
    rows["image"][149] = None  # skipped
    one = write_hub_folder(tmp_path / "one", {"all": make_table(rows)}, 40)
    two = str(shutil.copytree(one, tmp_path / "two"))
    config = embedded_config(one, image_size=32, label_column="label")
    copies = [int(name[:5]) for name in data.open_split(config, "train").sample_names[:3]]
    benchmark = write_evaluation_set(tmp_path / "mine", [*copies, *range(500, 520)])
    words = (*WORDS, f"benchmark=[huggingface,{benchmark}]")
    for seed, folder in enumerate((one, two)):
        store = f"store={folder}_store"
        assert execute(*words, f"data.path={folder}", f"seeds=[{seed}]", store) == 0
    store = Store(tmp_path / "one_store")
    assert execute("merge", f"{two}_store", f"store={store.root}") == 0
    (sweep,) = store.iter_sweeps()
    plan = sweep.read_plan()
    assert plan is not None
    assert sorted(cell.seed for cell in plan.cells) == [0, 0, 1, 1]
    for run_id, evaluations in plan.required_evaluations().items():
        run = store.get_run(run_id)
        assert run.has_scores(evaluations)
        verdicts = {}
        for name, evaluation_hash in evaluations.items():
            with np.load(run.predictions_path(name, evaluation_hash)) as arrays:
                verdicts[name] = arrays["near_duplicate"].tolist()
        assert verdicts.pop("huggingface").count(DUPLICATE) == 0
        assert list(verdicts.values()) == [[DUPLICATE] * 3 + [DISTINCT] * 20]
    assert execute("bundle", plan.sweep_id, f"store={store.root}") == 0
    capsys.readouterr()
    words = ("--rerun=1", "draw=1", f"data.path={two}")
    assert execute("verify", f"{plan.sweep_id}.tar", *words) == 0
    assert ": bit for bit" in capsys.readouterr().out
