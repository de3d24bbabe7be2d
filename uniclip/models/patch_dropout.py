"""Patch dropout of vision Transformers: in training they see a part of the patches of an image.

FLIP (Li et al., CVPR 2023) and PatchDropout (Liu et al., WACV 2023). timm's own layer draws from
torch's generator, so that its draws depend on the processes; here the patches are drawn with the
batch (`uniclip.data.loader`) and this layer selects them.

Letters: B images, P class and register tokens, L patches, K patches that are kept, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class PatchDropout(nn.Module):
    """Selects the patches `kept_patches` in training; everything passes at evaluation.

    Args:
        num_prefix_tokens: P, tokens that always pass.
        returns_index: Whether the model also expects the index of the patches, as timm's Eva does
            for its rotary positions.
    """

    kept_patches: Tensor | None = None
    """(B, K) int64: the patches of each image of the next forward pass."""

    def __init__(self, num_prefix_tokens: int, *, returns_index: bool) -> None:
        super().__init__()
        self.num_prefix_tokens, self.returns_index = num_prefix_tokens, returns_index

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        """Return tokens (B, P + K, W) of tokens (B, P + L, W)."""
        kept_patches = self.kept_patches if self.training else None
        if kept_patches is not None:
            prefix, patches = tokens.tensor_split([self.num_prefix_tokens], dim=1)
            index = kept_patches.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
            tokens = torch.cat([prefix, patches.gather(1, index)], dim=1)
        return (tokens, kept_patches) if self.returns_index else tokens


def has_patch_tokens(body: nn.Module) -> bool:
    """Return whether patches of a timm model can be left out: a vision Transformer or Eva."""
    return isinstance(body, (VisionTransformer, Eva))


def insert_patch_dropout(body: Any) -> PatchDropout:
    """Replace the patch dropout of a timm model, which `has_patch_tokens`, by ours; return it."""
    layer = PatchDropout(body.num_prefix_tokens, returns_index=isinstance(body, Eva))
    body.patch_drop = layer.train(body.training)
    return layer
