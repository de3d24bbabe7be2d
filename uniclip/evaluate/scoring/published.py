"""Scores of one model on one published data set by a protocol: what needs pictures, and in what
order.

A part's index is read, and its pictures are embedded, only where the cache lacks what follows from
them: a probe that is kept needs no training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config.binding import plain
from uniclip.data.split import Part
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets import cached_index
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import Pictures
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import Judgement, Protocol
from uniclip.evaluate.scoring import classification, linear_probe, probe_cache, retrieval, zero_shot
from uniclip.evaluate.scoring.embeddings import Embeddings
from uniclip.evaluate.scoring.linear_probe import Probed
from uniclip.evaluate.scoring.logistic_regression import Problem
from uniclip.evaluate.scoring.probe_cache import KeptFits
from uniclip.evaluate.scoring.score_card import Sheet

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """A data set's parts, as they are (or were) under `root`."""

    dataset: Dataset
    root: str
    names: tuple[Part, ...]
    data: Mapping[str, Any]
    """The data set's fingerprint."""
    cache: Cache

    def open(self, part: Part) -> Pictures:
        """One part; its pictures may be gone."""
        return cached_index.opened(self.dataset, self.root, part, self.data, self.cache)


def score(sheet: Sheet, embeddings: Embeddings, rules: Protocol, parts: Parts) -> bool:
    """Put the scores of a data set on the sheet, and the ids of its samples (n,) uint64.

    Whether the model's features of the test pictures are kept.
    """
    test = parts.open("test")
    judgement = rules.judgement(parts.dataset.name, test.classes)
    sheet.keep("ids", np.array([rng.sample_id(i) for i in test.ids], np.uint64))
    seen = embeddings.trunk(parts.data, test, judgement.transform)
    if parts.dataset.kind == "retrieval":
        _retrieve(sheet, embeddings, judgement, test, seen)
    else:
        _classify(sheet, embeddings, judgement, parts, test, seen)
    embeddings.forget(parts.data, test, judgement.transform)
    return isinstance(seen, np.memmap)


def _classify(
    sheet: Sheet,
    embeddings: Embeddings,
    judgement: Judgement,
    parts: Parts,
    test: Pictures,
    seen: Float32,
) -> None:
    """Zero-shot, and a linear probe where there is something to fit it to."""
    assert test.labels is not None
    images = split_features.project(embeddings.pretrained, seen)
    sheet.keep("labels", test.labels.astype(np.int16))
    truth = classification.truth_of(test.labels, test.classes, test.difficult, judgement)
    classifier = embeddings.classifier(classification.prompts(judgement))
    scale = embeddings.pretrained.image_text_scale()
    classification.score_zero_shot(sheet, judgement, images, classifier, truth, scale)
    if judgement.probing is not None and {"train", "validation"} <= set(parts.names):
        made = _probed(embeddings, judgement, parts, len(test.classes))
        rows = seen if judgement.probing.features == "trunk" else images
        classification.score_probe(sheet, judgement, made, rows, truth)


def _retrieve(
    sheet: Sheet, embeddings: Embeddings, judgement: Judgement, test: Pictures, seen: Float32
) -> None:
    """Captions for pictures and pictures for captions."""
    images = split_features.project(embeddings.pretrained, seen)
    relation = retrieval.relate(test.captions)
    (template,) = judgement.templates
    texts = embeddings.texts([zero_shot.fill(template, caption) for caption in relation.texts])
    retrieval.score(sheet, images, texts, relation, tie=0)


def _probed(embeddings: Embeddings, judgement: Judgement, parts: Parts, classes: int) -> Probed:
    """The probe by training and validation pictures, kept by all that it depends on."""
    settings, metric = judgement.probing, judgement.metric
    assert settings is not None

    def fitted(part: Part) -> linear_probe.Part:
        pictures = parts.open(part)
        assert pictures.labels is not None
        seen = embeddings.trunk(parts.data, pictures, judgement.transform)
        on_the_way.append(partial(embeddings.forget, parts.data, pictures, judgement.transform))
        if settings.features == "embedding":
            seen = split_features.project(embeddings.pretrained, seen)
        known = classification.truth_of(
            pictures.labels, pictures.classes, pictures.difficult, judgement
        )
        return linear_probe.Part(seen, known.labels)

    def make() -> dict[str, NDArray[Any]]:
        made = linear_probe.protocol_probe(
            fitted("train"), fitted("validation"), classes, settings, metric, prepare
        )
        return {
            **probe_cache.arrays(made.probe),
            "chosen": np.array([made.strength, made.validation]),
        }

    def prepare(part: linear_probe.Part, classes: int) -> KeptFits:
        problem = Problem(part.features, part.labels, classes, embeddings.stop)
        own = KeptFits(problem, embeddings.cache, {**what, "of": len(part.labels)})
        on_the_way.append(own.forget)
        return own

    on_the_way: list[Callable[[], None]] = []
    what = {
        **embeddings.seen(parts.data, "train, validation", judgement.transform),
        "probing": plain(settings),
        "metric": metric,
        "difficult": judgement.difficult,
        "form": probe_cache.FORM,
    }
    found = embeddings.cache.arrays(what, make)
    for forget in on_the_way:
        forget()
    strength, validation = found["chosen"].tolist()
    return Probed(probe_cache.probe(found), strength, validation)
