"""The environment of a process: complete, without secrets, the same for equal processes."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

from sweeps.claims import environment
from uniclip.store import EnvironmentRecord, Store


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_the_packages_are_those_that_are_installed() -> None:
    record = environment.describe_environment()
    for name in ("torch", "numpy", "timm"):
        assert record.packages[name] == version(name)
    assert list(record.packages) == sorted(record.packages)
    assert record.num_cores >= 1
    assert record.memory_gb > 0


def test_equal_environments_share_a_file(tmp_path: Path) -> None:
    store, record = Store(tmp_path), environment.describe_environment()
    digests = {store.record_environment(record) for _ in range(2)}
    assert len(digests) == len(list((tmp_path / "environments").iterdir())) == 1
    assert store.read_environment(*digests) == record
    assert store.read_environment("") is None


def test_the_diff_holds_changes_and_names_of_untracked_files(tmp_path: Path) -> None:
    assert environment.read_diff(tmp_path) == ""
    git(tmp_path, "init", "-q")
    (tmp_path / "loss.py").write_text("scale = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert environment.read_diff(tmp_path) == ""
    (tmp_path / "loss.py").write_text("scale = 2\n")
    (tmp_path / "new.py").touch()
    diff = environment.read_diff(tmp_path)
    assert "-scale = 1\n+scale = 2\n" in diff
    assert diff.endswith("untracked: new.py\n")


def test_a_copy_of_the_code_states_its_diff(tmp_path: Path) -> None:
    (tmp_path / environment.DIFF_FILE).write_text("-a\n+b\n")
    assert environment.read_diff(tmp_path) == "-a\n+b\n"


def test_a_long_diff_is_cut(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "a.txt").write_text("x\n" * environment.MAX_DIFF_CHARACTERS)
    diff = environment.read_diff(tmp_path)
    assert len(diff) < environment.MAX_DIFF_CHARACTERS + 20
    assert diff.endswith("(cut)\n")


def test_passwords_in_a_command_are_not_recorded() -> None:
    words = ["python", "sweep.py", "tune", "storage=postgresql://lab:secret@host/db"]
    url = "data_root=https://user:secret@host/x"
    words += ["data_root=https://user:a@secret@host/x"]
    recorded = environment.describe_command([*words, url, "notify=https://hooks/secret", "seeds=3"])
    assert "secret" not in "".join(recorded)
    assert recorded[:3] == ("python", "sweep.py", "tune")
    assert recorded[-1] == "seeds=3"


def test_records_of_an_environment_are_plain(tmp_path: Path) -> None:
    record = environment.describe_environment()
    digest = Store(tmp_path).record_environment(record)
    again = Store(tmp_path).read_environment(digest)
    assert isinstance(again, EnvironmentRecord)
    assert again.packages == record.packages
