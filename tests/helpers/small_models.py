"""Small methods, embedders and batches, and the rows of a batch as a method contrasts them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tests.helpers.small_runs import tiny
from uniclip import methods
from uniclip.augmentation import transform
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.data.text import tokenizer
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.methods.base import Method
from uniclip.models.embedder import Embedder, build_embedder

CAPTIONS = ["two small red discs on the left", "a green cat", "three blue squares on the right"]
NUM_VIEWS, NUM_SAMPLES = 2, 6


@cache
def train_small_tokenizer() -> Tokenizer:
    """Return a tokenizer trained on `CAPTIONS`."""
    return tokenizer.train_bpe(CAPTIONS, 300)


def uniclip_config(**method: object) -> RunConfig:
    """Return a small configuration of UniCLIP with these settings of the method."""
    return tiny(method={"name": "uniclip", **method})


def build_small_embedder(config: RunConfig, vocabulary: Tokenizer) -> Embedder:
    """Return the embedder of `config`, with the image head that its method needs."""
    return build_embedder(config, vocabulary, methods.build_method(config).head_type)


def build_method_and_embedder(config: RunConfig, vocabulary: Tokenizer) -> tuple[Method, Embedder]:
    """Return the method of `config` with its heads, and its embedder."""
    method, embedder = methods.build_method(config), build_small_embedder(config, vocabulary)
    method.build_heads(embedder, vocabulary, config.seed)
    return method, embedder


def build_batch(
    vocabulary: Tokenizer, num_views: int = NUM_VIEWS, num_samples: int = NUM_SAMPLES
) -> Batch:
    """Return a batch of random images; samples i and i + 3 have the same caption."""
    generator = torch.Generator().manual_seed(0)
    shape = (num_views, num_samples, 3, 32, 32)
    captions = (CAPTIONS * num_samples)[:num_samples]
    tokens = torch.from_numpy(vocabulary.encode(captions, 16))
    mlm_labels = torch.where(torch.arange(tokens.shape[1]) == 1, tokens, -100)
    return Batch(
        images=torch.randint(256, shape, dtype=torch.uint8, generator=generator),
        augmentation_vectors=torch.randn(
            num_views, num_samples, transform.VECTOR_DIM, generator=generator
        ),
        tokens=tokens,
        sample_ids=torch.tensor([2**62, -5, 7, 8, 9, 10, 11])[:num_samples],
        labels=torch.full((num_samples,), -1),
        augmented_tokens=torch.from_numpy(vocabulary.encode(captions[::-1], 16)),
        masked_tokens=torch.where(mlm_labels >= 0, vocabulary.pad, tokens),
        mlm_labels=mlm_labels,
    )


def embed_batch(
    embedder: Embedder, batch: Batch, vectors: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return z, sample, domain and slot of a batch: one view after the other, then the texts."""
    vectors = batch.augmentation_vectors if vectors is None else vectors
    views = [embedder.encode_image(image, v) for image, v in zip(batch.images, vectors)]
    z = torch.cat([*views, embedder.encode_text(batch.tokens)])
    slot = torch.arange(len(views) + 1).repeat_interleave(len(batch.sample_ids))
    sample = torch.cat([batch.sample_ids] * (len(views) + 1))
    return z, sample, (slot == len(views)).long(), slot
