"""The sequence of views on which a model is fine-tuned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.fine_tuning_tree import write_cifar10
from uniclip.augmentation import apply, transform
from uniclip.augmentation.resample import make_photograph
from uniclip.evaluate import datasets
from uniclip.evaluate.scoring.training_views import TrainingViews, select_validation


@pytest.fixture
def views(tmp_path: Path) -> TrainingViews:
    write_cifar10(tmp_path)
    return TrainingViews(datasets.get("cifar10_finetune").open(tmp_path, "train"), "cifar10", 16)


def test_each_epoch_has_every_image_once_in_another_order(views: TrainingViews) -> None:
    n = len(views.images)
    first, second = (views.find_images(np.arange(n) + epoch * n) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(n))
    assert first.tolist() != second.tolist()
    straddling = views.find_images(np.arange(n - 3, n + 3))
    assert straddling.tolist() == [*first[-3:], *second[:3]]


def test_a_view_depends_on_its_position_alone(views: TrainingViews) -> None:
    n = len(views.images)
    positions = np.arange(n - 4, n + 4)
    loaded = views.load(positions)
    assert loaded.shape == (8, 3, 16, 16)
    assert np.array_equal(views.load(positions[5:]), loaded[5:])
    vectors = transform.encode_as_vector(views.draw_params(np.arange(4 * n)))
    assert not vectors[:, 4:].any(), "a weak view is a crop"
    again = views.draw_params(np.array([0, n]) + np.argmax(views.find_images(np.arange(n)) == 0))
    assert again.area[0] != again.area[1], "another epoch, another crop"


def test_views_are_those_of_photographs_in_pre_training(views: TrainingViews) -> None:
    positions = np.array([7])
    image = views.images.load_image(int(views.find_images(positions)[0]))
    expected = apply.apply_augmentation(
        [make_photograph(image, 16)], views.draw_params(positions), 16
    )
    assert np.array_equal(views.load(positions), expected)


def test_a_subset_of_many_validation_images_is_drawn_once() -> None:
    assert select_validation("dtd", 5, 10).tolist() == [0, 1, 2, 3, 4]
    drawn = select_validation("dtd", 1_000, 10)
    assert len(set(drawn.tolist())) == 10
    assert drawn.tolist() == sorted(drawn.tolist()) != list(range(10))
    assert drawn.tolist() == select_validation("dtd", 1_000, 10).tolist()
