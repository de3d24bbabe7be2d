"""The environment of this process: packages, commit and changes of the code, machine and driver."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sweeps import slurm
from uniclip.identity import ROOT
from uniclip.io.commit import read_commit
from uniclip.store import EnvironmentRecord

DIFF_FILE = "DIFF"
"""File with the changes since the commit, in a copy of a source tree."""
MAX_DIFF_CHARACTERS = 1_000_000
GIT_TIMEOUT_SECONDS = 20.0
PACKAGE_FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)\.(?:dist|egg)-info")
PASSWORD = re.compile(r"(?<=://)[^/\s]+@")
SECRET_KEYS = ("storage", "notify")
"""Keys whose values may hold a password or be one."""
NVIDIA_VERSION_FILE = Path("/proc/driver/nvidia/version")


@cache
def describe_environment() -> EnvironmentRecord:
    """Return the environment of this process; it is read once."""
    libc = " ".join(platform.libc_ver()).strip()
    return EnvironmentRecord(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=list_packages(sys.path),
        commit=read_commit(ROOT),
        diff=read_diff(ROOT),
        system=" ".join(filter(None, [platform.system(), platform.release(), libc])),
        machine=platform.machine(),
        cpu=_read_cpu_model(),
        num_cores=os.cpu_count() or 1,
        memory_gb=_read_memory_gb(),
        gpu_driver=_read_gpu_driver(),
        container=_find_container(),
        scheduler="slurm" if slurm.get_job_id() else "",
    )


def describe_command(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command line without passwords."""
    return tuple(_hide_secret(word) for word in words)


def list_packages(search_path: Sequence[str]) -> dict[str, str]:
    """Return every distribution that is installed on a search path -> its version, sorted.

    The names of the folders state both, so no metadata is parsed.
    """
    packages: dict[str, str] = {}
    for folder in search_path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            match = PACKAGE_FOLDER.fullmatch(name)
            if match is not None:
                packages.setdefault(match["name"].replace("_", "-").lower(), match["version"])
    return dict(sorted(packages.items()))


def read_diff(root: Path) -> str:
    """Return what git shows as changed in a checkout, and the names of untracked files.

    Empty where nothing was changed, and where `root` is no checkout. Only the first
    `MAX_DIFF_CHARACTERS` are returned.
    """
    if (root / DIFF_FILE).is_file():
        return (root / DIFF_FILE).read_text(encoding="utf-8")
    if not (root / ".git").exists():
        return ""
    diff = _run_git(root, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    untracked_files = _run_git(root, "ls-files", "--others", "--exclude-standard")
    names = "".join(f"untracked: {name}\n" for name in untracked_files.splitlines())
    text = diff + names
    is_cut = len(text) > MAX_DIFF_CHARACTERS
    return text[:MAX_DIFF_CHARACTERS] + "\n(cut)\n" * is_cut


def _run_git(root: Path, *words: str) -> str:
    """Return what a git command that only reads prints; "" if it fails or there is no git."""
    command = ["git", "-c", "core.fsmonitor=false", *words]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        completed = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, timeout=GIT_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout.decode(errors="replace") if completed.returncode == 0 else ""


def _hide_secret(word: str) -> str:
    key, separator, _ = word.partition("=")
    if separator and key.lstrip("-") in SECRET_KEYS:
        return f"{key}=(not recorded)"
    return PASSWORD.sub("(not recorded)@", word)


def _read_cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2] for line in text.splitlines() if line[:10] == "model name")
    return next(models, "").strip()


def _read_memory_gb() -> float:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (ValueError, OSError):
        return 0.0


def _read_gpu_driver() -> str:
    """Return the first line of the NVIDIA driver's own description; "" without the driver."""
    try:
        lines = NVIDIA_VERSION_FILE.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].partition(":")[2].strip() if lines else ""


def _find_container() -> str:
    if os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER"):
        return "apptainer"
    if Path("/.dockerenv").exists():
        return "docker"
    return "podman" if Path("/run/.containerenv").exists() else os.environ.get("container", "")
