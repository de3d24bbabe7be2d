"""Positives, their weights and the blocks of negatives, against loops over ids."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import reference_losses
from tests.helpers.loss_batches import IDS, WEIGHTS, build_embeddings
from uniclip.losses.positives import build_block_layout, build_pair_structure

NEGATIVES = ("all", "domain", "slot", "not_text_text")


def build(name, negatives="all", weights="balanced"):
    z, sample, domain, slot = build_embeddings(IDS[name])
    return build_pair_structure(z, sample, domain, slot, negatives, weights)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("name", IDS)
def test_positives_and_weights_are_those_of_the_reference(name, weights):
    structure = build(name, weights=weights)
    sample, domain = structure.sample.tolist(), structure.domain.tolist()
    for i in range(len(sample)):
        is_positive = structure.is_positive[i]
        positives = structure.positive_index[i][is_positive].tolist()
        expected = [j for j in range(len(sample)) if j != i and sample[j] == sample[i]]
        assert sorted(positives) == expected
        assert structure.positive_index[i][~is_positive].tolist() == [i] * int((~is_positive).sum())
        by_hand = reference_losses.positive_weights(i, positives, domain, weights)
        weights_by_positive = dict(
            zip(positives, structure.positive_weight[i][is_positive].tolist())
        )
        assert weights_by_positive == pytest.approx(by_hand)
        assert not structure.positive_weight[i][~is_positive].any()


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("name", IDS)
def test_blocks_cover_the_columns_by_domain_and_group(name, negatives):
    structure = build(name, negatives)
    _, _, domain, slot = build_embeddings(IDS[name])
    key = {"domain": domain, "slot": slot}.get(negatives, torch.zeros_like(domain))
    columns = []
    for block in structure.blocks:
        rows = structure.column_order[block.start : block.stop]
        assert (domain[rows] == block.domain).all()
        assert len(key[rows].unique()) == 1
        columns += rows.tolist()
    assert sorted(columns) == list(range(len(domain)))
    assert structure.num_groups == len(key.unique())
    assert structure.has_text_text_negatives is (negatives != "not_text_text")


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("name", IDS)
def test_a_layout_marks_as_empty_what_has_no_negative(name, negatives):
    structure = build(name, negatives)
    position = torch.argsort(structure.column_order)
    layout = build_block_layout(structure, position)
    sample = structure.ordered_sample
    compared = {frozenset(pair[:2]) for pair in layout.block_pairs}
    block_of = torch.cat(
        [torch.full((b.stop - b.start,), k) for k, b in enumerate(structure.blocks)]
    )
    for k, (start, stop) in enumerate(layout.blocks):
        for i in range(len(sample)):
            has_negative = bool((sample[start:stop] != sample[i]).any())
            is_compared = frozenset((int(block_of[i]), k)) in compared
            assert bool(layout.is_empty[k, i]) is not (has_negative and is_compared)


def test_no_positive_of_an_anchor_is_itself_a_negative():
    structure = build("duplicates")
    layout = build_block_layout(structure, torch.argsort(structure.column_order))
    masked = set(zip(*(index.tolist() for index in layout.masked_pairs)))
    sample = structure.ordered_sample.tolist()
    m = len(sample)
    expected = {(i, j) for i in range(m) for j in range(i, m) if sample[i] == sample[j]}
    assert masked == expected
