"""Write the generated pages of the reference: configuration keys and commands.

    python docs/generate_reference.py [--check]

With --check nothing is written; the exit status is 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from sweeps.cli.main import COMMANDS  # noqa: E402
from sweeps.cli.output_schemas import SCHEMAS  # noqa: E402
from sweeps.config.schema import LAUNCHER_CONFIGS, SweepConfig  # noqa: E402
from sweeps.tuning.tuner import TuneConfig  # noqa: E402
from uniclip.config import DATA, METHODS, RunConfig  # noqa: E402
from uniclip.config.keys import collect_sections  # noqa: E402

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTICE = "<!-- written by docs/generate_reference.py: edit the docstrings instead -->\n"


def escape(text: str) -> str:
    """Return text that can stand in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def render_class(cls: type, prefix: str, title: str) -> Iterator[str]:
    """Yield the lines of the section of one configuration class, and of those nested in it."""
    for section in collect_sections(cls, prefix):
        if not section.keys:
            continue
        heading = title if section.prefix == prefix else f"`{section.prefix}*`"
        yield from ("", f"## {heading}", "", section.summary, "")
        yield from ("| key | type | default | range | meaning |", "|---|---|---|---|---|")
        for key in section.keys:
            default = key.default if key.default == "required" else f"`{key.default}`"
            cells = (f"`{key.name}`", f"`{escape(key.type)}`", default, key.range)
            yield f"| {' | '.join([*cells, escape(key.meaning)])} |"


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


def render_schemas() -> str:
    """Return the page of what commands print with --json."""
    lines = [
        *(NOTICE, "# JSON output", "", "With `--json` a command prints one JSON document to the"),
        "standard output: a record, or a list of records with these fields, all of them always",
        "there. Later versions may add fields. `sweeps.cli.output_schemas.SCHEMAS` has the same as",
        "JSON Schema (draft 2020-12), which a test holds every command to.",
        "",
        "Progress, notes and errors are written to the standard error. A command that cannot start",
        "(exit status 2) prints no document. With several sweeps, a record is a list of records.",
    ]
    for name, schema in SCHEMAS.items():
        is_list = schema["type"] == "array"
        record = schema["items"] if is_list else schema
        lines += ["", f"## {name}", "", "A list of records:" if is_list else "A record:", ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        for field, field_schema in record["properties"].items():
            kind = field_schema["type"]
            kinds = kind if isinstance(kind, str) else " or ".join(kind)
            lines.append(f"| `{field}` | {kinds} | {escape(field_schema['description'])} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "configuration.md": render_configuration,
    "commands.md": render_commands,
    "json.md": render_schemas,
}


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
