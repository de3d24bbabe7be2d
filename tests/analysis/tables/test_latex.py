"""LaTeX tables: they fit the page, compile in several classes, and set every character."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.results.results import Results
from analysis.tables import build_tables
from analysis.tables.latex import choose_layout, to_latex
from analysis.tables.table import Table, TableCell, make_row

PACKAGES = ("array", "booktabs", "graphicx", "longtable", "pdflscape")
PREAMBLE = rf"\usepackage{{{','.join(PACKAGES)}}}" + "\n" + r"\begin{document}"
CLASSES = {"article": r"\documentclass{article}", "two": r"\documentclass[twocolumn]{article}"}


def find_missing_tex() -> str:
    """Return what is missing to compile the tables; empty if nothing is."""
    for program in ("pdflatex", "kpsewhich"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    for package in PACKAGES:
        if subprocess.run(["kpsewhich", f"{package}.sty"], capture_output=True).returncode:
            return f"the LaTeX package {package} is not installed"
    return ""


MISSING_TEX = find_missing_tex()
needs_tex = pytest.mark.skipif(bool(MISSING_TEX), reason=MISSING_TEX or "TeX is installed")


def make_table(*rows: tuple[str | TableCell, ...], **changes: object) -> Table:
    """Return a table with columns a, b, ... of these rows."""
    headings = tuple("abcdefghijklmnopqrstuvwxyz"[: len(rows[0])])
    table = Table(
        name="t",
        title="T",
        headings=headings,
        rows=tuple(make_row(*row) for row in rows),
        records=(),
    )
    return replace(table, **changes)


def compile_tables(tables: Iterable[Table], folder: Path, document_class: str) -> str:
    """Compile tables twice, each on a page of its own, and return the log."""
    bodies = []
    for i, table in enumerate(tables):
        text = to_latex(replace(table, name=f"{table.name}-{i}"))
        needs_one_column = "longtable" in text and document_class == "two"
        bodies.append(("\\onecolumn\n" if needs_one_column else "") + text + "\\clearpage\n")
    lines = [CLASSES[document_class], PREAMBLE, *bodies, r"\end{document}"]
    (folder / "t.tex").write_text("\n".join(lines), encoding="utf-8")
    for _ in range(2):
        result = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=folder, capture_output=True
        )
    log = (folder / "t.log").read_text(errors="replace")
    assert result.returncode == 0, re.findall(r"^! .*", log, re.M)
    assert (folder / "t.pdf").stat().st_size > 1000
    return log


@needs_tex
@pytest.mark.parametrize("document_class", CLASSES)
def test_the_tables_of_reports_fit_the_page(
    document_class: str, complete_results: Results, published_results: Results, tmp_path: Path
) -> None:
    tables = [*build_tables(complete_results), *build_tables(published_results)]
    log = compile_tables(tables, tmp_path, document_class)
    assert not re.findall(r"^Overfull .*|.*Float too large.*", log, re.M)


ODD_TEXTS = (
    r"C:\data\my_file #1 & 50 % of {x} ~ ^ $HOME | `a` \"b\" --flag <c>",
    "* star",
    "[bracket",
    "\u00e9t\u00e9 na\u00efve \u0141\u00f3d\u017a \u00c5ngstr\u00f6m \u010cesk\u00fd",
    "\u00f1 \u00e7 \u00df \u00e6",
    "\u4f60\u597d\u4e16\u754c" * 3,
    "\U0001f431 cat",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u03b1\u03b2 \u03a3 \u2192 \u221e \u2264 \u00b1 \u2212 \u00d7",
    "tab\tnewline\nend \x1b[0m \u200b",
    "/a/very/long/path/without/any/space/to/break/at/all/images.csv",
    "method.augmentation_input=false,method.similarity=shared",
    "x" * 200,
    "\ud7a3\u0e01\u0301",
)


@needs_tex
@pytest.mark.parametrize("document_class", CLASSES)
def test_any_character_is_set_and_nothing_is_too_wide(document_class: str, tmp_path: Path) -> None:
    tables = [
        make_table(*[(text, "1.0") for text in ODD_TEXTS], title=ODD_TEXTS[0], notes=ODD_TEXTS),
        make_table(*[(text, TableCell(text=text, bold=True), "3") for text in ODD_TEXTS]),
        make_table(ODD_TEXTS[:6], headings=ODD_TEXTS[:6]),
        make_table(*[(f"row {i}", "52.7 \u00b1 1.5") for i in range(90)], title="long"),
        make_table(*[tuple(f"{i}.{j} \u00b1 0.{i}" for j in range(14)) for i in range(30)]),
    ]
    log = compile_tables(tables, tmp_path, document_class)
    assert not re.findall(r"^Overfull .*", log, re.M)
    if document_class == "article" and shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "t.pdf"], cwd=tmp_path, check=True)
        shown = (tmp_path / "t.txt").read_text()
        for text in ("50 % of {x}", "* star", "[bracket", "--flag <c>", "U+4F60"):
            assert text in shown


def test_a_small_table_is_as_wide_as_its_text() -> None:
    text = to_latex(make_table(("a", TableCell(text="1", bold=True)), notes=("Note.",)))
    assert text.splitlines()[:3] == [
        r"% needs \usepackage{array,booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
    ]
    assert r"\begin{tabular}{@{}lr@{}}" in text
    assert r"a & \textbf{1} \\" in text
    assert r"{\footnotesize\raggedright\hspace{0pt}Note.\par}" in text


@pytest.mark.parametrize(
    ("num_columns", "num_rows", "form"),
    [(3, 5, "table"), (7, 5, "table*"), (10, 5, "landscape"), (3, 90, "longtable")],
)
def test_the_form_follows_from_the_size(num_columns: int, num_rows: int, form: str) -> None:
    rows = [("no-awareness", *["52.7 \u00b1 1.5"] * (num_columns - 1))] * num_rows
    assert choose_layout(make_table(*rows)).form == form


def test_as_many_essential_columns_as_fit_are_shown() -> None:
    table = make_table(
        *[("arm", *["52.7 \u00b1 1.5"] * 11)] * 4,
        essential=("a", "l", *"bcdefghijk"),
        notes=("L: the last one.", "K: left out.", "Bold: the best."),
    )
    text = to_latex(table)
    headings = next(line for line in text.splitlines() if line.startswith("a & "))
    assert headings.startswith("a & b & c & ")
    assert headings.endswith(r" & l \\")
    assert " k " not in headings
    assert "% the essential columns; t.csv has all of them" in text
    assert "L: the last one. Bold: the best." in text
    assert "essential" not in to_latex(make_table(("1", "2"), essential=("a", "b")))


def test_a_table_that_is_too_wide_for_any_page_is_divided() -> None:
    table = make_table(("arm", *["52.7 \u00b1 1.5"] * 25), notes=("Note.",))
    text = to_latex(table)
    assert text.count("Note.") == 1
    assert "(part 1 of 3)" in text
    headings = [line for line in text.splitlines() if line.startswith("a & ")]
    names = {name for line in headings for name in line.removesuffix(r" \\").split(" & ")}
    assert names == set(table.headings)
    assert len(set(re.findall(r"\\label{(.*?)}", text))) == 3


def test_the_same_table_gives_the_same_text() -> None:
    table = make_table(*[(text, "1") for text in ODD_TEXTS])
    assert to_latex(table) == to_latex(replace(table))
