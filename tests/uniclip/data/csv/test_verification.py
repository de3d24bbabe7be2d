"""Validation and test images are all decoded before training, and a sample of the others."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from tests.helpers.csv_data import break_images, csv_config, write_image_set
from uniclip import data
from uniclip.data.csv import verification
from uniclip.data.csv.verification import verify_held_out_images, verify_training_sample
from uniclip.errors import UserError


@pytest.fixture
def config(tmp_path):
    write_image_set(tmp_path, 40)
    return csv_config(tmp_path)


def test_every_broken_held_out_image_is_named_with_its_line(config, tmp_path):
    assert verify_held_out_images(config).unreadable == ()
    splits = {name: data.open_split(config, name) for name in data.SPLIT_NAMES}
    broken = [splits["validation"].image_paths[0], *splits["test"].image_paths[:2]]
    break_images([*broken, splits["train"].image_paths[0]])
    findings = verify_held_out_images(config, tmp_path / "cache")
    assert findings.num_images == len(splits["validation"]) + len(splits["test"])
    assert len(findings.unreadable) == 3
    for text, path in zip(findings.unreadable, broken):
        assert text.startswith(f"{config.path} line ")
        assert f"image {path} cannot be read (" in text
    findings.remember()
    assert len(list((tmp_path / "cache" / verification.MEMORY_FOLDER).iterdir())) == 1


def test_training_images_are_sampled(config, monkeypatch):
    monkeypatch.setattr(verification, "NUM_TRAINING_IMAGES", 5)
    split = data.open_split(config, "train")
    first = sorted(range(len(split)), key=lambda i: int(split.ids[i]))[:5]
    Image.new("I;16", (9, 9), 65535).save(split.image_paths[first[2]])
    break_images([split.image_paths[first[0]]])
    findings = verify_training_sample(config)
    assert findings.num_images == 5
    assert len(findings.unreadable) == len(findings.one_color) == 1


def test_without_a_test_split_there_is_nothing_to_check_in_it(config):
    config = dataclasses.replace(config, test_fraction=0.0)
    assert verify_held_out_images(config).num_images == len(data.open_split(config, "validation"))


def test_more_unreadable_training_images_than_allowed_are_an_error(config):
    split = data.open_split(config, "train")
    break_images(split.image_paths[:2])
    with pytest.raises(UserError, match=r"2 of \d+ training images cannot be used, more than data"):
        verify_training_sample(config)
    allowed = dataclasses.replace(config, max_broken=0.5)
    assert len(verify_training_sample(allowed).unreadable) == 2
