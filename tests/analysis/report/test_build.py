"""The built report: executed, self-contained, rebuilt only when inputs change, swapped in whole."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.collect.predictions import load_examples
from analysis.figures import effects
from analysis.report import build as report
from analysis.report import notebook
from analysis.report.folder import replace_folder
from analysis.results.results import analyze
from tests.helpers import ROOT, fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import Store

LOADS = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}


class Loads(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [v or "" for k, v in attrs if k in LOADS]
        self.found += [v or "" for k, v in attrs if k == "style" and "url(" in (v or "")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, report.ReportResult]:
    truth = Truth(diverged=(("clip", 1),), missing=(("no-mp_nce", 2),))
    store, sweep = fake_sweep.make(tmp_path_factory.mktemp("a store"), truth)
    return store, sweep, report.build_report(store, sweep)


def test_the_page_loads_nothing(built: tuple[Store, str, report.ReportResult]) -> None:
    page = (built[2].folder / "report.html").read_text()
    loads = Loads()
    loads.feed(page)
    assert "script" not in loads.tags
    assert "iframe" not in loads.tags
    assert [v for v in loads.found if re.match(r"(https?:)?//", v.strip())] == []
    assert "@import" not in page
    assert re.findall(r"url\(", page) == []
    pictures = [v for v in loads.found if v.startswith("data:image/")]
    assert len(pictures) == 5
    for picture in pictures:
        text = base64.b64decode(picture.split(",", 1)[1])
        assert not re.search(rb"(?:href|src)=.https?:|url\(.?https?:", text)
    assert "CC BY-SA 4.0" in page


def test_the_notebook_is_executed(built: tuple[Store, str, report.ReportResult]) -> None:
    path = built[2].folder / "report.ipynb"
    book = nbformat.read(path, as_version=4)
    code = [c for c in book.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert all(c.outputs for c in code)
    assert not any(o.output_type in ("error", "stream") for c in code for o in c.outputs)
    assert "main:awareness" in code[1].outputs[0].data["text/plain"]
    assert str(built[0].root) not in path.read_text()


def test_a_long_temporary_folder_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a socket may have about 100 bytes."""
    long = tmp_path / ("a" * 110)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    notebook.execute(book, tmp_path)
    assert book.cells[0].outputs[0].data["text/plain"] == "2"


def test_files_are_where_readers_look(built: tuple[Store, str, report.ReportResult]) -> None:
    store, sweep, result = built
    assert result.folder == store.report_path(sweep)
    names = {str(p.relative_to(result.folder)) for p in result.folder.rglob("*") if p.is_file()}
    for table in ("scores", "effects", "components", "runs", "all_scores", "other_effects"):
        assert {f"tables/{table}.{suffix}" for suffix in ("csv", "md", "tex")} <= names
    assert {f"figures/effects.{suffix}" for suffix in ("png", "svg")} <= names
    assert {"report.html", "report.ipynb", "tables/frame.csv", "history.csv"} <= names
    assert "training_seconds" in store.get_sweep(sweep).cost_report_path.read_text().splitlines()[0]
    assert not list(result.folder.parent.glob(".*"))


def test_nothing_is_built_twice(
    built: tuple[Store, str, report.ReportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweep, first = built
    again = report.build_report(store, sweep)
    assert not again.rebuilt
    assert again.summary == first.summary
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    before = report.compute_input_digest(store, plan)
    path = store.get_run(fake_sweep.run_id("full", 0)).get_attempt(1).metrics_path
    text = path.read_bytes()
    path.write_bytes(text + b"\n")
    assert report.compute_input_digest(store, plan) != before
    path.write_bytes(text)
    assert report.compute_input_digest(store, plan) == before


def test_a_damaged_file_leaves_the_old_report(
    built: tuple[Store, str, report.ReportResult],
) -> None:
    store, sweep, result = built
    path = store.get_run(fake_sweep.run_id("full", 0)).scores_path(
        "openmoji", fake_sweep.EVALUATION
    )
    text, page = path.read_bytes(), (result.folder / "report.html").read_bytes()
    atomic_write(path, b"{")
    with pytest.raises(UserError, match=re.escape(str(path))):
        report.build_report(store, sweep)
    assert (result.folder / "report.html").read_bytes() == page
    atomic_write(path, text)


def test_a_failure_is_news_for_a_report(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path, Truth(missing=(("clip", 1),)))
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    run = fake_sweep.run_id("clip", 1)
    attempt = fake_sweep.begin(store, run)
    before = report.compute_input_digest(store, plan)
    atomic_write(attempt.path / "ended.json", b"{}")
    assert report.compute_input_digest(store, plan) != before


def test_figures_are_the_same_bytes_again(
    built: tuple[Store, str, report.ReportResult], tmp_path: Path
) -> None:
    store, sweep, result = built
    found = analyze(store, collect_sweep_data(store, sweep))
    effects.build_figures(found, load_examples(store, found.plan), tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (result.folder / "figures" / path.name).read_bytes(), path.name


def test_a_figure_without_inputs_says_why(tmp_path: Path) -> None:
    cells = tuple((a.name, s) for a in fake_sweep.arms() for s in (0, 1, 2))
    store, sweep = fake_sweep.make(tmp_path / "store", Truth(missing=cells))
    drawn = effects.build_figures(analyze(store, collect_sweep_data(store, sweep)), None, tmp_path)
    assert len(drawn) == 5
    assert all(d.skip_reason for d in drawn)


def test_builders_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    place, errors = tmp_path / "report", []

    def build(number: int) -> None:
        try:
            for _ in range(20):
                with replace_folder(place) as folder:
                    for name in "abc":
                        (folder / name).write_text(str(number))
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=build, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({(place / name).read_text() for name in "abc"}) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_failed_build_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "report"
    with replace_folder(place) as folder:
        (folder / "a").write_text("old")

    def fail() -> None:
        with replace_folder(place) as folder:
            (folder / "a").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (place / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_importing_is_cheap() -> None:
    heavy = "('torch', 'pandas', 'matplotlib', 'scipy', 'nbclient')"
    code = f"import sys, analysis.report.build; assert not [m for m in {heavy} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_is_never_imported() -> None:
    modules = [p for p in (ROOT / "analysis").rglob("*.py") if p.name != "__init__.py"]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in modules]
    assert len(names) > 20
    imports = "; ".join(f"import {n}" for n in names)
    subprocess.run(
        [sys.executable, "-c", f"{imports}; import sys; assert 'torch' not in sys.modules"],
        check=True,
    )
