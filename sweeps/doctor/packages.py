"""Are Python and the libraries those that the project needs, and those it was tested with?"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sweeps.doctor.finding import Finding, ok, problem, warning

SHOWN = 4
"""Names in one line."""


def examine(root: Path) -> list[Finding]:
    """What `pyproject.toml` and `constraints.txt` in `root` say, against what is installed here."""
    project = root / "pyproject.toml"
    if not project.exists():  # a snapshot, or an installed package: pip has looked at it
        return [ok("libraries", "no pyproject.toml here to compare with")]
    said = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    findings = [python(said["requires-python"]), needed(said["dependencies"])]
    constraints = root / "constraints.txt"
    if constraints.exists():
        findings.append(tested(constraints.read_text(encoding="utf-8")))
    return findings


def python(needs: str) -> Finding:
    """This Python against `requires-python`."""
    here = ".".join(map(str, sys.version_info[:3]))
    if here not in SpecifierSet(needs):
        return problem("Python", f"this is {here}, needed is {needs}", "make a new environment")
    return ok("Python", here)


def needed(requirements: list[str]) -> Finding:
    """Installed libraries against the versions that the project requires."""
    wrong = []
    for line in requirements:
        requirement = Requirement(line)
        here = _installed(requirement.name)
        if here is None:
            wrong.append(f"{requirement.name} is missing")
        elif here not in requirement.specifier:
            wrong.append(f"{requirement.name} is {here}, needed is {requirement.specifier}")
    if wrong:
        return problem("libraries", _listed(wrong), "pip install -c constraints.txt -e .")
    return ok("libraries", f"{len(requirements)} as required")


def tested(constraints: str) -> Finding:
    """Installed libraries against the exact versions that were tested."""
    other = []
    lines = [line for line in constraints.splitlines() if re.match(r"\w", line)]
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        here = _installed(requirement.name)
        if here is not None and Version(here.public) not in requirement.specifier:
            other.append(f"{requirement.name} {here} ({requirement.specifier})")
    if other:
        said = f"not the versions that were tested: {_listed(other)}"
        return warning("tested versions", said, "pip install -c constraints.txt -e .")
    return ok("tested versions", f"as in constraints.txt ({len(lines)} lines)")


def _installed(name: str) -> Version | None:
    try:
        return Version(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
