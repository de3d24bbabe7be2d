"""What a plan says of a table."""

from __future__ import annotations

import csv

import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip.config import TextConfig
from uniclip.data.csv.notes import describe_index
from uniclip.errors import UserError

HEADER = ("picture", "caption", "kind")


def describe(folder, rows, header=HEADER, **changes):
    write_csv(folder, rows, header)
    return describe_index(csv_config(folder, **changes), TextConfig())


def rows_of(folder):
    return list(csv.reader(open(folder / "data.csv")))[1:]


def test_a_plain_table_has_one_sentence(folder):
    (sentence,) = describe(folder, rows_of(folder))
    assert sentence.startswith("40 images: ")
    assert [word.split()[1] for word in sentence.partition(": ")[2].split(", ")] == [
        "train",
        "validation",
        "test",
    ]


def test_the_format_is_said(folder):
    lines = ["filepath\ttitle\tkind"] + ["\t".join(row) for row in rows_of(folder)]
    (folder / "data.csv").write_bytes("\n".join(lines).encode("utf-16"))
    sentences = describe_index(csv_config(folder), TextConfig())
    assert sentences[0].endswith(
        "data.csv is read separated by tabs, in UTF-16, 'filepath' as data.image_column, 'title' "
        "as data.caption_column"
    )


def test_skipped_rows_are_counted_and_named(folder):
    rows = [*rows_of(folder), ("41.png", "no file", "a"), ("", "no name", "a"), ("1.png", " ", "b")]
    sentences = describe(folder, rows, max_broken=0.2)
    (sentence,) = [s for s in sentences if "skipped" in s]
    assert sentence.startswith("3 training rows are skipped: ")
    assert "line 42, column 'picture': there is no image" in sentence
    assert "line 43, column 'picture' is empty" in sentence


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([""], "'kind' (data.label_column) is empty in all rows"),
        (["a"], "has one class only"),
        (["a", "", "b", ""], "is empty for 20 of 40 images; the others have 2 classes"),
        (["a", "b"], None),
    ],
)
def test_labels_that_teach_nothing_are_said(folder, kinds, message):
    rows = [
        (name, text, kinds[i % len(kinds)]) for i, (name, text, _) in enumerate(rows_of(folder))
    ]
    sentences = [s for s in describe(folder, rows) if "label_column" in s]
    assert [message in s for s in sentences] == ([True] if message else [])


def test_an_image_with_several_names_is_said(folder):
    (folder / "link.png").symlink_to(folder / "2.png")
    rows = [*rows_of(folder), ("./1.png", "again", "b"), ("link.png", "a link", "a")]
    (sentence,) = [s for s in describe(folder, rows) if "several names" in s]
    assert sentence.startswith("2 images are listed under several names, such as 1.png and ./1.png")


def test_captions_that_are_cut_or_equal_are_said(folder):
    rows = [(name, "the " * 60 + text, kind) for name, text, kind in rows_of(folder)]
    sentences = describe(folder, rows)
    assert "40 of 40 captions are longer than model.text.context_length=32 tokens" in sentences[1]
    assert "by which 40 become equal to another one" in sentences[1]
    rows = [(name, ["A dog", "a DOG", text][i % 3], "") for i, (name, text, _) in enumerate(rows)]
    assert any(
        s.startswith("2 of 15 captions have the same tokens") for s in describe(folder, rows)
    )


def test_a_table_without_validation_images_is_refused(folder):
    with pytest.raises(UserError, match=r"has no validation images \(2 images: 2 train, 0 test\)"):
        describe(folder, [("0.png", "a", "b"), ("1.png", "c", "b")])
