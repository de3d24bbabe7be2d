"""Batches of training pairs: each a pure function of the configuration and the step.

One caption is drawn for each sample and epoch, and other views in every epoch; the samples' order
is another in each epoch, its remainder dropped. Every key names what it is for, so arms with the
same seed share samples, captions and the views that they have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from uniclip import augment, data, rng
from uniclip.batch import Batch
from uniclip.config import RunConfig
from uniclip.data.split import Split
from uniclip.data.tokenizer import Tokenizer
from uniclip.errors import UserError


class Batches(Dataset[Batch]):
    """The training batches of one run. Raises `UserError` if the split is smaller than a batch."""

    def __init__(self, config: RunConfig, split: Split, tokenizer: Tokenizer) -> None:
        n, size = len(split), config.train.batch_size
        if n < size:
            raise UserError(
                f"train.batch_size={size} is more than the {n} training samples of "
                f"data={config.data.name}; choose a smaller batch or more data"
            )
        self.config, self.split = config, split
        self.steps_per_epoch = n // size
        self._eos = tokenizer.eos
        self._captions = np.array([len(c) for c in split.captions], np.int64)
        self._first = np.cumsum(self._captions) - self._captions
        # Encoded once, here: a data worker needs no tokenizer (whose threads don't survive fork).
        every = [caption for captions in split.captions for caption in captions]
        row = {caption: i for i, caption in enumerate(dict.fromkeys(every))}
        self._row = np.array([row[caption] for caption in every], np.int64)
        self._tokens = tokenizer.encode(list(row), config.model.text.context)

    def batch(self, step: int) -> Batch:
        """The batch of `step`, counted from 0 over all epochs."""
        epoch, position = divmod(step, self.steps_per_epoch)
        size = self.config.train.batch_size
        order = _order(self._key("order", epoch), len(self.split))
        index = order[position * size : (position + 1) * size]
        pixels, vectors = self._views(epoch, index)
        return Batch(
            pixels=torch.from_numpy(pixels),
            vectors=torch.from_numpy(vectors),
            tokens=torch.from_numpy(self._text(epoch, index)),
            sample=torch.from_numpy(index.copy()),
            label=torch.full((size,), -1, dtype=torch.int64),
        )

    def stream(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps `start` .. `stop` - 1, from `runtime.data_workers` processes."""
        workers = self.config.runtime.data_workers
        if workers == 0:
            yield from map(self.batch, range(start, stop))
            return
        yield from DataLoader(
            self,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=self.config.runtime.device.startswith("cuda"),
        )

    def __len__(self) -> int:
        return self.config.train.steps

    __getitem__ = batch

    def _key(self, purpose: str, epoch: int, *names: str) -> int:
        return rng.key(self.config.seed, self.config.stream, purpose, epoch, *names)

    def _views(
        self, epoch: int, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(V, N, 3, H, W) and (V, N, A): weak views, then strong ones."""
        config, ids = self.config, self.split.ids[index]
        canvases = self.split.pixels(index)
        kinds: list[tuple[data.View, int]] = []
        kinds += [("weak", i) for i in range(config.views.weak)]
        kinds += [("strong", i) for i in range(config.views.strong)]
        views, vectors = [], []
        for kind, i in kinds:
            key = self._key("view", epoch, f"{kind}/{i}")
            transform = data.views(config.data, kind, key, ids, config.views.identity)
            views.append(augment.apply(canvases, transform, config.model.image.pixels))
            vectors.append(augment.describe(transform))
        return np.stack(views), np.stack(vectors)

    def _text(self, epoch: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N, L): the caption drawn for each sample, cut to the batch's longest."""
        ids = self.split.ids[index]
        drawn = rng.integers(self._key("caption", epoch), ids, self._captions[index])
        tokens = self._tokens[self._row[self._first[index] + drawn]]
        longest = int((tokens == self._eos).argmax(1).max()) + 1
        return np.ascontiguousarray(tokens[:, :longest])


@lru_cache(maxsize=4)
def _order(key: int, n: int) -> NDArray[np.int64]:
    return rng.permutation(key, n)
