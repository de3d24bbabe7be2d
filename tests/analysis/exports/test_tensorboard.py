"""TensorBoard: what its own reader finds, and files that are extended, completed and replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.exports.source import SweepSource
from tests.helpers import exported_sweeps
from tests.helpers.exported_sweeps import count_changes, expect_values, format_value, read_files

exported_sweeps.require_library("tensorboard")


def read_values(source: SweepSource, folder: Path) -> exported_sweeps.Values:
    """Return what TensorBoard reads; two points of one step are an error."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    values: exported_sweeps.Values = {}
    for cell in source.iter_cells():
        events = EventAccumulator(str(folder / cell.file_name), size_guidance={"scalars": 0})
        events.Reload()
        points = [(n, e) for n in events.Tags()["scalars"] for e in events.Scalars(n)]
        values[cell.name] = {(n, e.step): format_value(e.value) for n, e in points}
        assert len(values[cell.name]) == len(points)
    return values


@pytest.fixture
def source(tmp_path: Path) -> SweepSource:
    return exported_sweeps.make_source(tmp_path / "store")


def test_the_reader_finds_the_numbers_of_the_store(source: SweepSource, tmp_path: Path) -> None:
    folder = tmp_path / "to"
    assert count_changes("tensorboard", source, folder) == {"new": 3}
    assert read_values(source, folder) == expect_values(source, single_precision=True)
    before = read_files(folder)
    assert count_changes("tensorboard", source, folder) == {"unchanged": 3}
    assert read_files(folder) == before


def test_arm_seed_and_configuration_are_hyperparameters(
    source: SweepSource, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    assert count_changes("tensorboard", source, tmp_path) == {"new": 3}
    events = EventAccumulator(str(tmp_path / "full-0"))
    events.Reload()
    plugin_data = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(plugin_data).hparams
    assert hparams["arm"].string_value == "full"
    assert hparams["seed"].number_value == 0


def test_a_run_that_trains_on_extends_its_file(source: SweepSource, tmp_path: Path) -> None:
    """The run has no outcome yet, as while it trains."""
    run = source.store.get_run(exported_sweeps.fake_sweep.run_id("full", 0))
    (run.path / "outcome.json").unlink()
    count_changes("tensorboard", source, tmp_path / "to")
    (path,) = (tmp_path / "to" / "full-0").iterdir()
    before, inode = path.read_bytes(), path.stat().st_ino
    exported_sweeps.train_on(source, 2000)
    assert count_changes("tensorboard", source, tmp_path / "to") == {"unchanged": 2, "changed": 1}
    assert path.read_bytes().startswith(before)
    assert path.stat().st_ino == inode
    assert read_values(source, tmp_path / "to") == expect_values(source, single_precision=True)


@pytest.mark.parametrize("size", [0, 1, 13, 400, -1])
def test_a_file_that_was_cut_off_is_completed(
    source: SweepSource, tmp_path: Path, size: int
) -> None:
    count_changes("tensorboard", source, tmp_path / "to")
    whole = read_files(tmp_path / "to")
    path = Path(next(iter(whole)))
    path.write_bytes(whole[str(path)][:size])
    assert count_changes("tensorboard", source, tmp_path / "to")["changed"] == 1
    assert read_files(tmp_path / "to") == whole


def test_a_run_that_was_started_afresh_replaces_its_file(
    source: SweepSource, tmp_path: Path
) -> None:
    count_changes("tensorboard", source, tmp_path / "to")
    exported_sweeps.rewrite_history(source)
    assert count_changes("tensorboard", source, tmp_path / "to")["changed"] == 1
    assert read_values(source, tmp_path / "to") == expect_values(source, single_precision=True)


def test_a_killed_export_is_completed(source: SweepSource, tmp_path: Path) -> None:
    killed, whole = str(tmp_path / "killed"), str(tmp_path / "whole")
    exported_sweeps.export_in_process("tensorboard", source, killed, kill=True)
    output = exported_sweeps.export_in_process("tensorboard", source, killed)
    assert "unchanged" in output
    exported_sweeps.export_in_process("tensorboard", source, whole)
    names = {p.relative_to(whole): p.read_bytes() for p in Path(whole).rglob("events*")}
    assert names == {p.relative_to(killed): p.read_bytes() for p in Path(killed).rglob("events*")}
