"""Encoders of transformers give the library's own states, from its weights or at random."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import library_folders
from tests.helpers.library_folders import CAPTIONS, text_values
from uniclip.checkpoints import tower_weights
from uniclip.config import TextConfig
from uniclip.config.binding import bind
from uniclip.data.text.build import build_tokenizer
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError
from uniclip.models.embedder import fork_seeded_rng
from uniclip.models.text_encoder import LibraryTextEncoder

CLOSE = 1e-5
POOLING = {"bert": "first", "roberta": "first", "modernbert": "first", "t5": "mean"}


def bind_text(**values) -> TextConfig:
    return bind(TextConfig, values, "model.text.")


@pytest.mark.parametrize("kind", POOLING)
def test_states_are_the_librarys_own(kind, tmp_path):
    """With the padding and the mask that transformers' tokenizer makes."""
    from transformers import PreTrainedTokenizerFast

    original = library_folders.write_text_model(kind, tmp_path)
    config = bind_text(**text_values(tmp_path, pretrained=True))
    vocabulary = build_tokenizer(config, ())
    encoder = LibraryTextEncoder(config, vocabulary).eval()
    tower_weights.load_text_weights(encoder, config)
    tokens = torch.from_numpy(vocabulary.encode(CAPTIONS, config.context_length))
    library = PreTrainedTokenizerFast.from_pretrained(tmp_path)(
        CAPTIONS, padding=True, return_tensors="pt"
    )
    assert torch.equal(tokens, library["input_ids"])
    mask = library["attention_mask"]
    with torch.no_grad():
        states = original(input_ids=tokens, attention_mask=mask).last_hidden_state
        rows = encoder(tokens)
    weights = mask[..., None] / mask.sum(1)[:, None, None]
    expected = states[:, 0] if POOLING[kind] == "first" else (states * weights).sum(1)
    assert encoder.pooling == POOLING[kind]
    assert (rows - expected).abs().max() < CLOSE
    assert rows.std(0).max() > 100 * CLOSE, "the captions differ"


def test_the_pooling_can_be_chosen(tmp_path):
    original = library_folders.write_text_model("bert", tmp_path)
    values = text_values(tmp_path, pretrained=True)
    config = bind_text(**values, pooling="pooler")
    vocabulary = build_tokenizer(config, ())
    tokens = torch.from_numpy(vocabulary.encode(CAPTIONS[:1], 40))
    encoder = LibraryTextEncoder(config, vocabulary).eval()
    tower_weights.load_text_weights(encoder, config)
    with torch.no_grad():
        assert (encoder(tokens) - original(tokens).pooler_output).abs().max() < CLOSE
        states = original(tokens).last_hidden_state[0]
        for pooling, row in (("eos", states[-1]), ("last", states[-1]), ("mean", states.mean(0))):
            other = LibraryTextEncoder(bind_text(**values, pooling=pooling), vocabulary).eval()
            tower_weights.load_text_weights(other, config)
            assert (other(tokens)[0] - row).abs().max() < CLOSE, pooling
            assert not any(name.startswith("pooler") for name, _ in other.body.named_parameters())


@pytest.mark.parametrize("name", ["bert", "roberta", "t5", "distilbert"])
def test_an_encoder_is_built_by_configuration(name):
    """With the vocabulary that is trained on the captions; every weight has a gradient."""
    vocabulary = train_bpe(CAPTIONS, 300)
    config = bind_text(name=name, width=16, layers=1, heads=2, context_length=12, vocab_size=300)
    with fork_seeded_rng(0, "text_encoder"):
        encoder = LibraryTextEncoder(config, vocabulary)
    tokens = torch.from_numpy(vocabulary.encode(CAPTIONS, 12))
    encoder(tokens).square().sum().backward()
    assert encoder.num_features == 16
    unused = {n for n, p in encoder.named_parameters() if p.grad is None}
    assert unused == set()


def test_what_does_not_suit_is_one_line():
    vocabulary = train_bpe(CAPTIONS, 300)
    for values, problem in (
        ({"name": "berd"}, "did you mean bert"),
        ({"name": "vit"}, "no encoder of texts"),
        ({"name": "t5", "pooling": "pooler"}, "no pooling layer"),
        ({"name": "bert", "options": {"hidden_act": "none"}}, "do not suit"),
        ({"name": "bert", "options": {"max_position_embeddings": 8}}, "more than the 8 tokens"),
    ):
        config = bind_text(**{"width": 16, "layers": 1, "heads": 2, "vocab_size": 300, **values})
        with pytest.raises(UserError, match=problem):
            LibraryTextEncoder(config, vocabulary)
