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


def write_table(folder: Path, content: str | bytes) -> str:
    """Write a table with eight images beside it; return the name of the data set."""
    for i in range(8):
        dataset_trees.draw(folder / f"{i}.png", i)
    path = folder / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"csv:{path}"


@pytest.mark.parametrize(
    "content",
    [
        "filepath\ttitle\n0.png\ta\n1.png\tb\n",
        b"\xef\xbb\xbf" + b'caption; picture\r\n"a";0.png\r\nb; 1.png\r\n',
        "picture,caption\n0.png,a\n1.png,b\n".encode("utf-16"),
    ],
)
def test_tables_are_read_by_the_rules_of_training_data(
    tmp_path: Path, content: str | bytes
) -> None:
    images = datasets.get(write_table(tmp_path, content)).open("", "test")
    assert (images.ids, images.captions) == (("0.png", "1.png"), (("a",), ("b",)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("picture,caption\n0.png,\n1.png,b\ngone.png,c\n", "^2 validation or test rows cannot be"),
        ("picture,caption\n0.png,a\n1.png,caf\u00e9\n".encode("cp1252"), "line 3: .*like cp1252"),
        ("picture,caption,caption\n0.png,a,b\n", "'caption' is repeated"),
        ("image,text\n0.png,a\n", "did you mean image and text"),
    ],
)
def test_faults_are_found_when_a_sweep_is_planned(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    dataset = datasets.get(write_table(tmp_path, content))
    for action in (lambda: dataset.fingerprint(""), lambda: dataset.open("", "test")):
        with pytest.raises(UserError, match=message):
            action()


def test_the_fingerprint_names_the_rule_for_equal_captions(tmp_path: Path) -> None:
    dataset = datasets.get(write_table(tmp_path, "picture,caption\n0.png,a\n"))
    assert dataset.fingerprint("")["captions"] == "equal tokens are one caption"
