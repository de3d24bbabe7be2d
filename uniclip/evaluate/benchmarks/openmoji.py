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
from uniclip.config.binding import plain
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.protocols.protocol import TEST_VIEWS

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

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


def source(config: RunConfig) -> OpenmojiData:
    """The run's own data section if it is openmoji; else the default."""
    return config.data if isinstance(config.data, OpenmojiData) else OpenmojiData()


def missing(config: RunConfig) -> str | None:
    """Nothing but the data itself."""
    return None


def protocol(source: OpenmojiData) -> dict[str, Any]:
    """Retrieval by name, of strong views too, zero-shot with these prompts, a probe on category."""
    return {
        "retrieval": {**protocols.RETRIEVAL, "captions": "English name"},
        "views": {
            **protocols.RETRIEVAL,
            "depths": [1],
            "views": f"strong, never the evaluation's ({TEST_VIEWS})",
            "vectors": ["true", "identity", "wrong: the next picture's"],
        },
        "zeroshot": {
            label: protocols.zero_shot(TEMPLATES[label], plain(names))
            for label, names in NAMES.items()
        },
        "probe": {"category": protocols.probe()},
    }


def evaluate(pretrained: Pretrained, source: OpenmojiData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    # Here: see the package.
    from uniclip.evaluate.features import split_features, test_views
    from uniclip.evaluate.scoring import examples, labelled_split, retrieval
    from uniclip.evaluate.scoring.score_card import Sheet

    test = split_features.opened(source, "test")
    sheet = Sheet()
    labelled_split.keep_truth(sheet, test)
    relation = retrieval.relate(test.captions)
    seen = split_features.trunk(pretrained, test)
    images = split_features.project(pretrained, seen)
    texts = pretrained.embed_texts(list(relation.texts))
    retrieval.score(sheet, images, texts, relation)
    for vectors, strong in test_views.told(pretrained, source):
        ranks = retrieval.both_ways(strong, texts, relation)
        retrieval.add_mean(sheet, f"retrieval.r1.views.{vectors}", *ranks, relation)
    examples.keep(sheet, test, images, texts, relation)
    for label, names in NAMES.items():
        labelled_split.score_zero_shot(
            sheet, label, pretrained, test, images, TEMPLATES[label], names
        )
    labelled_split.score_probe(sheet, "category", pretrained, source, test, seen)
    return sheet.finished()
