"""Files of the user's in a report's folder: none is lost, whatever is written again."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analysis.report.build import build_report
from analysis.report.folder import replace_folder
from analysis.report.user_files import (
    DIGESTS_NAME,
    carry_user_files,
    describe_edited_files,
    list_edited_files,
    write_digests,
)
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store


def write_report(target: Path, **contents: str) -> None:
    """Write a report of files named after their suffix: `report_ipynb` is `report.ipynb`."""
    with replace_folder(target, carry_user_files) as folder:
        for name, content in contents.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        write_digests(folder)


def read_report(target: Path) -> dict[str, str]:
    """Return the content of every file but the digests."""
    paths = [p for p in sorted(target.rglob("*")) if p.is_file() and p.name != DIGESTS_NAME]
    return {str(p.relative_to(target)): p.read_text() for p in paths}


def test_files_that_nobody_edited_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "report"
    write_report(target, report_ipynb="1", old_csv="1")
    write_report(target, report_ipynb="2")
    assert read_report(target) == {"report.ipynb": "2"}
    assert describe_edited_files(target) == []


def test_an_edited_file_stays_and_the_new_one_is_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "report"
    write_report(target, report_ipynb="1", tables__effects_csv="1")
    (target / "report.ipynb").write_text("mine")
    for number in "234":
        write_report(target, report_ipynb=number, tables__effects_csv=number)
        assert read_report(target) == {
            "report.ipynb": "mine",
            "report.new.ipynb": number,
            "tables/effects.csv": number,
        }
    assert list_edited_files(target) == {"report.ipynb": "report.new.ipynb"}
    (line,) = describe_edited_files(target)
    assert line == "report.ipynb was edited and stays as it is; the new one is report.new.ipynb"


def test_the_new_file_is_edited_too_and_one_that_is_taken_over(tmp_path: Path) -> None:
    target = tmp_path / "report"
    write_report(target, report_ipynb="1")
    (target / "report.ipynb").write_text("mine")
    write_report(target, report_ipynb="2")
    (target / "report.new.ipynb").write_text("mine too")
    write_report(target, report_ipynb="3")
    assert read_report(target) == {
        "report.ipynb": "mine",
        "report.new.ipynb": "mine too",
        "report.new-2.ipynb": "3",
    }
    (target / "report.new.ipynb").unlink()
    os.replace(target / "report.new-2.ipynb", target / "report.ipynb")
    write_report(target, report_ipynb="4")
    assert read_report(target) == {"report.ipynb": "4"}, "it has the bytes of a report"


def test_files_that_no_report_wrote_stay(tmp_path: Path) -> None:
    target = tmp_path / "report"
    write_report(target, report_ipynb="1")
    (target / "copy.ipynb").write_text("1")
    (target / "mine").mkdir()
    (target / "mine" / "notes.txt").write_text("notes")
    (target / "link").symlink_to(target / "mine", target_is_directory=True)
    (target / ".ipynb_checkpoints").mkdir()
    (target / ".ipynb_checkpoints" / "report-checkpoint.ipynb").write_text("1")
    write_report(target, report_ipynb="2", mine__notes_txt="ours", copy_ipynb="ours")
    assert read_report(target) == {
        ".ipynb_checkpoints/report-checkpoint.ipynb": "1",
        "copy.ipynb": "1",
        "copy.new.ipynb": "ours",
        "mine/notes.new.txt": "ours",
        "mine/notes.txt": "notes",
        "report.ipynb": "2",
    }
    assert (target / "link").is_symlink()


def test_an_edited_file_that_reports_no_longer_write_stays(tmp_path: Path) -> None:
    target = tmp_path / "report"
    write_report(target, report_ipynb="1", old_csv="1")
    (target / "old.csv").write_text("mine")
    for number in "23":
        write_report(target, report_ipynb=number)
        assert read_report(target) == {"old.csv": "mine", "report.ipynb": number}
    assert describe_edited_files(target) == ["old.csv was edited and stays as it is"]


def test_what_is_written_while_the_report_is_built_stays(tmp_path: Path) -> None:
    """Also after the new folder was prepared, until it has taken the old one's name."""
    target = tmp_path / "report"
    write_report(target, report_ipynb="1")

    def carry_and_edit(old: Path, new: Path) -> None:
        carry_user_files(old, new)
        if not (new / "report.new.ipynb").exists():
            (old / "late.ipynb").write_text("late")
            os.replace(old / "late.ipynb", old / "report.ipynb")

    with replace_folder(target, carry_and_edit) as folder:
        (folder / "report.ipynb").write_text("2")
        write_digests(folder)
    assert read_report(target) == {"report.ipynb": "late", "report.new.ipynb": "2"}


def test_builders_at_once_keep_an_edited_file(tmp_path: Path) -> None:
    target = tmp_path / "report"
    write_report(target, report_ipynb="0", other_csv="0")
    (target / "report.ipynb").write_text("mine")

    def build(number: int) -> None:
        for _ in range(15):
            write_report(target, report_ipynb=str(number), other_csv=str(number))

    with ThreadPoolExecutor(3) as executor:
        for built in [executor.submit(build, number) for number in range(3)]:
            built.result()
    write_report(target, report_ipynb="9", other_csv="9")
    contents = read_report(target)
    assert contents["report.ipynb"] == "mine"
    assert contents["other.csv"] == "9"


@pytest.mark.parametrize("edited", [False, True])
def test_a_report_from_before_digests_is_judged_by_its_times(tmp_path: Path, edited: bool) -> None:
    target = tmp_path / "report"
    target.mkdir()
    (target / "report.ipynb").write_text("1")
    (target / "manifest.json").write_text('{"files": ["report.ipynb"]}')
    if edited:
        (target / "report.ipynb").write_text("mine")
        later = (target / "manifest.json").stat().st_mtime + 5
        os.utime(target / "report.ipynb", (later, later))
    write_report(target, report_ipynb="2")
    assert read_report(target).get("report.ipynb") == ("mine" if edited else "2")


def test_an_edited_notebook_survives_further_seeds(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(seeds=(0,)))
    first = build_report(store, sweep)
    assert first.notes == []
    path = first.folder / "report.ipynb"
    own_bytes = path.read_bytes().replace(b"## Effects", b"## My effects")
    path.write_bytes(own_bytes)
    truth = Truth(seeds=(0, 1))
    plan = fake_sweep.plan(truth)
    store.get_sweep(sweep).write_plan(plan)
    for cell in plan.cells:
        if cell.seed == 1:
            fake_sweep.write_run(store, plan, cell, truth)
    second = build_report(store, sweep)
    assert path.read_bytes() == own_bytes
    assert b"## My effects" not in path.with_name("report.new.ipynb").read_bytes()
    assert second.notes == [
        "report.ipynb was edited and stays as it is; the new one is report.new.ipynb"
    ]
    unchanged = build_report(store, sweep)
    assert (unchanged.rebuilt, unchanged.notes) == (False, second.notes)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("UNICLIP_SOAK"), reason="run by make soak")
def test_two_reports_of_one_store_are_equal_byte_for_byte(tmp_path: Path) -> None:
    """Also where the store lies elsewhere."""
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(seeds=(0, 1)))
    first = build_report(store, sweep)
    contents = {p.relative_to(first.folder): p.read_bytes() for p in list_paths(first.folder)}
    os.rename(store.root, tmp_path / "moved")
    second = build_report(Store(tmp_path / "moved"), sweep, force=True)
    assert second.notes == []
    again = {p.relative_to(second.folder): p.read_bytes() for p in list_paths(second.folder)}
    assert again == contents


def list_paths(folder: Path) -> list[Path]:
    """Return every file below a folder."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
