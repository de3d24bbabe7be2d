"""Runs that exist already: a CSV, and log folders as open_clip writes them."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from sweeps.merging.imported_runs import guess_kind, read_runs
from tests.helpers.imported_logs import write_log_folder
from uniclip.errors import UserError


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("\ufeffarm,seed,accuracy,rank\na,0,0.5,3\nb,0,0.75,2\n")
    first, second = read_runs(path)
    assert (first.arm, first.seed, first.scores) == ("a", 0, {"accuracy": 0.5, "rank": 3.0})
    assert (second.arm, second.records) == ("b", [])


def test_log_folders(tmp_path: Path) -> None:
    write_log_folder(tmp_path / "siglip-seed3", seed=3, r1=0.25)
    write_log_folder(tmp_path / "deep" / "clip_vit-b_0", seed=0, r1=0.125, writes_results=False)
    clip, siglip = read_runs(tmp_path)
    assert (clip.arm, clip.seed, siglip.arm, siglip.seed) == ("clip_vit-b", 0, "siglip", 3)
    assert siglip.scores == {"image_to_text_R@1": 0.25, "image_to_text_mean_rank": 16.5}
    assert clip.scores == {"image_to_text_R@1": 0.125, "image_to_text_mean_rank": 16.5}
    assert [(r["step"], r["samples_seen"]) for r in clip.records] == [
        (2, 64), (4, 128), (6, 192), (8, 256),
    ]  # fmt: skip
    assert clip.records[0]["loss"] == 3.6334


def test_a_number_that_is_not_the_seed_belongs_to_the_arm(tmp_path: Path) -> None:
    for name in ("ViT-B-32", "ViT-B-16-s7", "clip7"):
        write_log_folder(tmp_path / name, seed=7, r1=0.25)
    assert [run.arm for run in read_runs(tmp_path)] == ["ViT-B-16", "ViT-B-32", "clip7"]


def test_a_step_of_several_processes(tmp_path: Path) -> None:
    folder = tmp_path / "clip-0"
    write_log_folder(folder, seed=0, r1=0.25, parameters="world_size: 2\naccum_freq: 1\n")
    (run,) = read_runs(tmp_path)
    assert [record["step"] for record in run.records] == [1, 2, 3, 4]
    (folder / "params.txt").write_text("batch_size: 32\nseed: 0\nworld_size: 0\n")
    with pytest.raises(UserError, match="above 0, got 32, 0, 1"):
        read_runs(tmp_path)


def test_a_table_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_bytes(b"arm,seed,x\n\xff,1,1\n")
    with pytest.raises(UserError, match="is no CSV in UTF-8"):
        read_runs(tmp_path / "runs.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arm,score\na,1\n", "needs the columns arm, seed and a score; it has arm, score"),
        ("arm,seed\na,1\n", "needs the columns"),
        ("", "it has nothing"),
        ("arm,seed,x\n", "has no row"),
        ("arm,seed,x\na,one,1\n", "line 2: seed must be a whole number, got 'one'"),
        ("arm,seed,x\na,1,\n", "line 2: x must be a finite number, got ''"),
        ("arm,seed,x\na,1,inf\n", "finite number"),
        ("arm,seed,x\na/b,1,1\n", "'a/b' is no name of an arm"),
        ("arm,seed,x\n\x1b[2J,1,1\n", "is no name of an arm"),
        ('arm,seed,x\na,1,"' + "9" * 200_000 + '"\n', "is no CSV in UTF-8: field larger"),
        ("arm,seed,x\na,1,1\na,1,2\n", "arm a has seed 1 twice"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_runs(tmp_path / "runs.csv")


def test_what_is_wrong_with_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_runs(tmp_path / "none")
    with pytest.raises(UserError, match="no folder with out.log and params.txt"):
        read_runs(tmp_path)
    write_log_folder(tmp_path / "clip-0", seed=0, r1=math.nan)
    with pytest.raises(UserError, match="R@1 must be a finite number, got 'nan'"):
        read_runs(tmp_path)
    shutil.rmtree(tmp_path / "clip-0")
    write_log_folder(tmp_path / "clip-0", seed=0, r1=0.1, writes_results=False)
    log = tmp_path / "clip-0" / "out.log"
    log.write_text("".join(x for x in log.read_text().splitlines(True) if "R@1" not in x))
    with pytest.raises(UserError, match="has no evaluation"):
        read_runs(tmp_path)


def test_kinds_by_name() -> None:
    names = ("image_to_text_R@5", "imagenet-zeroshot-val-top1", "x_median_rank", "clip_val_loss")
    assert [guess_kind(n) for n in names] == ["recall", "accuracy", "rank", None]
