from __future__ import annotations

from typing import get_args

import pytest

from uniclip.store import ScoreKind, get_score_kind_traits, is_better
from uniclip.store.score_kinds import SCORE_KINDS


def test_every_kind_has_traits():
    assert set(SCORE_KINDS) == set(get_args(ScoreKind))
    for kind, traits in SCORE_KINDS.items():
        assert not (traits.is_percent and traits.unit), kind
        assert traits.higher_is_better is not None or not traits.is_ranked, kind


def test_directions():
    assert is_better(0.6, 0.5, "recall")
    assert is_better(-3.0, -3.1, "log_likelihood")
    assert is_better(1.5, 2.0, "log_rank")
    assert not is_better(3, 2, "rank")
    assert not is_better(0.4, 0.4, "accuracy")
    assert not is_better(0.1, 0.2, "gap")
    assert not is_better(0.2, 0.1, "gap")
    assert get_score_kind_traits("").is_percent
    with pytest.raises(KeyError):
        get_score_kind_traits("unknown")
