"""A user-defined method, from a folder to the tables; its sources are part of the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.launchers import code_snapshot
from tests.helpers import ROOT
from tests.helpers.command_line import TINY, Driver
from uniclip.store import Store

pytestmark = pytest.mark.slow
TOY = ROOT / "tests/helpers/toy_method.py"
REGISTERED = "\nfrom uniclip.config import METHODS\n\nMETHODS['toy'] = ToyMethod\n"
ABLATION = """\
title: Is contrast needed?
groups: {method: clip}
design: listed
reference: clip
arms: {clip: {label: CLIP}, toy: {label: Toy, groups: {method: toy}}}
contrasts: {toy-vs-clip: {label: toy against CLIP, plus: toy, minus: clip, primary: true}}
primary_metrics: {scenes: retrieval.caption.r1}
"""
STEPS = ("seeds=1", "train.steps=20")


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package that defines a method, and an ablation that names it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "user_methods").mkdir()
    (folder / "user_methods" / "__init__.py").touch()
    (folder / "user_methods" / ".#toy.py").symlink_to("user@host.77")  # as an editor locks a file
    (folder / "user_methods" / "toy.py").write_text(TOY.read_text() + REGISTERED)
    path = folder / "conf" / "ablation" / "contrast.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(ABLATION)
    return folder


def driver_in(user_folder: Path) -> Driver:
    """Return a driver of commands in the user's folder."""
    driver = Driver(user_folder / "store")
    words = [w for w in TINY if not w.startswith("ablation=")]
    settings = ("ablation=contrast", "plugins=[user_methods.toy]", "conf_dir=conf", *STEPS)
    driver.words = (*words, *settings, f"store={user_folder / 'store'}")
    return driver


@pytest.fixture(scope="module")
def swept(user_folder: Path) -> Driver:
    driver = driver_in(user_folder)
    driver.run()
    return driver


def test_the_method_is_trained_and_is_in_the_tables(swept: Driver) -> None:
    assert all(swept.weights().values())
    assert b"toy against CLIP" in b"".join(swept.tables().values())
    assert "2 already complete" in swept.run()
    assert all(row["status"] == "complete" for row in swept.states().values())


def test_its_runs_are_evaluated_alone_too(user_folder: Path, swept: Driver) -> None:
    """With the same numbers; without the module, one line names what is missing."""
    (cell,) = (c for c in swept.plan().cells if "toy" in c.name)
    run = swept.store.get_run(cell.run_id)
    words = [sys.executable, "-m", "uniclip.evaluate", f"run={run.path}", "benchmark=scenes"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def evaluate(*more: str) -> subprocess.CompletedProcess[str]:
        command = [*words, *more]
        return subprocess.run(
            command, cwd=user_folder, env=environment, capture_output=True, text=True
        )

    done = evaluate("plugins=[user_methods.toy]", "output=scores.json")
    assert done.returncode == 0, done.stderr
    scores = json.loads((user_folder / "scores.json").read_text())["scenes"]
    (stored,) = run.path.glob("scores/scenes@*.json")
    assert scores["scores"] == json.loads(stored.read_text())["scores"]
    without = evaluate()
    assert without.returncode == 2
    assert "toy" in without.stderr
    assert len(without.stderr.strip().splitlines()) == 1


def test_its_sources_are_in_the_hash_and_in_the_snapshot(user_folder: Path, swept: Driver) -> None:
    code = (
        "from uniclip import identity\nfrom uniclip.config import plugins\n"
        "from sweeps.launchers import code_snapshot\n"
        "from uniclip.store import Store\n"
        "import sys\n"
        "before = identity.compute_training_hash(), identity.compute_source_hash()\n"
        "plugins.import_plugins(['user_methods.toy'])\n"
        "after = identity.compute_training_hash(), identity.compute_source_hash()\n"
        "assert before[0] != after[0] and before[1] != after[1]\n"
        "print(code_snapshot.create_snapshot(Store(sys.argv[1])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", code, str(user_folder / "elsewhere")]
    done = subprocess.run(words, cwd=user_folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    snapshot = Path(done.stdout.strip())
    assert (snapshot / "user_methods" / "toy.py").read_text().endswith(REGISTERED)
    code = (
        "from uniclip import identity\nfrom uniclip.config import plugins\n"
        "plugins.import_plugins('user_methods.toy')\n"
        "print(identity.ROOT.name == identity.compute_source_hash())\n"
    )
    environment["PYTHONPATH"] = str(snapshot)
    words = [sys.executable, "-P", "-c", code]
    done = subprocess.run(words, cwd=user_folder, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_results_are_outdated_after_an_edit_that_changes_the_code(
    user_folder: Path, swept: Driver
) -> None:
    path = user_folder / "user_methods" / "toy.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("square()", "abs()"))
        assert {row["status"] for row in swept.states().values()} == {"outdated"}
        path.write_text("# a comment\n" + text)
        assert {row["status"] for row in swept.states().values()} == {"complete"}
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plugins=[nobody]",), "plugins: nobody cannot be imported (ModuleNotFoundError"),
        (("plugins=broken",), "plugins: broken cannot be imported (ZeroDivisionError"),
        (("plugins=[plain.methods]",), "plugins: plain is a folder without an __init__.py"),
        ((), "method"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line(
    user_folder: Path, words: tuple[str, ...], message: str
) -> None:
    (user_folder / "broken.py").write_text("1 / 0\n")
    (user_folder / "plain").mkdir(exist_ok=True)
    (user_folder / "plain" / "methods.py").touch()
    driver = driver_in(user_folder)
    driver.words = (*(w for w in driver.words if not w.startswith("plugins=")), *words)
    output = driver.run(command="plan", status=2)
    assert message in output
    assert len(output.strip().splitlines()) == 1


def test_a_snapshot_without_plugins_has_none(tmp_path: Path) -> None:
    snapshot = code_snapshot.create_snapshot(Store(tmp_path))
    names = {path.name for path in snapshot.iterdir()} - {"__pycache__", "COMMIT", "DIFF"}
    assert names == {"ablations", "analysis", "sweep.py", "sweeps", "uniclip"}
    shutil.rmtree(snapshot)
