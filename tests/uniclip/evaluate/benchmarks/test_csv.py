from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers import csv_data, stub_models
from uniclip import data, evaluate
from uniclip.data.csv.split_rule import SplitRule
from uniclip.errors import UserError
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.features import split_features

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def written(folder, n, label=True):
    """A CSV of n pictures of one colour each, two captions apiece."""
    with open(folder / "own.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["picture", "caption", "kind"])
        for i in range(n):
            name = list(COLOURS)[i % 3]
            shade = tuple(max(0, c - i) for c in COLOURS[name])
            Image.new("RGB", (16, 16), shade).save(folder / f"{i}.png")
            writer.writerow([f"{i}.png", f"number {i} is {name}", name])
            writer.writerow([f"{i}.png", f"a {name} one", name])
    section = {"name": "csv", "path": str(folder / "own.csv"), "image_size": 16}
    return stub_models.config({**section, "label_column": "kind"} if label else section)


def see_colours(pixels, vectors=None):
    return np.eye(3)[pixels.mean(axis=(2, 3)).argmax(axis=1)]


def read(texts):
    return [[0.01 + (name in text) for name in COLOURS] for text in texts]


def test_labelled_images(tmp_path):
    config = written(tmp_path, 150)
    scores, predictions = evaluate.evaluate(
        "csv", stub_models.Stub(config, see_colours, read, see_colours), config
    )
    by_name = {s.name: s for s in scores}
    assert by_name["zeroshot.label"].value == 1
    assert by_name["probe.label"].value == 1
    assert by_name["zeroshot.label"].chance == pytest.approx(1 / 3)
    n = by_name["retrieval.i2t.r1"].num_samples
    assert by_name["retrieval.t2i.r1"].num_samples == 2 * n  # two captions a picture
    assert by_name["retrieval.t2i.r10"].value == pytest.approx(
        predictions["retrieval.t2i.r10"].mean(), abs=1e-6
    )
    assert by_name["zeroshot.label"].report_only == (n < 50 or n / 3 < 50)


def test_without_labels_there_is_only_retrieval(tmp_path):
    config = written(tmp_path, 60, label=False)
    scores, _ = evaluate.evaluate("csv", stub_models.Stub(config, see_colours, read), config)
    assert {s.name.split(".")[0] for s in scores} == {"retrieval"}
    assert "zeroshot" not in evaluate.build_protocol("csv", config)


def test_the_hash_depends_on_file_and_shares_but_not_on_the_path(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, there = written(tmp_path / "a", 9), written(tmp_path / "b", 9)
    assert evaluate.evaluation_hash("csv", here) == evaluate.evaluation_hash("csv", there)
    longer = written(tmp_path / "b", 10)
    assert evaluate.evaluation_hash("csv", here) != evaluate.evaluation_hash("csv", longer)
    section = {
        "name": "csv",
        "path": here.data.path,
        "image_size": 16,
        "label_column": "kind",
        "test_fraction": 0.2,
    }
    shares = stub_models.config(section)
    assert evaluate.evaluation_hash("csv", here) != evaluate.evaluation_hash("csv", shares)


def test_no_test_images_is_one_error_line(tmp_path):
    for n in range(1, 20):  # a hash decides the part: find a size without a test picture
        folder = tmp_path / str(n)
        folder.mkdir()
        config = written(folder, n, label=False)
        if not len(data.open_split(config.data, "test")):
            with pytest.raises(UserError, match="no test images"):
                evaluate.evaluate("csv", stub_models.Stub(config, see_colours, read), config)
            return
    pytest.fail("every size had a test picture")


def make_table(folder, train_copies=()):
    """A table of random images; `train_copies` are added as copies of test images."""
    path = csv_data.write_image_set(folder, 60)
    config = stub_models.config({"name": "csv", "path": str(path), "image_size": 16})
    test = data.open_split(config.data, "test")
    rows = list(csv.reader(open(path)))
    for i, change in enumerate(train_copies):
        source, name = test.image_paths[i], find_training_name(config.data, f"copy {i}")
        change(Image.open(source)).save(folder / name)
        rows.append([name, f"a copy of number {i}", "a"])
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return config


def find_training_name(config, prefix):
    rule = SplitRule(config.validation_fraction, config.test_fraction)
    names = (f"{prefix} {number}.png" for number in range(1000))
    return next(name for name in names if rule.assign(name) == "train")


def test_test_images_that_are_training_images_too_are_found(tmp_path):
    config = make_table(tmp_path / "one")
    verdicts = evaluate.find_near_duplicates("csv", config, tmp_path / "cache")
    assert (verdicts != near_duplicates.DUPLICATE).all()
    changes = [
        lambda image: image,
        lambda image: image.resize((40, 32), Image.Resampling.BICUBIC),
        lambda image: image.point(lambda level: min(255, level + 1)),
    ]
    config = make_table(tmp_path / "two", changes)
    verdicts = evaluate.find_near_duplicates("csv", config, tmp_path / "cache")
    assert (verdicts[:3] == near_duplicates.DUPLICATE).all()
    assert (verdicts[3:] != near_duplicates.DUPLICATE).all()
    assert len(verdicts) == len(data.open_split(config.data, "test"))
    # the table stays, its images change: what was found before does not count
    test = data.open_split(config.data, "test")
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (16, 16, 3), np.uint8)).save(
        test.image_paths[0]
    )
    split_features._open_split.cache_clear()
    again = evaluate.find_near_duplicates("csv", config, tmp_path / "cache")
    assert (again[:3] == near_duplicates.DUPLICATE).tolist() == [False, True, True]


def test_a_copy_of_a_plain_image_is_found_and_one_color_is_undecidable(tmp_path):
    plain = Image.new("RGB", (16, 16), "white")
    plain.paste("red", (4, 4, 8, 8))
    config = make_table(tmp_path)
    paths = {n: data.open_split(config.data, n).image_paths for n in ("train", "test")}
    plain.save(paths["train"][0])
    plain.save(paths["test"][0])
    for name in ("train", "test"):
        Image.new("RGB", (16, 16), "blue").save(paths[name][1])
    split_features._open_split.cache_clear()
    verdicts = evaluate.find_near_duplicates("csv", config, tmp_path / "cache")
    assert verdicts[0] == near_duplicates.DUPLICATE
    assert verdicts[1] == near_duplicates.UNDECIDABLE
    csv_data.break_images([paths["train"][0]])
    split_features._open_split.cache_clear()
    verdicts = evaluate.find_near_duplicates("csv", config, tmp_path / "cache")
    assert verdicts[0] != near_duplicates.DUPLICATE, "what cannot be read is no copy"


def test_a_probe_is_fitted_without_training_images_that_cannot_be_read(tmp_path):
    config = written(tmp_path, 150)
    train = data.open_split(config.data, "train")
    csv_data.break_images(train.image_paths[:4])
    stub = stub_models.Stub(config, see_colours, read, see_colours)
    scores, _ = evaluate.evaluate("csv", stub, config)
    assert {s.name: s.value for s in scores}["probe.label"] == 1


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_training_images_in_a_user_defined_evaluation_set_are_found(kind, tmp_path):
    config = make_table(tmp_path / "images")
    train = data.open_split(config.data, "train").image_paths
    plain = Image.new("RGB", (16, 16), "white")
    plain.paste("red", (4, 4, 8, 8))
    plain.save(train[0])
    folder = tmp_path / "evaluated/a"
    folder.mkdir(parents=True)
    for i in (0, 1):
        shutil.copy(train[i], folder / f"{i}.png")
    other = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(other).save(folder / "2.png")
    csv_data.write_csv(folder, [(f"{i}.png", f"text {i}", "a") for i in range(3)])
    name = f"csv:{folder / 'data.csv'}" if kind == "csv" else f"folder:{folder.parent}"
    split_features._open_split.cache_clear()
    verdicts = evaluate.find_near_duplicates(name, config, tmp_path / "cache")
    assert (verdicts == near_duplicates.DUPLICATE).tolist() == [True, True, False]


def test_captions_with_equal_tokens_are_right_for_each_other(tmp_path):
    def describe(name):
        section = {"name": "csv", "path": str(tmp_path / name), "image_size": 16}
        config = stub_models.config({**section, "split_column": "split"})
        stub = stub_models.Stub(config, see_colours, lambda texts: read(map(str.lower, texts)))
        scores, _ = evaluate.evaluate("csv", stub, config)
        return {s.name: s for s in scores}

    for name, color in COLOURS.items():
        dark_color = tuple(c // 2 for c in color)
        Image.new("RGB", (16, 16), color).save(tmp_path / f"{name}.png")
        Image.new("RGB", (16, 16), dark_color).save(tmp_path / f"dark {name}.png")
    for table, captions in {"equal.csv": "a {}|A {}", "other.csv": "a {}|one {}"}.items():
        with open(tmp_path / table, "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["picture", "caption", "split"])
            for name in COLOURS:
                light, dark = (text.format(name) for text in captions.split("|"))
                writer.writerows(
                    [(f"{name}.png", light, "test"), (f"dark {name}.png", dark, "test")]
                )
    equal, other = describe("equal.csv"), describe("other.csv")
    assert equal["retrieval.r1"].value == 1
    assert other["retrieval.r1"].value == pytest.approx(1 / 2), "tied with a wrong one"
    assert equal["retrieval.i2t.r1"].chance == pytest.approx(2 * other["retrieval.i2t.r1"].chance)


def test_a_table_without_test_images_is_missing_with_a_remedy(tmp_path):
    config = written(tmp_path, 60, label=False)
    assert evaluate.describe_missing("csv", config) is None
    section = {"name": "csv", "path": config.data.path, "image_size": 16, "test_fraction": 0}
    missing = evaluate.describe_missing("csv", stub_models.config(section))
    assert "has no test images; add rows, raise data.test_fraction, or name a table" in missing
