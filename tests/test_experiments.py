"""The experiments of `docs/experiments` can be planned, and their page states published values."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from tests.helpers import ROOT
from tests.helpers.command_line import execute
from tests.helpers.shards import write_shards

FOLDER = ROOT / "docs" / "experiments"
ABLATIONS = sorted(path.stem for path in FOLDER.glob("ablation/*.yaml"))
PAGE = (FOLDER.parent / "experiments.md").read_text(encoding="utf-8")


def read_ablation(name: str) -> dict:
    return yaml.safe_load((FOLDER / "ablation" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("data"), 64, 2)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_experiment_is_planned_over_shards(name, shards, tmp_path, capsys):
    overrides = ("data=webdataset", f"data.path={shards}", "benchmark=[webdataset,bench14]")
    words = (f"conf_dir={FOLDER}", f"ablation={name}", "seeds=3", *overrides)
    assert execute("plan", *words, f"store={tmp_path}") == 0
    output = capsys.readouterr().out
    ablation = read_ablation(name)
    num_cells = 3 * len(ablation["arms"])
    steps = ablation["overrides"]["train.steps"]
    assert f"{num_cells} cells, {num_cells} to run" in output
    assert f"images of 224 pixels; {steps:,} steps of 4,096 samples" in output
    assert "plan --probe measures them" in output
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.endswith(f"| {steps:,} |")


def test_an_experiment_has_thirty_two_epochs():
    pairs = {
        "uniclip_cc3m": 3_300_000,
        "uniclip_yfcc15m": 15_388_848,
        "unicl_gcc3m": 1_281_167 + 3_300_000,
        "unicl_yfcc14m": 1_281_167 + 14_000_000,
    }
    assert sorted(pairs) == ABLATIONS
    for name, count in pairs.items():
        overrides = read_ablation(name)["overrides"]
        assert overrides["train.steps"] == pytest.approx(32 * count / 4096, abs=1)
        assert overrides["train.validate_every"] == pytest.approx(count / 4096, abs=1)


def read_published(path: Path = ROOT / "analysis" / "data" / "published.csv") -> list[dict]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def find_values(*, task: str, dataset: str, metric: str) -> list[str]:
    """Return the published values of the columns of the page, n/a where there is none."""
    methods = ("UniCLIP", "UniCLIP", "DeCLIP", "SLIP", "CLIP")
    pretraining = ("Open30M (CC3M+CC12M+YFCC15M)", *["YFCC15M"] * 4)
    values = {
        (row["method"], row["pretraining_data"]): row["value"]
        for row in read_published()
        if (row["task"], row["dataset"], row["metric"]) == (task, dataset, metric)
        and row["backbone"] == "ViT-B/32"
    }
    return [values.get(column, "n/a") for column in zip(methods, pretraining)]


def test_the_page_repeats_the_published_rows():
    table = PAGE[PAGE.index("| data set |") : PAGE.index("## UniCL\n")]
    rows = {cells[0]: cells[1:] for cells in map(split_row, table.splitlines()[2:]) if cells}
    benchmark = yaml.safe_load((ROOT / "uniclip/conf/benchmark/bench14.yaml").read_text())
    directions = {
        "text to image R@1": "image_retrieval_r@1",
        "image to text R@1": "text_retrieval_r@1",
    }
    for name in benchmark:
        if name in ("flickr30k", "coco"):
            for label, metric in directions.items():
                expected = find_values(task="retrieval", dataset=name, metric=metric)
                assert rows.pop(f"{name}, {label}") == expected
        else:
            expected = find_values(task="zero_shot", dataset=name, metric="accuracy")
            assert rows.pop(name) == expected
    assert not rows


def test_the_page_repeats_the_rows_of_unicl():
    for row in read_published():
        if row["method"] == "UniCL" and row["pretraining_data"].startswith("IN-1K"):
            (line,) = (
                x for x in PAGE.splitlines() if x.startswith(f"| {row['pretraining_data']} |")
            )
            assert row["value"] in split_row(line)


def split_row(line: str) -> list[str]:
    return re.split(r"\s*\|\s*", line.strip("| ")) if line.startswith("|") else []
