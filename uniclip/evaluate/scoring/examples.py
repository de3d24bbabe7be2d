"""A few fixed test images with the captions that a model retrieves, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uniclip import rng
from uniclip.augmentation import apply, transform
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.scoring.retrieval import ImageTextPairs
from uniclip.evaluate.scoring.score_card import ScoreCard

if TYPE_CHECKING:
    from uniclip.data import Split

NUM_EXAMPLES = 12
IMAGE_SIZE = 64
NUM_CAPTIONS = 5


def add_examples(
    score_card: ScoreCard,
    split: Split,
    images: Numbers,
    texts: Numbers,
    image_text_pairs: ImageTextPairs,
) -> None:
    """Add up to 12 images of `split`, the same for every model, and their 5 nearest captions.

    examples.images (e, 3, 64, 64) uint8; examples.image_names (e,) text; examples.captions (e, 5)
    text, nearest first; examples.is_correct (e, 5) bool; examples.similarity (e, 5) float32
    cosines.
    """
    order = rng.permutation(rng.derive_key("evaluate", "examples"), len(split))
    example_index = np.sort(order[:NUM_EXAMPLES])
    similarity = images[example_index] @ texts.T
    top_index = np.argsort(-similarity, axis=1, kind="stable")[:, :NUM_CAPTIONS]
    image_index, text_index = image_text_pairs.list_correct()
    true_texts = [set(text_index[image_index == i]) for i in example_index]
    pixels = split.load_pixels(example_index)
    score_card.add_array(
        "examples.images",
        apply.apply_augmentation(
            pixels, transform.build_evaluation_params(len(example_index)), IMAGE_SIZE
        ),
    )
    score_card.add_array(
        "examples.image_names",
        np.array([split.sample_names[i] for i in example_index], dtype=np.str_),
    )
    score_card.add_array(
        "examples.captions", np.array(image_text_pairs.texts, dtype=np.str_)[top_index]
    )
    is_correct = [
        [text in image_texts for text in row] for row, image_texts in zip(top_index, true_texts)
    ]
    score_card.add_array("examples.is_correct", np.array(is_correct))
    top_similarity = np.take_along_axis(similarity, top_index, axis=1)
    score_card.add_array("examples.similarity", top_similarity.astype(np.float32))
