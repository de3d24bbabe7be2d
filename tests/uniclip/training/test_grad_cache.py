"""A batch in chunks gives the loss and the gradients of the whole batch."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_runs import METHODS, of_method
from uniclip import rng
from uniclip.errors import UserError
from uniclip.training import trainer
from uniclip.training.grad_cache import CachedEmbeddings

DROP_PATH = {"depths": [1] * 4, "dims": [8, 8, 16, 16], "drop_path_rate": 0.5}
RNG_KEY = (0, 0, "step", 0, 0)


def copy_gradients(state) -> dict[str, torch.Tensor]:
    """Return a copy of the gradient of every parameter."""
    named = state.modules.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def assert_same(gradients, expected, tolerance):
    assert gradients.keys() == expected.keys()
    squared_difference = sum(
        (gradients[n] - e).double().square().sum() for n, e in expected.items()
    )
    squared_norm = sum(e.double().square().sum() for e in expected.values())
    assert squared_difference.sqrt() < tolerance * squared_norm.sqrt()


@pytest.mark.parametrize("name", METHODS)
def test_a_step_in_chunks_equals_the_step_at_once(name):
    """Three chunks of a batch of 16: 5, 5 and 6 samples; queues and running statistics too."""
    results = []
    for chunks in (1, 3):
        batches, state = trainer.setup_training(
            of_method(name, train={"grad_cache_chunks": chunks})
        )
        numbers = trainer.training_step(state, batches.build_batch(0))
        results.append((numbers, copy_gradients(state), dict(state.modules.named_buffers())))
    (at_once, expected, buffers), (in_chunks, gradients, chunked_buffers) = results
    assert in_chunks.loss == pytest.approx(at_once.loss, rel=1e-6)
    assert in_chunks.loss_terms == pytest.approx(at_once.loss_terms, rel=1e-5, abs=1e-6)
    assert in_chunks.grad_norm == pytest.approx(at_once.grad_norm, rel=1e-5)
    assert_same(gradients, expected, 1e-5)
    for buffer, value in buffers.items():
        torch.testing.assert_close(chunked_buffers[buffer], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_both_passes_draw_the_same_dropout(name):
    """Compared with one graph over chunks that were embedded under the same seeds."""
    image = {"image": {"options": DROP_PATH}}
    batches, state = trainer.setup_training(of_method(name, model=image))
    method, embedder = state.method, state.embedder
    batch = method.prepare_batch(batches.build_batch(0))
    parts = []
    for i, chunk in enumerate(batch.split_chunks(3)):
        torch.manual_seed(rng.derive_key(*RNG_KEY, i))
        parts.append(method.embed(embedder, chunk))
    whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    before = {key: value.clone() for key, value in method.state_dict().items()}
    loss = method.sum_loss_terms(method.compute_terms_from_embeddings(whole, batch))
    loss.backward()
    expected = copy_gradients(state)
    method.load_state_dict(before)
    state.modules.zero_grad()
    embedded = CachedEmbeddings(method, embedder, batch, num_chunks=3, rng_key=RNG_KEY)
    gradients = method.sum_loss_terms(method.compute_terms_from_embeddings(embedded.tensors, batch))
    embedded.backward(gradients)
    assert torch.equal(gradients, loss)
    assert_same(copy_gradients(state), expected, 1e-6)


@pytest.mark.parametrize("lock", ["image", "both"])
def test_locked_encoders_get_no_gradient(lock):
    config = of_method("slip", lock=lock, train={"grad_cache_chunks": 2, "steps": 2})
    result = trainer.train_model(config)
    assert result.kind == "trained"
    assert result.pretrained.embedder.image_encoder.body.stem[0].weight.grad is None


def test_batch_norm_in_a_trained_encoder_is_refused():
    image = {"image": {"name": "test_byobnet", "image_size": 32}}
    config = of_method("clip", model=image, train={"grad_cache_chunks": 2, "steps": 1})
    with pytest.raises(UserError, match=r"train.grad_cache_chunks=2 .*without batch norm"):
        trainer.setup_training(config)
    lock = of_method("clip", model=image, train={"grad_cache_chunks": 2, "steps": 1}, lock="image")
    assert trainer.train_model(lock).kind == "trained"


def test_more_chunks_than_samples_are_refused():
    with pytest.raises(UserError, match="train.grad_cache_chunks=17"):
        trainer.setup_training(of_method("clip", train={"grad_cache_chunks": 17}))
