"""The index of large tables in files: the samples, batches and errors are those of `read_index`."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.csv_data import csv_config, write_csv
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data.csv import content, notes, packed_index, row_arrays, rows, source
from uniclip.data.csv.split import PackedCsvSplit
from uniclip.data.loader import TrainingBatches
from uniclip.data.split import SPLIT_NAMES
from uniclip.data.text import packed_tokens, truncation
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import DataChangedError, UserError
from uniclip.io import file_digests


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(row_arrays, "NUM_BUFFERED", 7)
    monkeypatch.setattr(packed_tokens, "CHUNK_SIZE", 7)


@pytest.fixture
def large(monkeypatch):
    """Make every table a large one."""

    def make() -> None:
        monkeypatch.setattr(rows, "MAX_LOOKED_UP_BYTES", 10)

    return make


def write_table(folder: Path, num_images: int = 120, seed: int = 0) -> None:
    """Write a table of images with several captions and names, and rows that cannot be used."""
    generator = random.Random(seed)
    table = []
    for i in range(num_images):
        for k in range(generator.choice((1, 1, 2, 4))):
            path = generator.choice((f"{i}.png", f"{i}.png", f"./{i}.png", f"x/../{i}.png"))
            caption = generator.choice((f"picture {i}", f"sight {k}, \u00e9\u4f60", f"{i} {k}"))
            table.append((path, caption, "abc"[i % 3] if i % 5 else "", "a" if i % 7 else "b"))
    generator.shuffle(table)
    table.insert(30, ("", "lost", "a", "a"))
    write_csv(folder, table, ("picture", "caption", "kind", "half"))


CONFIGS = {
    "one table": {},
    "no labels": {"label_column": None, "validation_fraction": 0.5},
    "no test images": {"test_fraction": 0.0},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_samples_are_those_of_the_rows(folder, large, changes):
    write_table(folder)
    large()
    config = csv_config(folder, max_broken=0.5, **changes)
    index = rows.read_index(config)
    assert not index.are_looked_up
    packed = packed_index.open_index(config)
    assert packed.summary == index.summary
    assert len(index.summary.same_images) > 20
    class_names = sorted({s.label for s in index.samples if s.label})
    assert packed.content.class_names == (class_names if config.label_column else [])
    for name in SPLIT_NAMES:
        samples = [s for s in index.samples if index.get_split(s) == name]
        split = data.open_split(config, name)
        assert isinstance(split, PackedCsvSplit)
        assert list(split.captions) == [tuple(s.captions) for s in samples]
        assert list(split.sample_names) == [s.path for s in samples]
        assert split.line_numbers.tolist() == [s.line for s in samples]
        assert list(split.image_paths) == [str(p) for p in rows.locate_images(samples)]
        numbers = [class_names.index(s.label) if s.label else -1 for s in samples]
        if config.label_column:
            assert split.training_labels.tolist() == split.labels["label"].tolist() == numbers
        if samples:
            assert split.name_image(0) == (
                f"{config.path} line {samples[0].line}: image {split.image_paths[0]}"
            )
            assert list(split.captions[1:3]) == [tuple(s.captions) for s in samples[1:3]]


def test_tokens_and_pixels_are_those_of_the_split_in_memory(folder, large):
    write_csv(
        folder,
        [(f"{i}.png", f"picture {i} {'x ' * k}", "a") for i in range(40) for k in range(1 + i % 3)],
    )
    config = csv_config(folder)
    small = data.open_split(config, "train")
    large()
    packed = data.open_split(config, "train")
    assert isinstance(packed, PackedCsvSplit)
    assert np.array_equal(packed.ids, small.ids)
    index = np.array([3, 0, len(small) - 1, 3])
    assert np.array_equal(packed.load_pixels(index), small.load_pixels(index))
    assert not packed.image_cache.images
    tokenizer = train_bpe(["picture 1 x x"], 300)
    for split in (packed, pickle.loads(pickle.dumps(packed))):
        for context_length in (4, 32):
            expected = small.encode_captions(tokenizer, context_length)
            tokens = split.encode_captions(tokenizer, context_length)
            for key in range(5):
                ids = small.ids[index]
                assert np.array_equal(tokens.draw(key, ids, index), expected.draw(key, ids, index))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_split_in_memory(folder, large, num_workers):
    captions = [(f"{i}.png", f"picture {i} {'x ' * k}", "a") for i in range(40) for k in range(3)]
    write_csv(folder, captions)
    section = {"name": "csv", "path": str(folder / "data.csv"), "image_size": 32}
    config = tiny(data=section, train={"batch_size": 8}, runtime={"num_workers": num_workers})
    tokenizer = train_bpe(["picture 1 x x"], 300)
    expected = TrainingBatches(config, data.open_split(config.data, "train"), tokenizer)
    expected_batches = [expected.build_batch(step) for step in range(5)]
    large()
    split = data.open_split(config.data, "train")
    assert isinstance(split, PackedCsvSplit)
    batches = TrainingBatches(config, split, tokenizer).iterate_batches(0, 5)
    for batch, expected_batch in zip(batches, expected_batches, strict=True):
        for name in ("images", "augmentation_vectors", "tokens", "sample_ids", "labels"):
            assert getattr(batch, name).equal(getattr(expected_batch, name)), name


@pytest.mark.parametrize("has_validation", [True, False])
def test_declared_splits_and_a_test_table(folder, large, has_validation):
    words = ["train", "train", "val"] if has_validation else ["train"]
    table = [(f"{i}.png", f"text {i}", words[i % len(words)]) for i in range(30)]
    write_csv(folder, table, ("picture", "caption", "split"))
    test_path = folder / "test.csv"
    test_path.write_text("picture,caption\n" + "".join(f"{i}.png,t {i}\n" for i in range(30, 40)))
    config = csv_config(folder, label_column=None, split_column="split", test_path=str(test_path))
    expected = {n: list(data.open_split(config, n).sample_names) for n in SPLIT_NAMES}
    large()
    for name in SPLIT_NAMES:
        split = data.open_split(config, name)
        assert isinstance(split, PackedCsvSplit)
        assert list(split.sample_names) == expected[name]
    assert split.csv_path == str(test_path)
    assert bool(expected["validation"])


ERRORS = {
    "an image with two labels": "1.png,one,a\n2.png,two,a\n1.png,uno,b\n",
    "no row": "",
    "too many fields": "1.png,one,a\n2.png,two,a,b\n",
    "too many faults": "".join(f"{i}.png,{' ' if i % 2 else 'x'},a\n" for i in range(40)),
}


@pytest.mark.parametrize("table", ERRORS.values(), ids=ERRORS)
def test_errors_are_those_of_the_rows(folder, large, table):
    (folder / "data.csv").write_text(f"picture,caption,kind\n{table}")
    large()
    config = csv_config(folder)
    with pytest.raises(UserError) as expected:
        rows.read_index(config)
    for _ in range(2):
        with pytest.raises(UserError) as error:
            packed_index.open_index(config)
        assert str(error.value) == str(expected.value)


def test_a_test_image_that_is_in_the_other_table_is_an_error(folder, large):
    test_path = folder / "test.csv"
    test_path.write_text("picture,caption,kind\n99.png,t,a\n./5.png,t,a\n5.png,u,a\n")
    config = csv_config(folder, test_path=str(test_path))
    large()
    with pytest.raises(UserError) as expected:
        rows.read_index(config)
    with pytest.raises(UserError) as error:
        packed_index.open_index(config)
    assert str(error.value) == str(expected.value)


def test_a_plan_says_the_same(folder, large, monkeypatch):
    write_table(folder)
    config, text = csv_config(folder, max_broken=0.5, label_column=None), tiny().model.text
    large()
    index = rows.read_index(config)
    for max_captions in (10_000, 9):
        monkeypatch.setattr(truncation, "MAX_CAPTIONS", max_captions)
        monkeypatch.setattr(packed_index, "VERSION", max_captions)
        packed = packed_index.open_index(config)
        assert packed.count_truncated(text) == index.count_truncated(text)
    assert any("not looked up" in s for s in notes.describe_index(config, text))
    assert data.fingerprint(config)["same_images"]
    assert source.count_training_samples(config, 10)[0].stop == index.summary.split_counts["train"]


def test_a_parquet_file_has_the_same_samples(folder, large):
    from pyarrow import csv, parquet

    large()
    config = csv_config(folder)
    expected = data.open_split(config, "train")
    parquet.write_table(csv.read_csv(folder / "data.csv"), folder / "data.parquet")
    split = data.open_split(csv_config(folder, path=str(folder / "data.parquet")), "train")
    assert isinstance(split, PackedCsvSplit)
    assert np.array_equal(split.ids, expected.ids)
    assert list(split.captions) == list(expected.captions)


def test_the_rows_are_read_once_until_the_table_changes(folder, large, monkeypatch, capsys):
    large()
    config = csv_config(folder)
    before = data.open_split(config, "train")
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"reading {config.path} (")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a row was read")

    with monkeypatch.context() as patch:
        patch.setattr(packed_index, "write_index", refuse)
        assert np.array_equal(data.open_split(config, "train").ids, before.ids)
        notes.describe_index(config, tiny().model.text)
        with pytest.raises(AssertionError, match="a row was read"):
            data.open_split(csv_config(folder, test_fraction=0.1), "train")
    write_csv(folder, [(f"{i}.png", "another", "a") for i in range(39)])
    assert set(data.open_split(config, "train").captions) == {("another",)}


@pytest.mark.parametrize("file", ["index.json", "train/ids.npy", "test/captions.npy"])
def test_a_damaged_index_is_written_again(folder, large, file):
    large()
    config = csv_config(folder)
    index = packed_index.open_index(config)
    whole = list(data.open_split(config, "test").captions)
    for damage in (lambda path: path.write_bytes(b""), Path.unlink):
        damage(index.folder / file)
        packed_index._recall_content.cache_clear()
        assert list(data.open_split(config, "test").captions) == whole
        assert not (index.folder / "rows").exists()


def test_a_table_that_changes_while_it_is_read_is_an_error(folder, large, monkeypatch):
    large()
    write = packed_index.write_index

    def write_and_change(config, target):
        written = write(config, target)
        with open(folder / "data.csv", "a") as stream:
            stream.write("1.png,late,b\n")
        return written

    monkeypatch.setattr(packed_index, "write_index", write_and_change)
    with pytest.raises(DataChangedError, match="was changed while it was read"):
        packed_index.open_index(csv_config(folder))


def test_the_digest_of_a_large_table_is_remembered(folder, monkeypatch):
    monkeypatch.setattr(content, "MAX_LOOKED_UP_BYTES", 10)
    monkeypatch.setattr(file_digests, "MIN_AGE_SECONDS", -1.0)
    path = str(folder / "data.csv")
    expected = content.digest_table(path)
    content._digests.clear()
    with monkeypatch.context() as patch:
        patch.setattr(content, "_digest_content", None)
        assert content.digest_table(path) == expected
        content._digests.clear()
    (folder / "data.csv").write_text("picture,caption\n1.png,x\n")
    assert content.digest_table(path) != expected
