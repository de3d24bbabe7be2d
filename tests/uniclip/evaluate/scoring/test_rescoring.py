"""Finished runs are scored again from the cache alone: by real runs, with the pictures gone."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sweeps.cli import main
from tests.helpers import dataset_trees
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import evaluate
from uniclip import run as run_module
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.evaluate import cache, datasets
from uniclip.evaluate.datasets import dataset
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.scoring import probe_cache
from uniclip.store import DatasetScores, RunFolder

SETS = ("cifar10", "oxford_pets", "voc2007", "flickr30k")
MINE = {
    "name": "mine",
    "base": "clip2021",
    "templates": {"*": ["a drawing of a {}.", "{}"], "flickr30k": ["{}"]},
    "names": {"cifar10": {"bird": ["bird", "chick"]}},
    "metrics": {"oxford_pets": "accuracy", "cifar10": "mean_per_class"},
}


def trained(store: Path, seed: int = 0) -> tuple[RunFolder, RunConfig]:
    """A tiny run, trained for two steps by the real code."""
    of = tiny(train={"steps": 2, "validate_every": 2}, seed=seed)
    run = opened(store, of)
    assert run_module.execute_run(run, of, claimed(run), evaluations={}) == "trained"
    return run, of


def under(of: RunConfig, root: Path, protocol: object, **runtime: object) -> RunConfig:
    changed = replace(of.runtime, data_root=str(root), protocol=protocol, **runtime)
    return replace(of, runtime=changed)


def evaluate_run(
    run: RunFolder, of: RunConfig, names: tuple[str, ...] = SETS
) -> dict[str, DatasetScores]:
    """What a worker keeps of a run on these sets."""
    hashes = {name: evaluate.evaluation_hash(name, of, run.cache_path) for name in names}
    assert all(evaluate.describe_missing(name, of, run.cache_path) is None for name in names)
    kind = run_module.execute_run(run, of, claimed(run), evaluations=hashes)
    assert kind == "evaluated"
    scores_by_name = {name: run.read_scores(name, h) for name, h in hashes.items()}
    return {name: scores for name, scores in scores_by_name.items() if scores is not None}


def arrays(run: RunFolder, scores: DatasetScores) -> dict[str, np.ndarray]:
    with np.load(run.predictions_path(scores.dataset, scores.evaluation_hash)) as stored:
        return dict(stored)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    for name in SETS:
        dataset_trees.WRITERS[name](tmp_path / "sets")
    return tmp_path / "sets"


@pytest.mark.parametrize(("gigabytes", "whole"), [(0.25, 3), (0.5e-6, 2)])
def test_an_evaluation_resumes_wherever_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: float, whole: int
) -> None:
    """What a large set takes hours for (chapters, fits) is kept where a job is cut off.

    The evaluation checks some 170 times whether to stop. A fit cannot be stopped and kept, and how
    many checks the longest has depends on the processor (about 30): each attempt may run longer.
    """
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    run, of = trained(tmp_path / "store")
    of = under(of, tmp_path / "sets", "clip2021", embedding_cache_max_gb=gigabytes)
    twin = RunFolder(shutil.copytree(tmp_path / "store", tmp_path / "twin") / "runs" / run.id)
    full = evaluate_run(twin, of, ("cifar10",))["cifar10"]
    monkeypatch.setattr(cache, "SEGMENT_ROWS", 8)
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 4)
    monkeypatch.setattr(probe_cache, "MIN_CACHED_SECONDS", 0.0)
    hashes, ends, beats = {"cifar10": full.evaluation_hash}, [], []
    while ends[-1:] != ["evaluated"]:
        patience, attempt = iter([False] * (45 + 4 * len(ends))), claimed(run)
        ends.append(
            run_module.execute_run(
                run, of, attempt, evaluations=hashes, stop=partial(next, patience, True)
            )
        )
        beats.append(attempt.read_heartbeat())
        assert len(ends) < 25, "it comes no further"
    assert ends.count("interrupted") == len(ends) - 1 >= 3
    assert {b.phase for b in beats if b is not None} == {"evaluating cifar10"}
    assert run.read_scores("cifar10", full.evaluation_hash) == full
    stored = list((run.cache_path / "embeddings").iterdir())
    assert len(stored) == whole, "all three parts, or the small ones; no chapter is left"


def test_another_protocol_needs_no_images_and_equals_a_full_evaluation(
    tmp_path: Path, sets: Path
) -> None:
    run, of = trained(tmp_path / "store")
    twin = shutil.copytree(tmp_path / "store", tmp_path / "twin")
    first = evaluate_run(run, under(of, sets, "clip2021"))
    full = evaluate_run(RunFolder(twin / "runs" / run.id), under(of, sets, MINE))
    shutil.move(sets, tmp_path / "elsewhere")
    again = evaluate_run(run, under(of, sets, MINE))
    assert set(again) == set(full) == set(SETS)
    for name in SETS:
        assert again[name] == full[name], "values, protocol, hash"
        assert again[name].evaluation_hash != first[name].evaluation_hash
        assert again[name].protocol["protocol"] == "mine"
        rescored = arrays(run, again[name])
        evaluated = arrays(RunFolder(twin / "runs" / run.id), full[name])
        assert rescored.keys() == evaluated.keys()
        assert all((rescored[key] == evaluated[key]).all() for key in rescored)
    assert {s.name for s in again["cifar10"].scores} >= {"zeroshot", "probe"}
    assert again["oxford_pets"].protocol["metric"] == "accuracy"


def test_a_user_defined_folder_may_be_missing_too(tmp_path: Path) -> None:
    run, of = trained(tmp_path / "store")
    for part in ("train", "test"):
        for label in range(2):
            for i in range(12):
                dataset_trees.draw(tmp_path / f"mine/{part}/c{label}/{i}.png", label)
    name = f"folder:{tmp_path / 'mine'}"
    (first,) = evaluate_run(run, under(of, tmp_path, "clip2021"), (name,)).values()
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    protocol_definition = {"name": "mine", "templates": {name: ["my {}"]}}
    (again,) = evaluate_run(run, under(of, tmp_path, protocol_definition), (name,)).values()
    (same,) = evaluate_run(run, under(of, tmp_path, "clip2021"), (name,)).values()
    assert same == first
    assert again.protocol["data"] == first.protocol["data"]
    assert [s for s in again.scores if s.name == "probe"]


def test_shards_may_be_missing_with_their_templates(tmp_path: Path, sets: Path) -> None:
    run, of = trained(tmp_path / "store")
    words = ["data", "export", "cifar10", f"data_root={sets}", f"to={tmp_path / 'wds'}"]
    assert main.main(words) == 0
    name = f"wds:{tmp_path / 'wds'}"
    (first,) = evaluate_run(run, under(of, sets, "clip2021"), (name,)).values()
    (tmp_path / "wds").rename(tmp_path / "elsewhere")
    (same,) = evaluate_run(run, under(of, sets, "clip2021"), (name,)).values()
    assert same == first
    assert len(same.protocol["templates"]) == 18


def test_an_image_is_embedded_once(
    tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, of = trained(tmp_path / "store")
    opened_pictures, decode = [], ImageDataset.load_image

    def counted(self: ImageDataset, i: int) -> object:
        opened_pictures.append((self.name, self.ids[i]))
        return decode(self, i)

    monkeypatch.setattr(ImageDataset, "load_image", counted)
    for protocol in ("clip2021", "laion_cb"):  # one transform; trunk and embedding
        evaluate_run(run, under(of, sets, protocol))
    first = Counter(opened_pictures)
    twice = [picture for picture, times in first.items() if times == 2]
    assert set(first.values()) == {1, 2}
    assert 0 < len(twice) < len(first), "test pictures: once more, to look for near-duplicates"
    evaluate_run(run, under(of, sets, "slip2021"))  # another transform
    assert Counter(opened_pictures) - first == Counter(first.keys())


def test_changed_data_get_another_hash(tmp_path: Path, sets: Path) -> None:
    run, of = trained(tmp_path / "store")
    config = under(of, sets, "clip2021")
    before = evaluate_run(run, config, ("oxford_pets",))["oxford_pets"]
    index = sets / "oxford-iiit-pet/annotations/test.txt"
    lines = index.read_text().splitlines()
    index.write_text("\n".join(lines[:-1]) + "\n")
    after = evaluate_run(run, config, ("oxford_pets",))["oxford_pets"]
    assert after.evaluation_hash != before.evaluation_hash
    assert after.scores[0].num_samples == before.scores[0].num_samples - 1


def test_data_that_were_never_embedded_are_missing(tmp_path: Path, sets: Path) -> None:
    run, of = trained(tmp_path / "store")
    evaluate_run(run, under(of, sets, "clip2021"), ("cifar10",))
    shutil.move(sets, tmp_path / "elsewhere")
    gone = under(of, sets, "clip2021")
    assert evaluate.describe_missing("oxford_pets", gone, run.cache_path) is not None
    assert evaluate.describe_missing("cifar10", gone) is not None
    off = under(of, sets, "clip2021", embedding_cache_max_gb=0.0)
    assert evaluate.describe_missing("cifar10", off, run.cache_path) is not None
    other, of_other = trained(tmp_path / "store", seed=1)
    config = under(of_other, sets, "clip2021")
    hashes = {"cifar10": evaluate.evaluation_hash("cifar10", config, other.cache_path)}
    with pytest.raises(UserError, match=r"cifar10 is missing: there is no .*cifar-10-batches-py"):
        run_module.execute_run(other, config, claimed(other), evaluations=hashes)


def test_a_data_set_that_cannot_be_evaluated_does_not_prevent_others(
    tmp_path: Path, sets: Path
) -> None:
    run, of = trained(tmp_path / "store")
    config = under(of, sets, "clip2021")
    evaluate_run(run, config, ("voc2007",))
    other, _ = trained(tmp_path / "store", seed=1)
    (sets / "VOCdevkit").rename(tmp_path / "gone")  # noted in the cache, for the first run alone
    name = (sets / "oxford-iiit-pet/annotations/test.txt").read_text().split()[0]
    (sets / f"oxford-iiit-pet/images/{name}.jpg").write_bytes(b"\xff\xd8 truncated")
    names = ("oxford_pets", "voc2007", "cifar10", "flickr30k")
    hashes = {name: evaluate.evaluation_hash(name, config, other.cache_path) for name in names}
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"not evaluated: oxford_pets, voc2007 \(oxf.*\)"
        ) as error:
            run_module.execute_run(other, config, claimed(other), evaluations=hashes)
        assert f"image {name} cannot be read" in str(error.value)
        assert "voc2007 is missing: " in str(error.value)
        assert "\n" not in str(error.value)
        scored = {name for name, h in hashes.items() if other.read_scores(name, h) is not None}
        assert scored == {"cifar10", "flickr30k"}


def test_data_that_changed_since_the_plan_is_refused(tmp_path: Path, sets: Path) -> None:
    run, of = trained(tmp_path / "store")
    config = under(of, sets, "clip2021")
    planned = {name: evaluate.evaluation_hash(name, config) for name in ("oxford_pets", "cifar10")}
    index = sets / "oxford-iiit-pet/annotations/test.txt"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"oxford_pets \(.* changed since the plan; "):
        run_module.execute_run(run, config, claimed(run), evaluations=planned)
    assert [p.name.split("@")[0] for p in (run.path / "scores").iterdir()] == ["cifar10"]


def test_a_folder_is_listed_once_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.imagenet(tmp_path)
    run, of = trained(tmp_path / "store")
    config = under(of, tmp_path, "clip2021")
    hashes = {"imagenet": evaluate.evaluation_hash("imagenet", config, run.cache_path)}
    walked, listing = [], dataset._iterate_files
    monkeypatch.setattr(
        dataset, "_iterate_files", lambda f, *w: walked.append(f.name) or listing(f, *w)
    )
    assert run_module.execute_run(run, config, claimed(run), evaluations=hashes) == "evaluated"
    assert (walked.count("train"), walked.count("val")) == (1, 1)


def test_caching_can_be_turned_off(tmp_path: Path, sets: Path) -> None:
    run, of = trained(tmp_path / "store")
    stored = evaluate_run(run, under(of, sets, "slip2021"), ("cifar10",))
    assert list((tmp_path / "store" / "cache" / "embeddings").iterdir())
    shutil.rmtree(tmp_path / "store" / "cache")
    shutil.rmtree(run.path / "scores")
    off = evaluate_run(run, under(of, sets, "slip2021", embedding_cache_max_gb=0.0), ("cifar10",))
    assert not (tmp_path / "store" / "cache" / "embeddings").exists()
    assert off == stored


def test_all_images_are_tested_where_clip_benchmark_does(tmp_path: Path) -> None:
    run, of = trained(tmp_path / "store")
    for name in ("sun397", "caltech101", "eurosat"):
        getattr(dataset_trees, name)(tmp_path / "sets")
        config = under(of, tmp_path / "sets", "laion_cb")
        (parted,) = evaluate_run(run, under(of, tmp_path / "sets", "clip2021"), (name,)).values()
        (scores,) = evaluate_run(run, config, (name,)).values()
        assert len(arrays(run, parted)["near_duplicate"]) == parted.scores[0].num_samples
        assert len(arrays(run, scores)["near_duplicate"]) == scores.scores[0].num_samples
        folder = tmp_path / "sets" / datasets.get(name).all_images[0]
        here = [p for p in folder.rglob("*.jpg") if not p.name.startswith(".")]
        assert scores.scores[0].num_samples == len(here)
        assert len(here) > len(datasets.get(name).open(tmp_path / "sets", "test"))
        assert not [s for s in scores.scores if s.name.startswith("probe")]
        assert parted.evaluation_hash != scores.evaluation_hash
