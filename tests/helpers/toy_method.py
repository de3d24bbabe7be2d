"""A method in one file: its configuration, its costs and its loss. One line registers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from uniclip.config.binding import config_field
from uniclip.config.methods import MethodConfig, ViewsConfig


@dataclass(frozen=True, kw_only=True)
class ToyMethod(MethodConfig):
    """Train each image to have the cosine `target` with its text, without any contrast."""

    name: Literal["toy"] = "toy"
    target: float = config_field(0.5, low=-1, high=1)

    def count_forward_passes(self, views: ViewsConfig) -> dict[str, float]:
        """Return the encoder forward passes per sample."""
        return {"image": views.num_weak + views.num_strong, "text": 1}

    def count_pairs(self, views: ViewsConfig, samples: int) -> dict[str, float]:
        """Return one positive for each anchor, and no negatives."""
        return {"it+": 1, "ti+": views.num_weak + views.num_strong}

    def build(self, config: Any) -> Any:
        """Return the method; only this function imports torch."""
        from uniclip.methods.base import SingleTemperatureMethod, embed_views

        class Toy(SingleTemperatureMethod):
            loss_weights = {"cosine": 1.0}
            forward_passes = self.count_forward_passes(config.views)

            def embed(self, embedder, batch):
                return {
                    "images": embed_views(embedder, batch),
                    "texts": embedder.encode_text(batch.tokens),
                }

            def compute_terms_from_embeddings(self, embeddings, batch):
                cosine = (embeddings["images"] * embeddings["texts"][:, None]).sum(-1)
                squared_error = (cosine - config.method.target).square().flatten()
                return {
                    "cosine": self.process_group.mean_contribution(squared_error)
                    + 0 * self.log_scale
                }

        return Toy(0.07)
