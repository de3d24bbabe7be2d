"""A sweep on small real trees of published data sets: scores, missing sets, near-duplicates."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import dataset_trees
from tests.helpers.command_line import Driver
from uniclip import data
from uniclip.config import CsvData
from uniclip.evaluate.__main__ import main as evaluate_command
from uniclip.evaluate.cache import CHECKSUM_BYTES

pytestmark = pytest.mark.slow

PRESENT = ("cifar10", "dtd", "flickr30k")
LEAKED_IMAGES = ("banded/banded_test0000", "zigzagged/zigzagged_test0001")
CROPPED_IMAGE = "flickr30k/13.jpg"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Two arms, trained for two steps on images, two of which are in DTD's test split as JPEG."""
    folder = tmp_path_factory.mktemp("sweep")
    table = write_images(folder / "images", 80)
    for name in PRESENT:
        dataset_trees.WRITERS[name](folder / "sets")
    train_names = data.open_split(CsvData(path=str(table), image_size=64), "train").sample_names
    for image, name in zip(LEAKED_IMAGES, train_names):
        with Image.open(table.parent / name) as source:
            smaller_copy = source.resize((70, 70), Image.Resampling.BICUBIC)
            smaller_copy.save(folder / f"sets/dtd/dtd/images/{image}.jpg", quality=80)
    with Image.open(table.parent / train_names[5]) as source:
        cropped = source.crop((9, 9, source.width - 9, source.height - 9))
        cropped.save(folder / "sets" / CROPPED_IMAGE, quality=90)
    driver = Driver(folder / "store", "arms=[full,clip]", "seeds=1", "train.steps=2")
    driver.words = (
        *(w for w in driver.words if not w.startswith("data")),
        *("data=csv", f"data.path={table}", f"data_root={folder / 'sets'}"),
        "benchmark=[csv,cifar10,dtd,flickr30k,oxford_pets]",
    )
    driver.run()
    return driver


def write_images(folder: Path, n: int) -> Path:
    """Write a CSV of images with smooth colors; no two are alike."""
    folder.mkdir()
    random = np.random.default_rng(0)
    with open(folder / "index.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["picture", "caption"])
        for i in range(n):
            coarse = Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8))
            coarse.resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
            rows.writerow([f"{i}.png", f"smooth colors, number {i}"])
    return folder / "index.csv"


def rows(driver: Driver, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(driver.tables()[f"{table}.csv"].decode().splitlines()))


def test_tables_hold_the_stored_scores(swept: Driver) -> None:
    plan = swept.plan()
    expected_tables = {
        "zero_shot": (("cifar10", "dtd"), ("zeroshot",)),
        "linear_probe": (("cifar10", "dtd"), ("probe",)),
        "image_to_text_retrieval": (("flickr30k",), ("retrieval.i2t.r1", "retrieval.i2t.r5")),
        "text_to_image_retrieval": (("flickr30k",), ("retrieval.t2i.r10",)),
    }
    for table, (sets, names) in expected_tables.items():
        table_rows = {(r["arm"], r["dataset"], r["score"]): r for r in rows(swept, table)}
        for cell in plan.cells:
            for dataset in sets:
                evaluation = plan.evaluation_hashes[cell.arm][dataset]
                stored = swept.store.get_run(cell.run_id).read_scores(dataset, evaluation)
                assert stored is not None
                assert stored.protocol["protocol"] == "clip2021"
                values = {s.name: s for s in stored.scores}
                for name in names:
                    row = table_rows[cell.arm, dataset, name]
                    assert float(row["mean"]) == pytest.approx(values[name].value)
                    assert float(row["chance"]) == pytest.approx(values[name].chance)
                    assert row["evaluation_hash"] == evaluation
                    assert row["runs"] == cell.run_id


def test_missing_data_sets_are_named_in_every_table(swept: Driver) -> None:
    for table in ("zero_shot", "linear_probe"):
        for suffix in ("md", "tex", "csv"):
            text = swept.tables()[f"{table}.{suffix}"].decode()
            assert "data download oxford" in text
            assert str(swept.folder.parent) not in text
    page = (swept.store.report_path(swept.plan().sweep_id) / "report.html").read_text()
    assert "Benchmark data sets" in page
    assert "1 of 4 published data sets are missing" in swept.run()


def test_near_duplicates_are_counted_and_excluded(swept: Driver) -> None:
    for row in rows(swept, "data_checks"):
        if row["dataset"] == "dtd":
            assert (row["num_near_duplicates"], row["num_undecidable"]) == ("2", "4")
            assert row["num_samples"] == "6"
            run = swept.store.get_run(row["run"])
            hashed = swept.plan().evaluation_hashes[row["arm"]]["dtd"]
            with np.load(run.predictions_path("dtd", hashed), allow_pickle=False) as predictions:
                outcome, near = predictions["zeroshot"], predictions["near_duplicate"] == 1
            assert near.sum() == 2
            assert float(row["value_without_near_duplicates"]) == pytest.approx(
                outcome[~near].mean()
            )
        else:
            assert row["num_near_duplicates"] == "0"
    text = swept.tables()["data_checks.md"].decode()
    assert "2 of 6 test images are near-duplicates of training images (4 too plain" in text
    cached_arrays = (swept.folder / "cache/leakage/arrays").iterdir()
    shapes = [
        np.load(BytesIO(p.read_bytes()[:-CHECKSUM_BYTES]))["array"].ndim for p in cached_arrays
    ]
    assert shapes.count(3) == 1 + len(PRESENT), "gray values, of each data set once"


def test_copies_that_are_found_by_embedding_are_in_the_next_report(
    swept: Driver, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    contaminated = {(r["dataset"], r["arm"]): r for r in rows(swept, "contamination")}
    assert contaminated["dtd", "full"]["num_contaminated"] == "2"
    assert contaminated["flickr30k", ""]["num_contaminated"] == "0"
    run_id = next(c.run_id for c in swept.plan().cells if c.arm == "full")
    folders = [f"store={swept.folder}", f"data_root={swept.folder.parent / 'sets'}"]
    output = f"output={tmp_path / 'scores.json'}"
    words = [f"run={run_id}", *folders, "benchmark=flickr30k", "copies=embedding", output]
    assert evaluate_command(words) == 0
    printed = capsys.readouterr()
    assert "| flickr30k | copies by embedding | 1 | |" in printed.out
    assert "training images embedded" in printed.err
    record = json.loads((tmp_path / "scores.json").read_text())["flickr30k"]["copies_by_embedding"]
    assert record["copies"] == 1
    assert -1 <= record["similarity"] <= 1
    assert set(record["without"]) >= {"retrieval.i2t.r1", "retrieval.t2i.r1"}
    swept.run(command="report")
    row = next(
        r
        for r in rows(swept, "contamination")
        if (r["dataset"], r["score"], r["arm"]) == ("flickr30k", "retrieval.i2t.r1", "clip")
    )
    assert row["num_contaminated"] == "1", "an arm with the same training data"
    assert "searched by embedding, too" in swept.tables()["contamination.md"].decode()
    assert evaluate_command(words) == 0
    assert "training images embedded" not in capsys.readouterr().err, "they are cached"
