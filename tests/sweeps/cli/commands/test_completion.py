"""`completion`: what it prints completes words in a real bash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import execute

COMPLETE = """
eval "$CODE"
complete -p python | grep -q _uniclip_sweep_script || exit 3
COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_WORDS=("$@") COMP_CWORD=$(($#-1))
COMP_POINT=${#COMP_LINE}
_uniclip_sweep_script "$1"
echo "${COMPREPLY[*]}"
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sweep.py", "st"), "status store="),
        (("sweep.py", "plan", "ablation=components,lo"), "components,losses"),
        (("other.py", "st"), ""),
    ],
)
def test_bash_completes_python_sweep_py(
    words: tuple[str, ...], expected: str, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bash splits words at "=", so that only what follows it is inserted."""
    assert execute("completion", "bash") == 0
    command = ["bash", "--norc", "-c", COMPLETE, "bash", sys.executable, *words]
    done = subprocess.run(
        command,
        env={"CODE": capsys.readouterr().out, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected


def test_other_shells_complete_the_console_command(capsys: pytest.CaptureFixture[str]) -> None:
    for shell, line in (
        ("bash", "-F _python_argcomplete uniclip-sweep"),
        ("zsh", "compdef _python_argcomplete uniclip-sweep"),
        ("fish", "--command uniclip-sweep"),
    ):
        assert execute("completion", shell) == 0
        assert line in capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("tcsh",), ("bash", "zsh"), ("bash", "seeds=3")])
def test_errors_are_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("completion", *words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
