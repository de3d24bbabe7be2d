"""Files of the project beside the code: valid, and true of the code."""

from __future__ import annotations

import re
import subprocess

import yaml

from tests.helpers import ROOT


def read_yaml(name: str) -> dict[str, object]:
    value = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def test_the_workflow_runs_every_stage() -> None:
    done = subprocess.run([ROOT / ".ci/run", "--list"], capture_output=True, text=True)
    assert done.returncode == 0
    stages = done.stdout.splitlines()
    assert "make test" in stages
    workflow = read_yaml(".github/workflows/checks.yml")
    assert workflow["jobs"]["stage"]["strategy"]["matrix"]["stage"] == stages  # type: ignore[index]


def test_an_unknown_stage_is_an_error() -> None:
    done = subprocess.run([ROOT / ".ci/run", "make tset"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such stage: make tset" in done.stderr


def test_pip_arguments_reach_pip() -> None:
    command = ["make", "-n", "-B", "sweep", "PIP_ARGS=--extra-index-url https://example.org"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    install = next(line for line in done.stdout.splitlines() if "pip install" in line)
    assert "--extra-index-url https://example.org" in install


def test_the_citation_states_the_version_of_the_package() -> None:
    citation = read_yaml("CITATION.cff")
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version is not None
    assert citation["version"] == version[1]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()


def test_templates_are_forms_with_labels() -> None:
    for name in ("bug", "request"):
        form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert all("label" in item["attributes"] for item in form["body"])  # type: ignore[attr-defined]
    assert read_yaml(".pre-commit-config.yaml")["repos"]


def test_containers_copy_what_exists() -> None:
    docker = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    files_section = (ROOT / "apptainer.def").read_text().split("%files")[1].split("%post")[0]
    apptainer = re.findall(r"^    (\S+) /opt/", files_section, re.M)
    names = [name for line in docker for name in line.split()]
    assert sorted(names) == sorted(apptainer)
    assert all((ROOT / name).exists() for name in names)


def test_the_threat_model_covers_every_input_that_may_run_code() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    for word in ("conf_dir", "plugins=", "launcher.setup", "allow_torchscript", "bundles", "page"):
        assert word in text
