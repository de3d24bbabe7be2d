"""What a folder's `config.json` says of the text encoder."""

from __future__ import annotations

import json

import pytest
import transformers

from tests.helpers import library_folders
from uniclip.errors import UserError
from uniclip.models.text_query import describe_folder


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


def test_what_is_no_encoder_of_texts():
    for content in ({"model_type": "none"}, {}, transformers.ViTConfig().to_dict()):
        with pytest.raises(UserError):
            describe_folder(content)
