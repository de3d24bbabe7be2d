"""UniCL, SLIP and DeCLIP against their definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ablations.plan.comparison_facts import collect_comparison_facts
from tests.helpers.loss_batches import LargestTensor
from tests.helpers.small_runs import of_method, tiny
from tests.helpers.toy_method import ToyMethod
from tests.uniclip.methods.test_uniclip import batch_of, set_up, vocabulary  # noqa: F401 - a fixture
from uniclip.config import METHODS
from uniclip.data import open_split
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import augment
from uniclip.data.text import tokenizer as tokenizers
from uniclip.errors import UserError
from uniclip.losses.image_text import clip_loss, unicl_loss
from uniclip.methods import declip
from uniclip.methods.unicl import hash_captions
from uniclip.training import trainer


def close(given, expected):
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


# ---- UniCL ---------------------------------------------------------------------------------------


def test_unicl_makes_equal_labels_positives(vocabulary):  # noqa: F811
    method, embedder = set_up(of_method("unicl"), vocabulary)
    batch = batch_of(vocabulary, 1)
    labels = torch.tensor([3, -1, 3, 0, -1, 0])
    object.__setattr__(batch, "label", labels)
    image = embedder.encode_image(batch.images[0], batch.augmentation_vectors[0])
    expected = unicl_loss(image, embedder.encode_text(batch.tokens), labels, torch.e)
    close(method.compute_loss_terms(embedder, batch)["contrastive"], expected)
    alone = clip_loss(image, embedder.encode_text(batch.tokens), torch.e)
    assert (expected - alone).abs() > 1e-3


def test_equal_captions_get_equal_labels_whatever_the_padding(vocabulary):  # noqa: F811
    words = ["a red heart", "two cats", "a red heart", "two", "red a heart"]
    labels = hash_captions(torch.from_numpy(vocabulary.encode(words, 16)), vocabulary.eos)
    assert labels[0] == labels[2]
    assert len(set(labels.tolist())) == 4
    assert (labels >= 2**61).all()
    again = hash_captions(torch.from_numpy(vocabulary.encode(words[:1], 16)), vocabulary.eos)
    assert again[0] == labels[0]


# ---- SLIP ----------------------------------------------------------------------------------------


def nt_xent(one, two, temperature):
    """SimCLR's loss as its paper writes it: 2N anchors, one positive, 2N - 2 negatives each."""
    rows, n = torch.cat([one, two]), len(one)
    total = 0.0
    for i in range(2 * n):
        scores = [((rows[i] @ rows[j]) / temperature).exp() if j != i else 0 for j in range(2 * n)]
        total = total - (scores[(i + n) % (2 * n)] / sum(scores)).log()
    return total / (2 * n)


def test_slip_is_clip_on_the_weak_view_and_simclr_on_the_strong_ones(vocabulary):  # noqa: F811
    method, embedder = set_up(of_method("slip", method={"ssl_weight": 0.5}), vocabulary)
    batch = batch_of(vocabulary, 3)
    parts = method.compute_loss_terms(embedder.train(), batch)
    weak = embedder.encode_image(batch.images[0], batch.augmentation_vectors[0])
    close(parts["contrastive"], clip_loss(weak, embedder.encode_text(batch.tokens), 1 / 0.07))
    # As in SLIP's models.py: the head is called for each view, so that a view's statistics are its
    # own.
    strong = [
        F.normalize(method.ssl_head(embedder.compute_image_features(v)), dim=-1)
        for v in batch.images[1:]
    ]
    close(parts["simclr"], nt_xent(*strong, 0.1))
    close(method.sum_loss_terms(parts), parts["contrastive"] + 0.5 * parts["simclr"])


def test_methods_say_which_views_they_need():
    with pytest.raises(UserError, match=r"views.num_strong=2"):
        of_method("slip", views={"strong": 1})
    with pytest.raises(UserError, match="two views"):
        of_method("declip", views={"strong": 3})


# ---- DeCLIP --------------------------------------------------------------------------------------


def test_declip_is_the_sum_of_its_four_losses(vocabulary):  # noqa: F811
    method, embedder = set_up(of_method("declip"), vocabulary)
    batch, queue = batch_of(vocabulary), method.queue.clone()
    parts = method.compute_loss_terms(embedder, batch)
    raw = [
        embedder.apply_image_head(embedder.compute_image_features(p), v)
        for p, v in zip(batch.images, batch.augmentation_vectors)
    ]
    views = [F.normalize(rows, dim=-1) for rows in raw]
    texts = [
        embedder.encode_text(batch.masked_tokens),
        embedder.encode_text(batch.augmented_tokens),
    ]
    scale, own = torch.e**3, torch.arange(6)
    close(parts["contrastive"], sum(clip_loss(v, t, scale) for v in views for t in texts) / 4)
    nearest = [queue.float()[(t @ queue.float().T).argmax(1)] for t in texts]
    terms = [F.cross_entropy(scale * v @ n.T, own) for v in views for n in nearest]
    torch.testing.assert_close(parts["neighbour"], sum(terms) / 4, rtol=1e-2, atol=1e-2)
    projected = [method.projector(rows) for rows in raw]
    guesses = [method.predictor(rows) for rows in projected]
    cosine = [F.cosine_similarity(guesses[i], projected[1 - i]).mean() for i in (0, 1)]
    close(parts["simsiam"], -sum(cosine) / 2)
    logits = method.language_head(embedder.compute_text_hidden_states(batch.masked_tokens))
    expected = F.cross_entropy(logits.flatten(0, 1), batch.mlm_labels.flatten(), ignore_index=-100)
    close(parts["language"], expected)
    weighed = zip((0.4, 0.2, 0.2, 0.2), parts.values())
    close(method.sum_loss_terms(parts), sum(w * part for w, part in weighed))


def test_the_queue_forgets_the_oldest_and_no_gradient_enters_it(vocabulary):  # noqa: F811
    method, embedder = set_up(of_method("declip"), vocabulary)
    batch, before = batch_of(vocabulary), method.queue.clone()
    method.sum_loss_terms(method.compute_loss_terms(embedder, batch)).backward()
    texts = torch.cat(
        [embedder.encode_text(batch.masked_tokens), embedder.encode_text(batch.augmented_tokens)]
    )
    assert torch.equal(method.queue[:12], texts.half())
    assert torch.equal(method.queue[12:], before[12:])
    assert method.place == 12
    for _ in range(4):
        method.compute_loss_terms(embedder, batch)
    assert method.place == 60 % 48
    method.eval()
    kept = method.queue.clone()
    method.compute_loss_terms(embedder, batch)
    assert torch.equal(method.queue, kept)


@pytest.mark.parametrize("room", [1, 7, 11, 12])
def test_a_queue_too_small_for_a_batch_takes_of_both_captions(vocabulary, room):  # noqa: F811
    method, embedder = set_up(of_method("declip", method={"queue": room}), vocabulary)
    batch = batch_of(vocabulary)  # six samples
    method.compute_loss_terms(embedder, batch)
    captions_, edits = (
        embedder.encode_text(t).half() for t in (batch.masked_tokens, batch.augmented_tokens)
    )
    expected = torch.cat([captions_[: (room + 1) // 2], edits[: room // 2]])
    assert torch.equal(method.queue, expected)
    assert method.place == 0


def test_neighbours_are_looked_up_a_few_rows_at_a_time(vocabulary):  # noqa: F811
    method, _ = set_up(of_method("declip", method={"queue": 3000}), vocabulary)
    queue = method.queue.float()
    texts = F.normalize(torch.randn(2 * declip.NEIGHBOUR_CHUNK_ROWS + 3, queue.shape[1]), dim=-1)
    expected = F.normalize(queue[(texts @ queue.T).argmax(1)], dim=-1)
    with LargestTensor() as largest:
        assert torch.equal(method._neighbours(texts), expected)
    assert largest.largest == declip.NEIGHBOUR_CHUNK_ROWS * len(queue)


def test_simsiam_stops_the_gradient_of_what_is_predicted(vocabulary):  # noqa: F811
    method, _ = set_up(of_method("declip"), vocabulary)
    raw = [torch.randn(6, 16, requires_grad=True) for _ in range(2)]
    projected = [method.projector(rows) for rows in raw]
    guesses = [method.predictor(rows) for rows in projected]
    cosine = [F.cosine_similarity(guesses[i], projected[1 - i].detach()).mean() for i in (0, 1)]
    both_ways = [F.cosine_similarity(guesses[i], projected[1 - i]).mean() for i in (0, 1)]
    leaves = [*raw, *method.projector.parameters(), *method.predictor.parameters()]
    losses = (method._simsiam(raw), -sum(cosine) / 2, -sum(both_ways) / 2)
    given, by_hand, unstopped = (
        torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
        for loss in losses
    )
    close(given, by_hand)
    assert max((a - b).abs().max() for a, b in zip(given, unstopped)) > 1e-3


# ---- texts ---------------------------------------------------------------------------------------

SENTENCES = [
    "one two three four five six",
    "a",
    "red heart",
    "two small red discs on the left",
    "uncharacteristically flugelhorns",
] * 8
IDS = np.arange(len(SENTENCES), dtype=np.uint64)


@pytest.fixture(scope="module")
def bpe():
    return tokenizers.train_bpe(SENTENCES, 300)


@pytest.mark.parametrize("published", [False, True], ids=["bpe", "clip"])
def test_an_edit_is_a_swap_or_leaves_words_out(bpe, published):
    bpe = tokenizers.load_clip_tokenizer() if published else bpe
    tokens, special = bpe.encode(SENTENCES, 32), augment.VocabularyInfo.from_tokenizer(bpe)
    edited = augment.edit_captions(7, IDS, tokens, special)
    assert np.array_equal(edited, augment.edit_captions(7, IDS, tokens, special))
    kinds = set()
    for before, row in zip(SENTENCES, edited):
        old, new = before.split(), bpe.decode(row).split()
        assert np.array_equal(bpe.encode([" ".join(new)], 32)[0], row[row != bpe.pad])
        if sorted(old) == sorted(new):
            moved = sum(a != b for a, b in zip(old, new))
            assert moved in (0, 2)
            kinds.add("swapped" if moved else "same")
        else:
            rest = iter(old)
            assert all(word in rest for word in new), (old, new)
            assert new
            kinds.add("shorter")
    assert {"swapped", "shorter"} <= kinds


def test_hidden_tokens_are_the_targets(bpe):
    tokens, special = bpe.encode(SENTENCES * 40, 32), augment.VocabularyInfo.from_tokenizer(bpe)
    ids = np.arange(len(tokens), dtype=np.uint64)
    masked, targets = augment.mask_tokens(3, ids, tokens, special, 0.15)
    guessed = targets != augment.IGNORE_INDEX
    assert np.array_equal(targets[guessed], tokens[guessed])
    assert np.array_equal(masked[~guessed], tokens[~guessed])
    words = ~np.isin(tokens, (bpe.bos, bpe.eos, bpe.pad))
    assert not (guessed & ~words).any()
    assert guessed.sum() / words.sum() == pytest.approx(0.15, abs=0.02)
    hidden = masked[guessed] == bpe.pad
    assert hidden.mean() == pytest.approx(0.8, abs=0.04)
    assert (masked[guessed] == tokens[guessed]).mean() == pytest.approx(0.1, abs=0.03)
    assert np.array_equal((masked == bpe.eos).argmax(1), (tokens == bpe.eos).argmax(1))


def test_batches_carry_other_texts_only_where_they_are_asked_for():
    for name in ("clip", "declip"):
        config = of_method(name)
        split = open_split(config.data, "train")
        words = tokenizers.train_bpe([c for of_one in split.captions for c in of_one], 300)
        batch = TrainingBatches(config, split, words).build_batch(0)
        assert (batch.augmented_tokens is None) is (batch.masked_tokens is None) is (name == "clip")
    assert batch.masked_tokens.shape == batch.tokens.shape == batch.mlm_labels.shape
    assert len(batch.augmented_tokens) == len(batch.tokens)
    plain = tiny(views={"weak": 0, "strong": 2})
    same = TrainingBatches(plain, split, words).build_batch(0)
    assert torch.equal(same.tokens, batch.tokens)
    assert torch.equal(same.images, batch.images)


# ---- one more ------------------------------------------------------------------------------------


def test_a_new_method_is_one_file_and_one_line(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", ToyMethod)  # the line
    config = tiny(method={"name": "toy", "target": 0.25}, train={"steps": 20})
    fitted = trainer.train_model(config)
    losses = [r["loss"] for r in fitted.history if r["phase"] == "train"]
    assert losses[-1] < losses[0] / 2
    assert collect_comparison_facts(config)["positives of a picture among texts"] == 1
    with pytest.raises(UserError, match=r"method\.target"):
        tiny(method={"name": "toy", "target": 2.0})
