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

from sweeps.doctor.finding import Diagnostic, ok, problem, warning

MAX_NAMES_SHOWN = 4
"""Names in one line."""


def check_packages(root: Path) -> list[Diagnostic]:
    """What `pyproject.toml` and `constraints.txt` in `root` say, against what is installed here."""
    pyproject_path = root / "pyproject.toml"
    if not pyproject_path.exists():  # a snapshot, or an installed package: pip has looked at it
        return [ok("libraries", "no pyproject.toml here to compare with")]
    project_metadata = tomllib.loads(pyproject_path.read_text(encoding="utf-8"))["project"]
    diagnostics = [
        check_python(project_metadata["requires-python"]),
        check_requirements(project_metadata["dependencies"]),
    ]
    constraints_path = root / "constraints.txt"
    if constraints_path.exists():
        diagnostics.append(check_constraints(constraints_path.read_text(encoding="utf-8")))
    return diagnostics


def check_python(requires_python: str) -> Diagnostic:
    """This Python against `requires-python`."""
    version = ".".join(map(str, sys.version_info[:3]))
    if version not in SpecifierSet(requires_python):
        return problem(
            "Python", f"this is {version}, needed is {requires_python}", "make a new environment"
        )
    return ok("Python", version)


def check_requirements(requirements: list[str]) -> Diagnostic:
    """Installed libraries against the versions that the project requires."""
    mismatches = []
    for line in requirements:
        requirement = Requirement(line)
        installed_version = _get_installed_version(requirement.name)
        if installed_version is None:
            mismatches.append(f"{requirement.name} is missing")
        elif installed_version not in requirement.specifier:
            mismatches.append(
                f"{requirement.name} is {installed_version}, needed is {requirement.specifier}"
            )
    if mismatches:
        return problem(
            "libraries", _format_names(mismatches), "pip install -c constraints.txt -e ."
        )
    return ok("libraries", f"{len(requirements)} as required")


def check_constraints(constraints: str) -> Diagnostic:
    """Installed libraries against the exact versions that were tested."""
    mismatches = []
    lines = [line for line in constraints.splitlines() if re.match(r"\w", line)]
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        installed_version = _get_installed_version(requirement.name)
        if (
            installed_version is not None
            and Version(installed_version.public) not in requirement.specifier
        ):
            mismatches.append(f"{requirement.name} {installed_version} ({requirement.specifier})")
    if mismatches:
        message = f"not the versions that were tested: {_format_names(mismatches)}"
        return warning("tested versions", message, "pip install -c constraints.txt -e .")
    return ok("tested versions", f"as in constraints.txt ({len(lines)} lines)")


def _get_installed_version(name: str) -> Version | None:
    try:
        return Version(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def _format_names(names: list[str]) -> str:
    suffix = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + suffix
