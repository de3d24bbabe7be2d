"""Scores of one model on one published data set under one protocol.

A split's index is read, and its images are embedded, only where the cache lacks what depends on
them: a cached probe needs no training images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config.binding import to_builtins
from uniclip.evaluate.datasets.images import CAPTIONED_KINDS, ImageDataset
from uniclip.evaluate.features import split_features
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.progress import ReportProgress, ignore_progress
from uniclip.evaluate.protocols.protocol import (
    DatasetProtocol,
    EvaluationProtocol,
    FewShotConfig,
    LinearProbeConfig,
)
from uniclip.evaluate.scoring import (
    association,
    classification,
    composition,
    few_shot,
    linear_probe,
    probe_cache,
    retrieval,
    retrieval_scores,
    shift_scores,
    zero_shot,
)
from uniclip.evaluate.scoring.dataset_splits import (
    DatasetSplits,
    SplitEmbedding,
    embed_split,
    label_features,
    resolve_embedding_input,
)
from uniclip.evaluate.scoring.embeddings import CachedEncoder
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures, LinearProbeResult
from uniclip.evaluate.scoring.log_likelihood import fit_temperature
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression
from uniclip.evaluate.scoring.probe_cache import ProbeFitCache
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.evaluate.scoring.temperature import has_enough_images, select_images

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class DatasetScorer:
    """Evaluates one model on one data set."""

    encoder: CachedEncoder
    protocol: EvaluationProtocol
    splits: DatasetSplits
    report_progress: ReportProgress = ignore_progress

    def score(self, score_card: ScoreCard) -> bool:
        """Add the data set's scores and the sample ids (n,) uint64.

        With them the photograph of each image (n,) as `photographs`, where several images are of
        one, and the pair or cue of each image (n,) as `pairs`. Returns whether what the scores are
        computed from is cached: the image features of the test split, or the outcomes of
        fine-tuning.
        """
        test = self.splits.open("test")
        score_card.add_array("ids", np.array([rng.hash_sample_id(i) for i in test.ids], np.uint64))
        for name, rows in (("photographs", test.cluster_rows), ("pairs", test.pairs)):
            if rows is not None:
                score_card.add_array(name, rows)
        if self.splits.dataset.kind == "fine_tuning":
            self._score_fine_tuning(score_card, test)
            return self.encoder.cache.folder is not None
        protocol = self.protocol.for_dataset(self.splits.dataset.name, test.classes)
        embedding = embed_split(self.encoder, self.splits, test, protocol.preprocessing)
        if self.splits.dataset.kind == "retrieval":
            self._score_retrieval(score_card, protocol, test, embedding)
        elif self.splits.dataset.kind == "composition":
            self._score_composition(score_card, protocol, test, embedding)
        elif self.splits.dataset.kind == "association":
            self._score_association(score_card, protocol, test, embedding)
        elif self.splits.dataset.kind == "few_shot":
            self._score_few_shot(score_card, protocol, test, embedding)
        else:
            self._score_classification(score_card, protocol, test, embedding)
        embedding.remove_partial_features()
        return embedding.is_cached

    def embed_share(self, rank: int, world_size: int) -> None:
        """Cache the share of a process in the image features that `score` needs."""
        if self.splits.dataset.kind == "fine_tuning":
            return  # its encoder is another one in every step
        test = self.splits.open("test")
        protocol = self.protocol.for_dataset(self.splits.dataset.name, test.classes)
        is_classified = self.splits.dataset.kind not in CAPTIONED_KINDS
        has_probe = is_classified and protocol.probe_config and self.splits.has_probe_data
        others: tuple[SplitName, ...] = ("train", "validation") if has_probe else ()
        reference = self.splits.reference
        shared = [(self.splits, images) for images in (test, *map(self.splits.open, others))]
        shared += [] if reference is None else [(reference, reference.open("test"))]
        for splits, images in shared:
            embedding_input = resolve_embedding_input(splits, images, protocol.preprocessing)
            self.encoder.embed_share(*embedding_input, rank=rank, world_size=world_size)

    def _score_retrieval(
        self,
        score_card: ScoreCard,
        protocol: DatasetProtocol,
        test: ImageDataset,
        embedding: SplitEmbedding,
    ) -> None:
        """Add retrieval of captions for images and of images for captions."""
        images = embedding.project()
        is_users = self.splits.dataset.user_folder is not None
        encode = self.encoder.pretrained.tokenizer.encode_uncut if is_users else None
        pairs = retrieval.build_image_text_pairs(test.captions, encode)
        (template,) = protocol.templates
        texts = self._embed_captions(pairs.texts, template)
        temperature = self._fit_temperature(protocol, encode)
        retrieval_scores.score_retrieval(score_card, images, texts, pairs, temperature, tie=0)
        if self.splits.dataset.has_long_captions:
            model = self.encoder.pretrained
            limit = model.config.model.text.context_length - model.tokenizer.num_special_tokens
            lengths = [len(tokens) for tokens in model.tokenizer.encode_uncut(pairs.texts)]
            retrieval_scores.add_cut_share(score_card, lengths, limit)

    def _score_composition(
        self,
        score_card: ScoreCard,
        protocol: DatasetProtocol,
        test: ImageDataset,
        embedding: SplitEmbedding,
    ) -> None:
        """Add the choice of the correct caption, and of the correct image where there are pairs."""
        images = embedding.project()
        (template,) = protocol.templates
        captions = list(dict.fromkeys(c for captions in test.captions for c in captions))
        texts = self._embed_captions(captions, template)
        rows = {caption: row for row, caption in enumerate(captions)}
        index = np.array([[rows[c] for c in captions] for captions in test.captions], np.int64)
        composition.score_composition(score_card, images, texts[index], test)

    def _score_association(
        self,
        score_card: ScoreCard,
        protocol: DatasetProtocol,
        test: ImageDataset,
        embedding: SplitEmbedding,
    ) -> None:
        """Add the agreement with the images that people associate with a cue."""
        (template,) = protocol.templates
        cues = list(dict.fromkeys(cue for (cue,) in test.captions))
        rows = {cue: row for row, cue in enumerate(cues)}
        texts = self._embed_captions(cues, template)[[rows[cue] for (cue,) in test.captions]]
        association.score_association(score_card, embedding.project(), texts, test)

    def _fit_temperature(
        self, protocol: DatasetProtocol, encode: Callable[..., Any] | None
    ) -> float | None:
        """Return the temperature fitted on validation images; None if there are too few."""
        if "validation" not in self.splits.names:
            return None
        validation = self.splits.open("validation")
        if not has_enough_images(len(validation)):
            return None
        index = select_images(len(validation))
        embedding_input = (self.splits.fingerprint, validation, protocol.preprocessing, index)
        features = self.encoder.compute_image_features(*embedding_input)
        self.encoder.remove_partial_features(*embedding_input)
        images = split_features.project_features(self.encoder.pretrained, features)
        captions = [validation.captions[i] for i in index]
        pairs = retrieval.build_image_text_pairs(captions, encode)
        (template,) = protocol.templates
        return fit_temperature(images, self._embed_captions(pairs.texts, template), pairs)

    def _embed_captions(self, captions: Sequence[str], template: str) -> Float32:
        return self.encoder.embed_texts(
            [zero_shot.fill_template(template, caption) for caption in captions]
        )

    def _score_classification(
        self,
        score_card: ScoreCard,
        protocol: DatasetProtocol,
        test: ImageDataset,
        embedding: SplitEmbedding,
    ) -> None:
        """Add zero-shot classification, and a linear probe where there are data to fit it."""
        assert test.labels is not None
        images = embedding.project()
        score_card.add_array("labels", test.labels.astype(np.int16))
        truth = classification.build_ground_truth(
            test.labels, test.classes, test.difficult, protocol, test.groups
        )
        classifier = self.encoder.build_classifier(classification.build_prompts(protocol))
        logit_scale = self.encoder.pretrained.image_text_scale()
        classification.score_zero_shot(score_card, protocol, images, classifier, truth, logit_scale)
        if self.splits.reference is not None:
            shift_scores.score_shift(
                score_card,
                *(self.encoder, protocol, self.splits.reference, test, images, classifier),
            )
        if protocol.probe_config is not None and self.splits.has_probe_data:
            trainer = ProbeTrainer(self.encoder, protocol, protocol.probe_config, self.splits)
            result = trainer.fit(len(test.classes))
            uses_backbone = protocol.probe_config.features == "backbone"
            rows = embedding.get_features() if uses_backbone else images
            classification.score_probe(score_card, protocol, result, rows, truth)

    def _score_few_shot(
        self,
        score_card: ScoreCard,
        protocol: DatasetProtocol,
        test: ImageDataset,
        embedding: SplitEmbedding,
    ) -> None:
        """Add probes of a few training images, and the vote of the nearest ones."""
        assert protocol.probe_config is not None
        assert self.splits.source is not None
        config, source_name = FewShotConfig(), self.splits.source.dataset.name
        embeddings: list[SplitEmbedding] = []

        def load(split: SplitName) -> few_shot.RankedImages:
            images = self.splits.open(split)
            embeddings.append(
                embed_split(self.encoder, self.splits, images, protocol.preprocessing)
            )
            data = label_features(embeddings[-1], images, protocol)
            return few_shot.rank_images(source_name, images.ids, data, config)

        score_card.add_array("labels", np.asarray(test.labels, np.int16))
        few_shot.FewShotScorer(
            load=load,
            test=label_features(embedding, test, protocol),
            num_classes=len(test.classes),
            probe_config=protocol.probe_config,
            config=config,
            cache=self.encoder.cache,
            cache_key=self.encoder.build_feature_key(
                self.splits.fingerprint, "all", protocol.preprocessing
            ),
            should_stop=self.encoder.should_stop,
        ).add_scores(score_card)
        for split_embedding in embeddings:
            split_embedding.remove_partial_features()

    def _score_fine_tuning(self, score_card: ScoreCard, test: ImageDataset) -> None:
        """Add the score of the model after all of its image encoder was trained."""
        from uniclip.evaluate.scoring.fine_tuning import FineTuning  # here: it imports torch

        assert self.splits.source is not None
        assert test.labels is not None
        protocol = self.protocol.for_dataset(self.splits.source.dataset.name, test.classes)
        result = FineTuning(
            *(self.encoder, protocol, self.protocol.fine_tuning, self.splits),
            self.report_progress,
        ).get_result(test)
        score_card.add_array("labels", test.labels.astype(np.int16))
        truth = classification.build_ground_truth(test.labels, test.classes)
        classification.score_fine_tuning(
            score_card, protocol, result.outcome, result.prediction, truth
        )
        score_card.add_array("finetune.learning_rate", np.array([result.learning_rate]))
        score_card.add_array("finetune.step", np.array([result.step]))
        score_card.add_array("finetune.validation", np.array([result.validation_score]))


@dataclass(frozen=True)
class ProbeTrainer:
    """Fits the linear probe of a data set on its training and validation splits.

    The result is cached by everything that it depends on. Until then, long fits and large features
    are cached on the way, so that an interrupted evaluation resumes; they are removed afterwards.
    """

    encoder: CachedEncoder
    protocol: DatasetProtocol
    probe_config: LinearProbeConfig
    splits: DatasetSplits
    cleanups: list[Callable[[], None]] = field(default_factory=list)
    """Called once the result is cached: each removes an intermediate result."""

    def fit(self, num_classes: int) -> LinearProbeResult:
        """Return the probe from the cache, or fit it."""
        arrays = self.encoder.cache.get_or_compute(
            self._build_key(), partial(self._fit_to_arrays, num_classes)
        )
        for cleanup in self.cleanups:
            cleanup()
        protocol_l2, validation_score = arrays["selection"].tolist()
        return LinearProbeResult(probe_cache.fit_from_arrays(arrays), protocol_l2, validation_score)

    def _build_key(self) -> dict[str, Any]:
        return {
            **self.encoder.build_feature_key(
                self.splits.fingerprint, "train, validation", self.protocol.preprocessing
            ),
            "linear_probe": to_builtins(self.probe_config),
            "metric": self.protocol.metric,
            "difficult_objects": self.protocol.difficult_objects,
            "format": probe_cache.FORMAT_VERSION,
        }

    def _fit_to_arrays(self, num_classes: int) -> dict[str, Numbers]:
        result = linear_probe.fit_protocol_probe(
            self._load_features("train"),
            self._load_features("validation"),
            num_classes,
            self.probe_config,
            self.protocol.metric,
            self._build_fitter,
        )
        selection = np.array([result.protocol_l2, result.validation_score])
        return {**probe_cache.fit_to_arrays(result.probe), "selection": selection}

    def _load_features(self, split: SplitName) -> LabelledFeatures:
        """Return the features that the probe is fitted to, and the labels, of a split."""
        dataset = self.splits.open(split)
        embedding = embed_split(self.encoder, self.splits, dataset, self.protocol.preprocessing)
        self.cleanups.append(embedding.remove_partial_features)
        return label_features(embedding, dataset, self.protocol)

    def _build_fitter(self, data: LabelledFeatures, num_classes: int) -> ProbeFitCache:
        """Return a regression whose long fits are cached by the number of samples."""
        regression = LogisticRegression(
            data.features, data.labels, num_classes, self.encoder.should_stop
        )
        key = {**self._build_key(), "num_samples": len(data.labels)}
        fitter = ProbeFitCache(regression, self.encoder.cache, key)
        self.cleanups.append(fitter.remove_cached_fits)
        return fitter
