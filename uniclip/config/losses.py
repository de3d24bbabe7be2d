"""The multi-positive contrastive losses: their switches, and the losses by name.

A new loss is one entry of `MULTI_POSITIVE_LOSSES`. The configuration (`method.loss`, its allowed
values and the count of pairs) and the loss itself (`uniclip.losses.multi_positive`) read it. This
module does not import torch, so that configurations can be checked without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Union

Denominator = Literal["negatives", "all"]
"""What stands in the denominator beside the positive: the negatives alone, or all positives too."""
Aggregate = Literal["outside", "inside"]
"""Where positives are combined: a mean of logarithms, or the logarithm of a sum."""
Negatives = Literal["all", "domain", "slot", "not_text_text"]
"""The negatives of a positive: all embeddings of other samples; those of the positive's domain or
slot; or all but texts of a text."""
PositiveWeights = Union[Literal["balanced", "uniform"], tuple[float, float, float]]
"""Weights of image-image, image-text and text-text positives: three numbers of at least 0;
"balanced" = (1, 1, 1) for the mean of each domain pair; "uniform" = 1 for each positive."""


@dataclass(frozen=True, kw_only=True)
class LossSwitches:
    """The switches that define one multi-positive loss."""

    denominator: Denominator = "negatives"
    aggregate: Aggregate = "outside"
    negatives: Negatives | None = None
    """The negatives that belong to the definition of the loss; None = `method.negatives` says."""


MULTI_POSITIVE_LOSSES: dict[str, LossSwitches] = {
    "mp_nce": LossSwitches(),
    "sup_con": LossSwitches(denominator="all"),
    "mil_nce": LossSwitches(denominator="all", aggregate="inside", negatives="all"),
    "multi_view_info_nce": LossSwitches(negatives="slot"),
}
"""The losses by name: MP-NCE (UniCLIP, Lee et al., NeurIPS 2022), SupCon (Khosla et al., NeurIPS
2020), MIL-NCE (Miech et al., CVPR 2020), and a cross-entropy for each pair of slots (SimCLR, Chen
et al., ICML 2020, over all views and the text). The papers of SupCon and MIL-NCE have positives of
one kind, each of which counts alike; the weights of kinds ("balanced") are our reconstruction."""

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[tuple(MULTI_POSITIVE_LOSSES)]
    """The type of `method.loss`: a key of `MULTI_POSITIVE_LOSSES`."""
