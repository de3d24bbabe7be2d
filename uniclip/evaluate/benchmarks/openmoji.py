"""Benchmark `openmoji`: emoji pictures that a run never saw, by their names and kinds.

Retrieval both ways among the test pictures and their names; the same of a strong view of each,
given the true augmentation vector, "nothing done" (identity), and another picture's (wrong);
zero-shot skin tone, gender and category; a linear probe on category. Captions are bare names
("woman running medium skin tone"), so the prompts are bare too; a category is said by several
everyday names of its kind. Prompts and names are ours: no published protocol has this data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.config import OpenmojiData, RunConfig
from uniclip.config.binding import to_builtins
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.protocols.protocol import TEST_VIEWS_VERSION

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
"""Unicode's five."""

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
"""What each class is called in a prompt, by the name that the data set gives it."""


def select_data_config(config: RunConfig) -> OpenmojiData:
    """The run's own data section if it is openmoji; else the default."""
    return config.data if isinstance(config.data, OpenmojiData) else OpenmojiData()


def describe_missing(config: RunConfig) -> str | None:
    """Nothing but the data itself."""
    return None


def build_protocol(source: OpenmojiData) -> dict[str, Any]:
    """Retrieval by name, of strong views too, zero-shot with these prompts, a probe on category."""
    return {
        "retrieval": {**protocols.RETRIEVAL_RECORD, "captions": "English name"},
        "views": {
            **protocols.RETRIEVAL_RECORD,
            "depths": [1],
            "views": f"strong, never the evaluation's ({TEST_VIEWS_VERSION})",
            "vectors": ["true", "identity", "wrong: the next picture's"],
        },
        "zeroshot": {
            label: protocols.build_zero_shot_record(TEMPLATES[label], to_builtins(names))
            for label, names in NAMES.items()
        },
        "probe": {"category": protocols.build_probe_record()},
    }


def evaluate(pretrained: PretrainedModel, source: OpenmojiData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    # Here: see the package.
    from uniclip.evaluate.features import split_features, test_views
    from uniclip.evaluate.scoring import examples, labelled_split, retrieval
    from uniclip.evaluate.scoring.score_card import ScoreCard

    test = split_features.open_split_cached(source, "test")
    score_card = ScoreCard()
    labelled_split.add_ground_truth(score_card, test)
    image_text_pairs = retrieval.build_image_text_pairs(test.captions)
    image_features = split_features.compute_image_features(pretrained, test)
    images = split_features.project_features(pretrained, image_features)
    texts = pretrained.embed_texts(list(image_text_pairs.texts))
    retrieval.score_retrieval(score_card, images, texts, image_text_pairs)
    for condition, view_embeddings in test_views.embed_under_conditions(pretrained, source):
        ranks = retrieval.rank_both_ways(view_embeddings, texts, image_text_pairs)
        retrieval.add_mean_recall(
            score_card, f"retrieval.r1.views.{condition}", *ranks, image_text_pairs
        )
    examples.add_examples(score_card, test, images, texts, image_text_pairs)
    for label, names in NAMES.items():
        labelled_split.score_zero_shot(
            score_card, label, pretrained, test, images, TEMPLATES[label], names
        )
    labelled_split.score_probe(score_card, "category", pretrained, source, test, image_features)
    return score_card.get_results()
