"""Key mappings: the naming of a checkpoint is detected, and converted in both directions."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import published_models
from uniclip.checkpoints import importing, key_mapping
from uniclip.errors import UserError


def test_rules_apply_in_turn():
    rules = ((r"^a\.", "b."), (r"^b\.(\d)", r"c\1"))
    assert key_mapping.apply_rename_rules(rules, "x.", "a.7.weight") == "x.c7.weight"


@pytest.mark.parametrize(
    ("keys", "mapping"),
    [
        (["visual.transformer.resblocks.0.ln_1.bias"], key_mapping.CLIP_VIT),
        (["visual.layer1.0.conv1.weight"], key_mapping.CLIP_RESNET),
        (["visual.layers.0.blocks.0.norm1.bias"], key_mapping.UNICL_OLD),
        (["image_encoder.layers.0.norm.bias", "text_encoder.a"], key_mapping.UNICL),
        (["image_encoder.layers.0.norm.bias", "lang_encoder.a"], key_mapping.UNICL_BENCHMARK),
    ],
)
def test_formats_are_detected_by_their_towers(keys, mapping):
    assert key_mapping.detect_format(keys, "x.pt") is mapping


@pytest.mark.parametrize("keys", [[], ["fc.weight"]])
def test_an_unknown_format_is_refused_with_example_keys(keys):
    with pytest.raises(UserError, match=f"x.pt.*{keys[0] if keys else 'nothing'}"):
        key_mapping.detect_format(keys, "x.pt")


def test_conversion_there_and_back_is_the_identity(tmp_path):
    original = published_models.clip().state_dict()
    torch.save(original, tmp_path / "x.pt")
    state = importing.load_model(tmp_path / "x.pt").embedder.state_dict()
    converted = key_mapping.convert_to_checkpoint(key_mapping.CLIP_VIT, state)
    assert converted.keys() == original.keys() - {"logit_scale", "attn_mask"}
    assert all(torch.equal(converted[key], original[key]) for key in converted)
    restored = key_mapping.convert_from_checkpoint(
        key_mapping.CLIP_VIT, {**converted, "logit_scale": torch.tensor(1.0)}, state, "x.pt"
    )
    assert all(torch.equal(restored[key], state[key]) for key in state)


def test_queries_keys_and_values_share_an_entry_in_this_order():
    keys = [f"text_encoder.body.encoder.layers.0.self_attn.{n}_proj.bias" for n in "kvq"]
    (entry,) = key_mapping.build_tensor_mappings(key_mapping.CLIP_VIT, keys)
    assert entry.checkpoint_key == "transformer.resblocks.0.attn.in_proj_bias"
    assert entry.model_keys == (keys[2], keys[0], keys[1])
