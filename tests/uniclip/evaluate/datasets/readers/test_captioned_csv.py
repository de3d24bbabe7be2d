"""A user-defined CSV of images and captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets


def test_a_csv_is_a_retrieval_data_set(tmp_path: Path) -> None:
    for i in range(2):
        dataset_trees.draw(tmp_path / f"p/{i}.png", i)
    lines = ["picture,caption", 'p/1.png,"one, two"', "p/0.png,zero", "p/1.png,again"]
    dataset_trees.text(tmp_path / "mine.csv", lines)
    pictures = datasets.get(f"csv:{tmp_path / 'mine.csv'}").open("", "test")
    assert (pictures.kind, pictures.metric) == ("retrieval", "recall")
    assert pictures.ids == ("p/1.png", "p/0.png")
    assert pictures.captions == (("one, two", "again"), ("zero",))
    assert dataset_trees.label_of(pictures.load_image(0), range(2)) == 1
    dataset_trees.text(tmp_path / "mine.csv", ["picture,caption", "p/7.png,gone"])
    with pytest.raises(UserError, match=r"line 2, column 'picture': there is no image"):
        datasets.get(f"csv:{tmp_path / 'mine.csv'}").open("", "test")


def test_the_fingerprint_covers_the_file_and_the_sizes_of_its_images(tmp_path: Path) -> None:
    dataset_trees.draw(tmp_path / "0.png", 0)
    rows = [f"0.png,caption {i} of many that are all of one length" for i in range(10_000, 15_000)]
    dataset_trees.text(tmp_path / "mine.csv", ["picture,caption", *rows])
    dataset = datasets.get(f"csv:{tmp_path / 'mine.csv'}")
    fingerprints = [dataset.fingerprint("")]
    rows[2500] = rows[2500].replace("caption", "capshun")
    dataset_trees.text(tmp_path / "mine.csv", ["picture,caption", *rows])
    fingerprints.append(dataset.fingerprint(""))
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes() + b"\0")
    fingerprints.append(dataset.fingerprint(""))
    assert all(one not in fingerprints[:i] for i, one in enumerate(fingerprints))
