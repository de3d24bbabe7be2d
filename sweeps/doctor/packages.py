"""Check of Python and the installed libraries against the project's requirements."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from uniclip import dependencies

DISTRIBUTION = "uniclip-ablations"
MAX_NAMES_SHOWN = 4
"""Libraries that one message names at most."""
MAX_ERROR_LENGTH = 200


def check_packages(root: Path) -> list[Diagnostic]:
    """Compare the installation with `pyproject.toml` and `constraints.txt` in `root`."""
    pyproject_path = root / "pyproject.toml"
    if not pyproject_path.exists():  # a code snapshot, or an installed package
        return [check_requirements(list_requirements(root))]
    project_metadata = tomllib.loads(pyproject_path.read_text(encoding="utf-8"))["project"]
    diagnostics = [
        check_python(project_metadata["requires-python"]),
        check_requirements(list_requirements(root)),
    ]
    constraints_path = root / "constraints.txt"
    if constraints_path.exists():
        diagnostics.append(check_constraints(constraints_path.read_text(encoding="utf-8")))
    return diagnostics


def list_requirements(root: Path) -> list[str]:
    """Return the libraries that the project in `root` requires, such as "rich>=14.0"."""
    pyproject_path = root / "pyproject.toml"
    if pyproject_path.exists():
        project = tomllib.loads(pyproject_path.read_text(encoding="utf-8"))["project"]
        return [str(requirement) for requirement in project["dependencies"]]
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    return [line for line in requirements if Requirement(line).marker is None]


def check_python(requires_python: str) -> Diagnostic:
    """Compare the version of Python with `requires-python`."""
    version = ".".join(map(str, sys.version_info[:3]))
    if version not in SpecifierSet(requires_python):
        message = f"version {version}, required is {requires_python}"
        return problem("Python", message, "make a new environment")
    return ok("Python", version)


def check_requirements(requirements: list[str]) -> Diagnostic:
    """Compare the installed libraries with the versions that the project requires.

    A library that Python would import from elsewhere than where it is installed, such as a file of
    the user's of that name, is imported, to see whether it works.
    """
    mismatches, mismatched_lines, hint = [], [], ""
    for line in requirements:
        requirement = Requirement(line)
        version = _get_installed_version(requirement.name)
        module_name = dependencies.get_module_name(requirement.name)
        module_path = dependencies.find_module(module_name)
        import_error = None
        if module_path is not None and not _is_installed_at(requirement.name, module_path):
            import_error = _find_import_error(module_name)
        if module_path is None:
            mismatches.append(f"{requirement.name} is missing")
        elif import_error:
            mismatches.append(f"{module_path} cannot be imported ({import_error})")
            hint = "remove or correct that file, or "
        elif version is None or requirement.specifier.contains(version, prereleases=True):
            continue
        else:
            mismatches.append(
                f"{requirement.name} is {version}, required is {requirement.specifier}"
            )
        mismatched_lines.append(line)
    if mismatches:
        fix = dependencies.format_install_command('" "'.join(mismatched_lines))
        return problem("libraries", _format_names(mismatches), f"{hint}{fix}")
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
        return warning("tested versions", message, dependencies.INSTALL_ALL)
    return ok("tested versions", f"as in constraints.txt ({len(lines)} lines)")


def _get_installed_version(name: str) -> Version | None:
    try:
        return Version(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def _is_installed_at(name: str, module_path: Path) -> bool:
    """Return whether a module lies in the folder that a distribution is installed in."""
    try:
        installed_path = Path(str(metadata.distribution(name).locate_file("")))
    except metadata.PackageNotFoundError:
        return False
    return module_path.resolve().is_relative_to(installed_path.resolve())


def _find_import_error(module_name: str) -> str | None:
    """Import a module in a process of its own; return the last line of its error, or None."""
    completed = subprocess.run(
        [sys.executable, "-P", "-c", f"import {module_name}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    if completed.returncode == 0:
        return None
    lines = completed.stderr.strip().splitlines() or [f"exit status {completed.returncode}"]
    return lines[-1][:MAX_ERROR_LENGTH]


def _format_names(names: list[str]) -> str:
    suffix = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + suffix
