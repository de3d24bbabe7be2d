"""The table of model sizes: every preset is in it, and its numbers are those of the models."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch.utils.flop_counter import FlopCounterMode

from sweeps.config import request
from tests.helpers import ROOT
from uniclip.config import TextConfig, build_run_config, compose
from uniclip.models import profile
from uniclip.models.encoders import ImageEncoder, TextEncoder

PRESETS = sorted(path.stem for path in (compose.CONF / "model").glob("*.yaml"))
NAMED = ["vit_b32", "vit_b16", "vit_s16", "vit_l16", "swin_t", "swin_b", "resnet50", "tiny"]


def test_every_preset_has_a_row_and_every_row_a_preset():
    assert sorted(profile.read_profiles()) == PRESETS
    assert set(NAMED) <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_equals_a_new_profile(name):
    measured = profile.profile_model(profile.load_preset(compose.CONF / "model" / f"{name}.yaml"))
    assert measured == profile.read_profiles()[name]


def test_parameters_equal_those_of_a_real_model():
    """timm's ResNet-50 without classifier; CLIP's text tower, term by term."""
    row = profile.read_profiles()["resnet50"]
    real = timm.create_model("resnet50", num_classes=0)
    assert row["image_parameters"] == sum(p.numel() for p in real.parameters())
    w = 512
    block = 4 * (w * w + w) + (w * 4 * w + 4 * w) + (4 * w * w + w) + 2 * 2 * w
    assert row["text_parameters"] == 49408 * w + 77 * w + 12 * block + 2 * w


def test_operations_equal_those_of_a_real_forward_pass():
    config = profile.load_preset(compose.CONF / "model" / "resnet50.yaml")
    real = timm.create_model("resnet50", num_classes=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        real(torch.zeros(1, 3, 224, 224))
    row = profile.read_profiles()["resnet50"]
    assert row["image_gflops"] == pytest.approx(counter.get_total_flops() / 1e9, abs=1e-4)
    length, w = config.text.context_length, 512
    by_hand = 12 * (2 * 12 * w * w * length + 4 * length * length * w)
    assert row["text_gflops"] == pytest.approx(by_hand / 1e9, rel=1e-4)


def test_a_real_text_encoder_has_as_many_parameters():
    config = TextConfig(width=64, layers=2, heads=1, context_length=16, vocab_size=300)

    class Ids:
        bos, eos, pad, vocab_size = 298, 299, 0, 300

    real = sum(p.numel() for p in TextEncoder(config, Ids()).parameters())
    w = 64
    assert real == 300 * w + 16 * w + 2 * (12 * w * w + 13 * w) + 2 * w


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_selected_and_composed(name):
    sweep_request = request.parse_request(["ablation=components", "data=openmoji", f"model={name}"])
    values = sweep_request.plan_request.compose({"data": "openmoji", "model": name})
    config = build_run_config(values)
    assert config.model == profile.load_preset(compose.CONF / "model" / f"{name}.yaml")
    if name != "tiny":
        assert config.model.image.image_size == 224
        text = config.model.text
        assert (text.layers, text.width, text.heads, text.context_length) == (12, 512, 8, 77)
        assert (text.tokenizer, text.vocab_size, config.model.embed_dim) == ("clip", 49408, 512)


@pytest.mark.parametrize("name", ["vit_s16", "vit_l16"])
def test_slips_encoders_normalize_pixels_as_slip(name):
    preset = profile.load_preset(compose.CONF / "model" / f"{name}.yaml").image
    encoder = ImageEncoder(replace(preset, options={**preset.options, "depth": 1}))
    assert encoder.mean.flatten().tolist() == pytest.approx(IMAGENET_DEFAULT_MEAN)
    assert encoder.std.flatten().tolist() == pytest.approx(IMAGENET_DEFAULT_STD)


@pytest.mark.parametrize("name", PRESETS)
def test_only_unicls_text_encoder_has_another_epsilon(name):
    text = profile.load_preset(compose.CONF / "model" / f"{name}.yaml").text
    assert text.layer_norm_eps == (1e-12 if name.startswith("swin") else 1e-5)


def test_a_preset_is_described_and_a_custom_one_is_not():
    assert profile.describe_preset("vit_b32").startswith(
        "image  87.5 M,    8.817 GFLOPs; text  63.2 M"
    )
    assert profile.describe_preset("custom") == ""


def test_list_models_prints_every_presets_parameters_and_operations():
    command = [sys.executable, "sweep.py", "list", "models"]
    stdout = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    printed = {line.split()[0]: " ".join(line.split()) for line in stdout.splitlines()}
    for name, row in profile.read_profiles().items():
        for tower in ("image", "text"):
            millions, operations = row[f"{tower}_parameters"] / 1e6, row[f"{tower}_gflops"]
            assert f"{tower} {millions:.1f} M, {operations:.4g} GFLOPs" in printed[name]
