"""What is easily got wrong between a data set's labels and a protocol's prompts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.protocols import published
from uniclip.evaluate.scoring import classification, zero_shot

WITH_CLASSES = [name for name in dataset_trees.WRITERS if datasets.get(name).kind != "retrieval"]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """The classes of each set, as its reader numbers them."""
    classes_by_name = {}
    for name in (*WITH_CLASSES, "eurosat", "fer2013", "gtsrb"):
        folder = tmp_path_factory.mktemp(name)
        {**dataset_trees.WRITERS, **dataset_trees.MORE_WRITERS}[name](folder)
        classes_by_name[name] = datasets.get(name).open(folder, "test").classes
    return classes_by_name


@pytest.mark.parametrize("protocol", published.PROTOCOLS)
@pytest.mark.parametrize("name", [*WITH_CLASSES, "eurosat", "fer2013", "gtsrb"])
def test_each_label_has_the_prompts_of_its_class(
    name: str, protocol: str, classes: dict[str, tuple[str, ...]]
) -> None:
    """Sources list classes otherwise than folders do: EuroSAT from forest, VOC with train late,
    Caltech-101 from background. The prompts of a label are those of its class, asked for alone."""
    rules = published.get_published_protocol(protocol)
    class_prompts = classification.build_prompts(rules.for_dataset(name, classes[name]))
    assert len(class_prompts) == len(classes[name])
    for key, prompts_of_class in zip(classes[name], class_prompts):
        assert [prompts_of_class] == classification.build_prompts(rules.for_dataset(name, (key,)))
    backwards = classification.build_prompts(rules.for_dataset(name, classes[name][::-1]))
    assert backwards == class_prompts[::-1]


def test_articles_and_braces_are_kept() -> None:
    assert zero_shot.fill_templates(["a photo of a {}."], ["origami"]) == ["a photo of a origami."]
    assert "a origami {}." in prompts.get_templates("imagenet80")
    assert zero_shot.fill_templates(["{}!"], ["{c} and {0}"]) == ["{c} and {0}!"]
    with pytest.raises(UserError, match="exactly one {}"):
        prompts.validate_templates(["a photo of a {c}."], "mine.yaml")


def test_a_class_has_the_mean_of_all_of_its_names() -> None:
    rules = published.get_published_protocol("clip2021").for_dataset("fer2013", ("happy", "sad"))
    happy, sad = classification.build_prompts(rules)
    names = prompts.get_class_names("fer2013", ["happy", "sad"])
    assert len(happy) == len(names["happy"]) * len(rules.templates)
    assert len(names["happy"]) > 1
    row_of_text = {text: i for i, text in enumerate(dict.fromkeys([*happy, *sad]))}

    def embed(texts: list[str]) -> np.ndarray:
        return np.eye(len(row_of_text))[[row_of_text[t] for t in texts]]

    rows = zero_shot.build_classifier(embed, [happy, sad])
    for class_prompts, row in zip((happy, sad), rows):
        expected = np.zeros(len(row_of_text))
        expected[[row_of_text[t] for t in class_prompts]] = len(class_prompts) ** -0.5
        assert row == pytest.approx(expected, abs=1e-6)
