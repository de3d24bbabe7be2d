"""Batches of training pairs: each a pure function of the configuration and the step.

One caption is drawn for each sample and epoch, and other views in every epoch; the samples' order
is another in each epoch, its remainder dropped. Every key names what it is for, so arms with the
same seed share samples, captions and the views that they have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from uniclip import data, rng
from uniclip.augmentation import transform as augment
from uniclip.config import RunConfig
from uniclip.data.batch import TEXTS, VIEWED, Batch
from uniclip.data.split import Portion, Split
from uniclip.data.text import augment as captions
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.distributed import ALONE, Processes
from uniclip.errors import UserError


class Batches(Dataset[Batch]):
    """The training batches of one run.

    Over several processes each yields its own rows of the same batches: those of rank 0 stand
    first. Shares differ by one row at most.

    Raises:
        UserError: the split is smaller than a batch, or the batch too small for the processes.
    """

    def __init__(
        self,
        config: RunConfig,
        split: Split,
        tokenizer: Tokenizer,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.split = config, split
        self._portions = _portions(config, split, processes)
        self.steps_per_epoch = self._portions[0].steps
        self._pad = tokenizer.pad
        self._eos = tokenizer.eos
        self._texts: tuple[str, ...] = getattr(config.method, "texts", ())
        # It goes through the whole vocabulary.
        self._special = captions.Special.of(tokenizer) if self._texts else None
        self._captions = np.array([len(c) for c in split.captions], np.int64)
        self._first = np.cumsum(self._captions) - self._captions
        # Encoded once, here: a data worker needs no tokenizer (whose threads don't survive fork).
        every = [caption for several in split.captions for caption in several]
        row = {caption: i for i, caption in enumerate(dict.fromkeys(every))}
        self._row = np.array([row[caption] for caption in every], np.int64)
        self._tokens = tokenizer.encode(list(row), config.model.text.context)

    def batch(self, step: int) -> Batch:
        """The batch of `step`, counted from 0 over all epochs."""
        few = [self._portion(portion, step) for portion in self._portions if portion.own]
        return few[0] if len(few) == 1 else _joined(few, self._pad)

    def _portion(self, portion: _Portion, step: int) -> Batch:
        epoch, position = divmod(step, portion.steps)
        order = _order(self._key(portion.purpose, epoch), portion.stop - portion.start)
        size, own = portion.size, slice(portion.own.start, portion.own.stop)
        index = portion.start + order[position * size : (position + 1) * size]
        # Of all processes: how long the longest is decides what is drawn to be masked.
        tokens = self._text(epoch, index)[own]
        index = index[own]
        pixels, vectors = self._views(epoch, index)
        others = self._other_texts(epoch, index, tokens)
        label = self.split.training_label
        return Batch(
            pixels=torch.from_numpy(pixels),
            vectors=torch.from_numpy(vectors),
            tokens=torch.from_numpy(tokens),
            sample=torch.from_numpy(index.copy()),
            label=torch.from_numpy(np.full(len(index), -1) if label is None else label[index]),
            **{name: torch.from_numpy(text) for name, text in others.items()},
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
            law = config.views
            transform = data.views(config.data, kind, key, ids, law.identity, law.crop)
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

    def _other_texts(
        self, epoch: int, index: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        """What the method wants beside the captions `tokens` (N, L)."""
        ids, special = self.split.ids[index], self._special
        made: dict[str, NDArray[np.int64]] = {}
        if special is None:
            return made
        if "edited" in self._texts:
            made["edited"] = captions.edit(self._key("edit", epoch), ids, tokens, special)
        if "masked" in self._texts:
            share = self.config.method.masked
            hidden = captions.mask(self._key("mask", epoch), ids, tokens, special, share)
            made["masked"], made["targets"] = hidden
        return made


@dataclass(frozen=True)
class _Portion:
    """The samples start:stop, of which every batch has `size`."""

    start: int
    stop: int
    size: int
    purpose: str
    """Of the draw that orders them."""
    own: range
    """Which rows of the `size` are this process's."""

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return (self.stop - self.start) // self.size


def _portions(config: RunConfig, split: Split, processes: Processes) -> list[_Portion]:
    """How many samples of each portion a batch has; `UserError` where there are too few."""
    size = config.train.batch_size
    mine = _share(config, processes)
    shares = split.portions or (Portion(0, len(split), 1.0),)
    sizes = [round(size * p.share) for p in shares]
    sizes[0] = size - sum(sizes[1:])
    portions, before = [], 0
    for i, (p, n) in enumerate(zip(shares, sizes)):
        if not 0 < n <= p.stop - p.start:
            raise UserError(
                f"train.batch_size={size} takes {n} of the {p.stop - p.start} training samples of "
                f"data={config.data.name} at once; choose another batch size or more data"
            )
        own = range(min(max(mine.start - before, 0), n), min(max(mine.stop - before, 0), n))
        portions.append(_Portion(p.start, p.stop, n, "order" if i == 0 else f"order/{i}", own))
        before += n
    return portions


def _share(config: RunConfig, processes: Processes) -> range:
    """Which rows of a batch are this process's; `UserError` if they are too few to be cut."""
    size, world = config.train.batch_size, processes.world
    if size // world < config.train.accumulate:
        raise UserError(
            f"train.batch_size={size} is too small for {world} processes times "
            f"train.accumulate={config.train.accumulate} chunks; each needs a sample"
        )
    return range(size * processes.rank // world, size * (processes.rank + 1) // world)


def _joined(few: list[Batch], pad: int) -> Batch:
    """The portions of one batch, one after the other, texts padded to the longest."""
    fields = {name: [getattr(b, name) for b in few] for name in Batch.__dataclass_fields__}
    joined: dict[str, torch.Tensor] = {}
    for name, parts in fields.items():
        if parts[0] is None:
            continue
        if name in ("tokens", *TEXTS):
            longest = max(p.shape[1] for p in parts)
            fill = captions.IGNORED if name == "targets" else pad
            parts = [F.pad(p, (0, longest - p.shape[1]), value=fill) for p in parts]
        joined[name] = torch.cat(parts, dim=1 if name in VIEWED else 0)
    return Batch(**joined)


@lru_cache(maxsize=4)
def _order(key: int, n: int) -> NDArray[np.int64]:
    return rng.permutation(key, n)
