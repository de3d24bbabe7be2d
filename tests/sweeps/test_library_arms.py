"""The commands of the pages for users of timm and transformers: planned, audited and trained."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers import ROOT, library_folders
from tests.helpers.command_line import TINY, execute
from tests.test_docs import read_blocks
from uniclip.checkpoints.load import load
from uniclip.store import Store

MARK = "run by tests/sweeps/test_library_arms.py"
SMALL = [*(w for w in TINY if not w.startswith("ablation=")), "seeds=1", "train.steps=4"]
SMALL_MODEL = [*SMALL, "model.image.image_size=32"]
SMALL_IMAGE_ENCODER = [
    *("model.image.image_size=32", "model.embed_dim=24"),
    "model.image.options={patch_size:8,embed_dim:32,depth:2,num_heads:2,mlp_ratio:2.0}",
]
"""Changes the model of the page's command to that of `library_folders.write_clip`."""
WHOLE_MODEL = "pretrained=encoders/clip"
PAGES = [ROOT / "docs" / name for name in ("timm.md", "transformers.md")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the encoders and the ablation that the pages name."""
    path = tmp_path_factory.mktemp("arms")
    library_folders.write_timm("resnet10t", path / "encoders/resnet10t.safetensors")
    library_folders.write_text_model("bert", path / "encoders/bert")
    library_folders.write_siglip(path / "encoders/siglip")
    (ablation,) = re.findall(r"```yaml\n(.*?)```", PAGES[0].read_text(), re.S)
    (path / "conf/ablation").mkdir(parents=True)
    (path / "conf/ablation/locked.yaml").write_text(ablation)
    return path


def read_commands() -> list[list[str]]:
    """Return the words of every command of the pages that is run here."""
    blocks = [b for page in PAGES for b in read_blocks(page) if b.mark.startswith(MARK)]
    return [shlex.split(command)[2:] for block in blocks for command in block.commands]


def test_the_commands_of_the_pages_are_planned_and_their_arms_audited(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    commands = [words for words in read_commands() if WHOLE_MODEL not in words]
    assert [words[0] for words in commands].count("plan") == 3
    assert len(commands) == 4
    for words in commands:
        if words[0] == "plan":
            assert execute(*words, *SMALL_MODEL, "store=planned") == 0, words
    words = next(words for words in commands if words[0] != "plan")
    assert execute("plan", "--probe", *words, *SMALL_MODEL, "store=planned") == 0
    assert "(from probe)" in capsys.readouterr().out
    (checks,) = (c for s in Store(folder / "planned").iter_sweeps() if (c := s.read_audit_checks()))
    assert {check.arm for check in checks} >= {"scratch", "lit", "frozen-text"}
    assert all(check.passed for check in checks)


@pytest.mark.slow
def test_a_run_starts_from_a_whole_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The page's command; with another image encoder it says what to set."""
    monkeypatch.chdir(folder)
    library_folders.write_clip(folder / "encoders/clip")
    (words,) = (words for words in read_commands() if WHOLE_MODEL in words)
    assert execute(*words, *SMALL, *SMALL_IMAGE_ENCODER, "store=whole") == 0
    (run,) = Store(folder / "whole").iter_runs()
    outcome = run.read_outcome()
    assert outcome is not None
    assert outcome.kind == "trained"
    words = [word for word in words if word != "model=vit_b32"]
    capfd.readouterr()
    assert execute(*words, *SMALL, "store=other") == 2, "planned, before the audit"
    line = capfd.readouterr().err.splitlines()[-1]
    assert not (folder / "other").exists()
    image_words = shlex.split(line.partition("; set ")[2])
    assert len(image_words) == 3
    assert execute("plan", *words, *SMALL, *image_words, "store=other") == 0


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="half a minute: `make soak`")
def test_a_locked_encoder_keeps_its_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (words,) = (w for w in read_commands() if w[0] != "plan" and WHOLE_MODEL not in w)
    assert execute(*words, *SMALL_MODEL, "store=store") == 0
    weights = {}
    for sweep in Store(folder / "store").iter_sweeps():
        plan = sweep.read_plan()
        assert plan is not None
        assert [arm.name for arm in plan.arms] == ["scratch", "lit", "frozen-text"]
        for cell in plan.cells:
            run = Store(folder / "store").get_run(cell.run_id)
            weights[cell.arm] = load(run.path).embedder.state_dict()
    assert_is_locked(weights, folder)


def assert_is_locked(weights: dict[str, dict[str, object]], folder: Path) -> None:
    """Assert that a locked encoder ends with the weights of its file, and another one does not."""
    from safetensors.torch import load_file

    image = load_file(folder / "encoders/resnet10t.safetensors")["layer1.0.conv1.weight"]
    text = load_file(folder / "encoders/bert/model.safetensors")["embeddings.LayerNorm.weight"]
    image_key = "image_encoder.body.layer1.0.conv1.weight"
    text_key = "text_encoder.body.embeddings.LayerNorm.weight"
    is_equal = {
        arm: (state[image_key].equal(image), state[text_key].equal(text))  # type: ignore[attr-defined]
        for arm, state in weights.items()
    }
    assert is_equal == {
        "scratch": (False, False), "lit": (True, False), "frozen-text": (False, True)
    }  # fmt: skip
