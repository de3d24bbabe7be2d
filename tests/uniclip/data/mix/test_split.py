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
from uniclip.data.text import tokenizer as tokenizers
from uniclip.training import trainer

SECTION = {"name": "mix", "image_size": 32}


def batches(split, **sections):
    config = tiny(data=SECTION, method={"name": "unicl"}, **sections)
    words = tokenizers.train_bpe([c for several in split.captions for c in several], 400)
    return TrainingBatches(config, split, words), words


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


def test_pictures_are_those_of_their_source(split):
    pairs = data.open_split(OpenmojiData(image_size=32), "train")
    n = len(pairs)
    drawn = digits.open_split(32, "train", PROMPT_TEMPLATES)
    index = np.array([n + 3, 5, n, 7])
    pixels = split.load_pixels(index)
    assert np.array_equal(pixels[[1, 3]], pairs.load_pixels(np.array([5, 7])))
    assert np.array_equal(pixels[[0, 2]], drawn.load_pixels(np.array([3, 0])))
    assert pixels[0].min() < 40  # ink
    assert (pixels[0][:, 0, 0] > 200).all()  # paper


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_every_batch_has_the_same_share_of_both(split, share):
    made, words = batches(split, train={"batch_size": 32})
    config = tiny(data={**SECTION, "labelled_fraction": share}, train={"batch_size": 32})
    again = data.open_split(config.data, "train")
    made = TrainingBatches(config, again, words)
    for step in (0, 1, made.steps_per_epoch + 3):
        batch = made.build_batch(step)
        assert (batch.labels >= 0).sum() == round(32 * share)
        assert batch.tokens.shape[0] == batch.images.shape[1] == len(batch.sample_ids) == 32
        said = [words.decode(row) for row in batch.tokens.tolist()]
        for label, sentence in zip(batch.labels.tolist(), said):
            if 0 <= label < 10:
                assert digits.DIGIT_NAMES[label] in sentence


def test_prompts_change_from_epoch_to_epoch(split):
    made, words = batches(split, train={"batch_size": 64})
    seen: dict[int, set[str]] = {}
    for step in range(3 * made.steps_per_epoch):
        batch = made.build_batch(step)
        for sample, label, row in zip(batch.sample_ids.tolist(), batch.labels, batch.tokens):
            if label >= 0:
                seen.setdefault(sample, set()).add(words.decode(row.tolist()))
    assert max(map(len, seen.values())) > 1


def test_labels_reach_the_loss_and_its_training_learns():
    config = tiny(
        data=SECTION,
        method={"name": "unicl"},
        train={"steps": 30, "batch_size": 32, "learning_rate": 3e-3},
    )
    fitted = trainer.train_model(config)
    losses = [r["loss"] for r in fitted.history if r["phase"] == "train"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_few_pictures_for_validation_are_no_batch_without_a_kind():
    """A validation batch is smaller than this one, and would have no labelled picture."""
    few = {"steps": 1, "batch_size": 1024, "grad_cache_chunks": 64}
    config = tiny(data={**SECTION, "labelled_fraction": 0.001}, views={"num_strong": 0}, train=few)
    _, state = trainer.setup_training(config)
    assert state.measure_knockout_effects()
