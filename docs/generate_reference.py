"""Write the generated pages of the reference: configuration keys and commands.

    python docs/generate_reference.py [--check]

With --check nothing is written; the exit status is 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from sweeps.cli.main import COMMANDS  # noqa: E402
from sweeps.config.schema import LAUNCHER_CONFIGS, SweepConfig  # noqa: E402
from sweeps.tuning.tuner import TuneConfig  # noqa: E402
from uniclip.config import DATA, METHODS, RunConfig  # noqa: E402
from uniclip.config.binding import TAGGED_UNIONS  # noqa: E402

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTICE = "<!-- written by docs/generate_reference.py: edit the docstrings instead -->\n"


def read_field_docs(cls: type) -> dict[str, str]:
    """Return the string below each field of a dataclass, on one line."""
    tree = ast.parse(inspect.cleandoc(inspect.getsource(cls)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs = {}
    for field, text in zip(body, body[1:]):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def format_default(field: dataclasses.Field[Any]) -> str:
    """Return the default of a field as a user types it."""
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        return "required"
    if default is None:
        return "`null`"
    if isinstance(default, tuple):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def format_type(field: dataclasses.Field[Any], cls: type) -> str:
    """Return the type of a field, with names of unions and literals replaced by their values."""
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    namespace = vars(sys.modules[cls.__module__])

    def expand(match: re.Match[str]) -> str:
        alias = namespace.get(match[0])
        is_alias = typing.get_origin(alias) in (Literal, Union)
        return str(alias).replace("typing.", "") if is_alias else match[0]

    return re.sub(r"\b[A-Z]\w+\b", expand, kind)


def format_range(field: dataclasses.Field[Any]) -> str:
    """Return the allowed range of a numeric field, or "" if there is none."""
    parts = []
    if "above" in field.metadata:
        parts.append(f"> {field.metadata['above']:g}")
    if "low" in field.metadata:
        parts.append(f"≥ {field.metadata['low']:g}")
    if "high" in field.metadata:
        parts.append(f"≤ {field.metadata['high']:g}")
    return ", ".join(parts)


def escape(text: str) -> str:
    """Return text that can stand in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def render_class(cls: type, prefix: str, title: str) -> Iterator[str]:
    """Yield the lines of the section of one configuration class, and of those nested in it."""
    docs = read_field_docs(cls)
    nested: list[tuple[type, str]] = []
    rows = []
    for field in dataclasses.fields(cls):
        if (cls, field.name) in TAGGED_UNIONS:  # each member has a section of its own
            continue
        factory = field.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            nested.append((factory, f"{prefix}{field.name}."))
            continue
        kind = format_type(field, cls)
        if field.name == "name" and kind.startswith("Literal"):  # what the section is called
            continue
        cells = (
            f"`{prefix}{field.name}`",
            f"`{escape(kind)}`",
            format_default(field),
            format_range(field),
            escape(docs.get(field.name, "")),
        )
        rows.append("| " + " | ".join(cells) + " |")
    if rows:
        summary = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        yield from ("", f"## {title}", "", summary, "")
        yield from ("| key | type | default | range | meaning |", "|---|---|---|---|---|", *rows)
    for inner, inner_prefix in nested:
        yield from render_class(inner, inner_prefix, f"`{inner_prefix}*`")


def render_configuration() -> str:
    """Return the page of all configuration keys."""
    lines = [
        NOTICE,
        "# Configuration",
        "",
        "Keys are set on the command line (`train.steps=500`) or in the YAML files of a group. The",
        "defaults below are those of the code; the options of `method=`, `data=`, `budget=`,",
        "`model=` and `recipe=` override some of them. In the types, `Literal` lists the allowed",
        "values, `tuple` is a list (`[3,7]`), and `None` is written `null`.",
        *render_class(SweepConfig, "", "Sweep"),
    ]
    for name, cls in LAUNCHER_CONFIGS.items():
        lines += render_class(cls, "launcher.", f"`launcher={name}`")
    lines += render_class(TuneConfig, "", "Tuning (`tune`)")
    lines += render_class(RunConfig, "", "Run")
    for name, cls in DATA.items():
        lines += render_class(cls, "data.", f"`data={name}`")
    for name, cls in METHODS.items():
        lines += render_class(cls, "method.", f"`method={name}`")
    return "\n".join(lines) + "\n"


def read_help(*words: str) -> str:
    """Return what `python sweep.py <words> --help` prints."""
    command = [sys.executable, str(ROOT / "sweep.py"), *words, "--help"]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def render_commands() -> str:
    """Return the page of all commands, their flags and names."""
    lines = [NOTICE, "# Commands", "", "```text", read_help(), "```"]
    for name in COMMANDS:
        lines += ["", f"## {name}", "", "```text", read_help(name), "```"]
    return "\n".join(lines) + "\n"


PAGES = {"configuration.md": render_configuration, "commands.md": render_commands}


def main() -> int:
    """Write the pages, or check that they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; report what differs")
    options = parser.parse_args()
    outdated = []
    for name, render in PAGES.items():
        path, text = REFERENCE / name, render()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outdated.append(name)
            if not options.check:
                path.write_text(text, encoding="utf-8")
    verdict = "out of date: make reference" if options.check else "written"
    for name in outdated:
        print(f"docs/reference/{name}: {verdict}")
    return 1 if options.check and outdated else 0


if __name__ == "__main__":
    raise SystemExit(main())
