"""Contrastive losses as pure functions, and learned similarities as modules.

A new multi-positive loss is one entry of `uniclip.config.losses`. Each loss has a
literal reference implementation in `tests/helpers/reference_losses.py`.
"""

from uniclip.losses.image_text import clip_loss, unicl_loss
from uniclip.losses.multi_positive import (
    mil_nce,
    mp_nce,
    multi_positive,
    multi_view_info_nce,
    sup_con,
)
from uniclip.losses.sigmoid import siglip_loss
from uniclip.losses.similarity import DomainSimilarity, SharedSimilarity

__all__ = [
    "DomainSimilarity",
    "SharedSimilarity",
    "clip_loss",
    "mil_nce",
    "mp_nce",
    "multi_positive",
    "multi_view_info_nce",
    "siglip_loss",
    "sup_con",
    "unicl_loss",
]
