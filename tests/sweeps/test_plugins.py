"""A method of the user's own, from her folder to the tables; her sources are part of the code."""

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

TOY = ROOT / "tests/helpers/toy_method.py"
REGISTERED = "\nfrom uniclip.config import METHODS\n\nMETHODS['toy'] = ToyMethod\n"
ABLATION = """\
title: Is contrast needed?
base: {method: clip}
design: listed
reference: clip
arms: {clip: {label: CLIP}, toy: {label: Toy, choose: {method: toy}}}
contrasts: {toy-vs-clip: {label: toy against CLIP, plus: toy, minus: clip, primary: true}}
primary: {scenes: retrieval.caption.r1}
"""
STEPS = ("seeds=1", "train.steps=20")


@pytest.fixture(scope="module")
def hers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user: a package with a method, and an ablation that names it."""
    folder = tmp_path_factory.mktemp("hers")
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").touch()
    (folder / "mine" / ".#toy.py").symlink_to("her@desk.77")  # as an editor locks a file
    (folder / "mine" / "toy.py").write_text(TOY.read_text() + REGISTERED)
    path = folder / "conf" / "ablation" / "contrast.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(ABLATION)
    return folder


def driver_in(hers: Path) -> Driver:
    """Commands in her folder."""
    driver = Driver(hers / "store")
    words = [w for w in TINY if not w.startswith("ablation=")]
    own = ("ablation=contrast", "plugins=[mine.toy]", "conf_dir=conf", *STEPS)
    driver.words = (*words, *own, f"store={hers / 'store'}")
    return driver


@pytest.fixture(scope="module")
def swept(hers: Path) -> Driver:
    driver = driver_in(hers)
    driver.run()
    return driver


def test_her_method_is_trained_and_stands_in_the_tables(swept: Driver) -> None:
    assert all(swept.weights().values())
    assert b"toy against CLIP" in b"".join(swept.tables().values())
    assert "2 already complete" in swept.run()
    assert all(row["status"] == "complete" for row in swept.states().values())


def test_her_runs_are_judged_by_hand_too(hers: Path, swept: Driver) -> None:
    """From the command line, to the same numbers; without her module, one line says what lacks."""
    (cell,) = (c for c in swept.plan().cells if "toy" in c.name)
    run = swept.store.get_run(cell.run_id)
    words = [sys.executable, "-m", "uniclip.evaluate", f"run={run.path}", "benchmark=scenes"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def said(*more: str) -> subprocess.CompletedProcess[str]:
        command = [*words, *more]
        return subprocess.run(command, cwd=hers, env=environment, capture_output=True, text=True)

    done = said("plugins=[mine.toy]", "out=judged.json")
    assert done.returncode == 0, done.stderr
    judged = json.loads((hers / "judged.json").read_text())["scenes"]
    (kept,) = run.path.glob("scores/scenes@*.json")
    assert judged["scores"] == json.loads(kept.read_text())["scores"]
    without = said()
    assert without.returncode == 2
    assert "toy" in without.stderr
    assert len(without.stderr.strip().splitlines()) == 1


def test_her_sources_are_in_the_hash_and_in_the_snapshot(hers: Path, swept: Driver) -> None:
    code = (
        "from uniclip import identity\nfrom uniclip.config import plugins\n"
        "from sweeps.launchers import code_snapshot as snapshot\n"
        "from uniclip.store import Store\n"
        "import sys\n"
        "before = identity.training_hash(), identity.source_hash()\n"
        "plugins.use(['mine.toy'])\n"
        "after = identity.training_hash(), identity.source_hash()\n"
        "assert before[0] != after[0] and before[1] != after[1]\n"
        "print(snapshot.take(Store(sys.argv[1])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", code, str(hers / "elsewhere")]
    done = subprocess.run(words, cwd=hers, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    place = Path(done.stdout.strip())
    assert (place / "mine" / "toy.py").read_text().endswith(REGISTERED)
    code = (
        "from uniclip import identity\nfrom uniclip.config import plugins\n"
        "plugins.use('mine.toy')\n"
        "print(identity.ROOT.name == identity.source_hash())\n"
    )
    environment["PYTHONPATH"] = str(place)
    words = [sys.executable, "-P", "-c", code]
    done = subprocess.run(words, cwd=hers, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_what_her_edit_changes_is_stale(hers: Path, swept: Driver) -> None:
    path = hers / "mine" / "toy.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("square()", "abs()"))
        assert {row["status"] for row in swept.states().values()} == {"outdated"}
        path.write_text("# her comment\n" + text)
        assert {row["status"] for row in swept.states().values()} == {"complete"}
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plugins=[nobody]",), "plugins: nobody cannot be imported (ModuleNotFoundError"),
        (("plugins=broken",), "plugins: broken cannot be imported (ZeroDivisionError"),
        (("plugins=[plain.mine]",), "plugins: plain is a folder without an __init__.py"),
        ((), "method"),
    ],
)
def test_what_cannot_be_used_is_one_line(hers: Path, words: tuple[str, ...], says: str) -> None:
    (hers / "broken.py").write_text("1 / 0\n")
    (hers / "plain").mkdir(exist_ok=True)
    (hers / "plain" / "mine.py").touch()
    driver = driver_in(hers)
    driver.words = (*(w for w in driver.words if not w.startswith("plugins=")), *words)
    said = driver.run(command="plan", status=2)
    assert says in said
    assert len(said.strip().splitlines()) == 1


def test_a_snapshot_without_plugins_has_none(tmp_path: Path) -> None:
    place = code_snapshot.create_snapshot(Store(tmp_path))
    assert sorted(p.name for p in place.iterdir() if p.name != "__pycache__") == sorted(
        ["ablations", "analysis", "sweep.py", "sweeps", "uniclip"]
    )
    shutil.rmtree(place)
