"""Losses as pure functions, similarities as modules, methods that put them together."""

from uniclip.objectives.contrastive import (
    mil_nce,
    mp_nce,
    multi_positive,
    multi_view_info_nce,
    sup_con,
)
from uniclip.objectives.pairs import clip_loss, unicl_loss
from uniclip.objectives.similarity import DomainSimilarity, SharedSimilarity

__all__ = [
    "DomainSimilarity",
    "SharedSimilarity",
    "clip_loss",
    "mil_nce",
    "mp_nce",
    "multi_positive",
    "multi_view_info_nce",
    "sup_con",
    "unicl_loss",
]
