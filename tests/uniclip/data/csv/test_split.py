"""The splits of a CSV file: images, captions and labels."""

from __future__ import annotations

import csv
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.csv_data import csv_config, write_csv
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.errors import UserError
from uniclip.io.rgb_image import read_square
from uniclip.losses import clip_loss
from uniclip.losses.image_text import unicl_loss
from uniclip.training.trainer import setup_training


def test_splits_pixels_and_labels(folder):
    splits = [data.open_split(csv_config(folder), part) for part in data.SPLIT_NAMES]
    assert sum(map(len, splits)) == 40
    assert min(map(len, splits)) > 0
    for split in splits:
        pixels = split.load_pixels(np.arange(len(split)))
        assert (pixels.shape, pixels.dtype) == ((len(split), 3, 16, 16), np.uint8)
        for i, name in enumerate(split.sample_names):
            number = int(name.removesuffix(".png"))
            assert (pixels[i, 0] == number * 6).all()
            assert split.captions[i] == (f"picture {number}, a test",)
            assert split.labels["label"][i] == number % 2
        assert split.class_names == {"label": ("a", "b")}
        assert np.array_equal(
            pickle.loads(pickle.dumps(split)).load_pixels(np.arange(1)), pixels[:1]
        )


@pytest.mark.parametrize("label", ["kind", None])
def test_unicl_trains_on_the_named_label_column(folder, label):
    rows = [(f"{i}.png", f"picture {i}", ["a", "b", ""][i % 3]) for i in range(40)]
    write_csv(folder, rows)
    section = {
        "name": "csv",
        "path": str(folder / "data.csv"),
        "image_size": 32,
        "label_column": label,
    }
    views = {"num_weak": 1, "num_strong": 0}
    run = tiny(data=section, method={"name": "unicl"}, views=views, train={"batch_size": 8})
    batches, state = setup_training(run)
    batch = batches.build_batch(0)
    kinds = [int(batches.split.sample_names[i].removesuffix(".png")) % 3 for i in batch.sample_ids]
    expected = [-1 if label is None or kind == 2 else kind for kind in kinds]
    assert batch.labels.tolist() == expected
    with torch.no_grad():
        loss = state.method.compute_loss_terms(state.embedder, batch)["contrastive"]
        embeddings = state.method.embed(state.embedder, batch)
    image, text, scale = (
        embeddings["images"][:, 0],
        embeddings["texts"],
        state.method.log_scale.exp(),
    )
    torch.testing.assert_close(loss, unicl_loss(image, text, torch.tensor(expected), scale))
    assert (loss == clip_loss(image, text, scale)) == (label is None)


def test_images_are_read_from_a_staged_copy(folder, tmp_path_factory, monkeypatch):
    expected = data.open_split(csv_config(folder), "train")
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("node") / "copy")
    monkeypatch.setenv("UNICLIP_STAGED", f"{folder}:{copy}")
    split = data.open_split(csv_config(folder), "train")
    assert all(path.startswith(str(copy)) for path in split.image_paths)
    index = np.arange(len(split))
    assert np.array_equal(split.load_pixels(index), expected.load_pixels(index))
    assert np.array_equal(split.ids, expected.ids)


def test_an_added_image_moves_no_other(folder):
    before = set(data.open_split(csv_config(folder), "test").ids.tolist())
    rows = list(csv.reader(open(folder / "data.csv")))[1:]
    Image.new("RGB", (20, 20)).save(folder / "new.png")
    write_csv(folder, [("new.png", "new", "a"), *rows])
    assert before <= set(data.open_split(csv_config(folder), "test").ids.tolist())


def test_images_are_center_cropped_on_white(tmp_path):
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    image.save(tmp_path / "wide.png")
    centre = read_square(tmp_path / "wide.png", 16)
    assert (centre[2] == 255).all()
    assert not centre[0].any()
    Image.new("LA", (9, 9), (0, 0)).save(tmp_path / "clear.png")
    assert (read_square(tmp_path / "clear.png", 16) == 255).all()


def test_views_are_made_of_whole_photographs(folder):
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (30, 0, 60, 30))
    for i in range(40):
        wide.save(folder / f"{i}.png")
    (folder / "3.png").write_bytes(b"not a picture")
    split = data.open_split(csv_config(folder), "train")
    broken = split.sample_names.index("3.png") if "3.png" in split.sample_names else None
    index = np.arange(len(split))
    photographs, is_readable = split.load_view_sources(index)
    assert [i for i in index if not is_readable[i]] == ([] if broken is None else [broken])
    for i in index[is_readable]:
        assert np.array_equal(photographs[i].pixels, np.asarray(wide))
        assert np.array_equal(photographs[i].get_square(), split.load_pixels(index[i : i + 1])[0])
    again, _ = split.load_view_sources(index[is_readable])
    assert all(one is photographs[i] for one, i in zip(again, index[is_readable])), "in memory"


@pytest.mark.parametrize("content", [b"", b"not a picture", "cut"])
def test_a_broken_image_names_its_row(folder, content):
    whole = (folder / "1.png").read_bytes()
    broken = whole[: len(whole) // 2] if content == "cut" else content
    for i in range(40):
        (folder / f"{i}.png").write_bytes(broken)
    split = data.open_split(csv_config(folder), "train")
    with pytest.raises(UserError, match=rf"line {split.line_numbers[0]}: image .*cannot be read"):
        split.load_pixels(np.array([0]))
