"""The recipe of fine-tuning: how many steps it takes, and what a user may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.errors import UserError
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig

CONFIG = FineTuningConfig()


@pytest.mark.parametrize(
    ("num_train", "steps"), [(1_000, 500), (45_000, 3_516), (1_152_000, 20_000)]
)
def test_steps_are_those_of_ten_epochs_within_bounds(num_train: int, steps: int) -> None:
    assert CONFIG.count_steps(num_train) == steps


def test_the_last_step_is_validated_and_no_step_twice() -> None:
    assert CONFIG.list_validation_steps(3_516)[-1] == 3_516
    assert len(CONFIG.list_validation_steps(3_516)) == 10
    assert CONFIG.list_validation_steps(3) == (1, 2, 3)


def test_the_cost_counts_forward_passes_as_a_third() -> None:
    config = FineTuningConfig(
        learning_rates=(1e-4, 1e-3), epochs=2, min_steps=1, batch_size=10, num_validations=4
    )
    # 2 rates of 20 steps of 10; 2 rates of 4 validations of 30 images; 60 test images
    assert config.count_training_samples(100, 30, 60) == 400 + (240 + 60) // 3
    assert CONFIG.count_training_samples(10**6, 10**6, 0) == 3 * (20_000 * 128 + 100_000 // 3) + 1


def hash_recipe(folder: Path, text: str, name: str = "cifar10_finetune") -> str:
    (folder / "protocol").mkdir(exist_ok=True)
    (folder / "protocol/mine.yaml").write_text(text)
    definition = custom.resolve_protocol("mine", [folder])
    config = stub_models.config({"name": "scenes"}, runtime={"protocol": definition})
    return evaluate.evaluation_hash(name, config)


def test_a_users_recipe_is_hashed_and_changes_no_other_score(tmp_path: Path) -> None:
    texts = ["{}", "fine_tuning: {epochs: 5}", "fine_tuning: {learning_rates: [1e-5]}"]
    assert len({hash_recipe(tmp_path, text) for text in texts}) == len(texts)
    assert len({hash_recipe(tmp_path, text, "cifar10") for text in texts}) == 1


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("{learning_rates: [1e-3, 1e-4]}", "in ascending order"),
        ("{learning_rates: []}", "positive numbers"),
        ("{min_steps: 30, max_steps: 20}", "must be at most"),
        ("{epochs: 0}", "epochs"),
        ("{label_smoothing: 2}", "label_smoothing"),
        ("{momentum: 0.9}", "momentum"),
    ],
)
def test_a_faulty_recipe_is_refused(tmp_path: Path, recipe: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hash_recipe(tmp_path, f"fine_tuning: {recipe}")
