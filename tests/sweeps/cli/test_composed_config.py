"""`--cfg` and `--info`: what is printed, for which cell, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.helpers.command_line import execute, read_files
from tests.sweeps.cli import OVERRIDES


def print_words(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command line prints; it must succeed."""
    capsys.readouterr()
    assert execute(*words) == 0
    return capsys.readouterr().out


def test_the_configuration_of_a_cell_is_printed(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = print_words(capsys, "--cfg", "job", *OVERRIDES, "train.learning_rate=3e-4", "clip/1")
    assert text.startswith("# Cell clip/1 of components-smoke-")
    values = yaml.safe_load(text)
    assert (values["method"]["name"], values["seed"]) == ("clip", 1)
    assert values["train"]["learning_rate"] == 3e-4
    assert yaml.safe_load(print_words(capsys, "run", "-c", "job", *OVERRIDES))["seed"] == 0
    assert read_files(work_folder) == {}


def test_sections_sweeps_and_single_runs_are_printed(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = yaml.safe_load(print_words(capsys, *OVERRIDES, "--cfg", "job", "-p", "train"))
    assert train["precision"] == "fp32"
    sweep = yaml.safe_load(print_words(capsys, *OVERRIDES, "--cfg=sweep", "seeds=[4]"))
    assert (sweep["seeds"], sweep["launcher"]["name"]) == ([4], "local")
    single = yaml.safe_load(print_words(capsys, "--cfg", "job", "method=slip"))
    assert single["method"]["name"] == "slip"
    folders = print_words(capsys, "--info", "searchpath", *OVERRIDES, "conf_dir=.").splitlines()
    assert folders[-1] == str(work_folder)


def test_the_origin_of_each_value_is_printed(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--info", "defaults", *OVERRIDES, "train.weight_decay=0.2", "no-mp-nce/0"]
    lines = [" ".join(line.split()) for line in print_words(capsys, *words).splitlines()]
    for line in (
        "method uniclip ablation",
        "model tiny default",
        "train.weight_decay 0.2 user",
        "train.steps 240 budget (schedule=scenes_smoke)",
        "views.num_strong 2 preset (method=uniclip)",
        "train.precision fp32 default",
    ):
        assert line in lines
    assert any(line.endswith("ablation (arm no-mp-nce)") for line in lines)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([*OVERRIDES, "--cfg", "hydra"], "unknown --cfg 'hydra': choose from job, sweep"),
        ([*OVERRIDES, "--info", "plugins"], "unknown --info 'plugins'"),
        ([*OVERRIDES, "--package", "train"], "--package is for --cfg job"),
        ([*OVERRIDES, "--cfg", "job", "-p", "trian"], "unknown section 'trian': did you mean"),
        ([*OVERRIDES, "--cfg", "job", "full/0", "clip/0"], "name one cell"),
        ([*OVERRIDES, "--cfg", "job", "full/9"], "unknown cell"),
        (["--info", "defaults"], "name a sweep"),
        (["--cfg", "job", "train.lr=3"], "did you mean train.learning_rate"),
        (["--cfg"], "expected one argument"),
    ],
)
def test_what_cannot_be_printed_is_one_line(
    words: list[str], match: str, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(*words) == 2
    printed = capsys.readouterr()
    assert match in printed.err
    assert printed.err.count("\n") == 1
