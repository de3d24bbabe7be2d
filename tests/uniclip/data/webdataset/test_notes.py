"""What is said of indexed shards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.shards import make_sample, shards_config, write_tar
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data.webdataset import notes
from uniclip.data.webdataset.assignment import assign_rows
from uniclip.data.webdataset.index import open_index
from uniclip.errors import UserError


def describe(config) -> str:
    return "\n".join(notes.describe_index(config, open_index(config)))


def test_skipped_filtered_and_repeated_samples_are_said(tmp_path):
    items = [i for n in range(80) for i in make_sample(n, similarity=n / 80).items()]
    items += [("x.txt", b"no image"), *make_sample(79, similarity=1).items()]
    items += [("z.png", b"x"), ("z.txt", b"no json"), *make_sample(80, similarity=1).items()]
    items += make_sample(80, similarity=1).items()
    path = write_tar(tmp_path / "0.tar", items)
    config = shards_config(path, where="similarity >= 0.25", max_broken=0.05)
    text = describe(config)
    num_training = len(data.open_split(config, "train"))
    num_unfiltered = len(data.open_split(replace(config, where=None), "train"))
    assert 0 < num_unfiltered - num_training < 21
    assert f"83 samples: {num_training} train, " in text
    assert f"1 sample is skipped (no image: 1): {path}: x: no image" in text
    assert f"leaves {num_training} of {num_unfiltered} training samples, and all that are" in text
    assert "of all samples, 20 do not fulfil it, 1 without a similarity" in text
    assert "3 members of shards are left out: an earlier one of the sample has the same" in text
    assert "1 image has the name of another one of the same source, as in" in text
    warnings = notes.list_warnings(config, tiny(model={"text": {"context_length": 4}}).model.text)
    assert [w.fix for w in warnings][0] == "repair these shards"
    assert "are longer than model.text.context_length=4" in warnings[1].message


def test_held_out_images_that_cannot_be_read_are_a_warning(tmp_path):
    items = [i for n in range(30) for i in make_sample(n).items()]
    items += [i for n in range(20) for i in ((f"b{n}.png", b"x"), (f"b{n}.txt", b"a"))]
    path = write_tar(tmp_path / "0.tar", items)
    config = shards_config(path, validation_fraction=0.5, max_broken=1)
    num_broken = sum(
        len(assign_rows(config, open_index(config))[name]) - len(data.open_split(config, name))
        for name in ("validation", "test")
    )
    (warning,) = notes.list_warnings(config, tiny().model.text)
    assert warning.message.startswith(f"{num_broken} validation and test images are left out: ")
    assert f"{path}: b" in warning.message
    assert "cannot be read (" in warning.message
    assert f"; and {num_broken - 3} more" in warning.message


def test_shards_without_validation_samples_are_refused(tmp_path):
    path = write_tar(tmp_path / "0.tar", make_sample(1))
    with pytest.raises(UserError, match="has no validation samples .* raise the fraction"):
        describe(shards_config(path, validation_fraction=0.001))


def test_samples_beyond_the_largest_number_are_said(shards):
    text = describe(shards_config(shards, validation_fraction=0.3, max_held_out=16))
    assert "16 validation" in text
    assert "held out beyond data.max_held_out=16" in text
