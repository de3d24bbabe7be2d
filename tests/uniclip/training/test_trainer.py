"""Training: the same bits however it was cut, watched or fed; and what it says of itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from tests.helpers.small_runs import claimed, of_method, opened, tiny
from uniclip import identity, numerics
from uniclip.checkpoints import tensor_file
from uniclip.data.loader import TrainingBatches
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.training import checkpoint, trainer


def weights(fitted: trainer.TrainResult) -> dict[str, torch.Tensor]:
    """A copy of the weights that training came to."""
    model = tensor_file.bundle_modules(fitted.pretrained.embedder, fitted.pretrained.method)
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def after(asks: int) -> Callable[[], bool]:
    """A `stop` that says yes when asked for the `asks`-th time."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= asks


def text_sum(pretrained) -> float:
    """A score that draws, computes and changes mode, as a careless validation might."""
    torch.rand(3)
    return float(pretrained.embed_texts(["a red disc", "two blue squares"]).sum())


@pytest.fixture(scope="module")
def through():
    """The tiny run, trained in one go with nobody watching."""
    return weights(trainer.train_model(tiny()))


# ---- bits ------------------------------------------------------------------------------------


def test_same_configuration_same_bits(through):
    assert same(weights(trainer.train_model(tiny())), through)


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": 1}, {"train": {"weight_decay": 0.5}}])
def test_another_configuration_other_bits(through, change):
    assert not same(weights(trainer.train_model(tiny(**change))), through)


def test_what_torch_drew_before_does_not_matter(through):
    torch.manual_seed(99)
    torch.rand(7)
    assert same(weights(trainer.train_model(tiny())), through)


def test_watching_changes_no_bit(through, tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    watched = tiny(train={"validate_every": 1}, runtime={"checkpoint_seconds": 0, "log_every": 1})
    assert same(weights(trainer.train_model(watched, attempt=attempt, validate=text_sum)), through)


@pytest.mark.parametrize("workers", [1, 3])
def test_data_workers_change_no_bit(through, workers):
    assert same(weights(trainer.train_model(tiny(runtime={"num_workers": workers}))), through)


@pytest.mark.parametrize("cuts", [(1,), (5,), (2, 1, 1), (1, 1, 1, 1, 1)])
def test_resume_is_bitwise_the_uninterrupted_run(through, tmp_path, cuts):
    """Stopped after each of `cuts` further steps; data workers change from attempt to attempt."""
    run = opened(tmp_path, tiny())
    done = 0
    for number, cut in enumerate(cuts):
        config = tiny(runtime={"num_workers": number % 2})
        stopped = trainer.train_model(
            config, attempt=claimed(run), validate=text_sum, stop=after(cut)
        )
        done += cut
        assert (stopped.kind, stopped.step) == ("stopped", done)
    fitted = trainer.train_model(tiny(), attempt=claimed(run), validate=text_sum)
    assert (fitted.kind, fitted.step) == ("trained", 6)
    assert same(weights(fitted), through)
    straight = trainer.train_model(tiny(), validate=text_sum)
    assert fitted.best_step == straight.best_step
    assert same(fitted.best_state, straight.best_state)


@pytest.mark.parametrize(("share", "step"), [(0.1, 2), (1 / 3, 2), (0.34, 4), (0.9, 6), (1.0, 6)])
def test_a_run_halts_at_a_validation(share, step):
    assert tiny(runtime={"stop_fraction": share}).last_step == step


def test_a_run_that_halts_at_rungs_is_bitwise_the_uninterrupted_run(through, tmp_path):
    """A rung that was passed costs no step."""
    run = opened(tmp_path, tiny())
    for share, step in ((1 / 9, 2), (1 / 3, 2), (0.5, 4), (0.2, 4)):
        attempt = claimed(run)
        halting = tiny(runtime={"stop_fraction": share})
        halted = trainer.train_model(halting, attempt=attempt, validate=text_sum)
        assert (halted.kind, halted.step) == ("paused", step)
        assert checkpoint.list_checkpoints(attempt)[0][0] == step
    fitted = trainer.train_model(tiny(), attempt=claimed(run), validate=text_sum)
    assert (fitted.kind, fitted.step) == ("trained", 6)
    assert same(weights(fitted), through)
    straight = trainer.train_model(tiny(), validate=text_sum)
    assert fitted.best_step == straight.best_step
    assert same(fitted.best_state, straight.best_state)
    watched = [r["step"] for r in run.read_history() if r["phase"] == "validation"]
    assert watched == [2, 4, 6]


@pytest.mark.parametrize("name", ["unicl", "slip", "declip"])
def test_every_method_resumes_bitwise(tmp_path, name):
    """Running statistics and queues included."""
    whole = trainer.train_model(of_method(name), validate=text_sum)
    run = opened(tmp_path, of_method(name))
    trainer.train_model(of_method(name), attempt=claimed(run), validate=text_sum, stop=after(3))
    resumed = trainer.train_model(of_method(name), attempt=claimed(run), validate=text_sum)
    assert same(weights(resumed), weights(whole))
    method = resumed.pretrained.method
    theirs = whole.pretrained.method.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in method.state_dict().items())
    if name == "declip":
        assert method.queue_position == 2 * 16 * 6 % 48
    if name == "slip":
        assert method.ssl_head[1].num_batches_tracked == 2 * 6, "each view by itself"


def test_resume_carries_dropout_and_clip_counts(tmp_path):
    noisy = {"options": {"depths": [1] * 4, "dims": [8, 8, 16, 16], "drop_path_rate": 0.5}}
    config = tiny(model={"image": {"name": "convnext_atto", "image_size": 32, **noisy}})
    whole = trainer.train_model(config)
    assert not same(weights(whole), weights(trainer.train_model(tiny())))
    run = opened(tmp_path, config)
    trainer.train_model(config, attempt=claimed(run), stop=after(3))
    resumed = trainer.train_model(config, attempt=claimed(run))
    assert same(weights(resumed), weights(whole))
    last = [[r for r in f.history if r["phase"] == "train"][-1] for f in (whole, resumed)]
    assert last[0]["clipped_fraction"] == last[1]["clipped_fraction"]
    assert last[0]["loss"] == last[1]["loss"]


def test_a_damaged_checkpoint_costs_steps_but_no_bits(through, tmp_path):
    run = opened(tmp_path, tiny())
    every = tiny(runtime={"checkpoint_seconds": 0})
    first = claimed(run)
    trainer.train_model(every, attempt=first, stop=after(3))
    path = first.checkpoints_path / "3.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    second = claimed(run)
    assert same(weights(trainer.train_model(every, attempt=second)), through)
    events = {record["event"]: record for record in read_jsonl(second.events_path)}
    assert events["resumed"]["step"] == 2
    assert "3.safetensors" in events["checkpoint_damaged"]["path"]


def test_a_resume_in_another_numerics_class_is_recorded(tmp_path, monkeypatch):
    run = opened(tmp_path, tiny())
    trainer.train_model(tiny(), attempt=claimed(run), stop=after(1))
    ours = numerics.get_numerics_class(tiny())
    there = {**ours, "cpu_capability": "elsewhere"}
    monkeypatch.setattr(numerics, "get_numerics_class", lambda config: there)
    second = claimed(run)
    trainer.train_model(tiny(), attempt=second)
    (resumed,) = [
        record for record in read_jsonl(second.events_path) if record["event"] == "resumed"
    ]
    assert resumed["numerics_changed"] == {"cpu_capability": [ours["cpu_capability"], "elsewhere"]}


# ---- endings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [1e-6, 1e4])
def test_divergence_ends_the_run_before_the_step(tmp_path, monkeypatch, bound):
    """A loss beyond the bound, or one that is not finite."""
    config = tiny(train={"divergence_threshold": bound})
    if bound > 1:
        monkeypatch.setattr(
            trainer.optimizer, "compute_learning_rate", lambda step, train: 1e30 if step else 1e-3
        )
    attempt = claimed(opened(tmp_path, config))
    fitted = trainer.train_model(config, attempt=attempt)
    assert fitted.kind == "diverged"
    assert fitted.step == (0 if bound < 1 else fitted.step)
    assert fitted.step < config.train.steps
    (event,) = [
        record for record in read_jsonl(attempt.events_path) if record["event"] == "diverged"
    ]
    assert event["step"] == fitted.step + 1
    assert all(math.isfinite(r["loss"]) for r in fitted.history if r["phase"] == "train")


def test_a_gradient_that_is_not_finite_leaves_the_parameters(monkeypatch):
    before = weights(trainer.train_model(tiny(), stop=after(1)))
    steps = iter(range(6))
    real = trainer.nn.utils.clip_grad_norm_

    def broken(parameters, clip):
        norm = real(parameters, clip)
        return norm if next(steps) == 0 else norm * math.inf

    monkeypatch.setattr(trainer.nn.utils, "clip_grad_norm_", broken)
    fitted = trainer.train_model(tiny())
    assert (fitted.kind, fitted.step) == ("diverged", 1)
    assert same(weights(fitted), before)


def test_an_overtaken_attempt_writes_no_checkpoint(tmp_path):
    run = opened(tmp_path, tiny())
    old = claimed(run)
    claimed(run, forced=True)
    config = tiny(runtime={"checkpoint_seconds": 0})
    fitted = trainer.train_model(config, attempt=old)
    assert (fitted.kind, fitted.step) == ("superseded", 1)
    assert not old.checkpoints_path.exists()


def test_a_stop_at_the_last_step_is_no_stop(through):
    fitted = trainer.train_model(tiny(), stop=after(6))
    assert fitted.kind == "trained"
    assert same(weights(fitted), through)


def test_too_few_pictures_for_a_batch_is_one_line():
    with pytest.raises(UserError):
        trainer.train_model(tiny(train={"batch_size": 512}))


# ---- the best, the records --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.5, 0.5], 4),
        ([0.5, 0.5, 0.1], 2),
        ([math.nan, 0.0, -1.0], 4),
        ([math.nan] * 3, None),
    ],
)
def test_the_earliest_of_the_best_is_kept(scores, best):
    said, seen = iter(scores), {}
    step = iter((2, 4, 6))

    def validate(pretrained) -> float:
        model = tensor_file.bundle_modules(pretrained.embedder, pretrained.method)
        seen[next(step)] = {name: value.clone() for name, value in model.state_dict().items()}
        return next(said)

    fitted = trainer.train_model(tiny(), validate=validate)
    assert fitted.best_step == best
    assert fitted.best_state is None if best is None else same(fitted.best_state, seen[best])
    noted = [record for record in fitted.history if record["phase"] == "validation"]
    assert [record["step"] for record in noted] == [2, 4, 6]
    assert [record["score"] for record in noted if record["best"]][-1:] == (
        [scores[best // 2 - 1]] if best else []
    )


def test_records(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    config = tiny(runtime={"log_every": 4}, train={"steps": 10})
    fitted = trainer.train_model(config, attempt=attempt, validate=text_sum)
    assert read_jsonl(attempt.metrics_path) == fitted.history
    steps = [record for record in fitted.history if record["phase"] == "train"]
    assert [record["step"] for record in steps] == [1, 4, 8, 10]
    last = steps[-1]
    assert (last["samples_seen"], last["images_seen"]) == (160, 320)
    assert last["loss"] == pytest.approx(sum(last["loss_terms"].values()))
    assert 0 <= last["clipped_fraction"] <= 1
    assert 0 < last["grad_norm"]
    assert last["b_it"] == 0
    assert 0.01 <= last["tau_ii"] <= 1
    assert 0 < last["seconds"] == last["attempt_seconds"]
    (knockout,) = [r for r in fitted.history if r["phase"] == "knockout"]
    assert knockout["knockout_effect"].keys() == {"awareness", "mp_nce", "domain_similarity"}
    assert knockout["relative_change"].keys() == {
        "augmentation_encoder",
        "image_head",
        "similarity",
    }
    assert all(value > 0 for value in knockout["relative_change"].values())
    (cost,) = [r for r in fitted.history if r["phase"] == "cost"]
    assert cost["parameters"] == sum(p.numel() for p in fitted.pretrained.embedder.parameters()) + (
        sum(p.numel() for p in fitted.pretrained.method.parameters())
    )
    beat = attempt.read_heartbeat()
    assert beat is not None
    assert beat.total_steps == 10


def test_seconds_go_on_over_attempts(tmp_path):
    run = opened(tmp_path, tiny())
    first = trainer.train_model(tiny(), attempt=claimed(run), stop=after(3))
    second = trainer.train_model(tiny(), attempt=claimed(run))
    assert second.seconds > first.seconds
    last = [record for record in second.history if record["phase"] == "train"][-1]
    assert last["attempt_seconds"] == pytest.approx(second.seconds - first.seconds)


def test_bf16_trains_and_differs_from_fp32(through):
    fitted = trainer.train_model(tiny(train={"precision": "bf16"}))
    assert fitted.kind == "trained"
    assert all(v.dtype == torch.float32 for v in weights(fitted).values() if v.is_floating_point())
    assert not same(weights(fitted), through)


# ---- what the training hash covers -------------------------------------------------------------


def test_training_does_not_reach_evaluation_or_publication():
    reached = identity._find_imported_modules(identity.TRAINING_ROOT)
    assert {"uniclip.training.state", "uniclip.numerics", "uniclip.data.loader"} <= reached.keys()
    assert not [m for m in reached if m.startswith(("uniclip.evaluate", "uniclip.run"))]


def test_a_batch_of_the_stream_is_the_batch_by_itself():
    """As a resume in mid-epoch needs."""
    config = tiny()
    split = trainer.data.open_split(config.data, "train")
    words = trainer.tokenizer.train_bpe([c for of in split.captions for c in of], 300)
    batches = TrainingBatches(config, split, words)
    for step, streamed in zip((3, 4), batches.iterate_batches(3, 5)):
        alone = batches.build_batch(step)
        for field in dataclasses.fields(alone):
            one, two = getattr(alone, field.name), getattr(streamed, field.name)
            assert one is two is None or torch.equal(one, two)
