"""Gradient caching: memory of one chunk of the batch, loss of the full batch.

With several chunks (GradCache; Gao et al., RepL4NLP 2021) the first pass embeds all chunks without
a graph; the loss of the full batch gives the gradient of each embedding; the second pass embeds
each chunk again, with a graph, and backpropagates these gradients. Encoders then need the memory of
one chunk, and a third more operations. Both passes draw the same dropout, because each chunk seeds
torch's generators.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uniclip import rng

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.methods.base import Method
    from uniclip.models.embedder import Embedder

RngKey = tuple[int | str, ...]


class CachedEmbeddings:
    """The embeddings of one batch, and the backward pass through the encoders.

    Args:
        method: Embeds the chunks.
        embedder: The encoders.
        batch: Result of `Method.prepare_batch`.
        num_chunks: 1 = embed the batch at once.
        rng_key: Key of dropout and similar draws in this step and process.

    Attributes:
        tensors: Name -> embeddings of the whole batch, as `Method.embed` returns them.
    """

    def __init__(
        self, method: Method, embedder: Embedder, batch: Batch, *, num_chunks: int, rng_key: RngKey
    ) -> None:
        self._method, self._embedder, self._rng_key = method, embedder, rng_key
        self._chunks = batch.split_chunks(num_chunks) if num_chunks > 1 else []
        if num_chunks == 1:
            torch.manual_seed(rng.derive_key(*rng_key))
            self.tensors = method.embed(embedder, batch)
            return
        with torch.no_grad():
            chunk_embeddings = list(self._embed_chunks())
        self._chunk_sizes = {
            name: [len(part[name]) for part in chunk_embeddings] for name in chunk_embeddings[0]
        }
        self.tensors = {
            name: torch.cat([part[name] for part in chunk_embeddings]).requires_grad_()
            for name in chunk_embeddings[0]
        }

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` to the gradients of all parameters.

        Args:
            loss: A scalar computed from `tensors`.
        """
        torch.autograd.backward(loss)
        if not self._chunks:
            return
        embedding_gradients = {
            name: torch.split(value.grad, self._chunk_sizes[name])
            for name, value in self.tensors.items()
            if value.grad is not None
        }
        for i, chunk_embeddings in enumerate(self._embed_chunks()):
            # Embeddings of frozen encoders have no graph.
            names = [name for name in embedding_gradients if chunk_embeddings[name].requires_grad]
            torch.autograd.backward(
                [chunk_embeddings[n] for n in names], [embedding_gradients[n][i] for n in names]
            )

    def _embed_chunks(self) -> Iterator[dict[str, Tensor]]:
        for i, chunk in enumerate(self._chunks):
            torch.manual_seed(rng.derive_key(*self._rng_key, i))
            yield self._method.embed(self._embedder, chunk)
