"""What a folder's `config.json` says of the text encoder."""

from __future__ import annotations

import json

import pytest
import transformers

from tests.helpers import library_folders
from uniclip.errors import UserError
from uniclip.models.text_query import check_options, describe_folder


def test_the_text_tower_of_a_whole_model(tmp_path):
    library_folders.write_siglip(tmp_path)
    facts = describe_folder(json.loads((tmp_path / "config.json").read_text()))
    assert (facts["name"], facts["width"], facts["context_length"]) == ("siglip_text_model", 32, 16)
    published = describe_folder({"model_type": "siglip", "text_config": {}})
    assert (published["width"], published["context_length"]) == (768, 64), "the library's defaults"


def test_clips_text_model_is_the_default_encoder_if_its_keys_describe_it():
    text = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2}
    facts = describe_folder({"model_type": "clip", "text_config": text})
    assert (facts["name"], facts["activation"], facts["options"]) == ("clip", "quick_gelu", {})
    wide = describe_folder({"model_type": "clip", "text_config": {**text, "intermediate_size": 99}})
    assert wide["name"] == "clip_text_model"
    assert wide["options"]["intermediate_size"] == 99


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("bert", "hidden_dropout_prb", "unknown option of bert .*did you mean hidden_dropout_prob"),
        ("bert", "num_labels", "unknown option of bert .*choose from"),
        ("bert", "hidden_size", "is set by model.text.width; remove it"),
        ("t5", "d_model", "is set by model.text.width; remove it"),
        ("roberta", "pad_token_id", "is set by model.text.tokenizer; remove it"),
    ],
)
def test_options_that_transformers_would_ignore_are_refused(name, option, message):
    """Its configurations accept any name: a misspelt one would make a run of another id."""
    with pytest.raises(UserError, match=message):
        check_options(name, [option])


def test_options_of_transformers_pass():
    check_options("bert", ["hidden_dropout_prob", "intermediate_size", "hidden_act"])
    check_options("t5", ["d_ff", "feed_forward_proj", "dropout_rate"])


def test_what_is_no_encoder_of_texts():
    for content in ({"model_type": "none"}, {}, transformers.ViTConfig().to_dict()):
        with pytest.raises(UserError):
            describe_folder(content)
