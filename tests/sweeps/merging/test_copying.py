"""Only files of known names are copied; a copy appears complete."""

from __future__ import annotations

from pathlib import Path

from sweeps.merging.copying import copy_environments, copy_run, copy_sweep_records
from tests.helpers.fake_sweep import Truth
from tests.helpers.labs import make_lab
from uniclip.store import Store


def test_a_run_is_copied_without_strange_files(tmp_path: Path) -> None:
    source, plan = make_lab(tmp_path / "a", Truth(seeds=(0,)))
    target, run = Store(tmp_path / "b"), source.get_run(plan.cells[0].run_id)
    (run.path / "install.sh").write_text("rm -rf /")
    (run.get_attempt(1).checkpoints_path).mkdir(parents=True, exist_ok=True)
    (run.get_attempt(1).checkpoints_path / "1.safetensors").write_bytes(b"large")
    (tmp_path / "b").mkdir()
    with target.create_scratch_folder() as scratch:
        copy_run(run, target, scratch)
    copy = target.get_run(run.id)
    names = {p.relative_to(copy.path).as_posix() for p in copy.path.rglob("*") if p.is_file()}
    assert {"spec.json", "outcome.json", "attempts/1.claim", "attempts/1/metrics.jsonl"} <= names
    assert "install.sh" not in names
    assert not any("safetensors" in name for name in names)
    assert copy.read_outcome() == run.read_outcome()


def test_an_environment_must_be_what_its_name_says(tmp_path: Path) -> None:
    source, target = Store(tmp_path / "a"), Store(tmp_path / "b")
    folder = source.root / "environments"
    folder.mkdir(parents=True)
    (folder / ("0" * 16 + ".json")).write_text("{}")
    (folder / "x.json").symlink_to("/etc/passwd")
    copy_environments(source, target)
    assert not (target.root / "environments").exists()


def test_measurements_of_both_are_kept_once(tmp_path: Path) -> None:
    folders = [Store(tmp_path / name).get_sweep("s") for name in ("a", "b")]
    for folder, lines in zip(folders, ("1\n2\n", "2\n3\n")):
        folder.path.mkdir(parents=True)
        folder.probes_path.write_text(lines)
    for _ in range(2):
        copy_sweep_records(*folders)
    assert folders[1].probes_path.read_text() == "2\n3\n1\n"
