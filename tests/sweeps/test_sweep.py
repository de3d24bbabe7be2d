"""A small sweep by the command line: run, run again, extend, read."""

from __future__ import annotations

import csv
import os
import re
import signal
from pathlib import Path

import pytest
import submitit

from tests.helpers.command_line import TIMEOUT_SECONDS, Driver, wait_until
from uniclip.config import CsvData
from uniclip.data.csv.split import open_split
from uniclip.data.csv.verification import NUM_TRAINING_IMAGES

ARMS = "arms=[full,no-awareness,clip]"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Driver, str]:
    """A sweep that is started in a folder with other packages of these names."""
    folder = tmp_path_factory.mktemp("sweep")
    for name in ("ablations", "analysis", "sweeps", "uniclip"):
        (folder / f"{name}.py").write_text("raise ImportError('another package')")
    driver = Driver(folder / "store", ARMS, "train.steps=20")
    return driver, driver.run("seeds=1")


def test_submitit_reads_the_logs_of_workers(swept: tuple[Driver, str]) -> None:
    driver, _ = swept
    folder = driver.store.get_sweep(driver.plan().sweep_id).worker_logs_path
    job_ids = [path.name.partition("_")[0] for path in folder.glob("*_submitted.pkl")]
    assert job_ids
    for job_id in job_ids:
        job: submitit.LocalJob[None] = submitit.LocalJob(folder, job_id)
        assert "submitit" in (job.stdout() or "")
        assert job.paths.result_pickle.exists()


def test_a_sweep_ends_in_a_report(swept: tuple[Driver, str]) -> None:
    driver, output = swept
    assert "3 to run" in output
    assert "estimate: 3 runs in about" in output
    assert "checks passed" in output
    assert {row["status"] for row in driver.states().values()} == {"complete"}
    report = driver.store.report_path(driver.plan().sweep_id)
    assert (report / "report.html").stat().st_size > 10_000
    assert (report / "report.ipynb").exists()
    assert any(name.endswith(".tex") for name in driver.tables())


def test_the_report_shows_what_each_comparison_holds_equal(swept: tuple[Driver, str]) -> None:
    driver, _ = swept
    page = (driver.store.report_path(driver.plan().sweep_id) / "report.html").read_text()
    section = page.partition('<section id="comparability">')[2].partition("</section>")[0]
    stamp = r"UniCLIP vs\. CLIP: matched: samples seen, [^<]*; not matched: [^<]*"
    assert re.search(stamp + r"image forward passes \(960 vs. 320\)", section)
    assert 'href="#comparability"' in page


def test_predicted_and_measured_costs_are_in_one_table(swept: tuple[Driver, str]) -> None:
    driver, _ = swept
    sweep = driver.plan().sweep_id
    cost_report = list(
        csv.DictReader(driver.store.get_sweep(sweep).cost_report_path.read_text().splitlines())
    )
    assert len(cost_report) == 3
    for row in cost_report:
        assert row["prediction_source"] == "probe"
        assert 0 < float(row["predicted_seconds_low"]) < float(row["predicted_seconds"])
        assert float(row["wall_seconds"]) > float(row["training_seconds"]) > 0
    page = (driver.store.report_path(sweep) / "report.html").read_text()
    assert "Predicted for 3 runs" in page


def test_run_again_does_nothing_and_leaves_the_same_bytes(swept: tuple[Driver, str]) -> None:
    driver, _ = swept
    tables, endings = driver.tables(), driver.endings()
    assert "0 to run, 3 already complete" in driver.run("seeds=1")
    assert driver.tables() == tables
    assert driver.endings() == endings


def test_a_run_without_scores_is_evaluated_and_not_trained(
    swept: tuple[Driver, str],
) -> None:
    driver, _ = swept
    cell = driver.plan().cells[-1]
    run, tables, weights = driver.store.get_run(cell.run_id), driver.tables(), driver.weights()
    weights_file = run.weights_path.stat()
    for path in (run.path / "scores").iterdir():
        path.unlink()
    assert driver.states()[cell.name]["status"] == "needs_evaluation"
    assert "1 to run, 2 already complete" in driver.run("seeds=1")
    assert run.weights_path.stat().st_ino == weights_file.st_ino
    assert driver.endings()[cell.run_id] == ["trained", "evaluated"]
    assert (driver.weights(), driver.tables()) == (weights, tables)
    assert not (driver.folder / "superseded").exists()


def test_plan_shows_what_would_run_and_why(swept: tuple[Driver, str]) -> None:
    driver, _ = swept
    output = driver.run("seeds=2", command="plan")
    assert "not started" in output
    assert "complete" in output
    assert "not measured" not in output, "past runs are the estimate for new seeds"


def test_diff_and_logs_of_one_cell(swept: tuple[Driver, str]) -> None:
    driver, _ = swept
    output = driver.run("no-awareness/0", command="diff")
    assert "method.augmentation_input" in output
    assert "1 keys differ" in output
    assert "attempts/1/log" in driver.run("full/0", command="logs")


@pytest.fixture(scope="module")
def extended(swept: tuple[Driver, str]) -> tuple[Driver, str, dict[str, list[str]]]:
    driver, _ = swept
    endings = driver.endings()
    return driver, driver.run("seeds=2"), endings


def test_more_seeds_run_only_the_new_cells(
    extended: tuple[Driver, str, dict[str, list[str]]],
) -> None:
    driver, output, previous_endings = extended
    assert "3 to run, 3 already complete" in output
    endings = driver.endings()
    assert {run: endings[run] for run in previous_endings} == previous_endings
    assert len(endings) == 6


def test_the_id_of_a_sweep_runs_it_again_with_its_seeds_and_nothing_else(
    extended: tuple[Driver, str, dict[str, list[str]]],
) -> None:
    driver, _, _ = extended
    tables, sweep_id = driver.tables(), driver.plan().sweep_id
    by_id = Driver(driver.folder)
    by_id.words = (sweep_id[:-2], f"store={driver.folder}")
    assert "0 to run, 6 already complete" in by_id.run()
    assert (driver.tables(), driver.plan().sweep_id) == (tables, sweep_id)
    assert "makes another sweep than" in by_id.run("train.steps=21", status=2)
    output = by_id.run(command="status")
    assert output == driver.run("seeds=2", command="status")


@pytest.mark.slow
def test_weights_do_not_depend_on_the_number_of_workers(
    extended: tuple[Driver, str, dict[str, list[str]]], tmp_path: Path
) -> None:
    driver, _, _ = extended
    alone = Driver(tmp_path / "alone", ARMS, "train.steps=20")
    alone.run("seeds=1", "launcher.max_workers=1", "runtime.num_workers=1")
    weights = driver.weights()
    assert {name: weights[name] for name in alone.weights()} == alone.weights()


def test_ctrl_c_reaches_the_workers_and_leaves_everything_resumable(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", "arms=[full]", "train.steps=400", "seeds=1")
    process = driver.start()
    wait_until(driver.training)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    wait_until(lambda: not driver.everything())
    (row,) = driver.states().values()
    assert row["status"] == "interrupted"
    assert driver.endings() == {row["run"]: ["interrupted"]}


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="a minute: `make soak`")
def test_a_failed_cell_is_isolated_shown_and_retried(tmp_path: Path) -> None:
    """An image that cannot be read, outside the sample that is decoded before the start."""
    images = tmp_path / "images"
    images.mkdir()
    _write_images(images, 360)
    split = open_split(CsvData(path=f"{images}/index.csv"), "train")
    position = max(range(len(split)), key=lambda i: int(split.ids[i]))
    assert len(split) > NUM_TRAINING_IMAGES
    path = Path(split.image_paths[position])
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))  # as long as before: the same fingerprint
    driver = Driver(tmp_path / "store")
    words = ["data=csv", f"data.path={images}/index.csv", "data.max_broken=0"]
    words += ["arms=[full]", "seeds=1", f"train.steps={3 * len(split) // 16}"]
    driver.words = (*(w for w in driver.words if not w.startswith("data")), *words)
    output = driver.run(status=1)
    assert "failed" in output
    assert path.name in output
    (row,) = driver.states().values()
    assert row["status"] == "failed"
    assert path.name in driver.run("full/0", command="logs")
    assert "0 to run" in driver.run(status=1), "a failure is not run again unless asked"
    path.write_bytes(content)
    driver.run(command="retry")
    assert {row["status"] for row in driver.states().values()} == {"complete"}
    assert list(driver.endings().values()) == [["failed", "trained"]]


def _write_images(folder: Path, n: int) -> None:
    import random

    from PIL import Image

    generator = random.Random(0)
    with open(folder / "index.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["picture", "caption"])
        for i in range(n):
            color = tuple(generator.randrange(256) for _ in range(3))
            Image.new("RGB", (40 + i % 9, 40), color).save(folder / f"{i}.png")
            rows.writerow([f"{i}.png", f"a plain image number {i} of color {color}"])
