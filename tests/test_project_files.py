"""Files of the project beside the code: valid, and true of the code."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib

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


DOCKER_INSTRUCTIONS = {
    *("FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "ENTRYPOINT", "CMD"),
}
"""Instructions that our Dockerfile may have."""
APPTAINER_SECTIONS = {"arguments", "files", "post", "environment", "runscript"}


def read_dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments, each on one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line.strip()]


def read_apptainer_definition() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the header of the Apptainer definition, and the lines of its sections."""
    text = re.sub(r"^#.*\n", "", (ROOT / "apptainer.def").read_text(), flags=re.M)
    header, *parts = re.split(r"^%", text, flags=re.M)
    keys = dict(line.split(": ", 1) for line in header.splitlines() if line.strip())
    sections = {part.split("\n", 1)[0]: part.split("\n")[1:] for part in parts}
    return keys, {k: [line.strip() for line in v if line.strip()] for k, v in sections.items()}


def list_pip_words(command: str) -> list[str]:
    """Return the words after `pip install`, without those that a container need not share."""
    words = command.partition("pip install ")[2].split()
    local = {"--quiet", "--disable-pip-version-check", "--editable", "--no-cache-dir"}
    return [word for word in words if word not in local]


def test_the_containers_are_of_one_image_and_have_known_parts() -> None:
    instructions = read_dockerfile()
    assert {name for name, _ in instructions} == DOCKER_INSTRUCTIONS
    assert instructions[0][0] == "FROM"
    for name, value in instructions:
        if name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(value))
        if name == "RUN":
            assert subprocess.run(["sh", "-n", "-c", value]).returncode == 0
    keys, sections = read_apptainer_definition()
    assert keys == {"Bootstrap": "docker", "From": instructions[0][1]}
    assert set(sections) == APPTAINER_SECTIONS
    for name in ("post", "environment", "runscript"):
        assert subprocess.run(["sh", "-n", "-c", "\n".join(sections[name])]).returncode == 0


def test_containers_copy_what_the_package_is_built_from() -> None:
    copied = [v.split()[:-1] for name, v in read_dockerfile() if name == "COPY"]
    names = [name for line in copied for name in line]
    files = [line.split() for line in read_apptainer_definition()[1]["files"]]
    assert all(target == f"/opt/uniclip/{name}" for name, target in files)
    assert sorted(names) == sorted(name for name, _ in files)
    assert all((ROOT / name).exists() for name in names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {p.rstrip("*") for p in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    built_from = {"pyproject.toml", "constraints.txt", project["project"]["readme"]}
    assert set(names) == built_from | packages | {"LICENSE", "sweep.py"}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(names) & set(ignored)


def test_containers_install_as_make_does() -> None:
    done = subprocess.run(
        ["make", "-n", "-B", "sweep", "PIP_ARGS=ARGS"], cwd=ROOT, capture_output=True, text=True
    )
    expected = list_pip_words(next(x for x in done.stdout.splitlines() if "pip install" in x))
    assert expected == ["--constraint", "constraints.txt", "ARGS", "."]
    (run,) = (v for name, v in read_dockerfile() if name == "RUN" and "pip" in v)
    assert list_pip_words(run.replace("${PIP_ARGS}", "ARGS")) == expected
    sections = read_apptainer_definition()[1]
    (line,) = (line for line in sections["post"] if line.startswith("pip"))
    assert list_pip_words(line.replace("{{ pip_args }}", "ARGS")) == expected
    cpu = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert sections["arguments"] == [f"pip_args={cpu}"]
    assert ("ARG", f'PIP_ARGS="{cpu}"') in read_dockerfile()


def test_containers_start_the_program_that_the_package_installs() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (entry,) = (json.loads(v) for name, v in read_dockerfile() if name == "ENTRYPOINT")
    assert entry[0] in scripts
    assert read_apptainer_definition()[1]["runscript"] == [f'exec {entry[0]} "$@"']


def test_the_threat_model_covers_every_input_that_may_run_code() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    for word in ("conf_dir", "plugins=", "launcher.setup", "allow_torchscript", "bundles", "page"):
        assert word in text
