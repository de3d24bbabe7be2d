"""Scores of the user's test pairs: the same whether the images were embedded in shares or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.csv_data import write_image_set
from tests.helpers.embedded_data import make_rows, make_table, save_dict_to_disk
from uniclip.errors import UserError
from uniclip.evaluate.features import shares
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.scoring import user_pairs


class Model(stub_models.Stub):
    """A stub whose features are its embeddings; it counts the images that it sees."""

    image_batch_size = 8
    num_seen = 0

    def compute_image_features(self, pixels: Numbers) -> Numbers:
        self.num_seen += len(pixels)
        return pixels.reshape(len(pixels), -1)[:, :64].astype(np.float32)

    def project_image(self, features: Numbers) -> Numbers:
        return stub_models.unit(features - features.mean())


@pytest.mark.parametrize("label", ["kind", None])
def test_shares_give_the_scores_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str | None
) -> None:
    monkeypatch.setattr(shares, "EMBED_BATCH_SIZE", 8)
    path = write_image_set(tmp_path / "set", 150)
    section = {"name": "csv", "path": str(path), "image_size": 16, "validation_fraction": 0.3}
    config = stub_models.config({**section, "test_fraction": 0.4, "label_column": label})
    models = [Model(config, texts=stub_models.word_vectors) for _ in range(4)]
    expected = user_pairs.score_test_split(models[0], config.data, "none")
    for rank in range(2):
        user_pairs.embed_share(models[rank + 1], config.data, tmp_path / "shares", rank, 2)
    scores, arrays = user_pairs.score_test_split(
        models[3], config.data, "none", tmp_path / "shares"
    )
    assert scores == expected[0]
    assert all(np.array_equal(arrays[name], expected[1][name]) for name in expected[1])
    assert models[1].num_seen + models[2].num_seen == models[0].num_seen
    assert models[3].num_seen == 0
    assert any(score.name.startswith("probe") for score in scores) == (label is not None)


def test_shares_of_splits_whose_images_have_the_same_names_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many validation as test images, of the same names: their ids are the same."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    tables = {}
    for start, name in enumerate(("train", "validation", "test")):
        rows = make_rows(range(start * 60, start * 60 + 60))
        named = [{**image, "path": f"{i}.png"} for i, image in enumerate(rows["image"])]
        tables[name] = make_table({**rows, "image": named})
    section = {"name": "huggingface", "path": save_dict_to_disk(tmp_path / "set", tables)}
    config = stub_models.config({**section, "image_size": 16, "label_column": "label"})
    models = [Model(config, texts=stub_models.word_vectors) for _ in range(3)]
    expected = user_pairs.score_test_split(models[0], config.data, "none")
    user_pairs.embed_share(models[1], config.data, tmp_path / "shares", 0, 1)
    scores, arrays = user_pairs.score_test_split(
        models[2], config.data, "none", tmp_path / "shares"
    )
    assert models[2].num_seen == 0
    assert scores == expected[0]
    assert all(np.array_equal(arrays[name], expected[1][name]) for name in expected[1])


def test_without_test_images_one_line_says_so(tmp_path: Path) -> None:
    path = write_image_set(tmp_path / "set", 30)
    config = stub_models.config(
        {"name": "csv", "path": str(path), "image_size": 16, "test_fraction": 0.0}
    )
    with pytest.raises(UserError, match="add rows"):
        user_pairs.score_test_split(Model(config), config.data, "add rows")
