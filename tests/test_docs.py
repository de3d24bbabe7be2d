"""The documentation is true: commands run, generated pages are current, links resolve."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import ROOT, fake_sweep
from tests.helpers.command_line import TINY, execute
from tests.helpers.shards import make_sample, write_tar
from tests.helpers.source_tree import MODULES
from uniclip.config import DATA, METHODS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!--(?P<mark>[^>]*)-->\n)?```console\n(?P<body>.*?)```", re.S)
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.S)
PAGES_OF_PYTHON = [ROOT / "docs" / "pandas.md"]
"""Pages whose Python is run, in their order, beside a store with a finished sweep."""
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]+)?\)")
MARKS = ("needs a cluster", "needs data", "run by")
"""How a block begins that is not run here, with the reason."""
SHARDS_MARK = "needs data: shards"
SMALL = {"arms": "arms=[full,clip]", "seeds": "seeds=1", "train.steps": "train.steps=20"}
"""Added where a command trains, unless it states its own."""


@dataclass(frozen=True)
class Block:
    """The commands of one console block, and why they are not run here ("" = they are)."""

    page: Path
    commands: tuple[str, ...]
    mark: str


def read_blocks(page: Path) -> Iterator[Block]:
    """Yield the console blocks of a page."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        lines = match["body"].splitlines()
        commands = tuple(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
        yield Block(page, commands, (match["mark"] or "").strip())


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
PAGES_TO_RUN = sorted({b.page for b in BLOCKS if not b.mark})


def make_small(words: list[str], store: Path) -> list[str]:
    """Return the words of a command with overrides that let it finish in seconds."""
    keys = {word.partition("=")[0] for word in words}
    if "ablation" not in keys:
        return words
    trains = words[0] not in ("plan", "doctor") or "--probe" in words
    small = [word for key, word in SMALL.items() if key not in keys] if trains else []
    tiny = [w for w in TINY if w.partition("=")[0] not in keys and trains and "model" not in keys]
    return [*words, *(w for w in tiny if not w.startswith("ablation=")), *small, f"store={store}"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda p: p.stem)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """In the order of the page, in one store; those that train do so with fewer arms and steps."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    for block in read_blocks(page):
        for command in block.commands if not block.mark else ():
            program, script, *words = shlex.split(command)
            assert (program, script) == ("python", "sweep.py"), command
            full = [sys.executable, str(ROOT / "sweep.py"), *make_small(words, tmp_path / "store")]
            done = subprocess.run(
                full, cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-800:]}{done.stderr[-800:]}"


def test_the_commands_on_shards_are_planned(tmp_path: Path) -> None:
    """Those that would train are planned: how shards are trained on is tested elsewhere."""
    items = [list(make_sample(n, similarity=0.3).items()) for n in range(332)]
    for number, members in enumerate(items):
        write_tar(tmp_path / "shards" / f"{number:05d}.tar", members)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    commands = [c for block in BLOCKS if block.mark == SHARDS_MARK for c in block.commands]
    assert len(commands) >= 4
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UNICLIP_CACHE": str(tmp_path / "cache")}
    for command in commands:
        words = [word for word in shlex.split(command)[2:] if word != "plan"]
        full = [sys.executable, str(ROOT / "sweep.py"), "plan", *words]
        done = subprocess.run(full, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-800:]}{done.stderr[-800:]}"
        assert "332 shards" in done.stdout


@pytest.mark.parametrize("page", PAGES_OF_PYTHON, ids=lambda p: p.stem)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    fake_sweep.make(tmp_path / "store")
    program = "\n".join(PYTHON_BLOCK.findall(page.read_text(encoding="utf-8")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-800:]
    for name in ("scores.parquet", "effects.svg", "effects.pdf", "curves.pdf"):
        assert (tmp_path / name).stat().st_size > 1000


def test_every_block_that_is_not_run_says_why() -> None:
    assert len(BLOCKS) > 15
    for block in BLOCKS:
        assert not block.mark or block.mark.startswith(MARKS), f"{block.page.name}: {block.mark}"


def test_commands_that_need_a_cluster_or_data_are_understood(tmp_path: Path) -> None:
    """Their words are parsed and checked, as far as that needs neither."""
    from sweeps.cli.main import COMMANDS

    for block in BLOCKS:
        for command in block.commands:
            if command.startswith("python sweep.py") and block.mark:
                words = shlex.split(command)[2:]
                assert "=" in words[0] or words[0] in COMMANDS, command


def test_the_sweeps_that_need_a_cluster_are_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan needs no Slurm: every key of the launcher exists and has a valid value."""
    monkeypatch.chdir(tmp_path)
    commands = [c for b in BLOCKS if b.mark == "needs a cluster" for c in b.commands]
    sweeps = [words for c in commands if "=" in (words := shlex.split(c)[2:])[0]]
    assert len(sweeps) >= 5
    for words in sweeps:
        assert execute("plan", *words) == 0, words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link, _ in LINK.findall(text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"`((?:uniclip|ablations|analysis|sweeps|tests|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_dotted_name_in_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:uniclip|ablations|analysis|sweeps)(?:\.\w+)+)`", text):
        module = max((m for m in MODULES if f"{name}.".startswith(f"{m}.")), key=len)
        for part in name.removeprefix(module).split(".")[1:]:
            assert re.search(rf"\b{part}\b", MODULES[module].read_text()), name


@pytest.mark.parametrize("script", ["generate_reference.py", "generate_studies.py"])
def test_the_generated_pages_are_current(script: str) -> None:
    command = [sys.executable, str(ROOT / "docs" / script), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run `make reference`"


def test_every_configuration_key_in_a_page_exists() -> None:
    reference = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `([\w.]+)`", reference, re.M))
    assert len(known) > 80
    sections = {key.split(".")[0] for key in known if "." in key}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        names = rf"(?<![\w.])((?:{'|'.join(sections)})(?:\.(?!(?:py|csv)\b)[a-z_]+)+)(?==|`)"
        for key in re.findall(names, text):
            assert key in known or key.startswith("data.redraw_prob"), f"{page.name}: {key}"


def test_every_choice_of_a_group_in_a_page_exists() -> None:
    """In lines of YAML, such as `groups: {model: tiny}`."""
    choices = {path.stem for path in (ROOT / "uniclip/conf").rglob("*.yaml")}
    choices |= {*DATA, *METHODS}
    groups = [
        (page.name, choice)
        for page in PAGES
        for body in re.findall(r"groups: \{([^{}]*)\}", page.read_text(encoding="utf-8"))
        for choice in re.findall(r"\w+: *(\w+)", body)
    ]
    assert len(groups) > 1
    assert [group for group in groups if group[1] not in choices] == []


def test_the_tests_that_run_a_block_exist() -> None:
    for block in BLOCKS:
        for path in re.findall(r"tests/[\w/.]*\w", block.mark):
            assert (ROOT / path).exists(), f"{block.page.name}: {path}"
