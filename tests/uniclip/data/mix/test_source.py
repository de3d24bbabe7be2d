"""`data=mix` as a data source: what can be mixed."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config import build_run_config
from uniclip.data.loader import TrainingBatches
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError

SECTION = {"name": "mix", "image_size": 32}


def test_other_data_has_no_labels():
    config = tiny()
    split = data.open_split(config.data, "train")
    bpe = train_bpe([c for several in split.captions for c in several], 300)
    assert torch.equal(
        TrainingBatches(config, split, bpe).build_batch(0).labels, torch.full((16,), -1)
    )


def test_impossible_mixtures_are_refused(split):
    with pytest.raises(UserError, match=r"data\.label_sources"):
        build_run_config({"data": {**SECTION, "label_sources": []}, "method": {"name": "unicl"}})
    bpe = train_bpe(["a"], 300)
    with pytest.raises(UserError, match="train.batch_size=8192 takes 4096 of the"):
        TrainingBatches(tiny(data=SECTION, train={"batch_size": 8192}), split, bpe)


@pytest.mark.parametrize(
    ("fraction", "size", "missing_kind"),
    [(0.99, 16, "pair"), (0.01, 16, "labelled image"), (0.1, 4, "labelled image")],
)
def test_a_fraction_that_leaves_no_sample_of_a_kind_is_refused(fraction, size, missing_kind):
    with pytest.raises(
        UserError,
        match=f"data.labelled_fraction={fraction} of .*={size} leaves no {missing_kind} in",
    ):
        tiny(data={**SECTION, "labelled_fraction": fraction}, train={"batch_size": size})
