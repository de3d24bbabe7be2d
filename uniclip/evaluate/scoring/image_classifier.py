"""An image classifier made of an embedder: its zero-shot classifier as a layer that is trained.

Letters: B images, A columns of an augmentation vector, D width of the joint space, C classes.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig
from uniclip.models.embedder import Embedder

TEXT_PREFIX = "embedder.text_"
"""Start of the names of parameters that classify no image."""


class ImageClassifier(nn.Module):
    """(B, 3, H, W) uint8 and (B, A) -> logits (B, C) of a copy of the embedder's image side.

    At first they are the cosines of image and class times the model's scale, so that it predicts
    what zero-shot classification does (Wortsman et al., CVPR 2022).

    Args:
        embedder: The model, which does not change.
        class_rows: (C, D) unit rows of the zero-shot classifier.
        scale: The model's multiplier of cosines.
    """

    def __init__(self, embedder: Embedder, class_rows: NDArray[np.float32], scale: float) -> None:
        super().__init__()
        self.embedder = deepcopy(embedder)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.startswith(TEXT_PREFIX))
        num_classes, dim = class_rows.shape
        device = next(embedder.parameters()).device
        self.classifier = nn.Linear(dim, num_classes, device=device)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.from_numpy(class_rows * np.float32(scale)))
            self.classifier.bias.zero_()

    def train(self, mode: bool = True) -> ImageClassifier:
        """Set the training mode, of an image encoder that was locked in pre-training too."""
        super().train(mode)
        self.embedder.image_encoder.train(mode)
        return self

    def forward(self, pixels: Tensor, vectors: Tensor) -> Tensor:
        return self.classify(self.embedder.encode_image(pixels, vectors))

    def classify(self, rows: Tensor) -> Tensor:
        """Return the logits (B, C) of unit rows (B, D)."""
        logits: Tensor = self.classifier(rows)
        return logits

    def copy_image_state(self) -> dict[str, Tensor]:
        """Return a copy of what training changes, by name."""
        return {
            name: value.detach().clone()
            for name, value in self.state_dict().items()
            if not name.startswith(TEXT_PREFIX)
        }

    def load_image_state(self, state: dict[str, Tensor]) -> None:
        """Load what `copy_image_state` returned."""
        result = self.load_state_dict(state, strict=False)
        assert not result.unexpected_keys, result
        assert all(name.startswith(TEXT_PREFIX) for name in result.missing_keys), result


def take_step(
    classifier: ImageClassifier,
    optimizer: torch.optim.Optimizer,
    pixels: Tensor,
    vectors: Tensor,
    labels: Tensor,
    config: FineTuningConfig,
) -> bool:
    """Take a step on views (B, 3, S, S), vectors (B, A) and labels (B,) int64.

    Returns:
        Whether loss and gradient are finite; otherwise nothing changes but running statistics.
    """
    optimizer.zero_grad(set_to_none=True)
    logits = classifier(pixels, vectors)
    loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    torch.autograd.backward(loss)
    trained = [p for p in classifier.parameters() if p.requires_grad]
    norm = nn.utils.clip_grad_norm_(trained, config.grad_clip_norm)
    is_finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
    if is_finite:
        optimizer.step()
    return is_finite
