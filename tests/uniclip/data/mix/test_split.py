"""The training split of `data=mix`: pairs and labelled images in one batch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config import OpenmojiData
from uniclip.data.loader import TrainingBatches
from uniclip.data.mix import digits
from uniclip.data.mix.templates import PROMPT_TEMPLATES
from uniclip.data.text.tokenizer import train_bpe
from uniclip.training import trainer

SECTION = {"name": "mix", "image_size": 32}


def build_batches(split, **sections):
    config = tiny(data=SECTION, method={"name": "unicl"}, **sections)
    bpe = train_bpe([c for several in split.captions for c in several], 400)
    return TrainingBatches(config, split, bpe), bpe


def test_pairs_come_first_and_labels_of_two_sources_never_coincide(split):
    pairs = data.open_split(OpenmojiData(image_size=32), "train")
    n = len(pairs)
    assert (split.training_labels[:n] == -1).all()
    assert split.captions[:n] == pairs.captions
    labelled = split.training_labels[n:]
    assert set(labelled) == set(range(10 + len(pairs.class_names["category"])))
    assert len(set(split.ids.tolist())) == len(split)
    for i in (n, n + 500, len(split) - 1):
        assert len(split.captions[i]) == len(PROMPT_TEMPLATES)
    first = split.training_labels[n]
    assert split.captions[n][0] == digits.DIGIT_NAMES[first]


def test_images_are_those_of_their_source(split):
    pairs = data.open_split(OpenmojiData(image_size=32), "train")
    n = len(pairs)
    digit_split = digits.open_split(32, "train", PROMPT_TEMPLATES)
    index = np.array([n + 3, 5, n, 7])
    pixels = split.load_pixels(index)
    assert np.array_equal(pixels[[1, 3]], pairs.load_pixels(np.array([5, 7])))
    assert np.array_equal(pixels[[0, 2]], digit_split.load_pixels(np.array([3, 0])))
    assert pixels[0].min() < 40  # ink
    assert (pixels[0][:, 0, 0] > 200).all()  # paper


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_every_batch_has_the_same_fraction_of_labelled_images(split, fraction):
    batches, bpe = build_batches(split, train={"batch_size": 32})
    config = tiny(data={**SECTION, "labelled_fraction": fraction}, train={"batch_size": 32})
    again = data.open_split(config.data, "train")
    batches = TrainingBatches(config, again, bpe)
    for step in (0, 1, batches.steps_per_epoch + 3):
        batch = batches.build_batch(step)
        assert (batch.labels >= 0).sum() == round(32 * fraction)
        assert batch.tokens.shape[0] == batch.images.shape[1] == len(batch.sample_ids) == 32
        texts = [bpe.decode(row) for row in batch.tokens.tolist()]
        for label, sentence in zip(batch.labels.tolist(), texts):
            if 0 <= label < 10:
                assert digits.DIGIT_NAMES[label] in sentence


def test_prompts_change_between_epochs(split):
    batches, bpe = build_batches(split, train={"batch_size": 64})
    texts_by_sample: dict[int, set[str]] = {}
    for step in range(3 * batches.steps_per_epoch):
        batch = batches.build_batch(step)
        for sample, label, row in zip(batch.sample_ids.tolist(), batch.labels, batch.tokens):
            if label >= 0:
                texts_by_sample.setdefault(sample, set()).add(bpe.decode(row.tolist()))
    assert max(map(len, texts_by_sample.values())) > 1


def test_training_on_labels_reduces_the_loss():
    config = tiny(
        data=SECTION,
        method={"name": "unicl"},
        train={"steps": 30, "batch_size": 32, "learning_rate": 3e-3},
    )
    result = trainer.train_model(config)
    losses = [r["loss"] for r in result.history if r["phase"] == "train"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_small_validation_split_gives_a_batch_of_pairs_only():
    """A validation batch is smaller than a training batch and has no labelled image."""
    few = {"steps": 1, "batch_size": 1024, "grad_cache_chunks": 64}
    config = tiny(data={**SECTION, "labelled_fraction": 0.001}, views={"num_strong": 0}, train=few)
    _, state = trainer.setup_training(config)
    assert state.measure_knockout_effects()
