"""What a plan says and checks of the training data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.csv_data import write_image_set
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data.csv import notes
from uniclip.data.inspection import (
    check_batch_sizes,
    describe_training_data,
    list_data_warnings,
)
from uniclip.errors import UserError


@pytest.fixture
def config(tmp_path):
    path = write_image_set(tmp_path, 60)
    return tiny(data={"name": "csv", "path": str(path), "image_size": 32})


def with_batch(config, batch_size):
    return replace(config, train=replace(config.train, batch_size=batch_size))


def test_a_batch_larger_than_the_training_split_is_refused(config):
    num_train = len(data.open_split(config.data, "train"))
    check_batch_sizes([with_batch(config, num_train)])
    with pytest.raises(UserError, match=f"takes {num_train + 1} of the {num_train} training sampl"):
        check_batch_sizes([config, with_batch(config, num_train + 1)])


def test_a_subset_larger_than_the_training_split_is_refused(config):
    num_train = len(data.open_split(config.data, "train"))

    def with_subset(size):
        return replace(config, train=replace(config.train, subset_size=size))

    check_batch_sizes([with_subset(num_train)])
    with pytest.raises(
        UserError, match=f"subset_size={num_train + 1} is more than the {num_train}"
    ):
        check_batch_sizes([config, with_subset(num_train + 1)])


@pytest.mark.parametrize(
    ("section", "batch_size"),
    [({"name": "scenes", "num_train": 100}, 101), ({"name": "openmoji"}, 4_000)],
)
def test_built_in_data_are_counted_too(section, batch_size):
    config = tiny(data=section)
    check_batch_sizes([with_batch(config, 64)])
    with pytest.raises(UserError, match=f"train.batch_size={batch_size} takes"):
        check_batch_sizes([with_batch(config, batch_size)])


def test_sentences_of_arms_with_equal_data_are_said_once(config, monkeypatch):
    calls = []
    describe = notes.describe_index
    monkeypatch.setattr(notes, "describe_index", lambda *a: calls.append(a) or describe(*a))
    sentences = describe_training_data([config, replace(config, seed=1), with_batch(config, 4)])
    assert len(calls) == 1
    assert len(sentences) == len(set(sentences))
    assert sentences[0].startswith("60 images: ")
    assert any("identified by the bytes of the table" in s for s in sentences)
    text = replace(config.model.text, context_length=4)
    narrow = replace(config, model=replace(config.model, text=text))
    assert any("context_length=4 " in s for s in describe_training_data([config, narrow]))


def test_a_source_of_a_plug_in_may_lack_both_functions(config, monkeypatch):
    class Source:
        """A source with the required functions alone, which are not called."""

    monkeypatch.setitem(data.SOURCES, "csv", Source())
    assert describe_training_data([config]) == ()
    check_batch_sizes([with_batch(config, 10_000)])


@pytest.mark.parametrize("section", [{"name": "scenes", "num_train": 100}, {"name": "openmoji"}])
def test_a_short_context_cuts_captions_of_built_in_data_too(section, monkeypatch):
    config = tiny(data=section)

    def with_text(**changes):
        text = replace(config.model.text, **changes)
        return replace(config, model=replace(config.model, text=text))

    short = with_text(context_length=4)
    (sentence,) = describe_training_data([short])
    assert "captions are longer than model.text.context_length=4 tokens" in sentence
    (data_warning,) = list_data_warnings([short])
    assert data_warning.message == sentence
    assert data_warning.fix == "raise model.text.context_length"
    monkeypatch.setattr(data, "open_split", lambda *_: pytest.fail("not needed"))
    assert describe_training_data([with_text(context_length=32, vocab_size=2000)]) == ()
