"""Training gives the same bits however it is interrupted, observed or fed."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tests.helpers.small_runs import claimed, of_method, opened, tiny
from tests.helpers.training_runs import equal_weights, get_weights, score_texts, stop_after
from uniclip import identity
from uniclip.data.loader import TrainingBatches
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.training import checkpoint, trainer, training_step


@pytest.fixture(scope="module")
def expected_weights():
    """The weights of the small run, trained without interruption, logging or validation."""
    return get_weights(trainer.train_model(tiny()))


def test_equal_configurations_give_equal_weights(expected_weights):
    assert equal_weights(get_weights(trainer.train_model(tiny())), expected_weights)


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": 1}, {"train": {"weight_decay": 0.5}}])
def test_other_configurations_give_other_weights(expected_weights, change):
    assert not equal_weights(get_weights(trainer.train_model(tiny(**change))), expected_weights)


def test_the_state_of_the_generator_of_torch_does_not_matter(expected_weights):
    torch.manual_seed(99)
    torch.rand(7)
    assert equal_weights(get_weights(trainer.train_model(tiny())), expected_weights)


def test_logging_and_validation_do_not_change_the_weights(expected_weights, tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    watched = tiny(train={"validate_every": 1}, runtime={"checkpoint_seconds": 0, "log_every": 1})
    assert equal_weights(
        get_weights(trainer.train_model(watched, attempt=attempt, validate=score_texts)),
        expected_weights,
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_data_workers_do_not_change_the_weights(expected_weights, workers):
    assert equal_weights(
        get_weights(trainer.train_model(tiny(runtime={"num_workers": workers}))), expected_weights
    )


@pytest.mark.parametrize("cuts", [(1,), (5,), (2, 1, 1), (1, 1, 1, 1, 1)])
def test_a_resumed_run_equals_the_uninterrupted_run(expected_weights, tmp_path, cuts):
    """Stopped after each of `cuts` further steps; data workers differ between attempts."""
    run = opened(tmp_path, tiny())
    done = 0
    for number, cut in enumerate(cuts):
        config = tiny(runtime={"num_workers": number % 2})
        stopped = trainer.train_model(
            config, attempt=claimed(run), validate=score_texts, stop=stop_after(cut)
        )
        done += cut
        assert (stopped.kind, stopped.step) == ("stopped", done)
    result = trainer.train_model(tiny(), attempt=claimed(run), validate=score_texts)
    assert (result.kind, result.step) == ("trained", 6)
    assert equal_weights(get_weights(result), expected_weights)
    straight = trainer.train_model(tiny(), validate=score_texts)
    assert result.best_step == straight.best_step
    assert equal_weights(result.best_state, straight.best_state)


@pytest.mark.parametrize(
    ("fraction", "step"), [(0.1, 2), (1 / 3, 2), (0.34, 4), (0.9, 6), (1.0, 6)]
)
def test_a_run_pauses_at_a_validation(fraction, step):
    assert tiny(runtime={"stop_fraction": fraction}).last_step == step


def test_a_run_that_pauses_at_rungs_equals_the_uninterrupted_run(expected_weights, tmp_path):
    """A rung that was passed takes no step."""
    run = opened(tmp_path, tiny())
    for fraction, step in ((1 / 9, 2), (1 / 3, 2), (0.5, 4), (0.2, 4)):
        attempt = claimed(run)
        config = tiny(runtime={"stop_fraction": fraction})
        paused = trainer.train_model(config, attempt=attempt, validate=score_texts)
        assert (paused.kind, paused.step) == ("paused", step)
        assert checkpoint.list_checkpoints(attempt)[0][0] == step
    result = trainer.train_model(tiny(), attempt=claimed(run), validate=score_texts)
    assert (result.kind, result.step) == ("trained", 6)
    assert equal_weights(get_weights(result), expected_weights)
    straight = trainer.train_model(tiny(), validate=score_texts)
    assert result.best_step == straight.best_step
    assert equal_weights(result.best_state, straight.best_state)
    watched = [r["step"] for r in run.read_history() if r["phase"] == "validation"]
    assert watched == [2, 4, 6]


@pytest.mark.parametrize("name", ["unicl", "slip", "declip"])
def test_every_method_resumes_bit_for_bit(tmp_path, name):
    """Running statistics and queues included."""
    whole = trainer.train_model(of_method(name), validate=score_texts)
    run = opened(tmp_path, of_method(name))
    trainer.train_model(
        of_method(name), attempt=claimed(run), validate=score_texts, stop=stop_after(3)
    )
    resumed = trainer.train_model(of_method(name), attempt=claimed(run), validate=score_texts)
    assert equal_weights(get_weights(resumed), get_weights(whole))
    method = resumed.pretrained.method
    expected = whole.pretrained.method.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in method.state_dict().items())
    if name == "declip":
        assert method.queue_position == 2 * 16 * 6 % 48
    if name == "slip":
        assert method.ssl_head[1].num_batches_tracked == 2 * 6, "each view by itself"


def test_a_resume_restores_dropout_and_counters(tmp_path):
    noisy = {"options": {"depths": [1] * 4, "dims": [8, 8, 16, 16], "drop_path_rate": 0.5}}
    config = tiny(model={"image": {"name": "convnext_atto", "image_size": 32, **noisy}})
    whole = trainer.train_model(config)
    assert not equal_weights(get_weights(whole), get_weights(trainer.train_model(tiny())))
    run = opened(tmp_path, config)
    trainer.train_model(config, attempt=claimed(run), stop=stop_after(3))
    resumed = trainer.train_model(config, attempt=claimed(run))
    assert equal_weights(get_weights(resumed), get_weights(whole))
    last = [[r for r in f.history if r["phase"] == "train"][-1] for f in (whole, resumed)]
    assert last[0]["clipped_fraction"] == last[1]["clipped_fraction"]
    assert last[0]["loss"] == last[1]["loss"]


def test_a_damaged_checkpoint_costs_steps_only(expected_weights, tmp_path):
    run = opened(tmp_path, tiny())
    every = tiny(runtime={"checkpoint_seconds": 0})
    first = claimed(run)
    trainer.train_model(every, attempt=first, stop=stop_after(3))
    path = first.checkpoints_path / "3.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    second = claimed(run)
    assert equal_weights(get_weights(trainer.train_model(every, attempt=second)), expected_weights)
    events = {record["event"]: record for record in read_jsonl(second.events_path)}
    assert events["resumed"]["step"] == 2
    assert "3.safetensors" in events["checkpoint_damaged"]["path"]


@pytest.mark.parametrize("bound", [1e-6, 1e4])
def test_divergence_ends_training_before_the_step(tmp_path, monkeypatch, bound):
    """The loss exceeds the threshold, or is not finite."""
    config = tiny(train={"divergence_threshold": bound})
    if bound > 1:
        monkeypatch.setattr(
            training_step.optimizer,
            "compute_learning_rate",
            lambda step, train: 1e30 if step else 1e-3,
        )
    attempt = claimed(opened(tmp_path, config))
    result = trainer.train_model(config, attempt=attempt)
    assert result.kind == "diverged"
    assert result.step == (0 if bound < 1 else result.step)
    assert result.step < config.train.steps
    (event,) = [
        record for record in read_jsonl(attempt.events_path) if record["event"] == "diverged"
    ]
    assert event["step"] == result.step + 1
    assert all(math.isfinite(r["loss"]) for r in result.history if r["phase"] == "train")


def test_a_gradient_that_is_not_finite_changes_no_parameter(monkeypatch):
    before = get_weights(trainer.train_model(tiny(), stop=stop_after(1)))
    steps = iter(range(6))
    real = training_step.nn.utils.clip_grad_norm_

    def broken(parameters, clip):
        norm = real(parameters, clip)
        return norm if next(steps) == 0 else norm * math.inf

    monkeypatch.setattr(training_step.nn.utils, "clip_grad_norm_", broken)
    result = trainer.train_model(tiny())
    assert (result.kind, result.step) == ("diverged", 1)
    assert equal_weights(get_weights(result), before)


def test_a_superseded_attempt_writes_no_checkpoint(tmp_path):
    run = opened(tmp_path, tiny())
    old = claimed(run)
    claimed(run, forced=True)
    config = tiny(runtime={"checkpoint_seconds": 0})
    result = trainer.train_model(config, attempt=old)
    assert (result.kind, result.step) == ("superseded", 1)
    assert not old.checkpoints_path.exists()


def test_a_stop_at_the_last_step_has_no_effect(expected_weights):
    result = trainer.train_model(tiny(), stop=stop_after(6))
    assert result.kind == "trained"
    assert equal_weights(get_weights(result), expected_weights)


def test_too_few_samples_for_a_batch_are_refused():
    with pytest.raises(UserError):
        trainer.train_model(tiny(train={"batch_size": 512}))


def test_bf16_trains_and_differs_from_fp32(expected_weights):
    result = trainer.train_model(tiny(train={"precision": "bf16"}))
    assert result.kind == "trained"
    assert all(
        v.dtype == torch.float32 for v in get_weights(result).values() if v.is_floating_point()
    )
    assert not equal_weights(get_weights(result), expected_weights)


def test_the_training_hash_covers_training_code_only():
    reached = identity._find_imported_modules(identity.TRAINING_ROOT)
    assert {"uniclip.training.state", "uniclip.numerics", "uniclip.data.loader"} <= reached.keys()
    assert not [m for m in reached if m.startswith(("uniclip.evaluate", "uniclip.run"))]


def test_a_streamed_batch_equals_the_batch_of_its_step():
    """As a resume in mid-epoch needs."""
    config = tiny()
    split = trainer.data.open_split(config.data, "train")
    bpe = train_bpe([c for of in split.captions for c in of], 300)
    batches = TrainingBatches(config, split, bpe)
    for step, streamed in zip((3, 4), batches.iterate_batches(3, 5)):
        separate = batches.build_batch(step)
        for field in dataclasses.fields(separate):
            one, two = getattr(separate, field.name), getattr(streamed, field.name)
            assert one is two is None or torch.equal(one, two)
