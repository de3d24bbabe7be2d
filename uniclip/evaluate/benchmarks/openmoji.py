"""Benchmark `openmoji`: emoji images that a run never saw, by their names and kinds.

Retrieval both ways among the test images and their names; the same for a strong view of each
image, given the true augmentation vector, the identity, or another image's vector (wrong);
zero-shot skin tone, gender and category; a linear probe on category. Captions are bare names
("woman running medium skin tone"), so the prompts are bare too; a category is named by several
everyday names of its kind. Prompts and names are this project's: no published protocol has this
data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from uniclip.config import DataConfig, OpenmojiData
from uniclip.config.binding import to_builtins
from uniclip.evaluate.benchmarks.base import SourceBenchmark
from uniclip.evaluate.protocols.protocol import (
    RETRIEVAL_RECORD,
    TEST_VIEWS_VERSION,
    VERSION,
    build_probe_record,
    build_zero_shot_record,
)

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.evaluate.benchmarks.base import Results

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
"""The five skin tones of Unicode."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "skin_tone": ("person {}", "man {}", "woman {}", "hand {}"),
    "gender": ("{}", "{} walking", "{} standing", "{} medium skin tone"),
    "category": ("{}",),
}

NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "skin_tone": {f"{tone} skin tone": (f"{tone} skin tone",) for tone in TONES},
    "gender": {"man": ("man",), "woman": ("woman",)},
    "category": {
        "Smileys & Emotion": ("face", "smiling face", "cat face", "heart"),
        "People & Body": ("person", "man", "woman", "hand"),
        "Animals & Nature": ("animal", "cat", "bird", "fish", "flower", "tree"),
        "Food & Drink": ("food", "fruit", "bread", "cake", "drink", "bowl"),
        "Travel & Places": ("car", "train", "ship", "building", "house", "clock"),
        "Activities": ("ball", "game", "sport", "medal"),
        "Objects": ("tool", "book", "phone", "clothes", "paper", "musical instrument"),
        "Symbols": ("button", "sign", "symbol", "arrow", "square", "circle"),
        "Flags": ("flag", "country"),
    },
}
"""Names of each class in a prompt, by the data set's name of the class."""


def build_benchmark(run_data: DataConfig) -> OpenmojiBenchmark:
    """Evaluate the run's data section if it is openmoji; else the default section."""
    return OpenmojiBenchmark(run_data if isinstance(run_data, OpenmojiData) else OpenmojiData())


class OpenmojiBenchmark(SourceBenchmark[OpenmojiData]):
    """The test split of OpenMoji, or its validation split."""

    scores_validation: ClassVar[bool] = True

    def describe_scores(self) -> dict[str, Any]:
        """Retrieval by name, also of strong views; zero-shot with these prompts; a probe.

        The probe is fit on the validation split too: there is none if that is what is evaluated.
        """
        probe = {"probe": {"category": build_probe_record()}} if self.split == "test" else {}
        return {
            "retrieval": {**RETRIEVAL_RECORD, "captions": "English name"},
            "views": {
                "metric": RETRIEVAL_RECORD["metric"],
                "ks": [1],
                "features": "embedding",
                "version": VERSION,
                "views": f"strong, never the evaluation transform ({TEST_VIEWS_VERSION})",
                "conditions": ["true", "identity", "wrong: the next image's"],
            },
            "zeroshot": {
                label: build_zero_shot_record(TEMPLATES[label], to_builtins(names))
                for label, names in NAMES.items()
            },
            **probe,
        }

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        from uniclip.evaluate.features import split_features, test_views  # here: numpy
        from uniclip.evaluate.scoring import (
            examples,
            labelled_split,
            retrieval,
            retrieval_scores,
            temperature,
        )
        from uniclip.evaluate.scoring.score_card import ScoreCard

        split = split_features.open_split_cached(self.data_config, self.split)
        score_card = ScoreCard()
        labelled_split.add_ground_truth(score_card, split)
        image_text_pairs = retrieval.build_image_text_pairs(split.captions)
        image_features = split_features.compute_image_features(pretrained, split)
        images = split_features.project_features(pretrained, image_features)
        texts = pretrained.embed_texts(list(image_text_pairs.texts))
        retrieval_scores.score_retrieval(
            score_card,
            images,
            texts,
            image_text_pairs,
            temperature.fit_validation_temperature(pretrained, self.data_config),
        )
        for condition, views in test_views.embed_under_conditions(
            pretrained, self.data_config, self.split
        ):
            ranks = retrieval.rank_both_ways(views, texts, image_text_pairs)
            name = f"retrieval.r1.views.{condition}"
            retrieval_scores.add_mean_recall(score_card, name, *ranks, image_text_pairs)
        examples.add_examples(score_card, split, images, texts, image_text_pairs)
        for label, names in NAMES.items():
            labelled_split.score_zero_shot(
                score_card, label, pretrained, split, images, TEMPLATES[label], names
            )
        if self.split == "test":
            labelled_split.score_probe(
                score_card, "category", pretrained, self.data_config, split, image_features
            )
        return score_card.get_results()
