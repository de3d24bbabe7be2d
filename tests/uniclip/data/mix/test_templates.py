"""Prompt templates, and the image-text part of `data=mix`."""

from __future__ import annotations

from uniclip.config import MixData, OpenmojiData
from uniclip.data.mix.templates import PROMPT_TEMPLATES, build_pairs_config


def test_templates_name_the_class_once_and_differ():
    assert all(template.count("{}") == 1 for template in PROMPT_TEMPLATES)
    assert len(set(PROMPT_TEMPLATES)) == len(PROMPT_TEMPLATES)


def test_pairs_have_the_image_size_of_the_mix():
    assert build_pairs_config(MixData(image_size=48)) == OpenmojiData(image_size=48)
