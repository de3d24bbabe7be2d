"""A sweep on small real trees of published sets: numbers, what is missing, and what leaked."""

from __future__ import annotations

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import dataset_trees
from tests.helpers.command_line import Driver
from uniclip import data
from uniclip.config import CsvData
from uniclip.evaluate.cache import CHECKSUM_BYTES

HERE = ("cifar10", "dtd", "flickr30k")
LEAKED = ("banded/banded_test0000", "zigzagged/zigzagged_test0001")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Two arms, trained for two steps on pictures of which two are in DTD's test part, as JPEG."""
    folder = tmp_path_factory.mktemp("sweep")
    table = write_pictures(folder / "pictures", 80)
    for name in HERE:
        dataset_trees.WRITERS[name](folder / "sets")
    seen = data.open_split(CsvData(path=str(table), image_size=64), "train").sample_names
    for own, name in zip(LEAKED, seen):
        with Image.open(table.parent / name) as picture:
            smaller = picture.resize((70, 70), Image.Resampling.BICUBIC)
            smaller.save(folder / f"sets/dtd/dtd/images/{own}.jpg", quality=80)
    driver = Driver(folder / "store", "arms=[full,clip]", "seeds=1", "train.steps=2")
    driver.words = (
        *(w for w in driver.words if not w.startswith("data")),
        *("data=csv", f"data.path={table}", f"data_root={folder / 'sets'}"),
        "benchmark=[csv,cifar10,dtd,flickr30k,oxford_pets]",
    )
    driver.run()
    return driver


def write_pictures(folder: Path, n: int) -> Path:
    """A CSV of pictures whose colours flow; no two are alike."""
    folder.mkdir()
    random = np.random.default_rng(0)
    with open(folder / "index.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["picture", "caption"])
        for i in range(n):
            coarse = Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8))
            coarse.resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
            rows.writerow([f"{i}.png", f"colours that flow, number {i}"])
    return folder / "index.csv"


def rows(driver: Driver, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(driver.tables()[f"{table}.csv"].decode().splitlines()))


def test_tables_hold_what_the_store_holds(swept: Driver) -> None:
    plan = swept.plan()
    wanted = {
        "zero_shot": (("cifar10", "dtd"), ("zeroshot",)),
        "linear_probe": (("cifar10", "dtd"), ("probe",)),
        "retrieval_captions": (("flickr30k",), ("retrieval.i2t.r1", "retrieval.i2t.r5")),
        "retrieval_pictures": (("flickr30k",), ("retrieval.t2i.r10",)),
    }
    for table, (sets, names) in wanted.items():
        shown = {(r["arm"], r["dataset"], r["score"]): r for r in rows(swept, table)}
        for cell in plan.cells:
            for dataset in sets:
                evaluation = plan.evaluation_hashes[cell.arm][dataset]
                kept = swept.store.get_run(cell.run_id).read_scores(dataset, evaluation)
                assert kept is not None
                assert kept.protocol["protocol"] == "clip2021"
                values = {s.name: s for s in kept.scores}
                for name in names:
                    row = shown[cell.arm, dataset, name]
                    assert float(row["mean"]) == pytest.approx(values[name].value)
                    assert float(row["chance"]) == pytest.approx(values[name].chance)
                    assert row["evaluation"] == evaluation
                    assert row["runs"] == cell.run_id


def test_what_is_missing_is_told_wherever_it_is_asked_for(swept: Driver) -> None:
    for table in ("zero_shot", "linear_probe"):
        for suffix in ("md", "tex", "csv"):
            text = swept.tables()[f"{table}.{suffix}"].decode()
            assert "data download oxford" in text
            assert str(swept.folder.parent) not in text
    page = (swept.store.report_path(swept.plan().sweep_id) / "report.html").read_text()
    assert "Published data sets" in page
    assert "1 of 4 published data sets are not here" in swept.run()


def test_leaked_pictures_are_counted_and_taken_out(swept: Driver) -> None:
    for row in rows(swept, "alarms"):
        if row["dataset"] == "dtd":
            assert (row["near_duplicates"], row["too_plain"], row["samples"]) == ("2", "4", "6")
            run = swept.store.get_run(row["runs"])
            hashed = swept.plan().evaluation_hashes[row["arm"]]["dtd"]
            with np.load(run.predictions_path("dtd", hashed), allow_pickle=False) as kept:
                outcome, near = kept["zeroshot"], kept["near_duplicate"] == 1
            assert near.sum() == 2
            assert float(row["without_near_duplicates"]) == pytest.approx(outcome[~near].mean())
        else:
            assert row["near_duplicates"] == "0"
    text = swept.tables()["alarms.md"].decode()
    assert "2 of 6 test pictures are near-duplicates of training pictures (4 too plain" in text
    kept_once = (swept.folder / "cache/leakage/arrays").iterdir()
    shapes = [np.load(BytesIO(p.read_bytes()[:-CHECKSUM_BYTES]))["kept"].ndim for p in kept_once]
    assert shapes.count(3) == 1 + len(HERE), "grey levels, of each set once"
