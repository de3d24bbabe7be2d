"""One run end to end: what is published, once; what a death or a rival leaves; the way back."""

from __future__ import annotations

import os
import random
import shutil
import time
from multiprocessing import get_context
from multiprocessing.context import ForkProcess

import numpy as np
import pytest

from tests.helpers.small_runs import METHODS, claimed, opened, tiny
from uniclip import evaluate, run
from uniclip.checkpoints import tensor_file
from uniclip.config import RunConfig, build_run_config
from uniclip.config.compose import CONF, compose
from uniclip.io.atomic import read_jsonl
from uniclip.io.hashing import digest_file
from uniclip.store import RunFolder

EVALUATION = evaluate.evaluation_hash("scenes", tiny())
EVALUATIONS = {"scenes": EVALUATION}
KILLS = 100 if "UNICLIP_SOAK" in os.environ else 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunFolder:
    """A tiny run, trained and evaluated by one attempt."""
    folder = opened(tmp_path_factory.mktemp("store"), tiny())
    kind = run.execute_run(folder, tiny(), claimed(folder), evaluations=EVALUATIONS)
    assert kind == "trained"
    return folder


def files(folder: RunFolder) -> dict[str, int]:
    """Published files and when each was last written."""
    paths = [p for p in folder.path.rglob("*") if p.is_file() and "attempts" not in p.parts]
    return {str(p.relative_to(folder.path)): p.stat().st_mtime_ns for p in paths}


# ---- publication -----------------------------------------------------------------------------


def test_what_is_published(trained):
    assert set(files(trained)) == {
        "config.yaml",
        "spec.json",
        "tokenizer.json",
        "weights.safetensors",
        "best.safetensors",
        "outcome.json",
        f"scores/scenes@{EVALUATION}.json",
        f"predictions/scenes@{EVALUATION}.npz",
    }
    outcome = trained.read_outcome()
    assert (outcome.kind, outcome.step, outcome.attempt) == ("trained", 6, 1)
    assert outcome.best_step in (2, 4, 6)
    assert outcome.weights_digest == digest_file(trained.weights_path)
    assert (outcome.training_hash, outcome.source_hash, outcome.numerics_class) == (
        "t",
        "s",
        {"device": "cpu"},
    )
    assert outcome.cost.keys() == {"training_seconds", *run.COST_METRICS}
    assert all(value > 0 for value in outcome.cost.values())
    scores = trained.read_scores("scenes", EVALUATION)
    assert scores.weights_digest == outcome.weights_digest
    assert scores.protocol == evaluate.build_protocol("scenes", tiny())
    assert scores.scores
    with np.load(trained.predictions_path("scenes", EVALUATION), allow_pickle=False) as arrays:
        assert arrays.files


def test_a_finished_run_is_left_alone(trained):
    before = files(trained)
    kind = run.execute_run(trained, tiny(), claimed(trained), evaluations=EVALUATIONS)
    assert kind == "evaluated"
    assert files(trained) == before


def test_a_data_set_that_arrives_later_is_evaluated_alone(trained, tmp_path):
    folder = RunFolder(shutil.copytree(trained.path, tmp_path / trained.id))
    for name in ("scores", "predictions"):
        shutil.rmtree(folder.path / name)
    before = files(folder)
    assert run.execute_run(folder, tiny(), claimed(folder), evaluations=EVALUATIONS) == "evaluated"
    after = files(folder)
    assert after.keys() - before.keys() == {
        f"scores/scenes@{EVALUATION}.json",
        f"predictions/scenes@{EVALUATION}.npz",
    }
    assert all(after[name] == before[name] for name in before)


def test_diverged_is_an_outcome_without_weights(tmp_path):
    config = tiny(train={"divergence_threshold": 1e-6})
    folder = opened(tmp_path, config)
    assert run.execute_run(folder, config, claimed(folder), evaluations=EVALUATIONS) == "diverged"
    assert set(files(folder)) == {"config.yaml", "spec.json", "outcome.json"}
    outcome = folder.read_outcome()
    assert (outcome.kind, outcome.step, outcome.weights_digest) == ("diverged", 0, None)
    assert run.execute_run(folder, config, claimed(folder), evaluations=EVALUATIONS) == "diverged"


def test_interrupted_in_training_resumes_to_the_same_file(trained, tmp_path):
    folder = opened(tmp_path, tiny())
    asked = iter([False, False, True])
    kind = run.execute_run(
        folder, tiny(), claimed(folder), evaluations={}, stop=lambda: next(asked)
    )
    assert kind == "interrupted"
    assert set(files(folder)) == {"config.yaml", "spec.json"}
    assert run.execute_run(folder, tiny(), claimed(folder), evaluations={}) == "trained"
    assert folder.weights_path.read_bytes() == trained.weights_path.read_bytes()
    assert folder.best_weights_path.read_bytes() == trained.best_weights_path.read_bytes()
    assert folder.read_outcome().attempt == 2


def test_halted_and_gone_on_publishes_the_same_files(trained, tmp_path):
    folder = opened(tmp_path, tiny())
    halting = tiny(runtime={"stop_fraction": 0.5})
    assert run.execute_run(folder, halting, claimed(folder), evaluations=EVALUATIONS) == "paused"
    assert set(files(folder)) == {"config.yaml", "spec.json"}
    assert run.execute_run(folder, tiny(), claimed(folder), evaluations=EVALUATIONS) == "trained"
    assert folder.weights_path.read_bytes() == trained.weights_path.read_bytes()
    assert folder.best_weights_path.read_bytes() == trained.best_weights_path.read_bytes()


def test_interrupted_before_evaluation_keeps_the_outcome(tmp_path):
    folder = opened(tmp_path, tiny())
    steps = iter(range(100))
    kind = run.execute_run(
        folder, tiny(), claimed(folder), evaluations=EVALUATIONS, stop=lambda: next(steps) >= 5
    )
    assert kind == "interrupted"
    assert folder.read_outcome().kind == "trained"
    assert folder.read_scores("scenes", EVALUATION) is None
    assert run.execute_run(folder, tiny(), claimed(folder), evaluations=EVALUATIONS) == "evaluated"


def test_overtaken_publishes_nothing(tmp_path):
    folder = opened(tmp_path, tiny())
    old = claimed(folder)
    claimed(folder, forced=True)
    assert run.execute_run(folder, tiny(), old, evaluations=EVALUATIONS) == "superseded"
    assert set(files(folder)) == {"config.yaml", "spec.json"}


def test_overtaken_in_evaluation_publishes_no_scores(tmp_path, monkeypatch):
    folder = opened(tmp_path, tiny())
    real = evaluate.evaluate

    def slow(*arguments, **callbacks):
        claimed(folder, forced=True)
        return real(*arguments, **callbacks)

    monkeypatch.setattr(evaluate, "evaluate", slow)
    assert run.execute_run(folder, tiny(), claimed(folder), evaluations=EVALUATIONS) == "superseded"
    assert "outcome.json" in files(folder)
    assert not folder.scores_path("scenes", EVALUATION).exists()


# ---- deaths and rivals -----------------------------------------------------------------------


def test_death_between_weights_and_outcome_is_not_trained_again(trained, tmp_path, monkeypatch):
    folder = opened(tmp_path, tiny())
    first = claimed(folder)
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_outcome", lambda *_: os.abort_the_test())
        with pytest.raises(AttributeError):
            run.execute_run(folder, tiny(), first, evaluations={})
    second = claimed(folder)
    assert run.execute_run(folder, tiny(), second, evaluations={}) == "trained"
    outcome, straight = folder.read_outcome(), trained.read_outcome()
    assert (outcome.attempt, outcome.step) == (1, 6)
    assert (outcome.weights_digest, outcome.best_step) == (
        straight.weights_digest,
        straight.best_step,
    )
    assert outcome.cost.keys() == straight.cost.keys()
    assert not read_jsonl(second.metrics_path)
    assert read_jsonl(second.events_path)[0]["event"] == "adopted_weights"


def test_death_before_weights_trains_the_rest(trained, tmp_path, monkeypatch):
    """Tokenizer and best weights are out, the final ones are not: the same files come again."""
    folder = opened(tmp_path, tiny())
    real = run.link_once

    def dies(path, finished):
        assert path != folder.weights_path, "killed"
        return real(path, finished)

    with monkeypatch.context() as patched:
        patched.setattr(run, "link_once", dies)
        with pytest.raises(AssertionError, match="killed"):
            run.execute_run(folder, tiny(), claimed(folder), evaluations={})
    assert {"tokenizer.json", "best.safetensors"} <= set(files(folder))
    assert run.execute_run(folder, tiny(), claimed(folder), evaluations={}) == "trained"
    assert folder.weights_path.read_bytes() == trained.weights_path.read_bytes()
    assert folder.read_outcome().attempt == 2


def test_a_faster_rival_of_another_class_stays_published(trained, tmp_path, monkeypatch):
    folder = opened(tmp_path, tiny())
    attempt = claimed(folder)
    tensors, facts = tensor_file.decode(trained.weights_path)
    name = next(n for n in tensors if tensors[n].is_floating_point())
    tensors[name] += 1e-6
    theirs = tensor_file.encode(tensors, facts)
    real = run.link_once

    def late(path, finished):
        if path == folder.weights_path:
            path.write_bytes(theirs)
        return real(path, finished)

    monkeypatch.setattr(run, "link_once", late)
    assert run.execute_run(folder, tiny(), attempt, evaluations={}) == "trained"
    assert folder.weights_path.read_bytes() == theirs
    assert folder.read_outcome().weights_digest == digest_file(folder.weights_path)
    assert "weights_differ" in [record["event"] for record in read_jsonl(attempt.events_path)]


@pytest.mark.soak
def test_kill_nine_at_random_moments_ends_with_the_same_file(tmp_path):
    train = {"steps": 10 * KILLS, "validate_every": 10}
    config = tiny(train=train, runtime={"checkpoint_seconds": 0})
    whole, folder = (opened(tmp_path / name, config) for name in ("whole", "killed"))
    assert run.execute_run(whole, config, claimed(whole), evaluations={}) == "trained"
    draw = random.Random(int(os.environ.get("KILL_SEED", "0")))
    for _ in range(KILLS):
        child = _child(folder, config)
        _wait_for_a_step(folder, child)
        time.sleep(draw.uniform(0, 15 * whole.read_outcome().cost["seconds_per_step"]))
        child.kill()
        child.join()
    assert folder.read_outcome() is None or folder.read_outcome().kind == "trained"
    last = _child(folder, config)
    last.join(600)
    assert last.exitcode == 0
    assert folder.read_outcome().kind == "trained"
    assert folder.weights_path.read_bytes() == whole.weights_path.read_bytes()
    assert folder.best_weights_path.read_bytes() == whole.best_weights_path.read_bytes()
    lost = _lost_steps(folder)
    assert len(lost) >= KILLS / 2, "so many hit a training, and left it to another"
    assert max(lost) <= 1, "a checkpoint after each step; the kill may come between the two"


def _lost_steps(folder: RunFolder) -> list[int]:
    """For each attempt that resumed from a checkpoint: steps that it had to take again."""
    lost, last = [], 0
    for attempt in map(folder.get_attempt, folder.list_attempts()):
        lost += [
            last - e["step"] for e in read_jsonl(attempt.events_path) if e["event"] == "resumed"
        ]
        steps = [r["step"] for r in read_jsonl(attempt.metrics_path) if r["phase"] == "train"]
        last = max([last, *steps])
    return lost


SMOKE = {
    "train": {"steps": 24, "validate_every": 12},
    "runtime": {"checkpoint_seconds": 0, "log_every": 1},
}


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="minutes; `make soak` runs it")
@pytest.mark.parametrize("name", METHODS)
def test_every_method_survives_kill_nine_on_real_pictures(name, tmp_path):
    """Bit for bit, DeCLIP's queue and SLIP's running statistics included; and it learns."""
    chosen = {"data": "openmoji", "method": name, "budget": "smoke"}
    values = compose("config", chosen, [CONF])
    for section, own in SMOKE.items():
        values[section] |= own
    if "ssl_mlp_dim" in METHODS[name].get("method", {}):
        values["method"]["ssl_mlp_dim"] = 256  # checkpoints of the published heads take seconds
    config = build_run_config({k: v for k, v in values.items() if k != "seeds"})
    whole, folder = (opened(tmp_path / place, config) for place in ("whole", "killed"))
    assert run.execute_run(whole, config, claimed(whole), evaluations={}) == "trained"
    draw = random.Random(name)
    for _ in range(3):
        child = _child(folder, config)
        _wait_for_a_step(folder, child)
        time.sleep(draw.uniform(1, 6) * whole.read_outcome().cost["seconds_per_step"])
        child.kill()
        child.join()
    last = _child(folder, config)
    last.join(600)
    assert last.exitcode == 0
    assert folder.weights_path.read_bytes() == whole.weights_path.read_bytes()
    losses = [r["loss"] for r in whole.read_history() if r["phase"] == "train"]
    assert losses == [r["loss"] for r in folder.read_history() if r["phase"] == "train"]
    assert sum(losses[-3:]) < sum(losses[:3])
    events = [
        e for n in folder.list_attempts() for e in read_jsonl(folder.get_attempt(n).events_path)
    ]
    assert any(e["event"] == "resumed" and e["step"] > 0 for e in events)


def _child(folder: RunFolder, config: RunConfig) -> ForkProcess:
    """A process that does what the run lacks, in a new attempt (imports are inherited)."""
    arguments = (folder, config, claimed(folder))
    child = get_context("fork").Process(
        target=run.execute_run, args=arguments, kwargs={"evaluations": {}}, daemon=True
    )
    child.start()
    return child


def _wait_for_a_step(folder: RunFolder, child: ForkProcess) -> None:
    """Until the newest attempt has noted a step (or the child has ended)."""
    metrics = folder.get_attempt(folder.list_attempts()[-1]).metrics_path
    while not metrics.exists() and child.is_alive():
        time.sleep(0.01)
