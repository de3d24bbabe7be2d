"""Check of Python and the installed libraries against the project's requirements."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning

INSTALL_FIX = "pip install -c constraints.txt -e ."
MAX_NAMES_SHOWN = 4
"""Libraries that one message names at most."""


def check_packages(root: Path) -> list[Diagnostic]:
    """Compare the installation with `pyproject.toml` and `constraints.txt` in `root`."""
    pyproject_path = root / "pyproject.toml"
    if not pyproject_path.exists():  # a code snapshot, or an installed package: pip checked it
        return [ok("libraries", "no pyproject.toml to compare with")]
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
    """Compare the version of Python with `requires-python`."""
    version = ".".join(map(str, sys.version_info[:3]))
    if version not in SpecifierSet(requires_python):
        message = f"version {version}, required is {requires_python}"
        return problem("Python", message, "make a new environment")
    return ok("Python", version)


def check_requirements(requirements: list[str]) -> Diagnostic:
    """Compare the installed libraries with the versions that the project requires."""
    mismatches = []
    for line in requirements:
        requirement = Requirement(line)
        version = _get_installed_version(requirement.name)
        if version is None:
            mismatches.append(f"{requirement.name} is missing")
        elif version not in requirement.specifier:
            mismatches.append(
                f"{requirement.name} is {version}, required is {requirement.specifier}"
            )
    if mismatches:
        return problem("libraries", _format_names(mismatches), INSTALL_FIX)
    return ok("libraries", f"{len(requirements)} installed as required")


def check_constraints(constraints: str) -> Diagnostic:
    """Compare the installed libraries with the exact versions that were tested.

    Libraries that are not installed are passed over.
    """
    mismatches = []
    lines = [line for line in constraints.splitlines() if re.match(r"\w", line)]
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        version = _get_installed_version(requirement.name)
        if version is not None and Version(version.public) not in requirement.specifier:
            mismatches.append(f"{requirement.name} {version} ({requirement.specifier})")
    if mismatches:
        message = f"not the tested versions: {_format_names(mismatches)}"
        return warning("tested versions", message, INSTALL_FIX)
    return ok("tested versions", f"as in constraints.txt ({len(lines)} lines)")


def _get_installed_version(name: str) -> Version | None:
    try:
        return Version(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def _format_names(names: list[str]) -> str:
    suffix = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + suffix
